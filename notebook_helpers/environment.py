"""开始之前看一看环境：版本、设备、线程；不合适的，说出怎样改，而不是报错。"""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from IPython.display import HTML

from finetuning.device import best_device, describe_device
from notebook_helpers.html import table

_PACKAGES = ("torch", "transformers", "peft", "datasets", "jupyterlab", "ipywidgets")


def show() -> HTML:
    """一张表：有什么，合不合适，不合适怎么办。"""
    import torch

    rows = [_python()]
    rows += [(name, importlib.metadata.version(name), "✓") for name in _PACKAGES]
    rows += [
        ("设备", describe_device(best_device()), "✓ 自带的小模型在 CPU 上就够快"),
        _threads(torch.get_num_threads()),
    ]
    rows += [_folder()]
    return HTML(table(("", "这里的", "合适吗"), rows))


def _python() -> tuple[str, str, str]:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return "Python", version, "✓" if good else "✗ 请用 3.11 到 3.13：在项目目录里运行 uv run jupyter lab"


def _threads(threads: int) -> tuple[str, str, str]:
    cores = os.cpu_count() or 1
    advice = "✓" if threads <= cores else f"✗ 比核数（{cores}）还多，会很慢：删掉环境变量 OMP_NUM_THREADS，重启内核"
    return "线程", f"{threads} 个（{cores} 个核）", advice


def _folder() -> tuple[str, str, str]:
    good = Path("base_model", "config.json").is_file()
    return (
        "目录",
        Path.cwd().name,
        "✓" if good else "✗ 这里没有 base_model：请在项目目录里打开 tutorial.ipynb",
    )
