"""把自查的结果写成给人看的文字，或给程序看的 JSON。"""

import json
import re
import textwrap

from self_check.exercise import Exercise
from self_check.report import Diagnosis, Report
from self_check.text import fold

_ANSI = re.compile(r"\033\[\d*m")
_PRINTED_LINES = 12
_HALFWAY = 3
_DELEGATES = (
    "不过，你的文件装入了参考答案、自查程序，或替你做好了这件事的库：通过检查的也许是它们，还不是你。"
    "想真正学会，请关上它们，自己再写一遍；卡住了就看 --hint。"
)


def render(exercise: Exercise, report: Report, color: bool) -> str:
    """给人看的报告，宽 80 列。"""
    parts = [exercise.title]
    done = [result for result in report.results if not result.skipped]
    diagnosis = report.diagnosis
    if diagnosis is None:
        parts.append("\n".join(f"  通过  {result.name}" for result in done))
        parts.append("全部通过。\n" + (fold(_DELEGATES) if report.delegates else fold(exercise.learnt)))
        parts.append("接下来：\n" + "\n".join(f"  {step}" for step in exercise.next_steps))
    elif diagnosis.slug == "not_implemented":
        passed = [f"  通过  {result.name}" for result in done if result.passed]
        halfway = len(passed) >= _HALFWAY  # 头一两项只看有没有这个类、这个方法
        parts += ["\n".join(passed), "做到一半了，还有没写的。"] if halfway else [fold(exercise.start)]
        parts.append(f"{diagnosis.came}\n{fold(diagnosis.likely)}")
        parts.append(fold(diagnosis.look))
    else:
        rest = len(report.results) - len(done)
        lines = [f"  {'通过' if result.passed else '不对'}  {result.name}" for result in done]
        if rest:
            lines.append(f"  还有 {rest} 项，改好这一项再查")
        parts.append("\n".join(lines))
        parts.append(render_diagnosis(diagnosis))
    if report.printed.strip():
        parts.append(_printed(report.printed))
    text = "\n\n".join(parts)
    return text if color else _ANSI.sub("", text)


def render_diagnosis(diagnosis: Diagnosis) -> str:
    """诊断的四部分。"""
    sections = (
        ("调用了什么", diagnosis.called),
        ("得到了什么", diagnosis.came),
        (f"错在哪里（{diagnosis.slug}）", fold(diagnosis.likely)),
        ("去哪里看", fold(diagnosis.look)),
    )
    return "\n\n".join(f"{title}\n{textwrap.indent(body, '  ')}" for title, body in sections)


def render_json(report: Report) -> str:
    """一行 JSON：``{"passed", "diagnosis", "delegates", "checks": [{"name", "passed", "message"}]}``。"""
    diagnosis = report.diagnosis
    checks = []
    for result in report.results:
        message = ""
        if result.diagnosis:
            message = _ANSI.sub("", render_diagnosis(result.diagnosis))
        elif result.skipped:
            message = "前面有一项没有通过，这一项没有查。"
        checks.append({"name": result.name, "passed": result.passed, "message": message})
    return json.dumps(
        {
            "passed": report.passed,
            "diagnosis": diagnosis and diagnosis.slug,
            "delegates": report.delegates,
            "checks": checks,
        },
        ensure_ascii=True,
    )


def _printed(text: str) -> str:
    lines = text.rstrip().splitlines()
    more = f"\n  ……还有 {len(lines) - _PRINTED_LINES} 行" if len(lines) > _PRINTED_LINES else ""
    return "你的代码打印了：\n" + textwrap.indent("\n".join(lines[:_PRINTED_LINES]), "  ") + more
