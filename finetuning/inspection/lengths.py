"""每段对话有多少 token，学其中的多少：与训练时由同样的代码得到。"""

import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finetuning.chat_format import ChatFormat
from finetuning.conversations import Conversation
from finetuning.data import TokenizedDataset
from finetuning.reading import CheckedConversations
from finetuning.template import ModelTemplate
from finetuning.template_dataset import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DatasetClass = Callable[..., TokenizedDataset]
Example = tuple[list[int], list[int]]  # input_ids 和 labels

_PLAIN: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}


class BatchTokenizer:
    """分词器，另外记着一批文字的编码：一次编码一千段，比一段一段地快得多（几个核一起做）。"""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self._tokenizer: Any = tokenizer
        self._known: dict[str, list[int]] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """记下这一批文字的编码，忘掉上一批的。"""
        distinct = list(dict.fromkeys(texts))
        self._known = (
            dict(zip(distinct, self._tokenizer(distinct, **_PLAIN)["input_ids"], strict=True)) if distinct else {}
        )

    def __call__(self, text: str, **options: Any) -> Any:
        if options == _PLAIN and text in self._known:
            return {"input_ids": list(self._known[text])}
        return self._tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Tokens:
    """对话 → 训练时的样本。

    Args:
        form: 分词器的对话格式（:func:`finetuning.chat_format.chat_format`）。
        dataset_class: ChatML 的训练用的类，``data_solution.SFTDataset``。
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", form: ChatFormat, dataset_class: DatasetClass):
        self.form, self._dataset_class = form, dataset_class
        self._tokenizer = BatchTokenizer(tokenizer)

    def ahead(self, conversations: Sequence[Conversation]) -> None:
        """先把这一批的内容编码好；可以在另一个线程里做。"""
        if not isinstance(self.form, ModelTemplate):
            prepared = [self.form.prepare(conversation) for conversation in conversations]
            self._tokenizer.learn(message["content"] for conversation in prepared for message in conversation)

    def of(self, conversations: Sequence[Conversation]) -> list[list[Example]]:
        """每段对话的样本：ChatML 的总是一个；模型自己的模板可能拆成几个。都没有截断。"""
        prepared = [self.form.prepare(conversation) for conversation in conversations]
        if isinstance(self.form, ModelTemplate):
            return [[_labelled(*example) for example in self.form.examples(each)] for each in prepared]
        dataset = self._dataset_class(CheckedConversations(prepared), self._tokenizer, sys.maxsize)
        assert len(dataset) == len(prepared)
        examples = (dataset[index] for index in range(len(dataset)))
        return [[(each["input_ids"], each["labels"])] for each in examples]


def _labelled(ids: list[int], learnt: list[bool]) -> Example:
    return ids, [token if wanted else IGNORE_INDEX for token, wanted in zip(ids, learnt, strict=True)]


def num_learnt(labels: list[int]) -> int:
    """要学的有几个。"""
    return len(labels) - labels.count(IGNORE_INDEX)


class Lengths:
    """各个样本的长度；每个样本占 16 字节。

    Attributes:
        max_length: 训练时的 ``--max_length``。
    """

    def __init__(self, max_length: int):
        self.max_length = max_length
        self._rows, self._lengths = array("i"), array("i")
        self._learnt, self._kept = array("i"), array("i")

    def add(self, row: int, examples: list[Example]) -> None:
        """添第 ``row`` 段的样本。"""
        for ids, labels in examples:
            learnt = num_learnt(labels)
            self._rows.append(row)
            self._lengths.append(len(ids))
            self._learnt.append(learnt)
            self._kept.append(learnt if len(ids) <= self.max_length else num_learnt(labels[: self.max_length]))

    @property
    def all(self) -> np.ndarray:
        """各个样本的长度。"""
        return np.frombuffer(self._lengths, dtype=np.int32) if self._lengths else np.zeros(0, np.int32)

    @property
    def num_cut(self) -> int:
        """比 ``max_length`` 长的样本数，包括一个要学的也没有剩下的。"""
        return int((self.all > self.max_length).sum())

    @property
    def num_dropped(self) -> int:
        """截断以后没有要学的，训练时略去的样本数。"""
        return self._kept.count(0)

    @property
    def lost_share(self) -> float:
        """截断以后，要学的 token 丢了多少，0 到 1。"""
        return 1 - sum(self._kept) / max(1, sum(self._learnt))

    @property
    def learnt_share(self) -> float:
        """训练时看的 token 里，要学的占多少，0 到 1。"""
        return sum(self._kept) / max(1, int(np.minimum(self.all, self.max_length).sum()))

    @property
    def total(self) -> int:
        """一共多少 token，没有截断。"""
        return int(self.all.sum(dtype=np.int64))

    def quantile(self, share: float) -> int:
        """有 ``share`` 的样本不超过这么长。"""
        return int(np.quantile(self.all, share, method="inverted_cdf"))

    def longer_than(self, length: int) -> list[int]:
        """哪几段比 ``length`` 长，前几个。"""
        return sorted({int(self._rows[index]) for index in np.flatnonzero(self.all > length)[:20]})

    def typical_rows(self) -> list[int]:
        """三段：短的、不长不短的、长的。"""
        order = np.argsort(self.all, kind="stable")
        picked = [int(self._rows[order[round(share * (len(order) - 1))]]) for share in (0.1, 0.5, 0.95)]
        return list(dict.fromkeys(picked))

    def histogram(self) -> list[tuple[int, int, int]]:
        """（从, 到, 个数）：每格一样宽，宽度是 10、20、50、100……；最后一格到最长的为止。"""
        lengths = self.all
        top = max(self.quantile(0.995), 1)
        raw = max(top / 12, 10)
        scale = 10 ** int(np.floor(np.log10(raw)))
        width = int(next(step * scale for step in (1, 2, 5, 10) if step * scale >= raw))
        first = int(lengths.min()) // width * width
        edges = [*range(first, top + 1, width), max(int(lengths.max()) + 1, top + 1)]
        counts = np.histogram(lengths, bins=edges)[0]
        return [(low, high - 1, int(count)) for low, high, count in zip(edges, edges[1:], counts, strict=False)]


def decoded(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> str:
    """token → 文字，控制 token 也写出来。"""
    return cast(str, cast(Any, tokenizer).decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
