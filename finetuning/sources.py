"""训练数据可以有几个来源（文件、目录、hub 数据集），各取多少：``a.jsonl b.jsonl:0.5 shards/``。"""

import json
import math
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from finetuning.errors import UserError
from finetuning.reading import Row, data_files
from finetuning.store import DiskList

_LARGEST_SHARE = 1000
_LIKE_A_SHARE = re.compile(r"[-+.\d][-+.\deE]*%?")
_SHARE = re.compile(r"(?P<name>.+):(?P<share>\d+(\.\d+)?)")


class RowStore:
    """读完才知道一共多少段的，先放在磁盘上。"""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = DiskList()
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """添一段。"""
        self._rows.append(json.dumps(row).encode())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        row = Row(*json.loads(self._rows[index]))
        return row._replace(unused=tuple(row.unused))


@dataclass
class Source:
    """一个来源。

    Attributes:
        name: 本地文件，或 hub 数据集。
        share: 用它的多少：0.5 是随机取一半，2 是每段用两遍。
        read: 读出了多少段；读完才知道。
        used: 用了多少段。
    """

    name: str
    share: float = 1.0
    read: int = 0
    used: int = 0


def parse_sources(words: Iterable[str]) -> list[Source]:
    """``--train_file`` 后面的几个词 → 来源；目录换成其中的数据文件，按名字的次序。

    Raises:
        UserError: 一个也没有；写了两次；取的份额是 0；目录里没有数据文件。
    """
    sources = []
    for word in words:
        match = _SHARE.fullmatch(word)
        # 名字里本来就有冒号的文件，照原样读。
        name, share = (match["name"], float(match["share"])) if match and not Path(word).exists() else (word, 1.0)
        if share == 0:
            raise UserError(f"--train_file {word} 的份额是 0，一段也不取；请去掉它，或写一个大于 0 的数。")
        if share > _LARGEST_SHARE:
            raise UserError(f"--train_file {word} 的份额太大，最多 {_LARGEST_SHARE}；多看几轮请用 --num_train_epochs。")
        before, colon, after = name.rpartition(":")
        if colon and _LIKE_A_SHARE.fullmatch(after) and Path(before).exists():
            raise UserError(f"--train_file {word} 的份额 {after} 读不懂；请写成 {before}:0.5 这样的数。")
        sources += [Source(file, share) for file in data_files(name)]
    places = [os.path.realpath(os.path.expanduser(source.name)) for source in sources]  # noqa: PTH111  没有“~谁”这个用户
    if repeated := next((sources[n].name for n, place in enumerate(places) if places.count(place) > 1), None):
        raise UserError(f"--train_file 里 {repeated} 写了两次；要用两遍，请写成 {repeated}:2。")
    if not sources:
        raise UserError("--train_file 后面没有数据文件；请写出至少一个。")
    return sources


def iterate_sources(sources: list[Source], read: Callable[[str, str], Iterator[Row]]) -> Iterator[Row]:
    """逐段读出各个来源；只取一部分的，取哪些与训练的种子无关。

    Args:
        read: （这一份的名字, 来源）→ 各行；名字依次是 ``train``、``train_2``……

    Raises:
        UserError: 同 :func:`finetuning.reading.iterate_rows`；或取出来一段也没有。
    """
    for number, source in enumerate(sources, 1):
        yield from _share_of(source, read("train" if number == 1 else f"train_{number}", source.name))
        if not source.used:
            raise UserError(
                f"{source.name} 只有 {source.read} 段对话，取 {source.share:g} 份是 0 段；请加大份额，或去掉它。"
            )


def _share_of(source: Source, rows: Iterator[Row]) -> Iterator[Row]:
    if source.share == 1:
        for row in rows:
            source.read += 1
            source.used += 1
            yield row
        return
    stored = RowStore(rows)
    source.read = len(stored)
    copies = math.floor(source.share)
    extra = round((source.share - copies) * source.read)
    chosen = set(random.Random(0).sample(range(source.read), extra))
    for index in range(source.read):
        times = copies + (index in chosen)
        source.used += times
        for _ in range(times):
            yield stored[index]
