"""从头到尾看一遍数据，记下看到的；内存里每段对话只留几十个字节，原文和片段在磁盘上。"""

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from finetuning.conversations import Conversation, Message
from finetuning.holdout import fingerprint
from finetuning.inspection.content import KINDS, Seen, look, texts_of
from finetuning.inspection.lengths import Lengths, Tokens
from finetuning.inspection.likeness import Commonness, ShingleStore, normalized, shingles_of
from finetuning.inspection.personal import PERSONAL_KINDS, masked
from finetuning.reading import Row
from finetuning.sources import RowStore
from finetuning.terminal import printable

_BATCH = 1000
_MOST_EXAMPLES = 5
_SHORT = 20  # 归一化以后不超过这么多字的回答，是短的：同一个问题的两个短回答不同，多半是矛盾
_AROUND = 24


class Example(NamedTuple):
    """一个例子：在哪里，是什么样子（个人信息已经遮住；空的是不给看）。"""

    place: str
    text: str = ""


class Tally:
    """一种毛病：几段对话里有，一共几处，前几个例子。"""

    def __init__(self) -> None:
        self.rows = self.times = 0
        self.examples: list[Example] = []


class Survey:
    """看到的一切；:meth:`read` 看完才齐。

    Attributes:
        rows: 各段对话，在磁盘上。
        lengths: 各个样本的长度。
        tallies: 内容里的毛病，:data:`finetuning.inspection.content.KINDS` 里的各种。
        flags: 每段对话有哪几种毛病，第 n 种是第 n 位。
        commonness, shingles: 找近似的要用的。
    """

    def __init__(self, tokens: Tokens, control: re.Pattern[str], max_length: int):
        self._tokens, self._control = tokens, control
        self.rows, self.shingles = RowStore(), ShingleStore()
        self.lengths, self.commonness = Lengths(max_length), Commonness()
        self.formats: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.turns = self.unlearnt = self.with_system = self.with_tools = self.with_reasoning = 0
        self.answers = self.chinese_answers = self.split = 0
        self.tallies = {kind: Tally() for kind in KINDS}
        self.flags = array("I")
        self.exact, self.alike = array("Q"), array("q")  # 一字不差、归一化以后相同的指纹
        # 每个要学的回答一项：问题（连同前面的话）、回答的指纹，在哪一段，是第几条消息，短不短
        self.prompt_keys, self.answer_keys = array("q"), array("q")
        self.answer_rows, self.answer_places, self.answer_short = array("i"), array("i"), array("b")
        # 每个回答一项，与检验数据比：之前的话（不算系统提示）、系统提示、回答的指纹，在哪一段
        self.asked_keys, self.asked_systems, self.asked_answers = array("q"), array("q"), array("q")
        self.asked_rows = array("i")

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Iterable[Row]) -> None:
        """看完 ``rows``。"""
        with ThreadPoolExecutor(1) as pool:
            for batch in _batches(rows):
                conversations = [row.conversation for row in batch]
                encoding = pool.submit(self._tokens.ahead, conversations)  # 分词在 Rust 里做，这时 Python 看别的
                first = len(self)
                texts = [self._look(first + number, row) for number, row in enumerate(batch)]
                self._cut_up(texts)
                encoding.result()
                for number, examples in enumerate(self._tokens.of(conversations), first):
                    self.lengths.add(number, examples)
                    self.split += len(examples) > 1

    def _look(self, number: int, row: Row) -> "_Texts":
        """一段对话：数一数，找一找，存起来；给出归一化以后的文字。"""
        conversation = row.conversation
        self.rows.append(row)
        self.formats[row.format] += 1
        self.sources[row.source] += 1
        self.unused.update(row.unused)
        self.exact.append(fingerprint(conversation))
        texts = _Texts([], [])
        key = asked = 0
        system = hash(system_of(conversation))
        for place, message in enumerate(conversation):
            role = message["role"]
            self.roles[role] += 1
            self.with_reasoning += "reasoning" in message
            plain = normalized("\n".join(texts_of(message)))
            if role == "assistant":
                learnt = message.get("learnt", True)
                self.turns += 1
                self.unlearnt += not learnt
                self.asked_keys.append(asked)
                self.asked_systems.append(system)
                self.asked_answers.append(hash(plain))
                self.asked_rows.append(number)
                texts.answers.append(plain)
                if learnt:
                    self._add_answer(number, place, key, message)
            elif role != "system":
                texts.questions.append(plain)
            extra = "".join(json.dumps(message[name]) for name in ("tools", "tool_calls") if name in message)
            key = hash((key, role, plain, extra))
            if role != "system":
                asked = hash((asked, role, plain))
        self.alike.append(key)
        first = conversation[0]
        self.with_system += first["role"] == "system" and bool(first["content"])
        self.with_tools += "tools" in first
        self._add_flags(number, row, look(conversation, self._control))
        return texts

    def _add_answer(self, number: int, place: int, key: int, message: Message) -> None:
        said = normalized(_said(message))
        self.answers += 1
        self.chinese_answers += not said.isascii()
        self.prompt_keys.append(key)
        self.answer_keys.append(hash(said))
        self.answer_rows.append(number)
        self.answer_places.append(place)
        self.answer_short.append(len(said) <= _SHORT)

    def _add_flags(self, number: int, row: Row, seen: list[Seen]) -> None:
        flags = 0
        for each in seen:
            tally, bit = self.tallies[each.kind], 1 << KINDS.index(each.kind)
            tally.times += 1
            if not flags & bit:
                tally.rows += 1
                if len(tally.examples) < _MOST_EXAMPLES:
                    shown = "" if each.kind in PERSONAL_KINDS else excerpt(each.text, each.start, each.end)
                    tally.examples.append(Example(row.place, shown))
            flags |= bit
        self.flags.append(flags)

    def _cut_up(self, texts: list["_Texts"]) -> None:
        """切成片段，数一数，存起来。"""
        flat = shingles_of([text for each in texts for text in (*each.questions, *each.answers)])
        rows, start = [], 0
        for questions, answers in texts:
            middle, end = start + len(questions), start + len(questions) + len(answers)
            self.shingles.append(flat[start:middle], flat[middle:end])
            rows.append(np.concatenate(flat[start:end]))
            start = end
        self.commonness.add(rows)

    def flagged(self, kind: str) -> np.ndarray:
        """哪几段有这种毛病。"""
        flags = np.frombuffer(self.flags, np.uint32) if self.flags else np.zeros(0, np.uint32)
        return np.flatnonzero(flags >> np.uint32(KINDS.index(kind)) & np.uint32(1))


class _Texts(NamedTuple):
    """归一化以后的文字。"""

    questions: list[str]
    answers: list[str]


def _said(message: Message) -> str:
    calls = message.get("tool_calls")
    return message["content"] + (json.dumps(calls, ensure_ascii=False) if calls else "")


def system_of(conversation: Conversation) -> str:
    """系统提示和工具，归一化以后的样子；没有是空的。"""
    first = conversation[0]
    if first["role"] != "system":
        return ""
    return normalized(first["content"] + (json.dumps(first["tools"], ensure_ascii=False) if "tools" in first else ""))


def answer_at(conversation: Conversation, place: int) -> str:
    """第 ``place`` 条消息说的话。"""
    return _said(conversation[place])


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def excerpt(text: str, start: int = 0, end: int = 0, most: int = 60) -> str:
    """一处连同前后几个字，写成一行，个人信息已经遮住。"""
    end = min(end, start + most)
    low = max(0, start - _AROUND) if start else 0
    high = min(len(text), max(end + _AROUND, low + most))
    shown = " ".join(printable(masked(text, low, high)).split())
    return ("…" if low else "") + shown + ("…" if high < len(text) else "")
