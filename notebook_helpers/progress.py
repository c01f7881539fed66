"""进度条：写在标准输出上，完成后不留痕迹。"""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, what: str = "训练") -> Iterator[Item]:
    """一边取 ``items``，一边显示进度。"""
    yield from tqdm(items, total=total, desc=what, unit="步", file=sys.stdout, leave=False, mininterval=0.5)
