"""按顺序做一道练习的检查，停在第一个错误上。"""

from functools import partial
from typing import Any

from self_check.exercise import Exercise
from self_check.explain import explain_error
from self_check.location import learner_file
from self_check.report import CheckResult, Diagnosis, Report
from self_check.sandbox import SetupError, run_limited


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
        outcome = run_limited(partial(check, prepared), source_file, exercise.cpu_seconds)
        printed.append(outcome.printed)
        diagnosis = outcome.value
        if outcome.error is not None:
            if isinstance(outcome.error, SetupError):
                raise outcome.error
            diagnosis = explain_error(outcome.error, source_file, f"检查“{name}”", exercise.explain)
        failed = diagnosis is not None
        results.append(CheckResult(name, diagnosis))
    return Report(tuple(results), "".join(printed))


def failed_before_checking(exercise: Exercise, diagnosis: Diagnosis, printed: str = "") -> Report:
    """一项也没能查：学习者的文件装不进来，或者把整个进程弄没了。"""
    skipped = (CheckResult(name, None, skipped=True) for name, _ in exercise.checks)
    return Report((CheckResult("文件能装入，检查做得完", diagnosis), *skipped), printed)
