"""几段文字像不像：相邻四个字的片段，大家都有的不算数。

每段文字切成片段（shingle），相同的片段占两段合起来的几成，就是像的程度（Jaccard）。两处改进，是为了不误报：

- 片段按稀罕的程度加权：用模板写的数据（“34的一半是多少？”“36的一半是多少？”）相同的都是模板的话，分量轻，
  不同的才是要紧的；
- 谁与谁比，由 MinHash（rensa 库）来找：不必两两都比。只是找，像不像另外再算。
"""

import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from rensa import RMinHash

from finetuning.store import DiskList

_SIZE = 4  # 一个片段几个字
_BUCKETS = 1 << 22  # 数片段时的格子
_FEWEST = 6  # 稀罕的片段太少的文字不比：几个字的文字，改一个字就是另一个意思
_BANDS, _ROWS_IN_BAND = 16, 4
_FEWEST_BANDS = 2  # 至少这么多条带相同，才细看；七成像的两段，平均有四条
_LEAST_ROWS = 1000  # 数据很少时，权重照这么多段来算

# 比较时不看的：空白、标点。数里的小数点、时刻里的冒号要看。
_IGNORED = re.compile(r"[\s!?;,、。\"'“”‘’()\[\]【】《》〈〉「」『』…—~*#`]+|[.:](?!\d)")
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


def normalized(text: str) -> str:
    """比较用的样子：全角半角、大小写、空白、标点都不分；只有标点的，原样。"""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", text).casefold()) or text


def shingles_of(texts: Sequence[str]) -> list[np.ndarray]:
    """每段文字的片段，各是一个 32 位的指纹；次序与重复都照原样。"""
    joined = "".join(texts)
    sizes = [max(0, len(text) - _SIZE + 1) for text in texts]
    if len(joined) < _SIZE:
        return [np.zeros(0, np.uint32) for _ in texts]
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - _SIZE + 1, np.uint64)
    for place, multiplier in enumerate(_MULTIPLIERS):
        hashes += codes[place : place + len(hashes)] * multiplier
    hashes ^= hashes >> np.uint64(33)
    short = (hashes * _MIX >> np.uint64(32)).astype(np.uint32)
    starts = np.cumsum([0, *map(len, texts)])
    return [short[start : start + size] for start, size in zip(starts, sizes, strict=False)]


