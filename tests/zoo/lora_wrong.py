"""TODO 2 的错误答案，像学习者会写的那样写，每个都标着自检应当给出的代号。"""

import copy
import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

WRONG: list[tuple[str, type]] = []


def wrong(slug: str):
    """登记一个错误答案和它应得的代号。"""

    def register(cls: type) -> type:
        WRONG.append((slug, cls))
        return cls

    return register


# ----------------------------------------------------------------------------------------------------------------------
# not_implemented


@wrong("not_implemented")
class Untouched(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        raise NotImplementedError

    def forward(self, x):
        raise NotImplementedError


@wrong("not_implemented")
class OnlyInit(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, dtype=w.dtype, device=w.device))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, dtype=w.dtype, device=w.device))
        self.scaling = alpha / r

    def forward(self, x):
        raise NotImplementedError("TODO 2")


@wrong("not_implemented")
class NoForward(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        for p in self.original.parameters():
            p.requires_grad = False
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))


@wrong("not_implemented")
class ForgotToDeleteRaise(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))
        self.scaling = alpha / r
        raise NotImplementedError

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# base_not_frozen, bias_not_frozen


@wrong("base_not_frozen")
class ForgotToFreeze(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r) * 0.01)
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_not_frozen")
class FreezesTheModuleAttribute(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad = False
        self.r, self.alpha = r, alpha
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)


@wrong("base_not_frozen")
class FreezesWithEval(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer.eval()
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.normal(0, 0.02, (original_layer.in_features, r)))
        self.lora_B = nn.Parameter(torch.zeros((r, original_layer.out_features)))

    def forward(self, x):
        return self.original(x) + self.scaling * (x @ self.lora_A @ self.lora_B)


