"""Ctrl-C（和 SIGTERM、SIGHUP）：第一次，这一步做完就保存检查点再停下；第二次，立即停下。"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from finetuning.errors import Terminated, is_repeated, stop_signals_handled
from finetuning.terminal import launcher


class _Asked:
    """信号的处理函数：记下第一个，说 ``notice``；第二个立即停下。

    Args:
        notice: 收到以后说的话，“收到某某：”后面的。

    Attributes:
        number: 收到的是哪个信号；还没有收到是 None。
    """

    def __init__(self, notice: str) -> None:
        self.number: int | None = None
        self._notice = notice

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if is_repeated(number):
            return
        if self.number is None:
            self.number = number
            _notice(f"收到 {_name(number)}：{self._notice}")
        else:
            raise _exception(number)


class GracefulInterrupt(TrainerCallback):
    """训练循环里的 Ctrl-C。只管单个进程：多个进程要停在同一步，而启动它们的程序等不了那么久。"""

    def __init__(self) -> None:
        self._asked = _Asked("这一步做完就保存检查点，然后停下；再按一次立即停下。")

    @property
    def received(self) -> int | None:
        """收到的是哪个信号；还没有收到是 None。"""
        return self._asked.number

    @contextmanager
    def installed(self) -> Iterator[None]:
        """``with`` 之内的第一个信号由这里处理，之后恢复原样。"""
        with stop_signals_handled(self._asked, signal.SIGINT):
            yield

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；优化器走完一步后调用。"""
        if self.received is not None:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """停在半路时，Trainer 也当作一轮结束；检查点刚存过，这一轮也还没有完，不必再存、再验证。"""
        if self.received is not None and state.global_step < state.max_steps:
            control.should_save = control.should_evaluate = False


@contextmanager
def uninterrupted(doing: str) -> Iterator[None]:
    """``with`` 之内的第一个信号等这件事做完再算数：存权重、换结果这样的事，停在半路不如做完；第二个立即停下。

    Args:
        doing: 在做什么，如 ``"存权重"``。
    """
    asked = _Asked(f"正在{doing}，做完就停下；再按一次立即停下。")
    with stop_signals_handled(asked, signal.SIGINT):
        yield
    if asked.number is not None:
        raise _exception(asked.number)


def _exception(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _notice(message: str) -> None:
    """信号可能在另一句 print 写到一半时来；直接写文件描述符，不会与它争同一个缓冲区（那样会抛 RuntimeError）。"""
    os.write(2, f"\n{message}\n".encode(sys.stderr.encoding or "utf-8", "replace"))


def resume_command() -> str:
    """接着训练要运行的命令：与这一次的相同，末尾加上 ``--resume_from_checkpoint true``。"""
    argv, flags = sys.argv, ["--resume_from_checkpoint", "true"]
    argv = argv if argv[-2:] == flags else [*argv, *flags]  # 写了两次的参数，后一次算数
    return command_line(argv)


def command_line(argv: Sequence[str]) -> str:
    """可以粘贴到终端里的命令；有空格等的参数加上引号。"""
    return f"{launcher()} {subprocess.list2cmdline(argv) if os.name == 'nt' else shlex.join(argv)}"
