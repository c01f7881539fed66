"""TODO 1：照接口造出学习者的 ``SFTDataset``，用一个用例调用他的 ``_format_conversation``。"""

import copy
import inspect
import json
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from self_check.data.cases import Case
from self_check.data.conversations import PLAIN, SINGLE, Conversation
from self_check.data.light_tokenizer import LightTokenizer
from self_check.data.named_tokenizers import base_tokenizer
from self_check.data.trials import Trial
from self_check.location import learner_file, look_at
from self_check.sandbox import SetupError, calling
from self_check.text import pad, shorten


class Learner:
    """学习者的 ``SFTDataset``。"""

    def __init__(self, subject: Any):
        self._subject = subject
        self._tokenizers: dict[str, LightTokenizer] = {}
        self._datasets: dict[tuple[str, int], Any] = {}
        self._called_before = False

    @cached_property
    def dataset_class(self) -> Any:
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
        return [self.call(Case(base_tokenizer(), conversation)) for conversation in [*PLAIN, PLAIN[0]]]

    def first_item(self, case: Case) -> tuple[list[int], list[int]]:
        """``SFTDataset(文件, tokenizer, max_length)[0]`` 的 ``input_ids`` 与 ``labels``。"""
        with calling(describe_call(case, item=True)):
            item = self._build(self.dataset_class, case, case.conversation)[0]
            return list(item["input_ids"]), list(item["labels"])

    @cached_property
    def look(self) -> str:
        """学习者的代码在哪里。"""
        function = self.dataset_class._format_conversation
        code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
        return look_at(learner_file(self._subject), code.co_firstlineno if code else None)

    def call(self, case: Case) -> Trial:
        """调用一次。"""
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
