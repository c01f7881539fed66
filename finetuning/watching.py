"""训练的时候看着：等不到最后的两件事，损失升上去了，和什么也没有在训练；fp16 溢出跳过了几步。"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerState

from clinic.doctor import exploded
from clinic.symptoms import finite_log
from finetuning.terminal import say

_EVERY = 1.05  # 记录每多半成，看一次：记录很多时也不慢
_PATIENCE = 20  # 预热以后再等几步：fp16 的头几步会因溢出跳过
_NORMAL_SHARE = 0.1  # 估计：几百步的训练，开头的十几步之内找得到合适的放大倍数


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


class SkippedSteps(TrainerCallback):
    """数一数走了几步，其中几步因 fp16 的梯度溢出而没有更新。

    损失先乘一个很大的数（loss scaling）再求梯度，小的梯度才不会变成 0；梯度溢出了，这一步就不更新，并把那个数减半。
    开头几步是在找合适的数；一直这样，就什么也学不到，而损失照样是有限的数，看不出来。

    看那个数变小了没有，不看 ``accelerator.optimizer_step_was_skipped``：默认的优化器（fused AdamW）自己在里面跳过，
    accelerate 以为它走了。

    Args:
        scaler: 训练用的 ``torch.amp.GradScaler``；None 是没有。
    """

    def __init__(self, scaler: Callable[[], torch.amp.GradScaler | None]):
        self.scaler, self.steps, self.skipped, self.scale = scaler, 0, 0, 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        self.scale = self._scale()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        self.steps += 1
        self.skipped += self._scale() < self.scale

    def _scale(self) -> float:
        scaler = self.scaler()
        return 0.0 if scaler is None else scaler.get_scale()

    def told(self) -> str | None:
        """跳过了几步；一步也没有跳过是 None。"""
        if not self.skipped:
            return None
        share = self.skipped / self.steps
        advice = (
            "开头跳过几步是正常的"
            if share <= _NORMAL_SHARE
            else "这些步什么也没有学；请改用 fp32（--bf16 false --fp16 false），或换一块支持 bf16 的显卡"
        )
        return f"{self.steps} 步里有 {self.skipped} 步的梯度超出了 fp16 的范围，没有更新参数：{advice}。"
