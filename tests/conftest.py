"""测试启动的进程用什么环境；几个测试都要的准备。"""

import os
from collections.abc import Callable, Iterator

import pytest

# 几个测试进程同时运行，每个只用一个线程：两个线程旁边有忙着的程序时，可能慢几十倍。
os.environ.setdefault("OMP_NUM_THREADS", "1")
# 有的机器设了它：每个进程都要把 torch、transformers 的几千个模块重新编译一遍，一次多花七八秒。
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# 打印的命令照启动的样子（finetuning.terminal.launcher）；测试不论怎样启动，看的都是 uv run 的样子。
os.environ["UV_RUN_RECURSION_DEPTH"] = "1"


@pytest.fixture
def set_cores() -> Iterator[Callable[[int], None]]:
    """设一个运算最多用几个核；测试完恢复原样。"""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
