"""TODO 1 的用例：用某个分词器编码某段对话，每个 token 是什么、该不该学。

这里自己把对话写成 ChatML，不用 ``finetuning`` 里的实现：两边独立写出、结果相同，才说明两边都对。
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from self_check.data.conversations import LONG, PLAIN, SINGLE, VERY_LONG, Conversation, random_conversation
from self_check.data.named_tokenizers import (
    END,
    START,
    TOKENIZERS,
    NamedTokenizer,
    base_tokenizer,
    word_tokenizer,
)
from self_check.sandbox import random_seed

IGNORE_INDEX = -100
_RANDOM_CONVERSATIONS = 10  # 每个分词器
_LONG_ENOUGH = 8192  # 怎样的对话也放得下

Kind = Literal["header", "content", "end", "newline"]


class Token(NamedTuple):
    """应有的一个 token。"""

    id: int
    kind: Kind
    role: str
    message: int  # 第几条消息，从 0 数起
    offset: int  # 在这一段里是第几个，从 0 数起

    @property
    def trained(self) -> bool:
        """该不该学。"""
        return self.role == "assistant" and self.kind in ("content", "end")

    @property
    def label(self) -> int:
        return self.id if self.trained else IGNORE_INDEX


@dataclass(frozen=True)
class Case:
    """一个用例：用某个分词器编码某段对话。"""

    tokenizer: NamedTokenizer
    conversation: Conversation
    max_length: int = 512
    seed: int | None = None  # 随机的对话：由哪个种子来的

    @cached_property
    def tokens(self) -> list[Token]:
        """应有的各个 token，不含 BOS，没有截断。"""
        tokens = []
        for number, message in enumerate(self.conversation):
            role = message["role"]
            segments: dict[Kind, list[int]] = {
                "header": [self.tokenizer.id(START), *self.tokenizer.encode(f"{role}\n")],
                "content": self.tokenizer.encode(message["content"]),
                "end": [self.tokenizer.id(END)],
                "newline": self.tokenizer.encode("\n"),
            }
            for kind, ids in segments.items():
                tokens += [Token(token_id, kind, role, number, index) for index, token_id in enumerate(ids)]
        return tokens

    @cached_property
    def ids(self) -> list[int]:
        """应有的 ``input_ids``，不含 BOS，没有截断。"""
        return [token.id for token in self.tokens]

    @cached_property
    def labels(self) -> list[int]:
        """应有的 ``labels``，同上。"""
        return [token.label for token in self.tokens]


def random_cases() -> list[Case]:
    """随机的对话，各个分词器；种子写在诊断里。"""
    seed = random_seed()
    rng = random.Random(seed)
    return [
        Case(tokenizer(), random_conversation(rng), max_length=_LONG_ENOUGH, seed=seed)
        for tokenizer in TOKENIZERS
        for _ in range(_RANDOM_CONVERSATIONS)
    ]


def long_cases() -> list[Case]:
    """太长的对话：截在回答中间、恰好放得下、五百多个 token 以后，以及截在回答之前。"""
    cases = []
    for tokenizer in (base_tokenizer(), word_tokenizer()):
        turns = Case(tokenizer, PLAIN[2]).tokens
        second_answer = next(i for i, token in enumerate(turns) if token.message == 4 and token.kind == "content")
        cases += [Case(tokenizer, PLAIN[2], second_answer + 2)]
        cases += [Case(tokenizer, PLAIN[2], len(turns) + len(tokenizer.bos))]
        cases += [Case(tokenizer, LONG, 512), Case(tokenizer, LONG, 1024), Case(tokenizer, SINGLE, 5)]
        cases += [Case(tokenizer, VERY_LONG, _LONG_ENOUGH)]
    return cases
