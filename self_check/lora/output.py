"""TODO 2：``layer(x)`` 的输出对不对；不对，就看它等于哪一种错法会给出的输出。"""

import math

import torch
from torch import Tensor

from self_check.lora.base import base_problem
from self_check.lora.layers import BuiltLayer, build, call, close, expected_output, fit, numbers, shown, terms
from self_check.lora.messages import compare, diagnose
from self_check.report import Diagnosis

_BFLOAT16_TOLERANCE = 0.05  # bfloat16 只有两三位有效数字


def output_problem(built: BuiltLayer, x: Tensor, before: str = "") -> Diagnosis | None:
    """调用 ``layer(x)``，并与公式比较。

    Args:
        built: A、B 都不是零的层；B 是零的时候，支路的错误看不出来。
        x: (..., in_features)
        before: 调用之前做了什么，写进诊断里。
    """
    x_before, flag_before = x.clone(), x.requires_grad
    called = f"{built.called}\n{before}layer(x)，x 的形状是 {tuple(x.shape)}，A、B 已经不是初值"
    output = call(built.layer, x, called)
    if x.shape != x_before.shape or not torch.equal(x, x_before):
        came = f"x 的第一行\n  调用之前  {shown(x_before)}\n  调用之后  {shown(x)}"
        return diagnose("input_mutated", called, came)
    if found := flag_problem(built, x, flag_before, called) or base_problem(built, called):
        return found

    if not isinstance(output, Tensor):
        likely = "forward 没有返回值，多半是忘了写 return。" if output is None else "forward 应当返回一个张量。"
        return diagnose("wrong_output", called, f"得到的是 {type(output).__name__}。", likely)
    expected = expected_output(built, x)
    if output.shape != expected.shape:
        came = compare("输出的形状", tuple(expected.shape), tuple(output.shape))
        likely = "x 前面的几维应当原样留着，只有最后一维从 in_features 变成 out_features。"
        return diagnose("wrong_output", called, came, likely)
    if output.dtype != x.dtype:
        return diagnose("wrong_dtype_or_device", called, compare("输出的 dtype", x.dtype, output.dtype))
    if close(output, expected, _BFLOAT16_TOLERANCE if x.dtype == torch.bfloat16 else 1e-4):
        return None
    slug, likely = _explain(built, x, output)
    return diagnose(slug, called, compare("输出的第一行", shown(expected), shown(output)), likely)


def flag_problem(built: BuiltLayer, x: Tensor, flag_before: bool, called: str) -> Diagnosis | None:
    """调用以后，``requires_grad`` 的开关还是原来的样子。"""
    if x.requires_grad != flag_before:
        came = compare("x.requires_grad", flag_before, x.requires_grad)
        return diagnose("input_mutated", called, came, "forward 改了 x 的 requires_grad，前面的层就得不到梯度了。")
    for name in ("lora_A", "lora_B"):
        if not getattr(built.layer, name).requires_grad:
            came = compare(f"layer.{name}.requires_grad", True, False)
            return diagnose("no_gradient", called, came, f"调用以后，{name} 被冻结了。")
    return None


def randomness_problem(built: BuiltLayer) -> Diagnosis | None:
    """同一个 x 调用两次，输出应当相同。x 有很多行：丢掉的比例再小，也看得出来。"""
    x = numbers(256, built.setting.in_features)
    called = f"{built.called}\nlayer.train()\nlayer(x) 两次，x 相同，形状是 {tuple(x.shape)}，A、B 已经不是初值"
    built.layer.train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        first, second = (call(built.layer, x.clone(), called) for _ in range(2))
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)) or first.shape != second.shape:
        return None  # 由 output_problem 去说
    if torch.equal(first, second) or not (first.isfinite().all() and second.isfinite().all()):
        return None
    if found := base_problem(built, called):  # 不是随机，是第一次调用改动了权重
        return found
    row = int((first != second).flatten(0, -2).any(-1).nonzero()[0])
    rows = (shown(each.flatten(0, -2)[row:]) for each in (first, second))
    came = f"输出的第 {row + 1} 行\n  头一次  {next(rows)}\n  第二次  {next(rows)}"
    return diagnose("wrong_output", called, came, "forward 里有随机的东西（例如 dropout）。公式里没有它，这里不需要。")


