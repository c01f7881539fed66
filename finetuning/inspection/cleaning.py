"""``--clean``：留下来的写成一个新文件，没有留下的另写一个，说明为什么。"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from finetuning.conversations import Message
from finetuning.inspection.content import KINDS
from finetuning.inspection.findings import Finding, Overlaps
from finetuning.inspection.personal import masked
from finetuning.inspection.survey import Survey
from finetuning.reading import Row
from finetuning.terminal import printable


def native(row: Row) -> dict[str, Any]:
    """一段对话 → 本项目的格式的一行；再读出来，还是同样的对话。"""
    conversation = row.conversation
    written: dict[str, Any] = {}
    first = conversation[0]
    only_tools = first["role"] == "system" and not first["content"] and "tools" in first
    written["conversations"] = [_message(message) for message in conversation[1 if only_tools else 0 :]]
    if "tools" in first:
        written["tools"] = first["tools"]
    if row.skill is not None:
        written["skill"] = row.skill
    return written


def _message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if "reasoning" in message:
        written["reasoning_content"] = message["reasoning"]
    if "tool_calls" in message:
        written["tool_calls"] = [{"type": "function", "function": dict(call)} for call in message["tool_calls"]]
    if not message.get("learnt", True):
        written["weight"] = 0
    return written


_NEARLY = "几乎一样"


class Reasons:
    """每段对话为什么不要；没有理由的留下。"""

    def __init__(self, survey: Survey, overlaps: Overlaps, findings: Sequence[Finding], keep: Iterable[str]):
        self._survey = survey
        dropped = {finding.slug: finding.title.split("（")[0] for finding in findings if finding.left_out}
        for slug in keep:
            dropped.pop(slug, None)
        self._others: list[tuple[np.ndarray, str, Sequence[str] | None]] = []
        duplicates, leaks = overlaps.duplicates, overlaps.leaks
        if "duplicate" in dropped:
            self._others.append((duplicates.exact, "一字不差", None))
        if "near_duplicate" in dropped:
            self._others.append((duplicates.near, _NEARLY, None))
        if leaks is not None and "leak" in dropped:
            self._others.append((leaks.exact, "问题相同", leaks.places))
        if leaks is not None and "near_leak" in dropped:
            self._others.append((leaks.near, "问题几乎相同", leaks.places))
        self._flagged = [(1 << KINDS.index(slug), title) for slug, title in dropped.items() if slug in KINDS]

    def of(self, number: int) -> str:
        """第 ``number`` 段不要的理由；空的是留下。"""
        reasons = []
        for others, how, places in self._others:
            if (other := int(others[number])) >= 0:
                if how == _NEARLY and self.of(other):
                    continue  # 前面那一段自己也不要：留下这一段
                place = places[other] if places else self._survey.rows[other].place
                reasons.append(f"与 {place} {how}")
        flags = self._survey.flags[number]
        reasons += [title for bit, title in self._flagged if flags & bit]
        return "；".join(reasons)


def write_clean(survey: Survey, reasons: Reasons, numbers: Iterable[int], clean: IO[str], left_out: IO[str]) -> int:
    """写出两个文件；返回留下几段。"""
    kept = 0
    for number in numbers:
        row = survey.rows[number]
        if reason := reasons.of(number):
            left_out.write(_line({"file": row.source, "line": row.line, "reason": printable(masked(reason))}))
        else:
            clean.write(_line(native(row)))
            kept += 1
    return kept


def write_bad_rows(bad: Iterator[tuple[str, int, str]], left_out: IO[str]) -> None:
    """读不成对话的行也记下来：（文件, 行号, 遮好的理由）。"""
    for file, line, reason in bad:
        left_out.write(_line({"file": file, "line": line, "reason": reason}))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"
