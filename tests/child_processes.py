"""在真正的子进程里运行训练脚本，便于终止它、给它发信号、限制它。

子进程从一个已经导入好各个库的服务进程分叉（fork）出来，所以启动几乎不花时间；Windows 没有 fork，每个都从头启动。
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NamedTuple

ROOT = Path(__file__).parents[1]
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


def finish_script(name: str, flags: list[str], workplace: Path, before: Callable[[], None] | None = None) -> Finished:
    """运行到结束，返回退出码和它说的话。"""
    log = workplace / f"{name}.log"
    code = run_script(name, flags, workplace, log, before)
    said = without_notices(log.read_text(encoding="utf-8"))
    log.unlink()
    return Finished(code, said)


def run_command(
    script: str, *arguments: object, cwd: Path = ROOT, text: str = "", before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """像命令行那样运行 ``script``（项目里的一个 .py 文件，或 ``clinic`` 这样的包），等到结束。

    Args:
        text: 标准输入的内容，然后是文件尾。
        before: 在子进程里先做的事。

    Returns:
        退出码、标准输出、标准错误。要看启动本身的（多快、导入什么），用真的 ``subprocess``。
    """
    words = [str(each) for each in arguments]
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
        for stream, content in zip(streams, (text, "", ""), strict=True):
            stream.write_text(content, encoding="utf-8", newline="")
        process = start(_run_command, script, words, cwd, streams, before)
        process.join()
        output, errors = (stream.read_text(encoding="utf-8") for stream in streams[1:])
    return subprocess.CompletedProcess([script, *words], process.exitcode or 0, output, errors)


def _run_command(
    script: str, words: list[str], cwd: Path, streams: list[Path], before: Callable[[], None] | None
) -> None:
    for number, (path, flags) in enumerate(zip(streams, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        os.dup2(os.open(path, flags), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 多进程的子进程里，原来的已经关了
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(encoding="utf-8")
    os.chdir(cwd)
    sys.argv = [str(ROOT / script), *words]
    if before is not None:
        before()
    if script.endswith(".py"):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    else:
        runpy.run_module(script, run_name="__main__", alter_sys=True)


def fork_trainings() -> None:
    """在 compare_methods.py 的进程里：它的各次训练也分叉出来，不从头启动。"""
    if not _FORK:
        return
    from finetuning.compare import runs

    def run(command: list[str], stdout: IO[str], **_: object) -> subprocess.CompletedProcess[str]:
        child = os.fork()
        if child:
            return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        code: object = 1
        try:
            _run(Path(command[1]).stem, command[2:], Path.cwd(), Path(stdout.name), None)
            code = 0
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)

    runs.subprocess = SimpleNamespace(run=run, STDOUT=subprocess.STDOUT)  # type: ignore[assignment]


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
