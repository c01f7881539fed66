"""bitsandbytes 的 4 bit 线性层的替身：不装它，也能算 QLoRA 要多少内存。"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

_NF4_BYTES = 1 / 2 + 1 / 64 + 4 / (64 * 256)  # 4 bit；每 64 个数一个 8 bit 的系数；每 256 个系数再共用一个 fp32


class _NF4Linear(nn.Linear):
    """``Linear4bit`` 的替身：占的字节、留给反向传播的东西都与它相同，只是没有数。"""

    def __init__(self, linear: nn.Linear, compute_dtype: torch.dtype):
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.compute_dtype = compute_dtype
        packed = torch.empty(int(linear.weight.numel() * _NF4_BYTES), dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(…, in_features)`` → ``(…, out_features)``。"""
        shape = (self.out_features, self.in_features)
        output = _NF4MatMul.apply(x.to(self.compute_dtype), self.weight, shape).to(x.dtype)
        return output if self.bias is None else output + self.bias


class _NF4MatMul(torch.autograd.Function):
    """前向和反向各把 4 bit 还原成一个临时的矩阵；权重没有梯度，所以输入不必留。"""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, packed: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        ctx.save_for_backward(packed)
        ctx.shape = shape
        return nn.functional.linear(x, packed.new_empty(shape, dtype=x.dtype))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (packed,) = ctx.saved_tensors
        (grad,) = grad_outputs
        return grad @ packed.new_empty(ctx.shape, dtype=grad.dtype), None, None


def quantize(model: PreTrainedModel, compute_dtype: torch.dtype) -> None:
    """把 lm_head 以外的线性层换成 4 bit 的；嵌入、归一化层和 lm_head 仍是 fp32，与 transformers 的做法相同。"""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and layer is not model.get_output_embeddings():
            model.set_submodule(name, _NF4Linear(layer, compute_dtype))
