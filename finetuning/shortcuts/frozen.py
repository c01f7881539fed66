"""训练适配器时，冻结的线性层的权重用 bf16 存放；从读入起就是 bf16 的（:mod:`finetuning.bf16_base`）不必换。"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.lora.dora import DoraLinearLayer
from transformers import PreTrainedModel, TrainerCallback


class FrozenWeightsInBf16(TrainerCallback):
    """训练开始时把冻结的线性层的权重换成 bf16，结束时换回 fp32；用于 bf16 自动混合精度（autocast）。

    autocast 每一步都把 fp32 的权重转成一份 bf16 的来用，反向传播用完才放掉。冻结的权重从不改变，直接存成 bf16，
    每个参数就只占 2 字节，而不是 4 + 2，也不必每步再转。算出来一位也不差，因为只换这样的权重：

    - 转成 bf16 再转回来，与原来完全相等。公开的模型大多以 bf16 发布，自带的基座也是。
    - 只在 autocast 的矩阵乘法里用到。与嵌入共用的输出层不换：从嵌入取出的向量决定后面各层用什么精度相加。
      DoRA 还要用 fp32 的权重来算长度，也不换。
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.held = ExitStack()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；模型已经在训练的设备上。"""
        self.held.enter_context(frozen_in_bf16(self.model))

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        self.held.close()


@contextmanager
def frozen_in_bf16(model: PreTrainedModel) -> Iterator[None]:
    """``with`` 之内，换得的权重是 bf16 的，之后换回 fp32。"""
    held = lossless_linears(model)
    for module in held:
        module.weight.data = module.weight.data.to(torch.bfloat16)
    try:
        yield
    finally:
        for module in held:
            module.weight.data = module.weight.data.float()


def lossless_linears(model: PreTrainedModel) -> list[torch.nn.Linear]:
    """权重可以从 fp32 换成 bf16 而不改变结果的线性层。"""
    return [
        module for module in frozen_linears(model) if module.weight.dtype == torch.float32 and _fits_bf16(module.weight)
    ]


def frozen_linears(model: PreTrainedModel) -> list[torch.nn.Linear]:
    """权重只在 autocast 的矩阵乘法里用到的、冻结的线性层。"""
    modules = list(model.modules())
    if any(isinstance(module, DoraLinearLayer) for module in modules):
        return []
    looked_up = {id(module.weight) for module in modules if isinstance(module, torch.nn.Embedding)}
    return [
        module
        for module in modules
        if isinstance(module, torch.nn.Linear)
        and id(module.weight) not in looked_up
        and module.weight.dtype in (torch.float32, torch.bfloat16)
        and not module.weight.requires_grad
    ]


def _fits_bf16(weight: torch.Tensor) -> bool:
    return torch.equal(weight.to(torch.bfloat16).float(), weight)
