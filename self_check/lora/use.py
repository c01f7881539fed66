"""TODO 2 的最后几项检查：给定的代码用这一层来合并、装进模型、保存、读回，都用得了。"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from self_check.lora.base import base_problem
from self_check.lora.layers import BuiltLayer, Setting, build, close, fill_factors, numbers, shown
from self_check.lora.learner import Learner
from self_check.lora.messages import compare, diagnose
from self_check.lora.output import output_problem
from self_check.report import Diagnosis
from self_check.sandbox import calling

_R, _ALPHA = 3, 5.0
_TARGETS = ["q_proj", "up_proj"]


def check_merge(learner: Learner) -> Diagnosis | None:
    """``layer.merge()`` 是权重为 W + (alpha / r)·(A B)ᵀ 的线性层；训练、推理两种状态，走一步之前之后，都是。"""
    for setting in (Setting(7, 5, r=4, alpha=10), Setting(6, 9, r=5, alpha=2.5, bias=False)):
        built = build(learner.lora_class, setting)
        for number, mode in enumerate(("train", "eval", "train", "eval")):
            fill_factors(built, seed=20 + 2 * number)
            called = f"{built.called}\nlayer.{mode}()\nmerged = layer.merge()，A、B 已经不是初值"
            built.set_mode(mode, called)
            if found := _merge_problem(built, called):
                return found
            if found := output_problem(built, numbers(3, setting.in_features), f"layer.{mode}(); layer.merge()\n"):
                return found
    return None


def _merge_problem(built: BuiltLayer, called: str) -> Diagnosis | None:
    for name in ("r", "alpha"):
        value, expected = getattr(built.layer, name, None), getattr(built.setting, name)
        if not _is_number(value, expected):
            came = compare(f"layer.{name}", f"{expected:g}", "（没有）" if value is None else value)
            likely = (
                f"给定的 merge 用 self.alpha / self.r 来算系数，所以 self.{name} 要存着，而且就是传进来的 {name}。"
                "要存 alpha / r，请另起一个名字（例如 self.scaling）。"
            )
            return diagnose("wrong_output", called, came, likely)
    with calling(called):
        merged: Any = built.layer.merge()
    if not isinstance(merged, nn.Linear):
        came = f"layer.merge() 返回的是 {type(merged).__name__}，应当是 nn.Linear"
        return diagnose("wrong_output", called, came, "merge 是给定的方法，请不要改它，也不要另写一个同名的。")
    a, b = built.factors()
    expected = built.reference.weight.detach().double() + (a @ b).T * built.setting.scaling
    if merged.weight.shape != expected.shape or not close(merged.weight, expected):
        came = compare("merged.weight 的第一行", shown(expected), shown(merged.weight))
        return diagnose("wrong_output", called, came, "合并得到的权重与 W + (alpha / r)·(A B)ᵀ 不同。")
    return base_problem(built, called)


def _is_number(value: Any, expected: float) -> bool:
    try:
        return abs(float(value) - expected) < 1e-6
    except (TypeError, ValueError, RuntimeError):
        return False


def check_in_a_model(learner: Learner) -> Diagnosis | None:
    """用给定的函数走一遍：``apply_lora``、训练两步、``lora_state_dict``、``merge``，再读回到另一个模型里。"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _use_in_a_model(learner)


def _use_in_a_model(learner: Learner) -> Diagnosis | None:
    model, given = _Model(), learner.given
    base, x = copy.deepcopy(model), numbers(2, 3, 6)
    called = f"model 有 q_proj、up_proj、head 三个线性层\napply_lora(model, {_TARGETS}, r={_R}, alpha={_ALPHA:g})"
    with calling(called):
        given["apply_lora"](model, _TARGETS, r=_R, alpha=_ALPHA)
    names = sorted(f"{target}.{factor}" for target in _TARGETS for factor in ("lora_A", "lora_B"))
    trained = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    if trained != names:
        came = compare("要训练的参数", "、".join(names), "、".join(trained) or "（一个也没有）")
        return diagnose("not_a_parameter", called, came)
    if found := _compare(called, "model(x)", base(x), _call(model, x, called), "刚装上，输出应当与原来的模型相同。"):
        return found

    called += "\n给 A 填上随机数，训练两步"  # A 的初值可以很小，那样两步看不出变化
    with torch.no_grad():
        for name in names[::2]:
            model.get_parameter(name).copy_(0.3 * numbers(*model.get_parameter(name).shape, seed=9))
    for _ in range(2):
        loss = _call(model, x, called).square().mean()
        with calling(called):
            parameters = [model.get_parameter(name) for name in names]
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True) if loss.requires_grad else [None]
        if any(gradient is None for gradient in gradients):
            came = compare(f"{names[0]} 的梯度", "一个张量", "None")
            likely = "B 还是零的时候，支路也要算：A、B 不在计算图里，就得不到梯度，B 永远是零，训练不会开始。"
            return diagnose("no_gradient", called, came, likely)
        with torch.no_grad(), calling(called):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(cast(Tensor, gradient))
    with calling(f"{called}\nmodel.eval()"):
        model.eval()
    output = _call(model, x, called)
    if close(output, base(x)):
        came = compare("model(x) 的第一行", "与训练之前不同", shown(output))
        return diagnose("no_gradient", called, came, "训练了两步，输出一点也没有变。")
    state = {name: tensor.clone() for name, tensor in given["lora_state_dict"](model).items()}
    if sorted(state) != names:
        came = compare("lora_state_dict(model) 里的名字", "、".join(names), "、".join(sorted(state)) or "（空的）")
        return diagnose("not_a_parameter", called, came)
    return (
        _loading_problem(learner, base, state, x, output)
        or _copy_problem(model, base, x, called)
        or _conversion_problem(model, x, output, called)
        or _merging_problem(learner, model, x, output, called)
    )


