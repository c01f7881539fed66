"""自动混合精度（autocast）：模型的输出不必转回 fp32。"""

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState


class PlainAutocast(TrainerCallback):
    """训练时只有 autocast，logits 留在半精度里。

    Trainer 请 accelerate 打开 autocast，accelerate 同时把模型输出的每个张量转回 fp32。训练只用损失，损失本来就是 fp32；
    转出来的 logits 没有人看，却是一步里最大的张量之一，而且造在内存最紧的时候（前向刚完，反向还没有开始）。
    所以训练开始时拆掉 accelerate 的包装，只留 autocast；结束时连 autocast 也拆掉，以后用的就是权重自己的精度。
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.forward: Callable[..., Any] | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """见 :class:`transformers.TrainerCallback`；accelerate 已经包装好模型。"""
        assert model is not None
        remove_autocast(model)
        self.forward = model.forward
        model.forward = torch.autocast(args.device.type, self.dtype)(model.forward)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        assert model is not None
        assert self.forward is not None
        model.forward = self.forward


def remove_autocast(model: torch.nn.Module) -> None:
    """拆掉 accelerate 给 ``forward`` 加的 autocast 和转换；没有加过就什么也不做。"""
    extract_model_from_parallel(model, keep_fp32_wrapper=False)
