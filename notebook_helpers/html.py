"""HTML 的小零件。

颜色只用半透明的底色，文字跟随主题，所以在亮、暗两种主题下都读得清；意思从不只靠颜色，旁边总有文字或记号。
"""

from collections.abc import Iterable, Sequence
from html import escape

# 各角色的底色（半透明），和没有颜色也认得的边框线型。
ROLE_STYLES = {
    "system": "background:rgba(130,130,130,.28);border:1px dotted currentColor",
    "user": "background:rgba(60,130,220,.28);border:1px solid rgba(60,130,220,.9)",
    "assistant": "background:rgba(40,160,90,.32);border:2px solid rgba(40,160,90,.95)",
}
_CHIP = "display:inline-block;margin:1px;padding:0 4px;border-radius:4px;font-family:monospace;line-height:1.5"


def chip(text: str, style: str = "border:1px solid rgba(128,128,128,.5)", title: str = "") -> str:
    """一个 token 的小方块。"""
    return f'<span style="{_CHIP};{style}" title="{escape(title)}">{escape(text)}</span>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """一张表；单元格里的文字都会转义。"""
    head = "".join(f'<th scope="col" style="text-align:left">{escape(title)}</th>' for title in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(str(value))}</td>' for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def note(text: str) -> str:
    """图表下面的一句说明。"""
    return f'<p style="margin:2px 0 10px;font-size:90%;opacity:.85">{escape(text)}</p>'
