"""一道练习：要查什么，能给什么提示，做完之后说什么。"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from self_check.report import Diagnosis

# 一项检查：拿到 Exercise.prepare 的结果，没有错就返回 None。学习者的代码抛出的异常不用管，由 explain 解释。
Check = Callable[[Any], Diagnosis | None]
# 异常、它的消息、学习者的那一行代码 → 多半为什么；不认得是 None。
Specific = Callable[[BaseException, str, str], str | None]


@dataclass(frozen=True)
class Exercise:
    """一道练习。

    Attributes:
        todo: ``"data"``、``"lora"`` 或 ``"debug"``。
        title: 标题，如 ``"TODO 1：标签掩码（label masking）"``。
        prepare: 学习者的模块（或类）→ 交给每一项检查的东西；最简单的是原样返回。
        checks: (名字, 检查) 的列表，按从基本到细致的顺序；一项没过，后面的就不查。
        cpu_seconds: 一项检查里，学习者的代码最多用多少秒 CPU 时间。
        explain: 学习者的代码抛出的异常，在这道练习里多半为什么；None 是没有特别的。
        imports: 检查要用的模块，先导入好：学习者的代码运行时一行一行地看着，那时再导入要慢一倍。
        hints: 三条提示，一条比一条具体，都不是答案。
        start: 还没有动手（``raise NotImplementedError``）时说的话：做什么、从哪里开始。
        learnt: 全部通过之后，一句话说学到了什么。
        next_steps: 接下来做什么，每项一行。
    """

    todo: str
    title: str
    prepare: Callable[[Any], Any]
    checks: tuple[tuple[str, Check], ...]
    hints: tuple[str, str, str]
    start: str
    learnt: str
    next_steps: tuple[str, ...]
    imports: tuple[str, ...] = ()
    cpu_seconds: float = 2.0  # 正常的实现只要几毫秒
    explain: Specific | None = None
