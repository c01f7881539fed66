"""自查的结果：一项检查过没过，没过时的诊断。"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Diagnosis:
    """一个错误的诊断，四部分都是给学习者看的中文，可以有多行。"""

    slug: str  # 错误的代号，给程序看；README 和测试里也用它
    called: str  # 调用了什么
    came: str  # 得到了什么
    likely: str  # 多半错在哪里，对训练有什么害处
    look: str  # 到哪里去看、去改


@dataclass(frozen=True)
class CheckResult:
    """一项检查的结果。"""

    name: str  # 检查的中文名字，写成“应该怎样”：user 的话不学
    diagnosis: Diagnosis | None  # None：通过
    skipped: bool = False  # 前面有一项没过，这一项没有查

    @property
    def passed(self) -> bool:
        """查了，而且通过。"""
        return self.diagnosis is None and not self.skipped


@dataclass(frozen=True)
class Report:
    """一次自查的全部结果。

    Attributes:
        printed: 学习者的代码打印的文字。
        delegates: 把事情交给了参考答案、自查程序或现成的库，不是自己写的。
    """

    results: tuple[CheckResult, ...]
    printed: str = ""
    delegates: bool = False

    @property
    def diagnosis(self) -> Diagnosis | None:
        """第一个错误；None 表示全部通过。"""
        return next((result.diagnosis for result in self.results if result.diagnosis), None)

    @property
    def passed(self) -> bool:
        """全部通过。"""
        return all(result.passed for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """写进 JSON，从另一个进程交过来。"""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Report":
        """:meth:`to_dict` 的逆。"""
        results = [
            CheckResult(**result | {"diagnosis": result["diagnosis"] and Diagnosis(**result["diagnosis"])})
            for result in values["results"]
        ]
        return cls(**values | {"results": tuple(results)})
