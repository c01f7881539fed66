"""在真正的子进程里运行训练脚本，便于终止它、给它发信号、限制它。

子进程从一个已经导入好各个库的服务进程分叉（fork）出来，所以启动几乎不花时间；Windows 没有 fork，每个都从头启动。
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

_FORK = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT = multiprocessing.get_context("forkserver" if _FORK else "spawn")
if _FORK:
    _CONTEXT.set_forkserver_preload(["train_sft_solution", "train_lora_solution", "finetuning.report", "peft"])


def without_notices(stderr: str) -> str:
    """去掉“正在……”：一件事超过 5 秒才说，机器忙时有，闲时没有。"""
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("正在"))


def start(target: Callable[..., None], *args: object) -> BaseProcess:
    """在一个子进程里调用 ``target``。"""
    process = _CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def start_script(
    name: str, flags: list[str], workplace: Path, log: Path, before: Callable[[], None] | None = None
) -> BaseProcess:
    """启动一个训练脚本。

    Args:
        name: 脚本的文件名，不带 ``.py``。
        workplace: 子进程的当前目录。
        log: 标准输出和标准错误都写到这里。
        before: 在子进程里先做的事，如限制它能写多大的文件。
    """
    log.write_bytes(b"")  # 上一个进程写的，不要当成这一个的
    return start(_run, name, flags, workplace, log, before)


def run_script(
    name: str, flags: list[str], workplace: Path, log: Path, before: Callable[[], None] | None = None
) -> int | None:
    """运行到结束，返回退出码。"""
    process = start_script(name, flags, workplace, log, before)
    process.join()
    return process.exitcode


class Finished(NamedTuple):
    """一个脚本的退出码，和它说的话（标准输出与标准错误在一起）。"""

    returncode: int | None
    said: str


def finish_script(name: str, flags: list[str], workplace: Path) -> Finished:
    """运行到结束，返回退出码和它说的话。"""
    log = workplace / f"{name}.log"
    code = run_script(name, flags, workplace, log)
    said = without_notices(log.read_text(encoding="utf-8"))
    log.unlink()
    return Finished(code, said)


def _run(name: str, flags: list[str], workplace: Path, log: Path, before: Callable[[], None] | None) -> None:
    from finetuning.errors import run_main

    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(encoding="utf-8")
    os.chdir(workplace)
    sys.argv = [f"{name}.py", *flags]
    script = import_module(name)
    if before is not None:
        before()
    run_main(script.main)
