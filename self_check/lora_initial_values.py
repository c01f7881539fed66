"""TODO 2：A、B 的初值对不对。"""

import torch
from torch import Tensor

from self_check.lora_messages import diagnose
from self_check.report import Diagnosis


def initial_values_problem(a: Tensor, b: Tensor, called: str) -> Diagnosis | None:
    """A 应当取自均值为零的高斯分布，B 应当是零。

    Args:
        a: 要有一万个以上的数，才看得出它的分布。
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
    reason = _why_not_gaussian(a)
    came += "\n一个标准差以内：高斯分布是 68%，均匀分布是 58%"
    return diagnose("not_gaussian", called, came, reason) if reason else None


def _described(values: Tensor) -> str:
    if not values.any():
        return "全是零"
    sample = values.double()
    inside = ((sample - sample.mean()).abs() <= sample.std()).double().mean()
    return f"均值 {sample.mean():.3g}，标准差 {sample.std():.3g}，{inside:.0%} 的数在一个标准差以内"


def _why_not_gaussian(values: Tensor) -> str:
    """哪里不像各个数独立、均值为零的高斯分布；都像就返回空的字符串。"""
    sample = values.double().flatten()
    if not sample.isfinite().all():
        return "里面有 NaN 或无穷：多半用 torch.empty 留出了位置，却没有填值。"
    mean, std = sample.mean(), sample.std()
    if std == 0:
        return f"所有的数都是 {mean:.3g}。"
    if mean.abs() > 0.1 * std:
        return f"均值是 {mean:.3g}，不是零。"
    # 与正态分布的累积分布函数最多相差多少：一万多个正态随机数不到 0.02，均匀分布是 0.057，截断到两个标准差约 0.017。
    cumulative = torch.special.ndtr((sample.sort().values - mean) / std)
    if (cumulative - torch.linspace(0, 1, len(sample), dtype=torch.double)).abs().max() > 0.035:
        return "均值是零，但分布的形状不是高斯的钟形（常见的是均匀分布）。"
    correlation = torch.corrcoef(values.double().T).fill_diagonal_(0).abs().max()
    if correlation > 0.5:
        return "有两列几乎一样：每一列都要另取随机数，不能由一列复制出来。"
    if correlation < 0.01:
        return "各列恰好两两正交（orthogonal_），不是独立的随机数。"
    return ""
