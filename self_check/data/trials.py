"""TODO 1：一次调用的结果，逐个 token 与应有的对照。"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, NamedTuple

from self_check.data.cases import IGNORE_INDEX, Case, Token
from self_check.report import Diagnosis


class Position(NamedTuple):
    """应有的一个 token，和学习者给它的标签。"""

    token: Token
    label: int

    @property
    def state(self) -> Literal["trained", "masked", "other"]:
        """``"other"``：既不是 -100，也不是这个 token 的 id。"""
        return "masked" if self.label == IGNORE_INDEX else "trained" if self.label == self.token.id else "other"

    @property
    def is_right(self) -> bool:
        return self.label == self.token.label


@dataclass(frozen=True)
class Trial:
    """一次调用和它的结果。

    Attributes:
        called: 给人看的调用。
        result: 返回的东西，原样。
        after: 调用之后的对话，看有没有被改动。
        is_first: 这个数据集的第一次调用。
        look: 学习者的代码在哪里。
    """

    case: Case
    called: str
    result: Any
    after: list[dict[str, str]]
    look: str
    is_first: bool = False

    @cached_property
    def lists(self) -> tuple[list[int], list[int]] | None:
        """返回的 ``(input_ids, labels)``；不是两个整数列表时是 None。"""
        if not (isinstance(self.result, tuple) and len(self.result) == 2):
            return None
        ids, labels = self.result
        if all(isinstance(each, list) and all(type(value) is int for value in each) for each in (ids, labels)):
            return ids, labels
        return None

    @property
    def ids(self) -> list[int]:
        """返回的 ``input_ids``；头一项检查（``check_return_type``）通过之后才能用，``labels`` 也是。"""
        assert self.lists is not None
        return self.lists[0]

    @property
    def labels(self) -> list[int]:
        assert self.lists is not None
        return self.lists[1]

    @cached_property
    def has_bos(self) -> bool:
        """结果的最前面有 BOS。有没有都对：``__init__`` 会补上。"""
        bos = self.case.tokenizer.bos
        return bool(bos) and self.ids[: len(bos)] == bos

    @cached_property
    def positions(self) -> list[Position]:
        """逐个 token 的标签，不含 BOS；长度或 ``input_ids`` 不对时是空的，由别的检查去说。"""
        if len(self.ids) != len(self.labels) or self.ids[self.has_bos :] != self.case.ids:
            return []
        labels = self.labels[self.has_bos :]
        return [Position(token, label) for token, label in zip(self.case.tokens, labels, strict=True)]

    def answers(self) -> list[int]:
        """assistant 的消息的序号。"""
        return [n for n, message in enumerate(self.case.conversation) if message["role"] == "assistant"]

    def trained_answers(self) -> list[int]:
        """有 token 在学的 assistant 的消息的序号。"""
        trained = {p.token.message for p in self.positions if p.token.trained and p.state == "trained"}
        return [number for number in self.answers() if number in trained]

    def answer_contents(self) -> list[list[Position]]:
        """每个回答的内容的各个 token；``input_ids`` 不对时是空的。"""
        content = [p for p in self.positions if p.token.trained and p.token.kind == "content"]
        return [list(group) for _, group in groupby(content, key=lambda p: p.token.message)]

    def complete_answers(self) -> set[int]:
        """内容的每个 token 都在学的 assistant 的消息的序号。"""
        contents = self.answer_contents()
        return {content[0].token.message for content in contents if all(p.state == "trained" for p in content)}

    def diagnosis(self, slug: str, came: str, likely: str, look: str) -> Diagnosis:
        """这次调用的诊断。"""
        return Diagnosis(slug, self.called, came, likely, f"{look}\n{self.look}")
