"""用 bf16 自动混合精度（autocast）时，线性层的权重先转成 bf16，不必每次都转。

从读入起就是 bf16 的（:mod:`finetuning.bf16_base`）不必换。
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.lora.dora import DoraLinearLayer
from torch import nn
from transformers import PreTrainedModel, TrainerCallback

from finetuning.adapter import base_of, innermost


class FrozenWeightsInBf16(TrainerCallback):
    """训练开始时把冻结的线性层的权重换成 bf16，结束时换回 fp32；用于 bf16 自动混合精度（autocast）。

    autocast 每一步都把 fp32 的权重转成一份 bf16 的来用，反向传播用完才放掉。冻结的权重从不改变，直接存成 bf16，
    每个参数就只占 2 字节，而不是 4 + 2，也不必每步再转。算出来一位也不差，因为换的是这样的权重：

    - 转成 bf16 再转回来，与原来完全相等。公开的模型大多以 bf16 发布，自带的基座也是。
    - 只在 autocast 的矩阵乘法里用到。DoRA 还要用 fp32 的权重来算长度，不换。

    输出层若是换不得的（与嵌入共用矩阵的，查表还要用 fp32 的），另给它一份 bf16 的，与 autocast 转出来的相同。它若还有
    几行是训练的（:mod:`finetuning.token_rows`），这几行加的是与舍入过的旧行的差，比原来准一些，不再是一位不差。
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
    """``with`` 之内，换得的权重是 bf16 的，冻结的输出层另有一份 bf16 的；之后都恢复原样。用于训练。

    与嵌入共用矩阵的输出层是词表那么大的矩阵：Gemma 3 270M 的占全部参数的六成，autocast 每一步转它一次，占 LoRA 一步
    时间的五分之一。另给的一份与转出来的完全相同。转出来的要留到反向传播，所以内存的峰值也一样；只有开了梯度检查点，
    峰值不在输出层，才多这一份。
    """
    output = output_to_copy(model)
    with _replaced(lossless_linears(model)), _copied([] if output is None else [output]):
        yield


@contextmanager
def all_in_bf16(model: PreTrainedModel) -> Iterator[None]:
    """``with`` 之内，autocast 要转的线性层，权重都先转好了；之后恢复原样。用于检验：写一个 token 就要用全部权重一次。

    换不得的另有一份，每个参数 2 字节。
    """
    with _replaced(lossless_linears(model)), _copied(_only_multiplied(model)):
        yield


@contextmanager
def _replaced(linears: Sequence[nn.Linear]) -> Iterator[None]:
    """权重换成 bf16，之后换回 fp32；换到一半出了错（如内存不够），换过的也换回来。"""
    replaced: list[nn.Linear] = []
    try:
        for linear in linears:
            replaced.append(linear)
            linear.weight.data = linear.weight.data.to(torch.bfloat16)
        yield
    finally:
        for linear in replaced:
            linear.weight.data = linear.weight.data.float()


@contextmanager
def _copied(linears: Sequence[nn.Linear]) -> Iterator[None]:
    """fp32 的权重留着，层里用另外一份 bf16 的；之后用回原来的，出了错也是。"""
    own = [(linear, linear.weight) for linear in linears if linear.weight.dtype == torch.float32]
    try:
        for linear, weight in own:
            linear.weight = nn.Parameter(weight.detach().to(torch.bfloat16), requires_grad=False)
        yield
    finally:
        for linear, weight in own:
            linear.weight = weight


def output_to_copy(model: PreTrainedModel) -> nn.Linear | None:
    """要另给一份 bf16 权重的输出层：冻结的、fp32 的线性层；没有是 None。"""
    output = innermost(base_of(model).get_output_embeddings())
    frozen = isinstance(output, nn.Linear) and not output.weight.requires_grad
    return output if frozen and output.weight.dtype == torch.float32 else None


def lossless_linears(model: PreTrainedModel) -> list[nn.Linear]:
    """权重可以从 fp32 换成 bf16 而不改变结果的线性层。"""
    return [
        module for module in frozen_linears(model) if module.weight.dtype == torch.float32 and _fits_bf16(module.weight)
    ]


def frozen_linears(model: PreTrainedModel) -> list[nn.Linear]:
    """权重只在 autocast 的矩阵乘法里用到的、冻结的线性层；与嵌入共用的不算，查表还要用它。"""
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return [
        linear
        for linear in _only_multiplied(model)
        if id(linear.weight) not in looked_up and not linear.weight.requires_grad
    ]


def has_dora(model: PreTrainedModel) -> bool:
    """有没有 DoRA 的层：它还要用 fp32 的权重来算长度。"""
    return any(isinstance(module, DoraLinearLayer) for module in model.modules())


def _only_multiplied(model: PreTrainedModel) -> list[nn.Linear]:
    """层里的权重只用来做矩阵乘法的线性层；有 DoRA 的模型都不算。"""
    if has_dora(model):
        return []
    kinds = (torch.float32, torch.bfloat16)
    return [module for module in model.modules() if isinstance(module, nn.Linear) and module.weight.dtype in kinds]


def _fits_bf16(weight: torch.Tensor) -> bool:
    return torch.equal(weight.to(torch.bfloat16).float(), weight)
