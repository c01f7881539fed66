"""在某个阶段的第几次文件操作时，进程被终止（SIGKILL）。

``before`` 交给 :func:`child_processes.start_script`：在子进程里先装好，到了地方就杀死自己，什么收尾也来不及做。
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

_FILE_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
PHASES = ["training", "saving", "evaluation", "merging", "publishing"]


def die() -> None:
    """不能捕获，也不运行任何 ``finally``。"""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """从 ``armed`` 起，第 ``count`` 次改动文件系统之前杀死自己。

    只在子进程里用：审计的钩子（audit hook）装上就去不掉，测试进程里装了几十个，后面的测试会慢二三十倍。
    """

    def __init__(self, count: int):
        self.count, self.armed = count, False
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.armed and (event in _FILE_EVENTS or (event == "open" and _writes(arguments))):
            self.count -= 1
            if self.count <= 0:
                die()


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(set(mode or "") & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


def _around(owner: Any, name: str, before: Callable[..., None], after: Callable[..., None] | None = None) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        result = original(*args, **kwargs)
        if after is not None:
            after(*args, **kwargs)
        return result

    setattr(owner, name, wrapped)


def die_in(phase: str, count: int) -> None:
    """``training``：第 ``count`` 步之前；其余的：进了这个阶段以后，第 ``count`` 次改动文件系统之前。"""
    from finetuning import report, training
    from finetuning.output.checkpoints import CheckpointWriter
    from finetuning.output.directory import OutputDir

    if phase == "training":
        steps = iter(range(count))
        _around(
            training.CheckedTrainer, "training_step", lambda *_, **__: None if next(steps, None) is not None else die()
        )
        return
    if phase == "evaluation":
        calls = iter(["训练前"])
        _around(report.Report, "evaluate", lambda *_: None, lambda *_: None if next(calls, None) else die())
        return
    countdown = Countdown(count)

    def arm(*_: Any, **__: Any) -> None:
        countdown.armed = True

    if phase == "saving":
        _around(CheckpointWriter, "begin", arm)
    elif phase == "merging":
        calls = iter(["训练前"])
        _around(report.Report, "evaluate", lambda *_: None, lambda *_: None if next(calls, None) else arm())
    elif phase == "publishing":
        _around(OutputDir, "publish", arm)
    else:
        raise ValueError(phase)
