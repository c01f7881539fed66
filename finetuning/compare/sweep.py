"""学习率 × 方法：每种方法用好几个学习率各训练一次，在验证数据上比；只换学习率，其余都相同。

先用一个种子走一遍各个学习率；最好的在边上，就往那一边再走一步，直到它的两边都有。最好的和左右两个再用其余的种子各做一次，
好看清这几个的差别是不是种子的起伏。
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from finetuning.compare.table import spread

FACTOR = 2  # 相邻的两个学习率差几倍；2 的幂乘除起来没有舍入，走回来还是同一个数
_EACH_SIDE = 2
_MOST = 9
_QUANTITIES = {"loss": "{:.3f}".format, "exact_match": "{:.1%}".format, "text_loss": "{:.3f}".format}


class Trial(NamedTuple):
    """一次训练：方法、学习率、种子，和测得的各个量。"""

    method: str
    learning_rate: float
    seed: int
    measured: Mapping[str, Any]


def sweep(
    method: str, center: float, seeds: Sequence[int], run: Callable[[str, float, int], Mapping[str, Any]]
) -> list[Trial]:
    """一种方法的全部训练。

    Args:
        center: 从哪个学习率开始往两边走。
        run: 训练一次，返回测得的各个量；其中的 ``loss`` 是验证数据的损失，用它来选。
    """
    trials: dict[tuple[float, int], Trial] = {}  # （学习率, 种子）→ 训练

    def train(rate: float, wanted: Sequence[int]) -> None:
        for seed in wanted:
            if (rate, seed) not in trials:
                trials[rate, seed] = Trial(method, rate, seed, run(method, rate, seed))

    def rates() -> set[float]:
        return {rate for rate, _ in trials}

    def best() -> float:
        return best_rate(list(trials.values()))

    for exponent in range(-_EACH_SIDE, _EACH_SIDE + 1):
        train(center * FACTOR**exponent, seeds[:1])
    while best() in (min(rates()), max(rates())) and len(rates()) < _MOST:
        train(best() / FACTOR if best() == min(rates()) else best() * FACTOR, seeds[:1])
    # 换了种子，最好的也许换成旁边的一个；那就再看它的两边，直到两边都做过每个种子。
    while near := [
        rate
        for rate in (best() / FACTOR, best(), best() * FACTOR)
        if any((rate, seed) not in trials for seed in seeds) and (rate in rates() or len(rates()) < _MOST)
    ]:
        for rate in near:
            train(rate, seeds)
    return [trials[key] for key in sorted(trials)]


def by_rate(trials: Sequence[Trial], quantity: str) -> dict[float, list[float]]:
    """学习率 → 各个种子测得的 ``quantity``。"""
    values: dict[float, list[float]] = {}
    for trial in trials:
        values.setdefault(trial.learning_rate, []).append(trial.measured[quantity])
    return values


def best_rate(trials: Sequence[Trial]) -> float:
    """损失的平均最低的学习率；只看种子做得最多的那几个，一个种子的运气不算。"""
    losses = by_rate(trials, "loss")
    most = max(map(len, losses.values()))
    return min((rate for rate in losses if len(losses[rate]) == most), key=lambda rate: mean(losses[rate]))


def to_markdown(trials: Sequence[Trial], labels: Mapping[str, str]) -> str:
    """一行一种方法、一个学习率：各个种子的平均，括号里是最小和最大；每种方法最好的学习率加粗。"""
    lines = [
        "| 方法 | 学习率 | 种子 | 验证损失（nat） | 逐字匹配 | 预训练文本的损失（nat） |",
        "|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(trial.method for trial in trials):
        own = [trial for trial in trials if trial.method == method]
        best = best_rate(own)
        for rate, losses in by_rate(own, "loss").items():
            at_rate = [trial.measured for trial in own if trial.learning_rate == rate]
            name = f"**{rate:g}**" if rate == best else f"{rate:g}"
            cells = [
                spread(values, show)
                if (values := [one[quantity] for one in at_rate if one.get(quantity) is not None])
                else ""
                for quantity, show in _QUANTITIES.items()
            ]
            lines.append(f"| {labels[method]} | {name} | {len(losses)} | {' | '.join(cells)} |")
    return "\n".join(lines)
