"""TODO 2：A、B 的初值对不对。"""

import math

import torch
from torch import Tensor

from self_check.lora.messages import diagnose
from self_check.report import Diagnosis

# 标准差是 1/√in_features 的多少倍，才算太大。自带的基座训练 120 步以后 dev 的损失
# （benchmarks.initial_scale，两个种子）：
# 1 倍 0.023，2 倍 0.029，4 倍 0.052，5 倍 0.064，8 倍 0.14，标准差是 1（14 到 23 倍）0.44。
_LARGEST = 5


def initial_values_problem(a: Tensor, b: Tensor, called: str) -> Diagnosis | None:
    """A 应当随机、均值为零，B 应当是零；A 的大小见 :func:`scale_problem`。

    约定是标准差 1/√in_features 的高斯分布；均匀分布（PEFT 的 kaiming_uniform_）、小一些的标准差无害，都可以。

    Args:
        a: ``(in_features, r)``，要有一万个以上的数，才看得出它的分布。
        b: 任意大小。
        called: 写进诊断的“调用了什么”。
    """
    came = f"lora_A  {_described(a)}\nlora_B  {_described(b)}"
    a_is_zero, b_is_zero = not a.any(), not b.any()
    if a_is_zero and b_is_zero:
        return diagnose("a_is_zero", called, came)
    if a_is_zero:
        return diagnose("init_swapped", called, came)
    if not b_is_zero:
        return diagnose("b_not_zero", called, came)
    reason = _what_is_wrong(a)
    return diagnose("not_gaussian", called, came, reason) if reason else None


def same_values_problem(first: Tensor, second: Tensor, called: str) -> Diagnosis | None:
    """两层的 A 应当各取各的随机数。两层共用一个 A 是另一回事，见 ``check_two_layers``。"""
    if first.data_ptr() == second.data_ptr() or not torch.equal(first, second):
        return None
    came = "a.lora_A 与 b.lora_A 的每个数都相同"
    likely = (
        "每一层的 A 都是同样的随机数：多半在 __init__ 里写了 torch.manual_seed，"
        "或者自己的随机数生成器每次都从同一个种子开始。"
        "各层的 A 应当互相独立；而且 manual_seed 会把别处的随机数（打乱数据、dropout）也改掉。"
    )
    return diagnose("not_gaussian", called, came, likely)


def _described(values: Tensor) -> str:
    if not values.any():
        return "全是零"
    sample = values.double()
    return f"均值 {sample.mean():.3g}，标准差 {sample.std():.3g}"


def _what_is_wrong(values: Tensor) -> str:
    """哪里不像各个数独立、均值为零的随机数；都像就返回空的字符串。"""
    sample = values.double()
    if not sample.isfinite().all():
        return "里面有 NaN 或无穷：多半用 torch.empty 留出了位置，却没有填值。"
    mean, std = sample.mean(), sample.std()
    if std == 0:
        return f"所有的数都是 {mean:.3g}。"
    if mean.abs() > 0.1 * std:
        return (
            f"均值是 {mean:.3g}，不是零。常见的原因：torch.rand 取的是 0 到 1；"
            "nn.init.normal_(A, 1/√n) 的第二个参数是均值（mean），标准差要写 std=。"
        )
    if (sample == 0).double().mean() > 0.3 or sample.std(0).min() < 0.1 * std:
        return "有一大部分不是随机数（是零，或整列相同）：每个数都要随机。"
    if torch.corrcoef(sample.T).fill_diagonal_(0).abs().max() > 0.5:
        return "有两列几乎一样：每一列都要另取随机数，不能由一列复制出来。"
    return ""


def scale_problem(a: Tensor, called: str) -> Diagnosis | None:
    """A 的标准差不超过 1/√in_features 的几倍；小的无害。"""
    times = (a.double().std() * math.sqrt(a.shape[0])).item()
    if times <= _LARGEST:
        return None
    came = f"lora_A  {_described(a)}\n约定    均值 0，标准差 1/√{a.shape[0]} = {a.shape[0] ** -0.5:.3g}"
    root = a.shape[0] ** -0.5
    is_mean = abs(a.double().mean().item() - root) < 0.3 * root
    likely = (
        "均值恰好是 1/√in_features：nn.init.normal_ 的第二个参数是均值（mean），标准差要写 std=。\n"
        * is_mean
        + f"标准差是 1/√in_features 的 {times:.0f} 倍，太大了；多半是忘了除以 √in_features"
        "（torch.randn 的标准差是 1）。\n"
        "A 大这么多倍，B 走同样的一步，输出就变这么多倍。量过：自带的基座训练 120 步，标准差是 1 时，"
        "dev 的损失是 0.44，照约定是 0.023。"
    )
    return diagnose("not_gaussian", called, came, likely)