def _explain(built: BuiltLayer, x: Tensor, output: Tensor) -> tuple[str, str]:
    """输出错在哪里：(代号, 从数字里看出的原因)。"""
    coefficients = fit(output, terms(built, x))
    if coefficients is None:
        return "wrong_output", _explain_other(built, x, output)
    base, bias, branch = (round(value, 3) + 0.0 for value in coefficients)  # 加 0.0：-0.0 变成 0.0
    r, alpha = built.setting.r, built.setting.alpha
    formula = f"你的输出是 {base:g} · x Wᵀ + {bias:g} · b + {branch:g} · x A B，应为 1、1、{alpha / r:g}。"
    if base == 0:
        return "original_missing", formula
    if branch == 0:
        return "lora_branch_missing", formula
    if bias == 0:
        return "bias_lost", formula
    if (base, bias) != (1, 1):
        advice = "系数应当只乘在 LoRA 支路上" if base == branch else "原来的输出应当原样加上，只加一次"
        return "wrong_output", f"{formula}{advice}。"
    if built.setting.omit_r_alpha:
        return "wrong_output", f"{formula}没有写 r 和 alpha 时，应当是默认值 r={r}、alpha={alpha:g}。"
    slug, meaning = _explain_scaling(branch, r, alpha)
    return slug, f"alpha = {alpha:g}，r = {r}，alpha / r = {alpha / r:g}；你的支路乘的是 {branch:g}{meaning}。"


def _explain_scaling(measured: float, r: int, alpha: float) -> tuple[str, str]:
    """支路乘的系数不是 alpha / r，那它是什么：(代号, 说明)。"""
    scaling = alpha / r
    candidates = (
        (1, "scaling_missing", "，也就是没有乘系数"),
        (alpha, "scaling_missing", "，也就是只乘了 alpha，没有除以 r"),
        (1 / r, "scaling_missing", "，也就是只除以了 r，没有乘 alpha"),
        (1 / scaling, "scaling_inverted", "，也就是 r / alpha"),
        (-scaling, "wrong_output", "：正负号反了，支路应当是加上去的"),
        (scaling**2, "wrong_output", "，也就是乘了两次"),
        (alpha / math.sqrt(r), "wrong_output", "，也就是 alpha / √r：那是 rsLoRA 的系数，这里是原来的 LoRA"),
        (alpha // r, "wrong_output", "，也就是 alpha // r：整除丢掉了小数"),
        (alpha * r, "wrong_output", "，也就是 alpha · r"),
    )
    for value, slug, meaning in candidates:
        if math.isclose(measured, value, rel_tol=1e-2):
            return slug, meaning
    return "wrong_output", ""


def _explain_other(built: BuiltLayer, x: Tensor, output: Tensor) -> str:
    """输出不能写成三项之和时的几种原因。"""
    if not output.isfinite().all():
        return "输出里有 NaN 或无穷。"
    with torch.no_grad():
        fresh = build(type(built.layer), built.setting)
        for name in ("lora_A", "lora_B"):
            getattr(fresh.layer, name).copy_(getattr(built.layer, name))
        again = fresh.layer.train(built.layer.training)(x.clone())
    expected = expected_output(built, x)
    if isinstance(again, Tensor) and again.shape == expected.shape and close(again, expected):
        return (
            "一个新造的层给出的是对的：这一层记住了以前算过的东西（输出、A B 的乘积……），A、B 或 x 变了还在用旧的。"
            "每次调用都要从现在的 x、A、B 算起。"
        )
    return "支路不是 x A B：中间多了别的运算（激活函数、归一化、转置），或者用的不是现在的 A、B、x。"
