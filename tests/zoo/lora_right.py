"""TODO 2 的正确答案，写法各不相同，都应当通过自检。"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

RIGHT: list[type] = []


def right(cls: type) -> type:
    """登记一个正确答案。"""
    RIGHT.append(cls)
    return cls


@right
class Plain(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        w = original_layer.weight
        self.lora_A = nn.Parameter(
            torch.randn(original_layer.in_features, r, dtype=w.dtype, device=w.device) / w.shape[1] ** 0.5
        )
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features, dtype=w.dtype, device=w.device))
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A @ self.lora_B) * self.scaling


@right
class SmallStd(nn.Module):
    def __init__(self, original_layer: nn.Linear, r: int = 8, alpha: float = 16) -> None:
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        for param in self.original.parameters():
            param.requires_grad = False
        self.lora_A = nn.Parameter((0.01 * torch.randn(original_layer.in_features, r)).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.original(x)
        result += x @ self.lora_A @ self.lora_B * self.alpha / self.r
        return result


@right
class InitFunctions(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        kwargs = {"device": original_layer.weight.device, "dtype": original_layer.weight.dtype}
        self.lora_A = nn.Parameter(torch.empty((original_layer.in_features, r), **kwargs))
        self.lora_B = nn.Parameter(torch.empty((r, original_layer.out_features), **kwargs))
        self.scaling = alpha / r
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.normal_(self.lora_A, mean=0.0, std=0.02)
        nn.init.zeros_(self.lora_B)
        self.original.weight.requires_grad = False
        if self.original.bias is not None:
            self.original.bias.requires_grad = False

    def forward(self, x):
        return self.original(x) + self.scaling * torch.matmul(torch.matmul(x, self.lora_A), self.lora_B)


@right
class KaimingNormal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer.requires_grad_(False)
        weight = original_layer.weight
        self.lora_A = nn.Parameter(weight.new_empty(weight.shape[1], r))
        self.lora_B = nn.Parameter(weight.new_zeros(r, weight.shape[0]))
        nn.init.kaiming_normal_(self.lora_A, a=math.sqrt(5))
        self.alpha_over_r = alpha / r

    def forward(self, x):
        down = x @ self.lora_A
        up = down @ self.lora_B
        return self.original(x) + up * self.alpha_over_r


@right
class Einsum(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        out_features = original_layer.weight.size(0)
        self.lora_A = nn.Parameter(torch.randn_like(original_layer.weight[:1].expand(r, -1).T) / r)
        self.lora_B = nn.Parameter(torch.zeros(r, out_features).type_as(original_layer.weight))
        self.lora_B.data = self.lora_B.data.to(original_layer.weight.device)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + torch.einsum("...i,ir,ro->...o", x, self.lora_A, self.lora_B) * self.scaling


@right
class FLinear(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(
            torch.normal(0.0, original_layer.in_features**-0.5, (original_layer.in_features, r)).to(
                original_layer.weight
            )
        )
        self.lora_B = nn.Parameter(torch.zeros((r, original_layer.out_features)).to(original_layer.weight))
        self.scaling = alpha / r

    def forward(self, x):
        base = F.linear(x, self.original.weight, self.original.bias)
        lora = F.linear(F.linear(x, self.lora_A.t()), self.lora_B.t())
        return base + lora * self.scaling


@right
class AddsToTheWeight(nn.Module):
    """把改动加到权重上再算，但不改动权重本身。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(
            (torch.randn(original_layer.in_features, r) / original_layer.in_features**0.5).to(original_layer.weight)
        )
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))
        self.scaling = alpha / r

    def forward(self, x):
        weight = self.original.weight + self.scaling * (self.lora_A @ self.lora_B).transpose(0, 1)
        return F.linear(x, weight, self.original.bias)


@right
class LinearFactors(nn.Module):
    """nn.Linear(r, in) 的权重恰好是 (in, r)。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        like = {"dtype": original_layer.weight.dtype, "device": original_layer.weight.device}
        self.lora_A = nn.Linear(r, original_layer.in_features, bias=False, **like).weight
        self.lora_B = nn.Linear(original_layer.out_features, r, bias=False, **like).weight
        nn.init.normal_(self.lora_A, std=1 / r)
        nn.init.constant_(self.lora_B, 0)
        self.scaling = alpha / r

    def forward(self, x):
        return self.original(x) + (x @ self.lora_A) @ self.lora_B * self.scaling


@right
class Numpy(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        rng = np.random.default_rng()
        a = rng.normal(scale=1 / np.sqrt(original_layer.in_features), size=(original_layer.in_features, r))
        b = np.zeros((r, original_layer.out_features))
        self.lora_A = nn.Parameter(torch.tensor(a).to(original_layer.weight))
        self.lora_B = nn.Parameter(torch.tensor(b).to(original_layer.weight))
        self.scaling = torch.tensor(alpha / r).item()

    def forward(self, x):
        return torch.add(self.original(x), x @ self.lora_A @ self.lora_B, alpha=self.scaling)


@right
class RegisterParameter(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16, dropout=0.0):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.add_module("original", original_layer)
        self.original.requires_grad_(False)
        dtype, device = original_layer.weight.dtype, original_layer.weight.device
        shape_a, shape_b = (original_layer.in_features, r), (r, original_layer.out_features)
        self.register_parameter("lora_A", nn.Parameter(torch.zeros(shape_a, dtype=dtype, device=device)))
        self.register_parameter("lora_B", nn.Parameter(torch.zeros(shape_b, dtype=dtype, device=device)))
        with torch.no_grad():
            self.lora_A.normal_(std=original_layer.in_features**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("scaling", torch.tensor(alpha / r, dtype=dtype, device=device))

    def forward(self, x):
        return self.original(x) + (self.dropout(x) @ self.lora_A @ self.lora_B) * self.scaling


@right
class TruncatedNormal(nn.Module):
    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        weight = original_layer.weight
        self.original = original_layer
        self.original.weight = nn.Parameter(weight.detach(), requires_grad=False)
        if original_layer.bias is not None:
            self.original.bias = nn.Parameter(original_layer.bias.detach(), requires_grad=False)
        self.lora_A = nn.Parameter(
            nn.init.trunc_normal_(torch.empty_like(weight[:1]).expand(r, -1).T.clone(), std=0.02)
        )
        self.lora_B = nn.Parameter(torch.zeros_like(weight[:, :1]).expand(-1, r).T.clone())
        self.scaling = alpha / r

    def forward(self, x):
        shape = x.shape
        flat = x.reshape(-1, shape[-1])
        out = self.original(flat) + (flat @ self.lora_A).mm(self.lora_B) * self.scaling
        return out.view(*shape[:-1], -1)


@right
class ScalesTheInput(nn.Module):
    """先乘系数再乘 A、B，次序不同，结果相同。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(
            (torch.randn(original_layer.in_features, r) / original_layer.in_features**0.5).to(original_layer.weight)
        )
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))
        self.r = r
        self.alpha = alpha

    def forward(self, x):
        scaled = x * (self.alpha / self.r)
        return scaled @ self.lora_A @ self.lora_B + self.original(x)