@wrong("base_not_frozen")
class NoGradOnlyInForward(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        with torch.no_grad():
            out = self.original(x)
        return out + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_not_frozen")
class FreezesInForward(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        self.original.requires_grad_(False)
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_not_frozen")
class MisspeltRequiresGrad(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        for param in self.original.parameters():
            param.require_grad = False
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_not_frozen")
class FreezesOnlyTheBias(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        if self.original.bias is not None:
            self.original.bias.requires_grad = False
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_not_frozen")
class InheritsFromLinear(nn.Linear):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer.in_features, original_layer.out_features, original_layer.bias is not None)
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_not_frozen")
class FreezesAConstant(nn.Module):
    """两处错：没有冻结，也没有缩放；更基本的是没有冻结。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B


@wrong("bias_not_frozen")
class FreezesOnlyTheWeight(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.weight.requires_grad = False
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("bias_not_frozen")
class FreezesParametersWithWeightInTheName(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        for name, param in self.original.named_parameters():
            if "weight" in name:
                param.requires_grad_(False)
        self.r = r
        self.alpha = alpha
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        nn.init.normal_(self.lora_A, std=1 / r)

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * (self.alpha / self.r)


@wrong("bias_not_frozen")
class TrainsACopyOfTheBias(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.bias = None if original_layer.bias is None else nn.Parameter(original_layer.bias.detach().clone())
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, dtype=w.dtype, device=w.device))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, dtype=w.dtype, device=w.device))
        self.scaling = alpha / r

    def forward(self, x):
        return F.linear(x, self.original.weight, self.bias) + x @ self.lora_A @ self.lora_B * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# not_a_parameter


@wrong("not_a_parameter")
class PlainTensors(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = torch.randn(original_layer.in_features, r, requires_grad=True)
        self.lora_B = torch.zeros(r, original_layer.out_features, requires_grad=True)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_a_parameter")
class Buffers(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.register_buffer("lora_A", torch.randn(original_layer.in_features, r))
        self.register_buffer("lora_B", torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_a_parameter")
class LinearModules(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Linear(original_layer.in_features, r, bias=False)
        self.lora_B = nn.Linear(r, original_layer.out_features, bias=False)
        nn.init.normal_(self.lora_A.weight)
        nn.init.zeros_(self.lora_B.weight)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + self.lora_B(self.lora_A(x)) * self.scaling


@wrong("not_a_parameter")
class LinearModulesWithBias(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Linear(original_layer.in_features, r)
        self.lora_B = nn.Linear(r, original_layer.out_features)
        nn.init.zeros_(self.lora_B.weight)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + self.lora_B(self.lora_A(x)) * self.scaling


@wrong("not_a_parameter")
class ParameterTimesAConstant(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r)) * 0.01
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_a_parameter")
class ParameterThenTo(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r)).to(original_layer.weight.dtype)
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features)).to(original_layer.weight.dtype)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_a_parameter")
class OtherNames(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.A @ self.B) * self.scaling


@wrong("not_a_parameter")
class LocalVariables(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.delta = lora_A @ lora_B * alpha / r

    def forward(self, x):
        return self.original(x) + x @ self.delta


@wrong("not_a_parameter")
class OnlyBIsAParameter(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = torch.randn(original_layer.in_features, r)
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_a_parameter")
class ParametersOnTheClass(nn.Module):
    lora_A = None
    lora_B = None

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        type(self).lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        type(self).lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_a_parameter")
class NumpyArrays(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = np.random.randn(original_layer.in_features, r)
        self.lora_B = np.zeros((r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        delta = torch.from_numpy(self.lora_A @ self.lora_B).to(x.dtype)
        return self.original(x) + x @ delta * self.scaling


@wrong("not_a_parameter")
class ParameterList(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora = nn.ParameterList(
            [torch.randn(original_layer.in_features, r), torch.zeros(r, original_layer.out_features)]
        )
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora[0] @ self.lora[1]) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# wrong_shape


@wrong("wrong_shape")
class ShapesOfThePaper(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(r, original_layer.in_features))
        self.lora_B = nn.Parameter(torch.zeros(original_layer.out_features, r))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


@wrong("wrong_shape")
class InAndOutSwapped(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        in_features, out_features = original_layer.weight.shape
        self.lora_A = nn.Parameter(torch.randn(in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_shape")
class IgnoresR(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, 8))
        self.lora_B = nn.Parameter(torch.zeros(8, original_layer.out_features))
        self.scaling = alpha / 8

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_shape")
class FullRank(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, original_layer.out_features))
        self.lora_B = nn.Parameter(torch.zeros(original_layer.out_features, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_shape")
class OtherDefaultR(nn.Module):
    def __init__(self, original_layer, r=4, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(w.size(1), r).to(w))
        self.lora_B = nn.Parameter(torch.zeros(r, w.size(0)).to(w))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_shape")
class ATransposedOnly(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.zeros(r, original_layer.in_features).normal_())
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + F.linear(x, self.lora_A) @ self.lora_B * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# 初值：a_is_zero, b_not_zero, init_swapped, not_gaussian


@wrong("a_is_zero")
class BothZero(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.zeros(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("a_is_zero")
class RandomlyInitialisesACopy(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.zeros(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        nn.init.normal_(self.lora_A.data.clone(), std=0.02)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("a_is_zero")
class InitialisedThenReset(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.randn(r, original_layer.out_features))
        self.scaling = alpha / r
        for p in (self.lora_A, self.lora_B):
            nn.init.zeros_(p)

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("b_not_zero")
class BothRandom(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.randn(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("b_not_zero")
class BSmall(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r) * 0.01)
        self.lora_B = nn.Parameter(torch.full((r, original_layer.out_features), 1e-4))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("b_not_zero")
class BUninitialised(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.empty(r, original_layer.out_features))
        nn.init.normal_(self.lora_A, std=0.02)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("b_not_zero")
class KaimingOnBoth(nn.Module):
    """两处错：A 是均匀分布，B 不是零；更要紧的是 B。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.empty(r, original_layer.out_features))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.lora_B, a=math.sqrt(5))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("b_not_zero")
class BOnes(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.ones(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("init_swapped")
class AZeroBRandom(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.zeros(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.randn(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("init_swapped")
class InitFunctionsOnTheWrongOnes(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.empty(r, original_layer.out_features))
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B, mean=0.0, std=0.02)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class Rand(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.rand(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class Ones(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.ones(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class AUninitialised(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class Eye(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.eye(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class OneColumnCopied(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, 1).repeat(1, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class GaussianWithMeanOne(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.normal(1.0, 0.02, size=(original_layer.in_features, r)))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("not_gaussian")
class PythonRandom(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        rows = [[random.random() * 2 - 1 for _ in range(r)] for _ in range(original_layer.in_features)]
        self.lora_A = nn.Parameter(torch.tensor(rows).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))
        self.r, self.alpha = r, alpha
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# 缩放：scaling_missing, scaling_inverted


@wrong("scaling_missing")
class NoScaling(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B


@wrong("scaling_missing")
class ScalingComputedButNotUsed(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        for p in self.original.parameters():
            p.requires_grad = False
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r) * 0.02)
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        base = self.original(x)
        lora = (x @ self.lora_A) @ self.lora_B
        return base + lora


@wrong("scaling_missing")
class OnlyAlpha(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.alpha = alpha
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r) / math.sqrt(r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + self.alpha * (x @ self.lora_A @ self.lora_B)


@wrong("scaling_missing")
class OnlyOverR(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.r = r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) / self.r


@wrong("scaling_inverted")
class ROverAlpha(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = r / alpha
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("scaling_inverted")
class DividesByTheScaling(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + torch.matmul(torch.matmul(x, self.lora_A), self.lora_B) / self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# lora_branch_missing, original_missing, bias_lost


@wrong("lora_branch_missing")
class ReturnsOnlyTheOriginal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x)


@wrong("lora_branch_missing")
class ForgotToAdd(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        out = self.original(x)
        lora_out = (x @ self.lora_A @ self.lora_B) * self.scaling
        out + lora_out
        return out


@wrong("lora_branch_missing")
class ProductCachedInInit(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.delta = self.lora_A @ self.lora_B * (alpha / r)

    def forward(self, x):
        return self.original(x) + x @ self.delta


@wrong("lora_branch_missing")
class MergedInInit(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.original.weight.data += (self.lora_A @ self.lora_B).T.data * alpha / r

    def forward(self, x):
        return self.original(x)


@wrong("lora_branch_missing")
class OnlyWhileTraining(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        if not self.training:
            return self.original(x)
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("lora_branch_missing")
class IntegerScalingOfZero(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = r // alpha

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("original_missing")
class ReturnsOnlyTheBranch(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("original_missing")
class BranchPlusBias(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        out = x @ self.lora_A @ self.lora_B * self.scaling
        if self.original.bias is not None:
            out = out + self.original.bias
        return out


@wrong("original_missing")
class OtherNameForTheOriginal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.linear = original_layer
        self.linear.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.linear(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("original_missing")
class FreshLinear(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = nn.Linear(original_layer.in_features, original_layer.out_features)
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("original_missing")
class KeepsOnlyTheWeight(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer.weight
        self.original.requires_grad = False
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return F.linear(x, self.original) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("original_missing")
class AssignsInsteadOfAdding(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        result = self.original(x)
        result = x @ self.lora_A @ self.lora_B
        return result * self.scaling


@wrong("bias_lost")
class MatmulWithTheWeight(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return x @ self.original.weight.T + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("bias_lost")
class MergedWeightWithoutBias(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        weight = self.original.weight + (self.lora_A @ self.lora_B).T * self.scaling
        return F.linear(x, weight)


@wrong("bias_lost")
class CopiesOnlyTheWeight(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = nn.Linear(original_layer.in_features, original_layer.out_features, bias=False)
        self.original.weight = nn.Parameter(original_layer.weight.data.clone(), requires_grad=False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("bias_lost")
class RemovesTheBias(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.bias = None
        self.original.weight.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# base_modified


@wrong("base_modified")
class AddsIntoTheWeightInForward(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        self.original.weight.data += (self.lora_A @ self.lora_B).T * self.scaling
        return self.original(x)


@wrong("base_modified")
class ReinitialisesTheOriginal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r
        nn.init.normal_(self.lora_A)
        nn.init.normal_(self.original.weight)

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_modified")
class InitialisesEveryParameter(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.empty(r, original_layer.out_features))
        self.scaling = alpha / r
        for p in self.parameters():
            nn.init.normal_(p, std=0.02)
        nn.init.zeros_(self.lora_B)

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_modified")
class SubtractsTheStart(nn.Module):
    """B 不是零，于是先从 W 里减掉开始时的 AB（像 PiSSA 那样）。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.randn(r, original_layer.out_features))
        self.scaling = alpha / r
        self.original.weight.data -= (self.lora_A @ self.lora_B).T.data * self.scaling

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("base_modified")
class ScalesTheWeight(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.original.weight.mul_(alpha / r)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B


@wrong("base_modified")
class MergesWhenEvaluated(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r
        self.merged = False

    def forward(self, x):
        if not self.training and not self.merged:
            self.original.weight.data += (self.lora_A @ self.lora_B).T * self.scaling
            self.merged = True
        if self.merged:
            return self.original(x)
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# no_gradient


@wrong("no_gradient")
class UsesData(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A.data @ self.lora_B.data) * self.scaling


@wrong("no_gradient")
class DetachesA(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A.detach() @ self.lora_B) * self.scaling


@wrong("no_gradient")
class FreezesEverything(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r
        self.requires_grad_(False)

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("no_gradient")
class NoGradAroundTheOriginal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        with torch.no_grad():
            result = self.original(x)
        return result + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("no_gradient")
class DecoratedWithNoGrad(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    @torch.no_grad()
    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("no_gradient")
class DetachesTheInput(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x.detach() @ self.lora_A @ self.lora_B) * self.scaling


@wrong("no_gradient")
class ParameterWithoutGrad(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r), requires_grad=False)
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("no_gradient")
class RewrapsInForward(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        delta = torch.tensor((self.lora_A @ self.lora_B).tolist(), dtype=x.dtype)
        return self.original(x) + x @ delta * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# wrong_dtype_or_device


@wrong("wrong_dtype_or_device")
class AlwaysFloat32(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_dtype_or_device")
class FollowsDtypeOnly(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        dtype = original_layer.weight.dtype
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, dtype=dtype))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_dtype_or_device")
class FollowsDeviceOnly(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        device = original_layer.weight.device
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, device=device))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, device=device))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_dtype_or_device")
class NumpyDoubles(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.from_numpy(np.random.randn(original_layer.in_features, r)))
        self.lora_B = nn.Parameter(torch.from_numpy(np.zeros((r, original_layer.out_features))))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_dtype_or_device")
class HardCodedBfloat16(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, dtype=torch.bfloat16))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, dtype=torch.bfloat16))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x.bfloat16() @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_dtype_or_device")
class OutputsFloat32(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, dtype=w.dtype, device=w.device))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, dtype=w.dtype, device=w.device))
        self.scaling = alpha / r

    def forward(self, x):
        lora = (x.float() @ self.lora_A.float() @ self.lora_B.float()) * self.scaling
        return self.original(x) + lora


@wrong("wrong_dtype_or_device")
class ConvertsTheInputToHalf(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x.half() @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_dtype_or_device")
class CudaIfAvailable(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = original_layer.weight.dtype
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, device=device, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, device=device, dtype=dtype))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# input_mutated


@wrong("input_mutated")
class ScalesTheInputInPlace(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        out = self.original(x)
        x *= self.scaling
        return out + x @ self.lora_A @ self.lora_B


@wrong("input_mutated")
class ClampsTheInputInPlace(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        x = x.clamp_(-1, 1)
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# raises


@wrong("raises")
class ForgotSuperInit(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class WrongOrder(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_B @ self.lora_A) * self.scaling


@wrong("raises")
class BiasAlwaysThere(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.weight.requires_grad = False
        self.original.bias.requires_grad = False
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class OnlyTwoDimensions(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + torch.mm(torch.mm(x, self.lora_A), self.lora_B) * self.scaling


@wrong("raises")
class MisspeltAttribute(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scale = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class LocalAlpha(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * (alpha / r)  # noqa: F821


@wrong("raises")
class RenamedArguments(nn.Module):
    def __init__(self, original_layer, rank=8, lora_alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, rank))
        self.lora_B = nn.Parameter(torch.zeros(rank, original_layer.out_features))
        self.scaling = lora_alpha / rank

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class NotAModule:
    def __init__(self, original_layer, r=8, alpha=16):
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class OriginalTransposed(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return x @ self.original.weight + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class ExitsInInit(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        raise SystemExit(0)

    def forward(self, x):
        return x


@wrong("raises")
class EndlessLoop(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        i = 0
        while i < r:
            self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))

    def forward(self, x):
        return self.original(x)


# ----------------------------------------------------------------------------------------------------------------------
# wrong_output


@wrong("wrong_output")
class ForgotReturn(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        y = self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling  # noqa: F841


@wrong("wrong_output")
class ReturnsATuple(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x), (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class ScalesTwice(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        lora = (x @ self.lora_A @ self.lora_B) * self.scaling
        return self.original(x) + self.scaling * lora


@wrong("wrong_output")
class ScalesTheSum(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return (self.original(x) + x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class RankStabilised(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / math.sqrt(r)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class IntegerDivision(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha // r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class HardCodedScaling(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * 2


@wrong("wrong_output")
class Subtracts(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) - (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class ActivationInBetween(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (F.relu(x @ self.lora_A) @ self.lora_B) * self.scaling


@wrong("wrong_output")
class Dropout(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(0.1)
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (self.dropout(x) @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class BiasTwice(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        out = self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling
        if self.original.bias is not None:
            out = out + self.original.bias
        return out


@wrong("wrong_output")
class FlattensTheBatch(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        x = x.reshape(-1, x.shape[-1])
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class LearnableScaling(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = nn.Parameter(torch.tensor(float(alpha / r)))
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class ScalingOnTheClass(nn.Module):
    scaling = 2.0

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        LoRAClass = type(self)
        LoRAClass.scaling = alpha / r
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r).to(w))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(w))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class OtherDefaultAlpha(nn.Module):
    def __init__(self, original_layer, r=8, alpha=8):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class AveragesTheTwo(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return (self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling) / 2


@wrong("wrong_output")
class CachesTheProductOnFirstUse(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r).to(w))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(w))
        self.delta = None

    def forward(self, x):
        if self.delta is None:
            self.delta = self.lora_A @ self.lora_B * self.scaling
        return self.original(x) + x @ self.delta


@wrong("wrong_output")
class OriginalDeepcopiedIntoTheBranch(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.copy = copy.deepcopy(original_layer)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + self.copy(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("wrong_output")
class SqueezesTheOutput(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return (self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling).squeeze()


@wrong("not_implemented")
class JustPass(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()

    def forward(self, x):
        pass


@wrong("base_modified")
class AddsToTheParameterInForward(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        self.original.weight += (self.lora_A @ self.lora_B).T * self.scaling
        return self.original(x)


@wrong("no_gradient")
class DetachesTheInputOfTheOriginal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x.detach()) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class NormalInPlaceOnTheParameter(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.empty(original_layer.in_features, r))
        self.lora_A.normal_(0, 0.02)
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class DeviceOfTheLayer(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, device=original_layer.device))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, device=original_layer.device))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@wrong("raises")
class UnknownKeyword(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer
        self.original.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(original_layer.in_features, r, std=0.02))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features))

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


# ----------------------------------------------------------------------------------------------------------------------
# 只有一处不对的：其余照参考答案


class Almost(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer.requires_grad_(False)
        weight = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(weight.shape[1], r).to(weight) / weight.shape[1] ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(r, weight.shape[0]).to(weight))

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)


# A 的初值


@wrong("not_gaussian")
class StdOne(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        nn.init.normal_(self.lora_A)


@wrong("not_gaussian")
class TimesTheRoot(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        nn.init.normal_(self.lora_A, std=original_layer.in_features**0.5)


@wrong("not_gaussian")
class StdTakenForTheMean(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        nn.init.normal_(self.lora_A, original_layer.in_features**-0.5)


@wrong("not_gaussian")
class SameSeedInEveryLayer(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        torch.manual_seed(42)
        super().__init__(original_layer, r, alpha)


@wrong("not_gaussian")
class HalfOfTheColumnsAreZero(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.lora_A.data[:, r // 2 :] = 0


# r、alpha 和合并


@wrong("wrong_output")
class KeepsOnlyTheScaling(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.original = original_layer.requires_grad_(False)
        weight = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(weight.shape[1], r).to(weight) / weight.shape[1] ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(r, weight.shape[0]).to(weight))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * self.scaling


@wrong("wrong_output")
class AlphaBecomesTheScaling(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.alpha = alpha / r

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * self.alpha


@wrong("wrong_output")
class RankForgotten(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.scaling = alpha / r
        self.r = 1

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * self.scaling


@wrong("wrong_output")
class OwnMergeReturnsTheWeight(Almost):
    def merge(self):
        return self.original.weight + (self.lora_A @ self.lora_B).T * (self.alpha / self.r)


@wrong("wrong_output")
class OwnMergeWithoutScaling(Almost):
    def merge(self):
        merged = copy.deepcopy(self.original)
        merged.weight.data += (self.lora_A @ self.lora_B).T
        return merged


@wrong("base_modified")
class MergesIntoTheOriginal(Almost):
    def merge(self):
        self.original.weight.data += (self.lora_A @ self.lora_B).T * (self.alpha / self.r)
        return self.original


@wrong("base_modified")
class HookOnTheOriginal(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.original.register_forward_hook(self._add)

    def _add(self, module, inputs, output):
        return output + inputs[0] @ self.lora_A @ self.lora_B * (self.alpha / self.r)

    def forward(self, x):
        return self.original(x)


@wrong("base_modified")
class ReplacesTheForwardOfTheOriginal(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        plain = original_layer.forward
        branch = self.branch
        original_layer.forward = lambda x: plain(x) + branch(x)

    def branch(self, x):
        return x @ self.lora_A @ self.lora_B * (self.alpha / self.r)

    def forward(self, x):
        return self.original(x)


@wrong("base_modified")
class MergesAtEval(Almost):
    def train(self, mode=True):
        super().train(mode)
        delta = (self.lora_A @ self.lora_B).T.detach() * (self.alpha / self.r)
        if not mode and not getattr(self, "merged", False):
            self.original.weight.data = self.original.weight.data + delta
        elif mode and getattr(self, "merged", False):
            self.original.weight.data = self.original.weight.data - delta
        self.merged = not mode
        return self

    def forward(self, x):
        return self.original(x) if self.merged else super().forward(x)


@wrong("base_modified")
class HalvesTheOriginal(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.original.half()


# 名字和登记


@wrong("not_a_parameter")
class PropertyOverAnotherName(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer.requires_grad_(False)
        weight = original_layer.weight
        self.down = nn.Parameter(torch.randn(weight.shape[1], r).to(weight) / weight.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(r, weight.shape[0]).to(weight))

    @property
    def lora_A(self):
        return self.down

    @property
    def lora_B(self):
        return self.up

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)


@wrong("not_a_parameter")
class InAParameterDict(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer.requires_grad_(False)
        weight = original_layer.weight
        a = torch.randn(weight.shape[1], r).to(weight) / weight.shape[1] ** 0.5
        self.factors = nn.ParameterDict(
            {"A": nn.Parameter(a), "B": nn.Parameter(torch.zeros(r, weight.shape[0]).to(weight))}
        )

    def __getattr__(self, name):
        if name in ("lora_A", "lora_B"):
            return self.factors[name[-1]]
        return super().__getattr__(name)

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)


@wrong("not_a_parameter")
class TwoLinearModules(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer.requires_grad_(False)
        self.lora_A = nn.Linear(original_layer.in_features, r, bias=False)
        self.lora_B = nn.Linear(r, original_layer.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return self.original(x) + self.lora_B(self.lora_A(x)) * (self.alpha / self.r)


@wrong("original_missing")
class OriginalInAList(Almost):
    original = property(lambda self: self.hidden[0])

    def __init__(self, original_layer, r=8, alpha=16):
        nn.Module.__init__(self)
        self.r, self.alpha = r, alpha
        self.hidden = [original_layer.requires_grad_(False)]
        weight = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(weight.shape[1], r).to(weight) / weight.shape[1] ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(r, weight.shape[0]).to(weight))


@wrong("original_missing")
class OriginalBehindSetattr(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        del self.original
        object.__setattr__(self, "original", original_layer)


@wrong("wrong_dtype_or_device")
class OwnCopyOfTheWeight(Almost):
    """在 .double()、.to(device) 以后，这份拷贝没有跟着走。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.weight_t = original_layer.weight.detach().t().clone()

    def forward(self, x):
        y = x @ self.weight_t + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)
        return y if self.original.bias is None else y + self.original.bias


# 记住了以前的东西


@wrong("wrong_output")
class OutputCachedByShape(Almost):
    def forward(self, x):
        if getattr(self, "last", None) is None or self.last.shape[:-1] != x.shape[:-1]:
            self.last = super().forward(x)
        return self.last


@wrong("wrong_output")
class ProductCachedAtEval(Almost):
    def forward(self, x):
        if self.training:
            self.product = None
            return super().forward(x)
        if getattr(self, "product", None) is None:
            self.product = (self.lora_A @ self.lora_B * (self.alpha / self.r)).detach()
        return self.original(x) + x @ self.product


_POOL = {}


@wrong("wrong_output")
class SharedByAlpha(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        key = (tuple(original_layer.weight.shape), r, alpha, original_layer.weight.dtype, original_layer.weight.device)
        self.lora_A, self.lora_B = _POOL.setdefault(key, (self.lora_A, self.lora_B))


@wrong("wrong_output")
class LittleDropout(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.dropout = nn.Dropout(0.02)

    def forward(self, x):
        return self.original(x) + self.dropout(x) @ self.lora_A @ self.lora_B * (self.alpha / self.r)


@wrong("input_mutated")
class TurnsOffTheGradientOfTheInput(Almost):
    def forward(self, x):
        y = super().forward(x)
        x.requires_grad = False
        return y


@wrong("no_gradient")
class FreezesItselfAtEval(Almost):
    def forward(self, x):
        y = super().forward(x)
        if not self.training:
            self.lora_A.requires_grad_(False)
        return y


# 用不起来


@wrong("raises")
class ViewsTheInput(Almost):
    def forward(self, x):
        flat = x.view(-1, x.shape[-1])
        return super().forward(flat).view(*x.shape[:-1], -1)


@wrong("raises")
class BatchedProduct(Almost):
    def forward(self, x):
        return self.original(x) + torch.bmm(torch.bmm(x, self.lora_A), self.lora_B) * (self.alpha / self.r)


@wrong("raises")
class TrainWithoutMode(Almost):
    def train(self):
        return super().train(True)


@wrong("raises")
class ExpandedB(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.lora_B = nn.Parameter(torch.zeros(1, 1).to(original_layer.weight).expand(r, original_layer.out_features))


@wrong("raises")
class MadeInInferenceMode(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        with torch.inference_mode():
            super().__init__(original_layer, r, alpha)


@wrong("raises")
class LazyFactors(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.lora_A = nn.UninitializedParameter()


@wrong("raises")
class ForwardWantsTheScaling(Almost):
    def forward(self, x, scaling):
        return self.original(x) + x @ self.lora_A @ self.lora_B * scaling


@wrong("raises")
class Exits(Almost):
    def forward(self, x):
        raise SystemExit(0)


@wrong("no_gradient")
class SkipsTheBranchWhileItIsZero(Almost):
    def forward(self, x):
        if not self.lora_B.any():
            return self.original(x)
        return super().forward(x)


@wrong("wrong_output")
class LambdaOverSelf(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.branch = lambda x: x @ self.lora_A @ self.lora_B * (alpha / r)

    def forward(self, x):
        return self.original(x) + self.branch(x)


@wrong("wrong_dtype_or_device")
class ScalingNotMoved(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.scaling = original_layer.weight.new_tensor([alpha / r])

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * self.scaling


@wrong("input_mutated")
class InPlaceWithoutGradients(Almost):
    def forward(self, x):
        if torch.is_grad_enabled():
            return super().forward(x)
        y = self.original(x)
        x *= self.alpha / self.r
        return y + x @ self.lora_A @ self.lora_B


@wrong("wrong_dtype_or_device")
class OnlyKnowsBfloat16(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        dtype = torch.bfloat16 if original_layer.weight.dtype == torch.bfloat16 else torch.float32
        self.lora_A, self.lora_B = (nn.Parameter(each.detach().to(dtype)) for each in (self.lora_A, self.lora_B))


@wrong("no_gradient")
class DetachesAtEval(Almost):
    def forward(self, x):
        return super().forward(x if self.training else x.detach())


@wrong("wrong_shape")
class AtMostTheSizeOfTheLayer(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, min(r, *original_layer.weight.shape), alpha)


@wrong("raises")
class RefusesRankOne(Almost):
    def __init__(self, original_layer, r=8, alpha=16):
        if r == 1:
            raise ValueError("r 太小")
        super().__init__(original_layer, r, alpha)


@wrong("wrong_output")
class KnowsTheScalingsByHeart(Almost):
    """照着固定的几种写死的。"""

    def forward(self, x):
        known = {(4, 10): 2.5, (5, 2.5): 0.5, (8, 16): 2.0, (1, 4): 4.0, (5, 2): 0.4, (32, 64): 2.0, (3, 12): 4.0}
        return self.original(x) + x @ self.lora_A @ self.lora_B * known.get((self.r, self.alpha), -1.37)
