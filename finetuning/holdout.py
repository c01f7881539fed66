"""从训练数据里留出检验、验证用的：按问题来分，同样的问题不会一边学、一边考。

一段对话里每个回答之前的话是一个问题。留出的对话，它最后的那个问题在训练的那一边一次也不出现：问题相同的对话
（一字不差的重复，或同一问的几种答法）全都归到留出的一边。不然检验的就是背下来的答案。
"""

import json
import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from finetuning.conversations import Conversation
from finetuning.errors import UserError
from finetuning.reading import Row
from finetuning.sources import RowStore

_SHARE, _MOST = 0.05, 200  # 每一份留出多少：份额和上限


def prompts(conversation: Conversation) -> list[int]:
    """每个回答之前的话的指纹（64 位），从前到后。"""
    digest, found = blake2b(digest_size=8), []
    for message in conversation:
        if message["role"] == "assistant":
            found.append(int.from_bytes(digest.digest(), "big"))
        digest.update(json.dumps(message).encode())
    return found


def fingerprint(conversation: Conversation) -> int:
    """整段对话的指纹（64 位）。"""
    return int.from_bytes(blake2b(json.dumps(conversation).encode(), digest_size=8).digest(), "big")


class HeldOut(NamedTuple):
    """留出的结果。"""

    train: Iterator[Row]
    parts: list[list[Row]]  # 每一份留出的，按原来的次序
    num_equal: int  # 留出的里面，问题与另一段相同的


def hold_out(rows: Iterable[Row], num_parts: int, usable: Callable[[Conversation], bool]) -> HeldOut:
    """随机留出 ``num_parts`` 份，其余的训练；与训练的种子无关，所以换种子时检验的是同样的题。

    Args:
        usable: 能不能用来检验，例如没有长得回答都放不下；不能的留在训练的那一边。

    Raises:
        UserError: 太少，或问题大多一样，留不出没有学过的。
    """
    stored, index = RowStore(), _PromptIndex()
    for row in rows:
        stored.append(row)
        index.append(prompts(row.conversation))
    total = len(stored)
    quota = min(max(1, round(total * _SHARE)), _MOST)
    order = random.Random(0).sample(range(total), total)
    taken: dict[int, int] = {}  # 留出的对话 → 第几份
    num_groups = 0
    for part in range(num_parts):
        free = [number for number in order if number not in taken]
        groups = _pick_groups(free, index, quota, lambda number: usable(stored[number].conversation))
        num_groups += len(groups)
        for group in groups:
            taken |= dict.fromkeys(group.difference(taken), part)
        if not groups or len(taken) == total:
            same = "，问题全都一样" if index.num_prompts == 1 else ""
            long = "，而且都长得一个回答也放不下（请加大 --max_length）" if not groups and total > len(taken) else ""
            raise UserError(
                f"{stored[0].source} 的 {total} 段对话留不出没有学过的检验数据{same}{long}；"
                "请增加数据，或用 --test_file（和 --validation_file）另给一份。"
            )
    parts = [[stored[number] for number in sorted(taken) if taken[number] == part] for part in range(num_parts)]
    train = (stored[number] for number in range(total) if number not in taken)
    return HeldOut(train, parts, len(taken) - num_groups)


class _PromptIndex:
    """哪些对话里有同一个问题；每个问题占 20 字节。"""

    def __init__(self) -> None:
        self._keys, self._rows, self._last = array("Q"), array("L"), array("Q")

    def append(self, keys: list[int]) -> None:
        """添一段对话的各个问题。"""
        self._rows.extend([len(self._last)] * len(keys))
        self._keys.extend(keys)
        self._last.append(keys[-1])

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        keys = np.array(self._keys, dtype=np.uint64)
        order = keys.argsort(kind="stable")
        return keys[order], np.array(self._rows)[order]

    @property
    def num_prompts(self) -> int:
        """一共有多少个不同的最后的问题。"""
        return len(set(self._last))

    def group_of(self, number: int) -> set[int]:
        """哪些对话里有 ``number`` 最后的那个问题，包括它自己。"""
        keys, rows = self._sorted
        key = np.uint64(self._last[number])
        start, end = keys.searchsorted(key, "left"), keys.searchsorted(key, "right")
        return set(rows[start:end].tolist())


def _pick_groups(order: list[int], index: _PromptIndex, quota: int, usable: Callable[[int], bool]) -> list[set[int]]:
    """按 ``order`` 选几组问题相同的对话，一共不超过 ``quota`` 段；一组也放不下时，用最小的一组。"""
    picked: list[set[int]] = []
    seen: set[int] = set()
    smallest: set[int] | None = None
    for number in order:
        if number in seen:
            continue
        group = index.group_of(number)
        seen |= group
        if not usable(number):
            continue
        if len(group) <= quota:
            picked.append(group)
            quota -= len(group)
        elif smallest is None or len(group) < len(smallest):
            smallest = group
        if quota == 0:
            break
    return picked or ([smallest] if smallest else [])


class SeenPrompts:
    """检验、验证的问题里，有多少训练时也有：那些是学过的。

    先用 :meth:`watch` 看着检验、验证的对话，再用 :meth:`compare` 看着训练的；都读完以后，:meth:`count` 就知道了。
    """

    def __init__(self) -> None:
        self._last: dict[str, array[int]] = {}
        self._watched: set[int] = set()
        self._seen: set[int] = set()

    def watch(self, split: str, rows: Iterable[Row]) -> Iterator[Row]:
        """原样给出，记下最后的问题。"""
        last = self._last.setdefault(split, array("Q"))
        for row in rows:
            last.append(prompts(row.conversation)[-1])
            self._watched.add(last[-1])
            yield row

    def compare(self, rows: Iterable[Row]) -> Iterator[Row]:
        """原样给出训练的对话，记下哪些问题也在检验、验证里。"""
        for row in rows:
            if self._watched:
                self._seen.update(self._watched.intersection(prompts(row.conversation)))
            yield row

    def count(self, split: str) -> int:
        """``split`` 里有多少段的问题，训练时也有。"""
        return sum(prompt in self._seen for prompt in self._last.get(split, ()))