@right
class Float32Inside(nn.Module):
    """支路用 float32 计算，结果再转回来。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer
        self.original.requires_grad_(False)
        self.lora_A = nn.Parameter(
            (torch.randn(original_layer.in_features, r) / original_layer.in_features**0.5).to(original_layer.weight)
        )
        self.lora_B = nn.Parameter(torch.zeros(r, original_layer.out_features).to(original_layer.weight))
        self.scaling = alpha / r

    def forward(self, x):
        lora = x.float() @ self.lora_A.float() @ self.lora_B.float() * self.scaling
        return (self.original(x).float() + lora).to(x.dtype)


@right
class Extras(nn.Module):
    """继承自 nn.Module 的其他写法：in_features 等属性、别的方法、extra_repr。"""

    def __init__(self, original_layer: nn.Linear, r: int = 8, alpha: float = 16, **kwargs):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.in_features, self.out_features = original_layer.in_features, original_layer.out_features
        self.r, self.alpha, self.scaling = r, alpha, alpha / r
        self.original = original_layer
        self.original.requires_grad_(requires_grad=False)
        like = original_layer.weight
        self.lora_A = nn.Parameter(torch.randn(self.in_features, r, device=like.device, dtype=like.dtype) * r**-0.5)
        self.lora_B = nn.Parameter(torch.zeros(r, self.out_features, device=like.device, dtype=like.dtype))

    @property
    def weight(self):
        return self.original.weight

    def merged_weight(self):
        return self.original.weight + (self.lora_A @ self.lora_B).T * self.scaling

    def extra_repr(self):
        return f"r={self.r}, alpha={self.alpha}"

    def forward(self, x, *args, **kwargs):
        return self.original(x, *args, **kwargs) + self.lora_A.mul(self.scaling).T.matmul(x.mT).mT @ self.lora_B


def factors(original_layer, r):
    """A、B 的占位：形状、dtype、device 都照着原来的层，A 还没有填值。"""
    weight = original_layer.weight
    return weight.new_empty(weight.shape[1], r), weight.new_zeros(r, weight.shape[0])


class Initialised(nn.Module):
    """只有 A 的初值不同的几种，都无害。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__()
        self.r, self.alpha = r, alpha
        self.original = original_layer.requires_grad_(False)
        a, b = factors(original_layer, r)
        self.lora_A, self.lora_B = nn.Parameter(self.initialise(a)), nn.Parameter(b)

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)


@right
class KaimingUniformAsInPEFT(Initialised):
    def initialise(self, a):
        return nn.init.kaiming_uniform_(a.T, a=math.sqrt(5)).T


@right
class KaimingUniformOfThisShape(Initialised):
    def initialise(self, a):
        return nn.init.kaiming_uniform_(a, a=math.sqrt(5))


@right
class XavierUniform(Initialised):
    def initialise(self, a):
        return nn.init.xavier_uniform_(a)


@right
class SmallUniform(Initialised):
    def initialise(self, a):
        return nn.init.uniform_(a, -0.01, 0.01)


@right
class VerySmall(Initialised):
    def initialise(self, a):
        return nn.init.normal_(a, std=1e-8)


@right
class FixedStd(Initialised):
    def initialise(self, a):
        return nn.init.normal_(a, std=0.02)


@right
class Orthogonal(Initialised):
    def initialise(self, a):
        return nn.init.orthogonal_(torch.empty(a.shape)).to(a)


@right
class DividedByTheRoot(Initialised):
    def initialise(self, a):
        return torch.randn_like(a) / math.sqrt(a.shape[0])


@right
class Compiled(Initialised):
    """forward 用 torch.compile 编译。"""

    def initialise(self, a):
        return torch.randn_like(a) / math.sqrt(a.shape[0])

    @torch.compile
    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * (self.alpha / self.r)


@right
class ScalesWithATensor(Initialised):
    """系数存成缓冲区，不进 state_dict。"""

    def __init__(self, original_layer, r=8, alpha=16):
        super().__init__(original_layer, r, alpha)
        self.register_buffer("scaling", torch.tensor(alpha / r), persistent=False)

    def initialise(self, a):
        return torch.randn_like(a) / math.sqrt(a.shape[0])

    def forward(self, x):
        return self.original(x) + x @ self.lora_A @ self.lora_B * self.scaling.to(x)
