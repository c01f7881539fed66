"""TODO 2 的检查：每一项都是普通的函数，拿到学习者的 ``LoRALinear`` 类，没有错就返回 None。

次序从基本到细致：前一项成立，后一项才谈得上。学习者的代码抛出的异常不在这里处理，见 :mod:`self_check.lora_errors`。
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from self_check.lora_base import base_problem
from self_check.lora_initial_values import initial_values_problem
from self_check.lora_layers import Setting, Trial, build, call, close, fill_factors, numbers, shown
from self_check.lora_messages import compare, diagnose
from self_check.lora_output import output_problem
from self_check.report import Diagnosis

# 不用方阵；r、alpha 也各不相同，alpha/r、r/alpha、alpha、1/r、alpha//r、alpha/√r 的值才都不一样。
_SETTINGS = (
    Setting(7, 5, r=4, alpha=10),
    Setting(6, 9, r=5, alpha=2.5, bias=False),
    Setting(16, 12, omit_r_alpha=True),
)
# x 除了最后一维以外的形状：x 可以是二维或三维的；逐个 token 生成时，批大小和长度都是 1。
_X_SHAPES = ((3,), (2, 3), (1, 1))


def _first_problem(problem: Callable[[Setting], Diagnosis | None]) -> Diagnosis | None:
    """在各种层上逐个试，返回第一个诊断。"""
    return next((found for setting in _SETTINGS if (found := problem(setting))), None)


# ----------------------------------------------------------------------------------------------------------------------
# 造出来的层


def check_definition(lora_class: Any) -> Diagnosis | None:
    """``LoRALinear`` 是 ``nn.Module``，有 ``__init__(original_layer, r=8, alpha=16)`` 和 ``forward(x)``。"""
    called = "class LoRALinear(nn.Module)"
    if not inspect.isclass(lora_class):
        return diagnose("not_implemented", called, "没有找到名为 LoRALinear 的类。")
    if not issubclass(lora_class, nn.Module):
        likely = "不继承 nn.Module，就没有 parameters()，也不能写 layer(x)。"
        return diagnose("raises", called, "它不是 nn.Module 的子类。", likely)
    for name in ("__init__", "forward"):
        if getattr(lora_class, name) is getattr(nn.Module, name):
            return diagnose("not_implemented", called, f"它没有自己的 {name}，也许是名字写错了。")
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [(lora_class.forward, (None, None), {})]
    calls += [(lora_class, (None,), setting.options()) for setting in (_SETTINGS[0], _SETTINGS[-1])]
    for function, arguments, options in calls:
        try:
            inspect.signature(function).bind(*arguments, **options)
        except TypeError as error:
            name = "forward" if function is lora_class.forward else "__init__"
            came = f"{name} 的参数是 {inspect.signature(function)}\n这样调用会报错：{error}"
            likely = "参数应当是 __init__(self, original_layer, r=8, alpha=16) 和 forward(self, x)，默认值也要有。"
            return diagnose("raises", called, came, likely)
    return None


def check_original(lora_class: Any) -> Diagnosis | None:
    """``layer.original`` 就是原来的层，权重和偏置都没有变。"""

    def problem(setting: Setting) -> Diagnosis | None:
        trial, called = build(lora_class, setting), f"layer = {setting}"
        if not any(hasattr(trial.layer, name) for name in ("original", "lora_A", "lora_B")) and not _has_content(trial):
            return diagnose("not_implemented", called, "__init__ 什么都没有造出来。")
        return base_problem(trial, called)

    return _first_problem(problem)


def _has_content(trial: Trial) -> bool:
    """有没有放进任何参数或子模块；没有调用 ``super().__init__()`` 的层，连放它们的地方也没有。"""
    attributes = vars(trial.layer)
    return bool(attributes.get("_parameters") or attributes.get("_modules"))


def check_frozen(lora_class: Any) -> Diagnosis | None:
    """原来的权重和偏置都不再训练。"""

    def problem(setting: Setting) -> Diagnosis | None:
        original = build(lora_class, setting).layer.original
        for name, slug in (("weight", "base_not_frozen"), ("bias", "bias_not_frozen")):
            parameter = getattr(original, name)
            if parameter is not None and parameter.requires_grad:
                came = compare(f"layer.original.{name}.requires_grad", False, True)
                return diagnose(slug, f"layer = {setting}", came)
        return None

    return _first_problem(problem)


def check_parameters(lora_class: Any) -> Diagnosis | None:
    """要训练的参数恰好是 ``lora_A`` 和 ``lora_B``。"""
    return _first_problem(lambda setting: _parameter_problem(build(lora_class, setting)))


def _parameter_problem(trial: Trial) -> Diagnosis | None:
    layer, called = trial.layer, f"layer = {trial.setting}"
    registered = {id(parameter) for parameter in layer.parameters()}
    for name in ("lora_A", "lora_B"):
        value = getattr(layer, name, None)
        if not isinstance(value, nn.Parameter):
            came = (
                f"layer.{name} 是 {type(value).__name__}。" if hasattr(layer, name) else f"layer 没有 {name} 这个属性。"
            )
            return diagnose("not_a_parameter", called, came)
        if id(value) not in registered:
            came = f"layer.{name} 是 nn.Parameter，但不在 layer.parameters() 里。"
            likely = "它没有登记在这一层上：要在 __init__ 里写 self.… = …，不能放在类上，也不能只放在列表、字典里。"
            return diagnose("not_a_parameter", called, came, likely)
    for name in ("lora_A", "lora_B"):
        if not getattr(layer, name).requires_grad:
            came = compare(f"layer.{name}.requires_grad", True, False)
            return diagnose("no_gradient", called, came, f"{name} 被冻结了。")
    return _extra_parameter_problem(trial)


def _extra_parameter_problem(trial: Trial) -> Diagnosis | None:
    """A、B 和 original 之外还有要训练的参数：形状与权重或偏置相同的，多半是它们的副本。"""
    slugs = {trial.reference.weight.shape: "base_not_frozen"}
    if trial.reference.bias is not None:
        slugs[trial.reference.bias.shape] = "bias_not_frozen"
    layer = trial.layer
    known = {id(parameter) for parameter in (layer.lora_A, layer.lora_B, *layer.original.parameters())}
    for name, parameter in layer.named_parameters():
        if parameter.requires_grad and id(parameter) not in known:
            slug = slugs.get(parameter.shape, "wrong_output")
            came = f"除了 lora_A、lora_B，还有要训练的参数 {name}，形状是 {tuple(parameter.shape)}。"
            likely = "LoRA 要训练的只有 A 和 B；系数 alpha / r 是常数，原来的权重不必另存一份。"
            return diagnose(slug, f"layer = {trial.setting}", came, likely)
    return None


def check_shapes(lora_class: Any) -> Diagnosis | None:
    """A 是 (in_features, r)，B 是 (r, out_features)，dtype 与原来的层相同。"""

    def problem(setting: Setting) -> Diagnosis | None:
        trial = build(lora_class, setting)
        shapes = {"lora_A": (setting.in_features, setting.r), "lora_B": (setting.r, setting.out_features)}
        for name, expected in shapes.items():
            actual = tuple(getattr(trial.layer, name).shape)
            if actual != expected:
                default = f"没有写 r 时，r 应当是默认值 {setting.r}。" if setting.omit_r_alpha else ""
                came = compare(f"layer.{name}.shape", expected, actual)
                return diagnose("wrong_shape", f"layer = {setting}", came, default)
        return _dtype_or_device_problem(trial)

    return _first_problem(problem)


def _dtype_or_device_problem(trial: Trial) -> Diagnosis | None:
    for name in ("lora_A", "lora_B"):
        for attribute in ("dtype", "device"):
            expected = getattr(trial.reference.weight, attribute)
            actual = getattr(getattr(trial.layer, name), attribute)
            if actual != expected:
                came = compare(f"layer.{name}.{attribute}", expected, actual)
                return diagnose("wrong_dtype_or_device", f"layer = {trial.setting}", came)
    return None


def check_initial_values(lora_class: Any) -> Diagnosis | None:
    """A 的初值是均值为零的高斯分布，B 的初值是零。"""
    setting = Setting(512, 40, r=32, alpha=64)
    layer = build(lora_class, setting).layer
    return initial_values_problem(layer.lora_A.detach(), layer.lora_B.detach(), f"layer = {setting}")


# ----------------------------------------------------------------------------------------------------------------------
# 用起来的层


def check_output(lora_class: Any) -> Diagnosis | None:
    """A、B 取任意值时，输出都等于公式，也不改动 x 和原来的权重；不论 x 是几维，不论训练还是推理。"""

    def problem(setting: Setting) -> Diagnosis | None:
        trial = build(lora_class, setting)
        fill_factors(trial)
        for x_shape in _X_SHAPES:
            for mode in ("train", "eval"):
                trial.layer.train(mode == "train")
                x = numbers(*x_shape, setting.in_features)
                if found := output_problem(trial, x, f"layer.{mode}()\n"):
                    return found
        trial.layer.train()
        return base_problem(trial, f"layer = {setting}\nlayer.eval(); layer(x); layer.train()")

    return _first_problem(problem)


def check_two_layers(lora_class: Any) -> Diagnosis | None:
    """同一个模型里的两层各有各的 A、B 和系数，互不影响。"""
    settings = Setting(7, 5, r=4, alpha=10), Setting(7, 5, r=4, alpha=3)
    called = f"a = {settings[0]}\nb = {settings[1]}\n改动 b 的 A、B 之后，a(x) 应当不变"
    x = numbers(3, 7)
    first = build(lora_class, settings[0])
    fill_factors(first)
    before = call(first.layer, x, called).detach().clone()
    second = build(lora_class, settings[1])
    with torch.no_grad():
        second.layer.lora_A.add_(1)
        second.layer.lora_B.add_(1)
    after = call(first.layer, x, called)
    if close(after, before):
        return None
    likely = "有东西是两层共用的，例如存在类的属性、全局变量或缓存里。属于一层的东西要存在 self 上。"
    return diagnose("wrong_output", called, compare("a(x) 的第一行", shown(before), shown(after)), likely)


def check_training(lora_class: Any) -> Diagnosis | None:
    """两层的模型训练一步：梯度与公式的相同；A、B 更新之后，输出仍等于公式，原来的权重没有变。"""
    first, second = (
        build(lora_class, Setting(7, 5, r=4, alpha=10)),
        build(lora_class, Setting(5, 6, r=3, alpha=12)),
    )
    fill_factors(first)
    fill_factors(second)
    x = numbers(2, 3, 7).requires_grad_()
    called = f"a = {first.setting}\nb = {second.setting}\nh = a(x); loss = b(h).square().mean()\nloss.backward()"
    hidden = call(first.layer, x, called)
    loss = call(second.layer, hidden, called).square().mean()
    for name, tensor in (("h", hidden), ("loss", loss)):
        if not tensor.requires_grad:
            return diagnose("no_gradient", called, compare(f"{name}.requires_grad", True, False))
    hidden.retain_grad()
    loss.backward()
    # 从后往前：b 的 A、B，b 的输入，a 的 A、B。
    tensors = {
        "b.lora_A": second.layer.lora_A,
        "b.lora_B": second.layer.lora_B,
        "h": hidden,
        "a.lora_A": first.layer.lora_A,
        "a.lora_B": first.layer.lora_B,
    }
    for (name, tensor), expected in zip(tensors.items(), _expected_gradients(first, second, x), strict=True):
        if tensor.grad is None or not close(tensor.grad, expected, 1e-3):
            actual = "None" if tensor.grad is None else shown(tensor.grad)
            likely = "b 的 A、B 有正确的梯度，但梯度没有完整地经过 b 传到它的输入。" if name == "h" else ""
            return diagnose("no_gradient", called, compare(f"{name}.grad 的第一行", shown(expected), actual), likely)

    # 走一步梯度下降（SGD）；不用 torch.optim，它会连带导入 torch._dynamo，要一两秒。
    with torch.no_grad():
        for trial in (first, second):
            for factor in (trial.layer.lora_A, trial.layer.lora_B):
                factor.sub_(factor.grad, alpha=0.1)
    for trial in (first, second):
        if found := output_problem(trial, numbers(3, trial.setting.in_features), "训练一步\n"):
            return found
    return None


def _expected_gradients(first: Trial, second: Trial, x: Tensor) -> tuple[Tensor, ...]:
    """按公式（float64）算出的 b.A、b.B、h、a.A、a.B 的梯度。"""
    factors: list[Tensor] = []

    def formula(trial: Trial, hidden: Tensor) -> Tensor:
        reference = copy.deepcopy(trial.reference).double()
        a, b = (factor.detach().double().requires_grad_() for factor in (trial.layer.lora_A, trial.layer.lora_B))
        factors.extend((a, b))
        scaling = trial.setting.alpha / trial.setting.r
        return nn.functional.linear(hidden, reference.weight, reference.bias) + hidden @ a @ b * scaling

    hidden = formula(first, x.detach().double())
    loss = formula(second, hidden).square().mean()
    return torch.autograd.grad(loss, [*factors[2:], hidden, *factors[:2]])


def check_dtype_and_device(lora_class: Any) -> Diagnosis | None:
    """原来的层是 bfloat16 时照样能用；原来的层在别的设备上，A、B 也在那里。"""
    for x_shape in _X_SHAPES:
        trial = build(lora_class, Setting(7, 5, r=4, alpha=10, dtype=torch.bfloat16))
        if found := _parameter_problem(trial) or _dtype_or_device_problem(trial):
            return found
        fill_factors(trial)
        if found := output_problem(trial, numbers(*x_shape, 7).bfloat16()):
            return found
    # meta 设备处处都有：张量只有形状、没有数值，正好用来看它们放在哪里。第一次用它要导入不少东西，所以在最后。
    try:
        elsewhere = build(lora_class, Setting(7, 5, r=4, alpha=10, device="meta"))
    except (RuntimeError, TypeError, ValueError):
        return None  # 要读权重的数值的写法在 meta 上行不通，在真的设备上却可以
    return _parameter_problem(elsewhere) or _dtype_or_device_problem(elsewhere)
