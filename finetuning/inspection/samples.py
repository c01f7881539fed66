"""几段对话，照模型看到的样子：一段段连着的 token，要学的和不学的。"""

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from finetuning.inspection.lengths import Tokens, decoded
from finetuning.inspection.personal import masked
from finetuning.inspection.survey import Survey, answer_at, excerpt
from finetuning.template_dataset import IGNORE_INDEX
from finetuning.terminal import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_HEAD, _TAIL = 160, 60  # 一段文字太长时，开头和末尾各留多少字
_MOST_REPEATED = 10


class Piece(NamedTuple):
    """连着的一段文字；个人信息已经遮住。"""

    text: str
    learnt: bool


class Sample(NamedTuple):
    """一段对话，模型看到的样子。"""

    place: str
    pieces: list[Piece]
    tokens: int
    learnt: int
    cut: int  # 末尾截掉了几个 token


class Repeated(NamedTuple):
    """重复得多的回答。"""

    text: str
    times: int
    place: str


def samples(survey: Survey, tokens: Tokens, tokenizer: "PreTrainedTokenizerBase") -> list[Sample]:
    """短的、不长不短的、长的，各一段。"""
    shown = []
    for number in survey.lengths.typical_rows():
        row = survey.rows[number]
        ids, labels = tokens.of([row.conversation])[0][-1]
        most = survey.lengths.max_length
        pieces = []
        for learnt, group in groupby(range(len(ids)), key=lambda place: labels[place] != IGNORE_INDEX):
            places = list(group)
            if places[0] >= most:
                break
            # 遮的时候看整段，再截：不然截断处的半个号码认不出来
            whole = decoded(tokenizer, [ids[place] for place in places])
            kept = decoded(tokenizer, [ids[place] for place in places if place < most])
            pieces.append(Piece(_shortened(whole, len(kept)), learnt))
        learnt = sum(label != IGNORE_INDEX for label in labels[:most])
        shown.append(Sample(row.place, pieces, len(ids), learnt, max(0, len(ids) - most)))
    return shown


def _shortened(text: str, length: int) -> str:
    if length <= _HEAD + _TAIL + 20:
        return printable(masked(text, 0, length))
    head, tail = masked(text, 0, _HEAD), masked(text, length - _TAIL, length)
    return printable(f"{head}〔……中间 {length - _HEAD - _TAIL:,} 字……〕{tail}")


def most_repeated(survey: Survey) -> list[Repeated]:
    """重复得最多的几种回答，至少出现两次。"""
    keys = np.frombuffer(survey.answer_keys, np.int64)
    if not len(keys):
        return []
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    found = []
    for n in np.lexsort((first, -counts))[:_MOST_REPEATED].tolist():
        if counts[n] < 2:
            break
        row = survey.rows[survey.answer_rows[int(first[n])]]
        said = answer_at(row.conversation, survey.answer_places[int(first[n])])
        found.append(Repeated(excerpt(said), int(counts[n]), row.place))
    return found
