"""个人信息：手机号、身份证号、银行卡号、邮箱。只数，不显示：凡是给人看的文字，都先经过 :func:`masked`。"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import NamedTuple


class Personal(NamedTuple):
    """文字里的一处个人信息。"""

    kind: str  # "手机号"……
    start: int
    end: int


# 全角的数字和 @ 换成半角的：一个换一个，位置不变。
_HALF_WIDTH = str.maketrans("０１２３４５６７８９＠．－＋Ｘｘ", "0123456789@.-+Xx")
# 有三个相连的数字或 @，才可能有；绝大多数文字到这里为止。
_POSSIBLE = re.compile(r"\d{3}|[@＠]")
_NOT_INSIDE = r"(?<![\d/_])(?<!\d\.)"  # 不是更长的数、小数、网址的一部分
_ENDS = r"(?!\d)(?!\.\d)"

_ID_CARD = re.compile(_NOT_INSIDE + r"[1-9]\d{5}(?:19|20)\d{9}[\dXx](?![\dA-Za-z])")
_BANK_CARD = re.compile(_NOT_INSIDE + r"(?:62|4\d|5[1-5]|3[47]|35)(?:[ -]?\d){13,17}" + _ENDS)
_MOBILE = re.compile(_NOT_INSIDE + r"(?:\+?86[- ]?)?1[3-9]\d(?:[ -]?\d{4}){2}" + _ENDS)
_EMAIL = re.compile(
    r"[A-Za-z0-9](?:[\w.+-]{0,63})@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}", re.ASCII
)
# 报错时截短了的内容，认不出是不是号码：一长串数字、带 @ 的一律遮住。
_CUT_SHORT = re.compile(r"\d[\d -]{4,}\d|[^\s'\"]+@[^\s'\"]*")


def is_id_card(number: str) -> bool:
    """18 位身份证号：出生日期是真的日期，末位与校验码（GB 11643）相符。"""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    # 第 i 位（从右数起，末位是 0）的权重是 2 的 i 次方；加起来除以 11 余 1。
    values = [10 if digit in "Xx" else int(digit) for digit in number]
    return sum(value * 2**place for place, value in enumerate(reversed(values))) % 11 == 1


def is_bank_card(number: str) -> bool:
    """卡号的末位与 Luhn 校验相符：从右数起，隔一位乘以 2（超过 9 的减 9），加起来是 10 的倍数。"""
    digits = [int(digit) for digit in number if digit.isdigit()]
    if len(set(digits)) == 1:
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


# 长的在前：身份证号里的 11 位数字，不再当作手机号。
_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("身份证号", _ID_CARD, is_id_card),
    ("银行卡号", _BANK_CARD, is_bank_card),
    ("手机号", _MOBILE, lambda number: True),
    ("邮箱", _EMAIL, lambda address: True),
)
PERSONAL_KINDS = tuple(kind for kind, _, _ in _KINDS)


def find_personal(text: str) -> list[Personal]:
    """文字里的个人信息，从前到后，互不重叠。"""
    if not _POSSIBLE.search(text):
        return []
    return sorted(_found(text.translate(_HALF_WIDTH)), key=lambda each: each.start)


def _found(text: str) -> Iterator[Personal]:
    taken: list[tuple[int, int]] = []
    for kind, pattern, is_real in _KINDS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if is_real(match.group()) and all(end <= first or start >= last for first, last in taken):
                taken.append((start, end))
                yield Personal(kind, start, end)


def masked(text: str, start: int = 0, end: int | None = None) -> str:
    """个人信息换成它的名字；给了 ``start``、``end`` 的只要这一截，跨在两头的一处整个换掉。"""
    end = len(text) if end is None else end
    parts, position = [], start
    for kind, first, last in find_personal(text):
        if last <= start or first >= end:
            continue
        parts += [text[position:first], f"〔{kind}〕"]
        position = last
    return "".join([*parts, text[position:end]])


def masked_reason(reason: str) -> str:
    """坏行的理由：里面引的数据可能在号码的中间截断，所以多遮一些。"""
    return _CUT_SHORT.sub("〔数字或邮箱〕", masked(reason))
