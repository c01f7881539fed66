"""排版：一段文字在终端里占多宽，怎样折行、截短；引用学习者的文字时去掉什么。"""

import re
import unicodedata

_LONGEST_LINE = 300  # 引用学习者的报错、打印时，一行最多多少个字符


def cleaned(text: str, lines: bool = False) -> str:
    """引用学习者的文字：太长的截短，控制字符（颜色、响铃、清屏……）去掉。

    Args:
        lines: 有好几行的：换行留着，每一行各自截短。
    """
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    if lines:
        return "\n".join(cleaned(line) for line in text.splitlines()) + "\n" * text.endswith("\n")
    text = "".join(char if char.isprintable() or char == "\t" else " " for char in text)
    return text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + f"……（共 {len(text):,} 个字符）"


def fold(text: str, width: int = 37) -> str:
    """一段话折成每行大约 74 列（37 个汉字）；在标点后面折，原有的换行保留。"""
    return "\n".join("\n".join(_fold_line(line, width * 2)) for line in text.splitlines())


def _fold_line(line: str, width: int) -> list[str]:
    rows, row = [], ""
    for piece in re.findall(r"[（“]?[\x21-\x7e]+|[（“]?.", line):  # 英文单词和代码不拆开，左括号不放在行尾
        if row and display_width(row + piece) > width and piece not in "，。；：、！？）”":
            rows.append(row.rstrip())
            row = ""
        row += piece if row or piece != " " else ""
    return [*rows, row]


def pad(text: str, width: int) -> str:
    """在右边补空格到 ``width`` 列宽。"""
    return text + " " * (width - display_width(text))


def shorten(text: str, width: int) -> str:
    """截短到 ``width`` 列宽，截过的以 ``…`` 结尾。"""
    head = text[: width + 1]
    while display_width(head) > width:
        head = head[:-1]
    return text if head == text else head[:-1] + "…"


def display_width(text: str) -> int:
    """在终端里占几列：汉字两列，组合符号零列。"""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
