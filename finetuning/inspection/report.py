"""一份报告：终端里的文字，和网页用的是同样的内容。"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from finetuning.inspection.findings import Finding
from finetuning.inspection.samples import Repeated, Sample

_BAR = 40
_GREEN, _GREY, _BOLD, _RESET = "\033[32m", "\033[2m", "\033[1m", "\033[0m"
_MARKS = {"先改": "✗", "看一看": "！", "知道就好": "·"}


@dataclass
class Report:
    """报告的内容；给人看的文字里，个人信息都已经遮住。

    Attributes:
        facts: （名字, 内容）：数据的大概。
        histogram: 长度的分布，（从, 到, 个数）。
        length_facts: 长度的几个数。
        notes: 读这份报告要知道的，例如用的是谁的分词器。
        written: 写出了哪些文件。
    """

    facts: list[tuple[str, str]]
    histogram: list[tuple[int, int, int]]
    length_facts: list[tuple[str, str]]
    findings: Sequence[Finding]
    repeated: list[Repeated]
    samples: list[Sample]
    notes: list[str]
    verdict: str
    command: str
    written: list[str]


def as_text(report: Report, color: bool) -> str:
    """终端里的样子。"""
    lines: list[str] = []

    def heading(text: str) -> None:
        lines.extend(["", f"{_BOLD}{text}{_RESET}" if color else text])

    lines += [f"{_padded(name)}  {text}" for name, text in report.facts]
    heading("长度（token，一个样本一次）")
    largest = max((count for *_, count in report.histogram), default=1)
    width = max((len(f"{low:,}–{high:,}") for low, high, _ in report.histogram), default=0)
    for low, high, count in report.histogram:
        bar = "█" * max(round(_BAR * count / largest), 1 if count else 0)
        lines.append(f"  {f'{low:,}–{high:,}':>{width}}  {bar} {count:,}")
    lines += [f"  {_padded(name, 14)}  {text}" for name, text in report.length_facts]
    heading("看出来的事")
    if not report.findings:
        lines.append("  没有。")
    for finding in report.findings:
        counted = f"{finding.count:,} 段（{_percent(finding.share)}）"
        lines.append(f"  {_MARKS[finding.level]} {finding.level}：{finding.title}：{counted}  [{finding.slug}]")
        lines += [
            f"      {example.place}" + (f"：{example.text}" if example.text else "") for example in finding.examples
        ]
        lines.append(f"      → {finding.advice}" + ("（--clean 会去掉）" if finding.left_out else ""))
    if report.repeated:
        heading("重复得最多的回答")
        lines += [f"  {each.times:>7,} 次  {each.text}（{each.place}）" for each in report.repeated]
    heading("模型看到的样子（" + ("绿色的要学" if color else "【】里的要学") + "，其余的只作上文）")
    for sample in report.samples:
        cut = f"，末尾截掉 {sample.cut:,} 个" if sample.cut else ""
        lines.append(f"  {sample.place}：{sample.tokens:,} 个 token，学 {sample.learnt:,} 个{cut}")
        pieces = (_piece(piece.text, piece.learnt, color) for piece in sample.pieces)
        lines += [f"    {line}" for line in "".join(pieces).rstrip("\n").split("\n")]
        lines.append("")
    lines += [f"注意：{note}" for note in report.notes]
    heading("结论")
    lines.append(f"  {report.verdict}")
    lines += [f"  {each}" for each in report.written]
    lines += ["", "训练：", f"  {report.command}"]
    return "\n".join(lines)


def _piece(text: str, learnt: bool, color: bool) -> str:
    if color:
        start = _GREEN if learnt else _GREY
        # 颜色不跨行：每行自己开始、自己结束
        return "\n".join(f"{start}{line}{_RESET}" if line else "" for line in text.split("\n"))
    return f"【{text}】" if learnt else text


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "不到 0.1%"


def _padded(text: str, width: int = 8) -> str:
    """补空格到 ``width`` 格：一个汉字占两格。"""
    shown = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
    return text + " " * max(0, width - shown)
