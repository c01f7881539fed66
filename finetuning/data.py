"""训练、验证、检验三份数据。"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from finetuning.arguments import DataArguments
from finetuning.conversations import Conversation
from finetuning.errors import READING, UserError
from finetuning.reading import CheckedConversations, iterate_conversations
from finetuning.store import DiskList
from finetuning.terminal import say, stage

# 没有给检验数据时，从训练数据里留出来的份额和上限。
_HELD_OUT_SHARE, _HELD_OUT_MOST = 0.05, 200
# 参考答案的长度的中位数不超过这么多字符，才要求逐字相同；长的回答有许多种同样好的说法，逐字比较没有意义。
_SHORT_ANSWER = 50


class TokenizedDataset(Protocol):
    """:class:`data_solution.SFTDataset` 中这里用得到的部分。"""

    num_truncated: int
    num_dropped: int

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, list[int]]: ...


class Splits(NamedTuple):
    """训练用的三个数据集，和检验用的对话（原文，用来提问和核对答案）。"""

    train: TokenizedDataset
    validation: TokenizedDataset | None
    test: TokenizedDataset
    test_conversations: list[Conversation]
    held_out: bool  # 检验数据是不是从训练数据里留出来的


def load_splits(
    arguments: DataArguments,
    dataset_class: Callable[..., TokenizedDataset],
    tokenizer: PreTrainedTokenizerBase,
    bad_rows_dir: Path,
    positions: int | None = None,
) -> Splits:
    """按参数读入三份数据。

    Args:
        dataset_class: 把对话变成 ``input_ids`` 和 ``labels`` 的类：参考答案或学习者自己的 ``SFTDataset``。
        positions: 模型最多能看多少个 token；``max_length`` 比它大就改小。
        bad_rows_dir: ``--on_bad_rows skip`` 时，跳过的行记到这个目录的 ``bad_rows_train.jsonl`` 等文件里。

    Raises:
        UserError: 文件读不到，有坏行，或训练数据太少而留不出检验数据。
    """

    if positions is not None and arguments.max_length > positions:
        say(f"模型最多能看 {positions} 个 token，--max_length 从 {arguments.max_length} 改为 {positions}。")
        arguments.max_length = positions

    def read(split: str, source: str) -> Iterator[Conversation]:
        bad_rows_path = bad_rows_dir / f"bad_rows_{split}.jsonl"
        return iterate_conversations(source, on_bad_rows=arguments.on_bad_rows, bad_rows_path=bad_rows_path)

    def to_dataset(conversations: Iterable[Conversation]) -> TokenizedDataset:
        return dataset_class(CheckedConversations(conversations), tokenizer, arguments.max_length)

    with stage(READING):
        train = read("train", arguments.train_file)
        if arguments.test_file:
            test = list(read("test", arguments.test_file))
        else:
            train, test = _hold_out(train, arguments.train_file)
        return Splits(
            train=to_dataset(train),
            validation=to_dataset(read("validation", arguments.validation_file)) if arguments.validation_file else None,
            test=to_dataset(test),
            test_conversations=test,
            held_out=not arguments.test_file,
        )


def answers_are_checkable(conversations: list[Conversation]) -> bool:
    """最后一个回答大多很短（中位数不超过 50 个字符），逐字核对才有意义。"""
    return median(len(conversation[-1]["content"]) for conversation in conversations) <= _SHORT_ANSWER


def _hold_out(conversations: Iterator[Conversation], name: str) -> tuple[Iterator[Conversation], list[Conversation]]:
    """随机留出一部分作检验；与训练的种子无关，所以换种子时检验的是同样的题。"""
    stored = DiskList()  # 读完才知道一共多少段
    for conversation in conversations:
        stored.append(json.dumps(conversation).encode())
    total = len(stored)
    if total < 2:
        raise UserError(f"{name} 只有 {total} 段对话，留不出检验数据；请增加数据，或用 --test_file 另给一份。")
    count = min(max(1, round(total * _HELD_OUT_SHARE)), _HELD_OUT_MOST)
    held_out = set(random.Random(0).sample(range(total), count))
    train = (json.loads(stored[index]) for index in range(total) if index not in held_out)
    return train, [json.loads(stored[index]) for index in sorted(held_out)]
