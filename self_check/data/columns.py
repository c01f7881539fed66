"""把 token 和标签对齐着画出来：要学的用颜色，也用记号标出。

token    <|im_start|> assistant \\n 晴 天 <|im_end|> \\n
你的标签 ............ +++++++++ .. ++ ++ ++++++++++ ..
应该     ............ ......... .. ++ ++ ++++++++++ ..
                      ^^^^^^^^^
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from self_check.text import display_width

WIDTH = 78  # 终端宽 80 列，留一点余地
_GREEN, _RESET = "\033[32m", "\033[0m"


@dataclass(frozen=True)
class Column:
    """画出来的一列：一个 token 和它的标记。

    Attributes:
        text: token 的文字。
        signs: 每一行的记号，各一个字符。
        new_row: 从这里另起一行（一条新的消息）。
    """

    text: str
    signs: tuple[str, ...]
    new_row: bool = False


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """一个 token 给人看的样子；换行写成 ``\\n``，不成字的字节和不在词表里的 id 写成 ``#id``。"""
    if tokenizer.id_to_token(token_id) is None if 0 <= token_id < 2**31 else True:
        return f"#{token_id}"
    text = tokenizer.decode([token_id], skip_special_tokens=False)
    if not text or "\ufffd" in text:
        return f"#{token_id}"
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return f"'{shown}'" if shown != shown.strip() else shown


def draw(labels: Sequence[str], columns: Sequence[Column], max_rows: int = 8) -> str:
    """画出各列，折成几行。

    Args:
        labels: 每一行左边的名字；第一行是 token，其余与 ``Column.signs`` 一一对应。最后一行若全是空格就不画。
        max_rows: 最多画几行（每行由 ``len(labels)`` 条线组成）；再多就只画有 ``^`` 的那些。
    """
    margin = max(display_width(label) for label in labels) + 1
    rows: list[list[Column]] = [[]]
    used = margin
    for column in columns:
        size = display_width(column.text) + 1
        if rows[-1] and (column.new_row or used + size > WIDTH):
            rows.append([])
            used = margin
        rows[-1].append(column)
        used += size
    lines = []
    shown = _choose(rows, max_rows)
    for index, row in enumerate(rows):
        if index in shown:
            lines += _draw_row(labels, row, margin)
        elif index - 1 in shown or index == 0:
            lines.append("……")
    return "\n".join(lines)


def _choose(rows: list[list[Column]], max_rows: int) -> set[int]:
    """画哪些行：画得下就全画，画不下先画有错的和它前面的一行。"""
    if len(rows) <= max_rows:
        return set(range(len(rows)))
    wrong = [index for index, row in enumerate(rows) if any("^" in column.signs for column in row)]
    chosen: set[int] = set()
    for index in wrong or range(max_rows):
        if len(chosen) < max_rows:
            chosen |= {max(0, index - 1), index}
    return chosen


def _draw_row(labels: Sequence[str], row: list[Column], margin: int) -> list[str]:
    lines = []
    is_wrong = any("^" in column.signs for column in row)
    for number, label in enumerate(labels):
        cells = []
        for column in row:
            size = display_width(column.text)
            cell = column.text if number == 0 else column.signs[number - 1] * size
            # 颜色看第一行记号，也就是学习者的标签
            cells.append(f"{_GREEN}{cell}{_RESET}" if column.signs[:1] == ("+",) and number < 2 else cell)
        line = " ".join(cells)
        if number == 2 and not is_wrong:
            continue  # 这一行没有错，“应该”与得到的相同
        if line.strip():
            lines.append(label + " " * (margin - display_width(label)) + line.rstrip())
    return lines
