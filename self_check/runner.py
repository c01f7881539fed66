"""按顺序做一道练习的检查，停在第一个错误上。"""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

from self_check.exercise import Exercise
from self_check.report import CheckResult, Diagnosis, Report
from self_check.sandbox import SetupError, diagnose_error, display_name, run_limited


def run_suite(exercise: Exercise, subject: Any) -> Report:
    """做完一道练习的检查。不论学习者的代码做什么，都给出报告。

    Args:
        subject: 学习者的模块，或他的类。

    Raises:
        SetupError: 自查跑不起来，例如项目不完整。
    """
    results: list[CheckResult] = []
    printed: list[str] = []
    prepared: Any = None
    failed = False
    source_file = learner_file(subject)
    for name, check in exercise.checks:
        if failed:
            results.append(CheckResult(name, None, skipped=True))
            continue
        if prepared is None:
            prepared = exercise.prepare(subject)
        outcome = run_limited(partial(check, prepared), source_file)
        printed.append(outcome.printed)
        diagnosis = outcome.value
        if outcome.error is not None:
            if isinstance(outcome.error, SetupError):
                raise outcome.error
            diagnosis = diagnose_error(outcome.error, source_file, f"检查“{name}”", look_at(source_file))
        failed = diagnosis is not None
        results.append(CheckResult(name, diagnosis))
    return Report(tuple(results), "".join(printed))


def failed_before_checking(exercise: Exercise, diagnosis: Diagnosis, printed: str = "") -> Report:
    """一项也没能查：学习者的文件装不进来，或者把整个进程弄没了。"""
    skipped = (CheckResult(name, None, skipped=True) for name, _ in exercise.checks)
    return Report((CheckResult("文件能装入，检查做得完", diagnosis), *skipped), printed)


def learner_file(subject: Any) -> str:
    """学习者的代码在哪个文件里（notebook 里定义的类，是它的单元格）。"""
    owners = (
        [subject]
        if inspect.isclass(subject)
        else [value for value in vars(subject).values() if _is_own(value, subject)]
    )
    for owner in owners:
        for value in vars(owner).values() if inspect.isclass(owner) else [owner]:
            function = inspect.unwrap(value) if callable(value) else value
            if inspect.isfunction(function):
                return function.__code__.co_filename
    return str(getattr(subject, "__file__", ""))


def _is_own(value: Any, module: Any) -> bool:
    """是在这个模块里定义的，不是导入的。"""
    return getattr(value, "__module__", None) == module.__name__


def look_at(source_file: str, line: int | None = None) -> str:
    """“到哪里去看”的最后一句：文件、行号和提示的命令。"""
    name = display_name(source_file)
    if not Path(source_file).is_file():
        return f"你的代码：{name}" + (f"，第 {line} 行起" if line else "")
    place = f"{name} 第 {line} 行起" if line else name
    return f"你的代码：{place}\n想要提示：uv run python {name} --hint"
