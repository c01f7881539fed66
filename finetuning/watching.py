"""训练的时候看着：等不到最后的两件事，损失升上去了，和什么也没有在训练。"""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerState

from clinic.doctor import exploded
from clinic.symptoms import finite_log
from finetuning.terminal import say

_EVERY = 1.05  # 记录每多半成，看一次：记录很多时也不慢
_PATIENCE = 20  # 预热以后再等几步：fp16 的头几步会因溢出跳过


class Watch(TrainerCallback):
    """损失升得很高，说一次；走了几步，参数一个也没有动，停下。

    Args:
        refuse_unchanged: 参数一个也没有动，就抛出异常。
    """

    def __init__(self, refuse_unchanged: Callable[[], None]):
        self.refuse_unchanged, self.said, self.next_look = refuse_unchanged, False, 0

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        if self.said or not logs or "loss" not in logs or len(state.log_history) < self.next_look:
            return
        self.next_look = int(len(state.log_history) * _EVERY) + 1
        finding = exploded(finite_log(state.log_history))
        if finding is not None:
            self.said = True
            say(
                f"\n第 {state.global_step} 步：{finding.title}。{finding.evidence}。"
                f"{finding.next_step}。（按 Ctrl-C 停下）"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；几步以后看一次就够了。"""
        if state.global_step == args.get_warmup_steps(state.max_steps) + _PATIENCE:
            self.refuse_unchanged()
