"""TODO 2 的参考答案：不用 PEFT，手写一层 LoRA（low-rank adaptation，低秩适配）。

用同样的检查查它：

    uv run python lora_solution.py

论文：Hu 等，LoRA: Low-Rank Adaptation of Large Language Models，https://arxiv.org/abs/2106.09685
"""

import self_check

self_check.guard("lora", __name__)  # 直接运行时，其余的在另一个进程里装入、检查：卡住了也能停下

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """在一个冻结的线性层旁边加一条可训练的低秩支路::

        y = x Wᵀ + b + (alpha / r) · x A B
            └ original ┘          └ LoRA ┘

    W、b 是原来的层，不再训练；要训练的只有两个小矩阵 A、B，它们的 dtype 和 device 与 W 相同。

    一个能用手算的例子（in_features=3，out_features=2，r=1，alpha=4）::

        x                         [1, 2, 3]
        original(x)               [10, 20]
        A 是 3 行 1 列            [[1], [0], [1]]      x A              = [4]
        B 是 1 行 2 列            [[0.5, -1]]          x A B            = [2, -4]
        alpha / r = 4                                  (alpha/r) · xAB  = [8, -16]
        y                         [18, 4]

    参数量：in_features = out_features = 4096、r = 8 时，W 有 16,777,216 个数，A 和 B 一共 65,536 个，少了 99.6%。

    Args:
        original_layer: 要微调的线性层，权重的形状是 (out_features, in_features)，可以没有偏置。
        r: 秩（rank），A、B 窄的那一边有多宽；越大，参数越多，能表示的改动越复杂。
        alpha: 支路的输出乘以 alpha / r；除以 r，是为了 alpha 不变时，换一个 r 不必重新找学习率。

    Attributes:
        original: 原来的层；权重和偏置都冻结（``requires_grad`` 为假）。
        lora_A: ``nn.Parameter``，形状 (in_features, r)，初值取自均值为零、标准差 1/√in_features 的高斯分布。
        lora_B: ``nn.Parameter``，形状 (r, out_features)，初值为零：x A B 因而是零，训练从原来的模型出发。
            A 不能也是零：那样 A、B 的梯度都是零，永远学不动。
    """

    original: nn.Linear
    lora_A: nn.Parameter
    lora_B: nn.Parameter

    def __init__(self, original_layer: nn.Linear, r: int = 8, alpha: float = 16):
        super().__init__()
        self.r = r
        self.alpha = alpha
        self.original = original_layer.requires_grad_(False)

        weight = original_layer.weight
        out_features, in_features = weight.shape
        # 除以 √in_features，x A 的每个分量就与 x 的分量一样大，不随层的宽度变化。
        self.lora_A = nn.Parameter(
            torch.randn(in_features, r, dtype=weight.dtype, device=weight.device) / in_features**0.5
        )
        self.lora_B = nn.Parameter(torch.zeros(r, out_features, dtype=weight.dtype, device=weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` 的形状是 (..., in_features)，返回 (..., out_features)。"""
        # 从左到右乘：(..., in) → (..., r) → (..., out)，不会造出 (in, out) 那么大的矩阵。
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * (self.alpha / self.r)

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """合并（merge）：返回普通的线性层，权重是 ``W + (alpha / r) · (A B)ᵀ``，推理时不再有额外的计算。

        ``original`` 不变；新的层也是冻结的。nn.Linear 存的权重是 (out_features, in_features)，所以 A B 要转置。
        """
        merged = copy.deepcopy(self.original)
        merged.weight += (self.lora_A @ self.lora_B).T * (self.alpha / self.r)
        return merged


def apply_lora(model: nn.Module, target_modules: Iterable[str], r: int = 8, alpha: float = 16) -> nn.Module:
    """把 ``model`` 里指定的线性层就地换成 :class:`LoRALinear`，并冻结其余的参数。

    Args:
        model: 任何模型。
        target_modules: 线性层的名字，例如 ``["q_proj", "v_proj"]``；也可以带上一级，例如 ``["self_attn.q_proj"]``。
        r: 见 :class:`LoRALinear`。
        alpha: 见 :class:`LoRALinear`。

    Returns:
        同一个 ``model``。

    Raises:
        ValueError: 某个名字在模型里找不到对应的线性层；这时模型没有变。
    """
    targets = [target_modules] if isinstance(target_modules, str) else list(target_modules)
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    missing = [target for target in targets if not any(_matches(name, target) for name in linears)]
    if missing or not targets:
        available = sorted({name.rsplit(".", 1)[-1] for name in linears})
        raise ValueError(
            f"模型里没有名为 {'、'.join(missing) or '（空）'} 的线性层，请把 target_modules 改成这些名字中的几个："
            f"{'、'.join(available) or '（这个模型没有 nn.Linear）'}。"
        )

    for name, linear in linears.items():
        if any(_matches(name, target) for target in targets):
            model.set_submodule(name, LoRALinear(linear, r, alpha))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_is_lora(name))
    return model


def merge(model: nn.Module) -> nn.Module:
    """:func:`apply_lora` 的逆：把每个 :class:`LoRALinear` 合并回 ``nn.Linear``；就地修改，返回同一个 ``model``。

    ``model`` 本身就是一个 :class:`LoRALinear` 时，返回合并成的 ``nn.Linear``。
    """
    if isinstance(model, LoRALinear):
        return model.merge()
    for name, child in list(model.named_children()):
        model.set_submodule(name, merge(child))
    return model


def lora_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """只含 A、B 的 ``state_dict``：一次微调要保存的就是这么多，基座不必再存一份。"""
    return {name: tensor for name, tensor in model.state_dict().items() if _is_lora(name)}


def load_lora_state_dict(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """把 :func:`lora_state_dict` 的结果读回一个经过同样的 :func:`apply_lora` 的模型。

    Raises:
        ValueError: 名字或形状对不上，多半是 ``target_modules`` 或 ``r`` 与保存时不同；这时模型没有变。
    """
    expected = {name: tuple(tensor.shape) for name, tensor in lora_state_dict(model).items()}
    given = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    different = sorted(name for name in expected | given if expected.get(name) != given.get(name))
    if different:
        name = different[0]
        raise ValueError(
            f"LoRA 权重与模型对不上：{name} 在文件里的形状是 {given.get(name, '（没有）')}，"
            f"在模型里是 {expected.get(name, '（没有）')}；请用保存时的 target_modules 和 r 再调用 apply_lora。"
        )
    model.load_state_dict(state_dict, strict=False)


def _matches(module_name: str, target: str) -> bool:
    return f".{module_name}".endswith(f".{target}")


def _is_lora(parameter_name: str) -> bool:
    return parameter_name.rsplit(".", 1)[-1] in ("lora_A", "lora_B")


if __name__ == "__main__":
    import sys

    self_check.main("lora", sys.modules[__name__])