def _loading_problem(
    learner: Learner, base: nn.Module, state: dict[str, Tensor], x: Tensor, output: Tensor
) -> Diagnosis | None:
    called = "另一个同样的模型：apply_lora(other, …); load_lora_state_dict(other, 保存下来的 A、B)"
    other = copy.deepcopy(base)
    with calling(called):
        learner.given["apply_lora"](other, _TARGETS, r=_R, alpha=_ALPHA)
        learner.given["load_lora_state_dict"](other, state)
        other.eval()
    return _compare(called, "other(x)", output, _call(other, x, called), "读回保存的 A、B，输出应当与保存时相同。")


def _copy_problem(model: nn.Module, base: nn.Module, x: Tensor, called: str) -> Diagnosis | None:
    """深拷贝出来的模型，用的是它自己的 A、B。"""
    called += "\nother = copy.deepcopy(model)；把 other 的 lora_B 都改成零"
    with calling(called):
        other = copy.deepcopy(model)
    with torch.no_grad():
        for target in _TARGETS:
            other.get_parameter(f"{target}.lora_B").zero_()
    likely = (
        "拷贝出来的层还在用原来那一层的 A、B：forward 里用到的函数（lambda、闭包、绑定的方法）记着拷贝之前的 self。"
        "A、B 要从 forward 自己的 self 上取。"
    )
    return _compare(called, "other(x)", base(x), _call(other, x, called), likely)


def _conversion_problem(model: nn.Module, x: Tensor, output: Tensor, called: str) -> Diagnosis | None:
    """``.double()``、``.bfloat16()``、``.to(device)`` 要碰得到每一个张量。"""
    likely = "有的张量没有跟着转换：它没有登记为参数、缓冲区或子模块，.to(device) 也会漏掉它。"
    for dtype, tolerance in ((torch.float64, 1e-4), (torch.bfloat16, 0.1)):
        name = f"copy.deepcopy(model).to({dtype})(x.to({dtype}))"
        with calling(f"{called}\n{name}"):
            converted = copy.deepcopy(model).to(dtype)
        layer = converted.get_submodule(_TARGETS[0])
        layer_output = _call(layer, x.to(dtype), f"{called}\n{name} 里的 q_proj")
        if layer_output.dtype != dtype:
            came = compare("q_proj(x) 的 dtype", dtype, layer_output.dtype)
            return diagnose("wrong_dtype_or_device", f"{called}\n{name}", came, likely)
        actual = _call(converted, x.to(dtype), f"{called}\n{name}")
        if found := _compare(f"{called}\n{name}", "输出", output.to(dtype), actual, likely, tolerance):
            return found
    return None


def _merging_problem(learner: Learner, model: nn.Module, x: Tensor, output: Tensor, called: str) -> Diagnosis | None:
    called += "\nmerge(model)"
    with calling(called):
        merged = learner.given["merge"](model)
    left = [name for name, module in merged.named_modules() if isinstance(module, learner.lora_class)]
    if left:
        came = f"合并以后，{left[0]} 还是 LoRALinear"
        return diagnose("wrong_output", called, came, "merge 没有把它换成普通的线性层。")
    likely = "合并以后的模型，输出应当与合并之前相同。"
    return _compare(called, "merge(model)(x)", output, _call(merged, x, called), likely)


def _call(model: nn.Module, x: Tensor, called: str) -> Tensor:
    with calling(f"{called}\nmodel(x)，x 的形状是 {tuple(x.shape)}"):
        return model(x)


def _compare(
    called: str, name: str, expected: Tensor, actual: Tensor, likely: str, tolerance: float = 1e-4
) -> Diagnosis | None:
    if actual.dtype != expected.dtype:
        return diagnose(
            "wrong_dtype_or_device", called, compare(f"{name}的 dtype", expected.dtype, actual.dtype), likely
        )
    if close(actual, expected, tolerance):
        return None
    return diagnose("wrong_output", called, compare(f"{name} 的第一行", shown(expected), shown(actual)), likely)


class _Model(nn.Module):
    """一个小模型：两个要装 LoRA 的线性层（有偏置的，没有偏置的），和两个不装的层。"""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.up_proj = nn.Linear(8, 7, bias=False)
        self.head = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up_proj(self.norm(self.q_proj(x))).tanh())