class Commonness:
    """每种片段在数据里出现过几次。"""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.uint32)
        self.rows = 0

    def add(self, shingles: Sequence[np.ndarray]) -> None:
        """添一批，一项是一段对话的。"""
        self.rows += len(shingles)
        if shingles:
            buckets = (np.concatenate(shingles) & (_BUCKETS - 1)).astype(np.intp)
            np.add.at(self._counts, buckets, np.uint32(1))  # 类型都对得上，numpy 才走快的那条路

    def is_rare(self, shingles: np.ndarray) -> np.ndarray:
        """不是大家都有的。"""
        limit = min(max(50, self.rows // 200), 1000)
        return self._counts[shingles & (_BUCKETS - 1)] <= limit

    def weights(self, shingles: np.ndarray) -> np.ndarray:
        """越稀罕越重。"""
        rows = max(self.rows, _LEAST_ROWS)
        return np.log1p(rows / np.maximum(self._counts[shingles & (_BUCKETS - 1)], 1))

    def likeness(self, one: np.ndarray, other: np.ndarray) -> float:
        """两组片段有几成相同，0 到 1；都没有片段是 0。"""
        one, other = np.unique(one), np.unique(other)
        both = np.intersect1d(one, other, assume_unique=True)
        shared = self.weights(both).sum()
        total = self.weights(one).sum() + self.weights(other).sum() - shared
        return float(shared / total) if total else 0.0

    def sketches(self, shingles: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """MinHash：哪几项够比，和它们的各条带（条带数 × 项数）。"""
        flat = np.concatenate(shingles) if shingles else np.zeros(0, np.uint32)
        rare = self.is_rare(flat)
        owner = np.repeat(np.arange(len(shingles)), [len(each) for each in shingles])[rare]
        counts = np.bincount(owner, minlength=len(shingles))
        chosen = np.flatnonzero(counts >= _FEWEST)
        wanted = counts[owner] >= _FEWEST
        kept = flat[rare][wanted].astype(np.uint64)
        if not len(chosen):
            return chosen, np.zeros((_BANDS, 0), np.uint64)
        offsets = np.concatenate([[0], np.cumsum(counts[chosen])]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(kept * _MIX, offsets, _BANDS * _ROWS_IN_BAND, 42)
        values = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(chosen), _BANDS, _ROWS_IN_BAND)
        keys = np.zeros((len(chosen), _BANDS), np.uint64)
        for place in range(_ROWS_IN_BAND):
            keys = (keys ^ values[:, :, place]) * _MULTIPLIERS[place]
            keys ^= keys >> np.uint64(29)
        return chosen, keys.T


class ShingleStore:
    """每段对话的片段，放在磁盘上：问题各一组，回答各一组。"""

    def __init__(self) -> None:
        self._items = DiskList()

    def append(self, questions: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> None:
        """添一段对话的。"""
        header = array("I", [len(questions), *map(len, questions), len(answers), *map(len, answers)])
        self._items.append(b"".join([header.tobytes(), *(each.tobytes() for each in (*questions, *answers))]))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        numbers = np.frombuffer(self._items[row], np.uint32)
        first = int(numbers[0])
        second = int(numbers[first + 1])
        sizes = [*numbers[1 : first + 1].tolist(), *numbers[first + 2 : first + 2 + second].tolist()]
        start, groups = first + second + 2, []
        for size in sizes:
            groups.append(numbers[start : start + size])
            start += size
        return groups[:first], groups[first:]


class BandIndex:
    """一批文字的各条带：找出哪些可能像；一段文字占 136 字节。"""

    def __init__(self) -> None:
        self._numbers: list[np.ndarray] = []
        self._bands: list[np.ndarray] = []

    def add(self, numbers: np.ndarray, bands: np.ndarray) -> None:
        """添几段；``numbers`` 是它们的编号。"""
        self._numbers.append(numbers.astype(np.int64))
        self._bands.append(np.ascontiguousarray(bands))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """可能像的（前面的编号, 后面的编号），按后面的编号从小到大。"""
        numbers = np.concatenate(self._numbers) if self._numbers else np.zeros(0, np.int64)
        found: list[np.ndarray] = []
        for band in range(_BANDS):
            keys = self._band(band)
            # 先按这一条带、再按下一条带排：像的两段多半相邻，一格里再多也不必两两都看
            order = np.lexsort((self._band((band + 1) % _BANDS), keys))
            for step in (1, 2):
                same = np.flatnonzero(keys[order[step:]] == keys[order[:-step]])
                one, other = order[same], order[same + step]
                low, high = np.minimum(one, other).astype(np.uint64), np.maximum(one, other).astype(np.uint64)
                found.append(high << np.uint64(32) | low)
        codes, counts = np.unique(np.concatenate(found) if found else np.zeros(0, np.uint64), return_counts=True)
        codes = codes[counts >= _FEWEST_BANDS]
        for start in range(0, len(codes), 10_000):
            chunk = codes[start : start + 10_000]
            later, earlier = numbers[chunk >> np.uint64(32)], numbers[chunk & np.uint64(0xFFFFFFFF)]
            yield from zip(earlier.tolist(), later.tolist(), strict=True)

    def _band(self, band: int) -> np.ndarray:
        return np.concatenate([each[band] for each in self._bands]) if self._bands else np.zeros(0, np.uint64)


class Lookup:
    """一小批文字（检验数据的问题）的各条带，拿别的来问。"""

    _MOST_IN_BUCKET = 5

    def __init__(self, numbers: np.ndarray, bands: np.ndarray):
        self._order = [np.argsort(band, kind="stable") for band in bands]
        self._keys = [band[order] for band, order in zip(bands, self._order, strict=True)]
        self._numbers = numbers

    def ask(self, bands: np.ndarray) -> Iterator[tuple[int, int]]:
        """（第几个问的, 可能像的编号）。"""
        if not len(self._numbers):
            return
        found: list[np.ndarray] = []
        for keys, order, asked in zip(self._keys, self._order, bands, strict=True):
            start = np.searchsorted(keys, asked)
            for step in range(self._MOST_IN_BUCKET):
                place = np.minimum(start + step, len(keys) - 1)
                same = np.flatnonzero((start + step < len(keys)) & (keys[place] == asked))
                found.append(same.astype(np.uint64) << np.uint64(32) | order[place[same]].astype(np.uint64))
        codes, counts = np.unique(np.concatenate(found), return_counts=True)
        for code in codes[counts >= _FEWEST_BANDS].tolist():
            yield code >> 32, int(self._numbers[code & 0xFFFFFFFF])
