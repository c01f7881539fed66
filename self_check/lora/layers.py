"""TODO 2 的试验台：用学习者的类包装一个线性层，再用独立的公式算出它该有的输出。"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from self_check.sandbox import calling


@dataclass(frozen=True)
class Setting:
    """一种 ``LoRALinear(nn.Linear(in_features, out_features, bias), r, alpha)``。"""

    in_features: int
    out_features: int
    r: int = 8
    alpha: float = 16
    bias: bool = True
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    omit_r_alpha: bool = False  # 调用时不写 r 和 alpha，用默认值

    @property
    def scaling(self) -> float:
        """支路应当乘的系数。"""
        return self.alpha / self.r

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """A、B 应有的形状。"""
        return {"lora_A": (self.in_features, self.r), "lora_B": (self.r, self.out_features)}

    def options(self) -> dict[str, Any]:
        """调用 ``LoRALinear`` 时写明的参数。"""
        return {} if self.omit_r_alpha else {"r": self.r, "alpha": self.alpha}

    def __str__(self) -> str:
        linear = [str(self.in_features), str(self.out_features)]
        linear += [] if self.bias else ["bias=False"]
        linear += [] if self.dtype == torch.float32 else [f"dtype={self.dtype}"]
        linear += [] if self.device == "cpu" else [f'device="{self.device}"']
        options = [f"{name}={value:g}" for name, value in self.options().items()]
        original_layer = f"nn.Linear({', '.join(linear)})"
        return f"LoRALinear({', '.join([original_layer, *options])})"


@dataclass(frozen=True)
class BuiltLayer:
    """学习者造出来的一层，和原来的层在包装之前的副本。"""

    setting: Setting
    layer: Any  # 学习者的 LoRALinear；检查之前，不能假定它有哪些属性
    original_layer: nn.Linear  # 交给学习者的那个层
    reference: nn.Linear  # 它在包装之前的副本

    @property
    def called(self) -> str:
        """怎样造的，给人看。"""
        return f"layer = {self.setting}"

    def set_mode(self, mode: str, called: str) -> None:
        """``layer.train()`` 或 ``layer.eval()``：学习者也许改写了它们。"""
        with calling(called):
            self.layer.train(mode == "train")

    def factors(self) -> tuple[Tensor, Tensor]:
        """现在的 A、B，float64 的副本。"""
        return self.layer.lora_A.detach().double(), self.layer.lora_B.detach().double()


def build(lora_class: Any, setting: Setting) -> BuiltLayer:
    """造一个线性层，交给学习者的类包装。每次都从同样的随机种子开始，不扰动外面的随机数。"""
    return build_all(lora_class, [setting])[0]


def build_all(lora_class: Any, settings: Sequence[Setting]) -> list[BuiltLayer]:
    """一个接一个地造，像一个模型里的几层那样，中间不重设随机种子。"""
    layers = []
    with torch.random.fork_rng(devices=[]), _UninitializedIsNaN():
        torch.manual_seed(0)
        for setting in settings:
            original_layer = nn.Linear(
                setting.in_features, setting.out_features, setting.bias, device=setting.device, dtype=setting.dtype
            )
            reference = copy.deepcopy(original_layer)
            with calling(f"layer = {setting}"):
                layer = lora_class(original_layer, **setting.options())
            layers.append(BuiltLayer(setting, layer, original_layer, reference))
    return layers


def call(layer: Any, x: Tensor, called: str) -> Any:
    """``layer(x)``；报错时，诊断里会写着 ``called``。"""
    with calling(called):
        return layer(x)


class _UninitializedIsNaN(TorchFunctionMode):
    """让 ``torch.empty`` 给出 NaN，而不是碰巧的内容（常常碰巧是零）：忘了填值就一定看得出来。

    ``torch.use_deterministic_algorithms`` 也能做到，但它会导入 ``torch._dynamo``，要好几秒。
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.empty, torch.empty_like, Tensor.new_empty) and result.is_floating_point():
            result.detach().fill_(torch.nan)
        return result


def numbers(*shape: int, seed: int = 1) -> Tensor:
    """形状为 ``shape`` 的标准正态随机数，同一个种子总是同一组。"""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill_factors(built: BuiltLayer, seed: int = 2) -> None:
    """给 A 和 B 填上随机数：B 是零的时候，LoRA 支路的错误看不出来。"""
    with torch.no_grad():
        for number, name in enumerate(("lora_A", "lora_B")):
            parameter = getattr(built.layer, name)
            with calling(f"{built.called}\n给 layer.{name} 填上数"):
                parameter.copy_(numbers(*parameter.shape, seed=seed + number))


class Terms(NamedTuple):
    """输出的三项，float64，各自的形状是 (..., out_features)。"""

    base: Tensor  # x Wᵀ
    bias: Tensor  # b；没有偏置时是零
    branch: Tensor  # x A B


def expected_output(built: BuiltLayer, x: Tensor) -> Tensor:
    """``x Wᵀ + b + (alpha / r) · x A B``"""
    base, bias, branch = terms(built, x)
    return base + bias + built.setting.scaling * branch


def terms(built: BuiltLayer, x: Tensor) -> Terms:
    """直接按公式算出输出的三项，不经过学习者的 forward。"""
    x = x.detach().double()
    base = x @ built.reference.weight.detach().double().T
    bias = torch.zeros_like(base)
    if built.reference.bias is not None:
        bias += built.reference.bias.detach().double()
    a, b = built.factors()
    return Terms(base, bias, x @ a @ b)


def fit(output: Tensor, parts: Terms) -> tuple[float, float, float] | None:
    """把输出写成 ``a · xWᵀ + c · b + f · xAB``：返回 (a, c, f)；写不成时返回 None。没有偏置的层，c 算作 1。"""
    columns = [part.flatten() for part in parts if part.any()]
    matrix = torch.stack(columns, dim=1)
    target = output.detach().double().flatten()
    if not target.isfinite().all():
        return None
    coefficients = torch.linalg.lstsq(matrix, target.unsqueeze(1)).solution.squeeze(1)
    if not close(matrix @ coefficients, target):
        return None
    values = iter(coefficients.tolist())
    a, c, f = (next(values) if part.any() else 1.0 for part in parts)
    return a, c, f


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """最大的差别是否小于 ``expected`` 的大小的 ``tolerance`` 倍。NaN 总是不接近。"""
    difference = (actual.detach().double() - expected.detach().double()).abs().max().item()
    return difference <= tolerance * max(expected.abs().max().item(), 1e-6)


def shown(tensor: Tensor) -> str:
    """第一行的前几个数，给人看。"""
    row = tensor.detach().reshape(-1, tensor.shape[-1])[0].tolist()
    return " ".join(f"{value:7.3f}" for value in row[:6]) + (" …" if len(row) > 6 else "")
