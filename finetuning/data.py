"""训练、验证、检验三份数据。"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from finetuning.arguments import DataArguments
from finetuning.chat_format import chat_format, fits
from finetuning.conversations import Conversation
from finetuning.errors import READING, UserError
from finetuning.hermes import with_thoughts_unlearnt
from finetuning.holdout import SeenPrompts, fingerprint, hold_out
from finetuning.reading import CheckedConversations, Row, iterate_rows
from finetuning.sources import Source, iterate_sources, parse_sources
from finetuning.template import ModelTemplate
from finetuning.template_dataset import TemplateDataset
from finetuning.terminal import say, stage

# 参考答案的长度的中位数不超过这么多字符，才要求逐字相同；长的回答有许多种同样好的说法，逐字比较没有意义。
_SHORT_ANSWER = 50
_SHOWN_KEYS = 6


class TokenizedDataset(Protocol):
    """:class:`data_solution.SFTDataset` 中这里用得到的部分。"""

    num_truncated: int
    num_dropped: int

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, list[int]]: ...


class RowCounts:
    """训练数据有几段，有几段与前面的一字不差，有几段有系统提示；用 :meth:`watch` 看着它们读完才知道。

    Attributes:
        formats: 各种格式各有几段。
        unused: 没有用到的键，各在几段里。
        unlearnt: 标了不学的回答有几个。
    """

    def __init__(self) -> None:
        self.rows = self.with_system = self.unlearnt = 0
        self.formats: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self._fingerprints = array("Q")

    @property
    def duplicates(self) -> int:
        """与前面的某一段一字不差的。"""
        return len(self._fingerprints) - len(np.unique(np.array(self._fingerprints, dtype=np.uint64)))

    def told(self) -> list[str]:
        """格式和没有用到的，说给人听；都是本项目的格式、全用到了的，不说。"""
        lines = []
        if set(self.formats) - {"本项目"}:
            counted = "、".join(f"{name} {count:,} 段" for name, count in self.formats.most_common(_SHOWN_KEYS))
            lines.append(f"格式：{counted}")
        if self.unused:
            shown = "、".join(f"{key}（{count:,} 段）" for key, count in self.unused.most_common(_SHOWN_KEYS))
            more = f"等 {len(self.unused)} 个" if len(self.unused) > _SHOWN_KEYS else ""
            lines.append(f"没有用到的键：{shown}{more}")
        if self.unlearnt:
            lines.append(f"标明不学的回答 {self.unlearnt:,} 个，只作上文")
        return lines

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """原样给出。"""
        for row in rows:
            self.rows += 1
            self.with_system += row.conversation[0]["role"] == "system"
            self.unlearnt += sum(not message.get("learnt", True) for message in row.conversation)
            self.formats[row.format] += 1
            self.unused.update(row.unused)
            self._fingerprints.append(fingerprint(row.conversation))
            yield row


class Splits(NamedTuple):
    """训练用的三个数据集，和检验用的各行（原文，用来提问和核对答案）。

    Attributes:
        held_out: 从训练数据里留出来的是哪几份：``"test"``、``"validation"``。
        num_equal: 留出的里面，问题与另一段相同的（放在了同一边）。
        num_seen: 检验、验证里，问题在训练数据里也有的：那些是学过的。
        too_long: 检验、验证里，长得一个回答也放不下、因而略去的，各在哪里。
        sources: 训练数据的各个来源，各用了多少。
        counts: 训练数据有几段，有没有重复。
        skipped: 跳过了几行坏行的文件 → 几行。
    """

    train: TokenizedDataset
    validation: TokenizedDataset | None
    test: TokenizedDataset
    test_rows: list[Row]
    held_out: tuple[str, ...] = ()
    num_equal: int = 0
    num_seen: Mapping[str, int] = MappingProxyType({})
    too_long: Mapping[str, list[str]] = MappingProxyType({})
    sources: Sequence[Source] = ()
    counts: RowCounts = RowCounts()
    skipped: Mapping[str, int] = MappingProxyType({})


def load_splits(
    arguments: DataArguments,
    dataset_class: Callable[..., TokenizedDataset],
    tokenizer: PreTrainedTokenizerBase,
    bad_rows_dir: Path,
    positions: int | None = None,
    needs_validation: bool = False,
) -> Splits:
    """按参数读入三份数据；没有给检验数据的，从训练数据里留出。

    Args:
        dataset_class: 把对话变成 ``input_ids`` 和 ``labels`` 的类：参考答案或学习者自己的 ``SFTDataset``。
            分词器的对话模板是模型自己的（``--chat_template model``）时不用它，用 ``TemplateDataset``。
        positions: 模型最多能看多少个 token；``max_length`` 比它大就改小。
        bad_rows_dir: ``--on_bad_rows skip`` 时，跳过的行记到这个目录的 ``bad_rows_train.jsonl`` 等文件里。
        needs_validation: 没有给验证数据时，也从训练数据里留出一份。

    Raises:
        UserError: 文件读不到，有坏行，训练数据留不出检验数据，或检验、验证数据全都太长。
    """
    form = chat_format(tokenizer)
    if positions is not None and arguments.max_length > positions:
        _check_positions(positions)
        say(f"模型最多能看 {positions} 个 token，--max_length 从 {arguments.max_length} 改为 {positions}。")
        arguments.max_length = positions

    def answerable(conversation: Conversation) -> bool:
        """第一个回答至少放得下一个 token。"""
        first = next(index for index, message in enumerate(conversation) if message["role"] == "assistant")
        return fits(form, conversation[: first + 1], arguments.max_length, new_tokens=1)

    def prepare(conversation: Conversation) -> Conversation:
        return form.prepare(conversation if arguments.learn_reasoning else with_thoughts_unlearnt(conversation))

    skipped: dict[str, int] = {}

    def read(split: str, source: str) -> Iterator[Row]:
        bad_rows_path = bad_rows_dir / f"bad_rows_{split}.jsonl"
        yield from iterate_rows(
            source,
            on_bad_rows=arguments.on_bad_rows,
            bad_rows_path=bad_rows_path,
            columns=arguments.columns_by_name,
            prepare=prepare,
        )
        if arguments.on_bad_rows == "skip" and bad_rows_path.exists() and (bad := _count_lines(bad_rows_path)):
            skipped[bad_rows_path.name] = bad

    def to_dataset(rows: Iterable[Row]) -> TokenizedDataset:
        conversations = (row.conversation for row in rows)
        if isinstance(form, ModelTemplate):
            return TemplateDataset(conversations, form, arguments.max_length)
        return dataset_class(CheckedConversations(conversations), tokenizer, arguments.max_length)

    with stage(READING):
        sources = parse_sources(arguments.train_file)
        train = iterate_sources(sources, read)
        given = {"test": arguments.test_file, "validation": arguments.validation_file}
        checked: dict[str, Iterable[Row]] = {split: read(split, file) for split, file in given.items() if file}
        held_out = arguments.held_out(needs_validation)
        num_equal = 0
        if held_out:
            train, parts, num_equal = hold_out(train, len(held_out), answerable)
            checked |= dict(zip(held_out, parts, strict=True))

        seen, counts = SeenPrompts(), RowCounts()
        too_long: dict[str, list[str]] = {}
        kept = {split: _keep(answerable, rows, too_long.setdefault(split, [])) for split, rows in checked.items()}
        test = list(_some(seen.watch("test", kept["test"]), given["test"], too_long["test"], arguments.max_length))
        validation = None
        if "validation" in kept:
            rows = seen.watch("validation", kept["validation"])
            validation = to_dataset(_some(rows, given["validation"], too_long["validation"], arguments.max_length))
        return Splits(
            train=to_dataset(counts.watch(seen.compare(train))),
            validation=validation,
            test=to_dataset(test),
            test_rows=test,
            held_out=held_out,
            num_equal=num_equal,
            num_seen={split: seen.count(split) for split in checked},
            too_long=too_long,
            sources=sources,
            counts=counts,
            skipped=skipped,
        )


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def answers_are_checkable(answers: Iterable[str]) -> bool:
    """回答大多很短（中位数不超过 50 个字符），逐字核对才有意义。"""
    return median(map(len, answers)) <= _SHORT_ANSWER


def _check_positions(positions: int) -> None:
    if positions < 2:
        raise UserError(
            "前缀（--num_virtual_tokens）占满了模型能看的位置，一段对话也放不下；请减小它，或换一个能看得更长的模型。"
        )


def _keep(answerable: Callable[[Conversation], bool], rows: Iterable[Row], too_long: list[str]) -> Iterator[Row]:
    """去掉长得一个回答也放不下的，记下它们在哪里。"""
    for row in rows:
        if answerable(row.conversation):
            yield row
        else:
            too_long.append(row.place)


def _some(rows: Iterator[Row], file: str | None, too_long: list[str], max_length: int) -> Iterator[Row]:
    """原样给出；一段也没有就停下。"""
    first = next(rows, None)
    if first is None:
        raise UserError(
            f"{file} 的 {len(too_long)} 段对话全都太长：在 --max_length {max_length} 个 token 之内，"
            f"问题后面一个回答也放不下（{too_long[0]}）；请加大 --max_length，或换一份数据。"
        )
    yield first
    yield from rows
