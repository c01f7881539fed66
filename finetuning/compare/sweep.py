"""学习率 × 方法：每种方法用好几个学习率各训练一次，在验证数据上比；只换学习率，其余都相同。

先用一个种子走一遍各个学习率；最好的在边上，就往那一边再走一步，直到它的两边都有。最好的和左右两个再用其余的种子各做一次，
好看清这几个的差别是不是种子的起伏。
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from finetuning.compare.table import spread

FACTOR = 2  # 相邻的两个学习率差几倍
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

    done: dict[int, dict[int, Trial]] = {}  # 出发点的几个 FACTOR 倍 → 种子 → 训练

    def train(exponent: int, seed: int) -> None:
        if seed not in done.setdefault(exponent, {}):
            rate = center * FACTOR**exponent
            done[exponent][seed] = Trial(method, rate, seed, run(method, rate, seed))

    def best() -> int:
        """平均最低的；只看种子做得最多的那几个，一个种子的运气不算。"""
        most = max(map(len, done.values()))
        means = {
            exponent: mean(trial.measured["loss"] for trial in trials.values())
            for exponent, trials in done.items()
            if len(trials) == most
        }
        return min(means, key=lambda exponent: means[exponent])

    for exponent in range(-_EACH_SIDE, _EACH_SIDE + 1):
        train(exponent, seeds[0])
    while best() in (min(done), max(done)) and len(done) < _MOST:
        train(best() + (-1 if best() == min(done) else 1), seeds[0])
    # 换了种子，最好的也许换成旁边的一个；那就再看它的两边，直到两边都做过每个种子。
    while near := [
        exponent
        for exponent in (best() - 1, best(), best() + 1)
        if len(done.get(exponent, {})) < len(seeds) and (exponent in done or len(done) < _MOST)
    ]:
        for seed in seeds:
            for exponent in near:
                train(exponent, seed)
    return sorted(
        (trial for trials in done.values() for trial in trials.values()),
        key=lambda trial: (trial.learning_rate, trial.seed),
    )


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
