"""TODO 1：用各个用例调用学习者的 ``_format_conversation``，把结果记下来。"""

import copy
import inspect
import json
import random
import tempfile
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

from self_check.data_cases import (
    IGNORE_INDEX,
    INJECTED,
    LONG,
    MANY_TURNS,
    NEWLINES,
    PLAIN,
    SINGLE,
    SPECIAL,
    VERY_LONG,
    Case,
    Conversation,
    Token,
    random_conversation,
)
from self_check.data_tokenizers import (
    base_tokenizer,
    byte_tokenizer,
    two_token_newline_tokenizer,
    unadded_bos_tokenizer,
    word_tokenizer,
)
from self_check.runner import learner_file, look_at
from self_check.sandbox import SetupError, calling, random_seed
from self_check.tokenizer import LightTokenizer
from self_check.tokens import pad, shorten

TOKENIZERS = (base_tokenizer, word_tokenizer, byte_tokenizer, unadded_bos_tokenizer, two_token_newline_tokenizer)
_RANDOM_CONVERSATIONS = 10  # 每个分词器
_LONG_ENOUGH = 8192  # 怎样的对话也放得下


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

    @cached_property
    def has_bos(self) -> bool:
        """结果的最前面有 BOS。有没有都对：``__init__`` 会补上。"""
        bos = list(self.case.tokenizer.bos)
        return bool(bos) and self.lists is not None and self.lists[0][: len(bos)] == bos

    @cached_property
    def positions(self) -> list[Position]:
        """逐个 token 的标签，不含 BOS；长度或 ``input_ids`` 不对时是空的，由别的检查去说。"""
        if self.lists is None or len(self.lists[0]) != len(self.lists[1]):
            return []
        ids, labels = (values[self.has_bos :] for values in self.lists)
        tokens = self.case.tokens
        if ids != [token.id for token in tokens]:
            return []
        return [Position(token, label) for token, label in zip(tokens, labels, strict=True)]

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
        content = [p for p in self.positions if p.token.trained and p.token.kind == "content"]
        return {p.token.message for p in content} - {p.token.message for p in content if p.state != "trained"}


