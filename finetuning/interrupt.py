"""Ctrl-C：第一次，这一步做完就保存检查点再停下；第二次，立即停下。"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState


class GracefulInterrupt(TrainerCallback):
    """训练循环里的 Ctrl-C。只管单个进程：多个进程要停在同一步，而启动它们的程序等不了那么久。"""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """``with`` 之内的第一次 Ctrl-C 由这里处理，之后恢复原样。"""
        previous = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\n收到 Ctrl-C：这一步做完就保存检查点，然后停下；再按一次立即停下。", file=sys.stderr, flush=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；优化器走完一步后调用。"""
        if self.requested:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """停在半路时，Trainer 也当作一轮结束；检查点刚存过，这一轮也还没有完，不必再存、再验证。"""
        if self.requested and state.global_step < state.max_steps:
            control.should_save = control.should_evaluate = False


def resume_command() -> str:
    """接着训练要运行的命令：与这一次的相同，末尾加上 ``--resume_from_checkpoint true``。"""
    argv, flags = sys.argv, ["--resume_from_checkpoint", "true"]
    argv = argv if argv[-2:] == flags else [*argv, *flags]  # 写了两次的参数，后一次算数
    return "uv run python " + (subprocess.list2cmdline(argv) if os.name == "nt" else shlex.join(argv))