class Learner:
    """学习者的 ``SFTDataset``；各组结果用到时才去调用，只调用一次。"""

    def __init__(self, subject: Any):
        self._subject = subject
        self._tokenizers: dict[str, LightTokenizer] = {}
        self._datasets: dict[tuple[str, int], Any] = {}
        self._called_before = False

    @cached_property
    def dataset_class(self) -> type:
        """学习者的类。

        Raises:
            SetupError: 类或它的方法不见了。
        """
        found: Any = self._subject if inspect.isclass(self._subject) else getattr(self._subject, "SFTDataset", None)
        if not inspect.isclass(found) or not hasattr(found, "_format_conversation"):
            raise SetupError("找不到 SFTDataset._format_conversation：文件是空的，或者改了类、方法的名字；请改回来。")
        return found

    def method(self) -> Any:
        """数据集上的 ``_format_conversation``，还没有调用。"""
        with calling("SFTDataset(…, tokenizer)._format_conversation"):
            return self._dataset(Case(base_tokenizer(), SINGLE))._format_conversation

    @cached_property
    def plain(self) -> list[Trial]:
        """普通的对话，自带的分词器；第一段再来一遍，结果应当与头一遍相同。"""
        return [self._try(Case(base_tokenizer(), conversation)) for conversation in [*PLAIN, PLAIN[0]]]

    @cached_property
    def special(self) -> list[Trial]:
        """内容特别的、轮数很多的对话，自带的分词器。"""
        conversations = [*SPECIAL, *NEWLINES, MANY_TURNS]
        return [self._try(Case(base_tokenizer(), conversation)) for conversation in conversations]

    @cached_property
    def words(self) -> list[Trial]:
        """像 Qwen 的分词器。"""
        return [self._try(Case(word_tokenizer(), conversation)) for conversation in PLAIN]

    @cached_property
    def bytes(self) -> list[Trial]:
        """一个字节一个 token 的分词器。"""
        return [self._try(Case(byte_tokenizer(), conversation)) for conversation in PLAIN]

    @cached_property
    def unadded_bos(self) -> list[Trial]:
        """定义了 BOS、自己却不加的分词器；两个换行是一个 token。"""
        return [self._try(Case(unadded_bos_tokenizer(), conversation)) for conversation in [*PLAIN, *NEWLINES]]

    @cached_property
    def two_token_newline(self) -> list[Trial]:
        """一个换行是两个 token 的分词器。"""
        return [self._try(Case(two_token_newline_tokenizer(), conversation)) for conversation in PLAIN]

    @cached_property
    def random(self) -> list[Trial]:
        """随机的对话，各个分词器；种子写在诊断里。"""
        seed = random_seed()
        rng = random.Random(seed)
        return [
            self._try(Case(tokenizer(), random_conversation(rng), max_length=_LONG_ENOUGH, seed=seed))
            for tokenizer in TOKENIZERS
            for _ in range(_RANDOM_CONVERSATIONS)
        ]

    @cached_property
    def injected(self) -> list[Trial]:
        """内容里写着标记的对话。"""
        tokenizers = (base_tokenizer(), word_tokenizer())
        return [self._try(Case(tokenizer, conversation)) for tokenizer in tokenizers for conversation in INJECTED]

    @cached_property
    def truncated(self) -> list[Trial]:
        """太长的对话：截在回答中间、恰好放得下、五百多个 token 以后，以及截在回答之前。"""
        cases = []
        for tokenizer in (base_tokenizer(), word_tokenizer()):
            turns = Case(tokenizer, PLAIN[2]).tokens
            second_answer = next(i for i, token in enumerate(turns) if token.message == 4 and token.kind == "content")
            cases += [Case(tokenizer, PLAIN[2], second_answer + 2)]
            cases += [Case(tokenizer, PLAIN[2], len(turns) + len(tokenizer.bos))]
            cases += [Case(tokenizer, LONG, 512), Case(tokenizer, LONG, 1024), Case(tokenizer, SINGLE, 5)]
            cases += [Case(tokenizer, VERY_LONG, _LONG_ENOUGH)]
        return [self._try(case) for case in cases]

    def first_item(self, case: Case) -> tuple[list[int], list[int]]:
        """``SFTDataset(文件, tokenizer, max_length)[0]`` 的 ``input_ids`` 与 ``labels``。"""
        with calling(describe_call(case, item=True)):
            item = self._build(self.dataset_class, case, case.conversation)[0]
            return list(item["input_ids"]), list(item["labels"])

    @cached_property
    def look(self) -> str:
        """学习者的代码在哪里。"""
        function = self.dataset_class._format_conversation  # type: ignore[attr-defined]
        code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
        return look_at(learner_file(self._subject), code.co_firstlineno if code else None)

    def _try(self, case: Case) -> Trial:
        called = describe_call(case)
        conversation = copy.deepcopy(case.conversation)
        with calling(called):
            result = self._dataset(case)._format_conversation(conversation)
        # 照原样记下当时的值：学习者以后还可能改动他返回的列表。
        if isinstance(result, tuple) and len(result) == 2 and all(isinstance(each, list) for each in result):
            ids = list(result[0])
            result = (ids, ids if result[1] is result[0] else list(result[1]))
        is_first, self._called_before = not self._called_before, True
        return Trial(case, called, result, conversation, self.look, is_first)

    def _dataset(self, case: Case) -> Any:
        """一个造好的 SFTDataset。

        先用一个子类造，它的 ``_format_conversation`` 什么也不算：``__init__`` 里的给定代码因此总能走完，学习者的错误
        只在我们直接调用他的方法时出现。
        """
        key = (case.tokenizer.description, case.max_length)
        if key not in self._datasets:
            stub = type("SFTDataset", (self.dataset_class,), {"_format_conversation": lambda self, _: ([1], [1])})
            dataset = self._build(stub, case, SINGLE)
            dataset.__class__ = self.dataset_class
            self._datasets[key] = dataset
        return self._datasets[key]

    def _build(self, dataset_class: type, case: Case, conversation: Conversation) -> Any:
        """照接口造一个数据集：数据是一个真的 JSONL 文件。"""
        name = case.tokenizer.description
        if name not in self._tokenizers:
            self._tokenizers[name] = case.tokenizer.build()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "conversation.jsonl")
            path.write_text(json.dumps({"conversations": conversation}, ensure_ascii=False) + "\n", encoding="utf-8")
            with calling(f"SFTDataset(文件, tokenizer, max_length={case.max_length})"):
                return dataset_class(str(path), self._tokenizers[name], case.max_length)


def describe_call(case: Case, item: bool = False) -> str:
    """调用了什么，给人看。"""
    limit = "" if case.max_length == 512 else f", max_length={case.max_length}"
    call = f"SFTDataset(…, tokenizer{limit})" + ("[0]" if item else "._format_conversation(conversation)")
    lines = [f"  {pad(message['role'], 10)}{shorten(repr(message['content']), 60)}" for message in case.conversation]
    if len(lines) > 8:
        lines[4:-3] = [f"  ……（共 {len(lines)} 条消息）"]
    tokenizer = f"tokenizer：{case.tokenizer.description}"
    if case.seed is not None:
        tokenizer += f"\n随机的对话，种子 {case.seed}（设环境变量 SELF_CHECK_SEED={case.seed} 可以重现）"
    return "\n".join([call, "conversation：" if not item else "数据只有这一段对话：", *lines, tokenizer])
