"""先猜再看：一个问题，几个选项，选哪个都有话说。"""

from collections.abc import Mapping
from html import escape

import ipywidgets as widgets

from notebook_helpers.html import note
from notebook_helpers.live import Live


def predict(question: str, replies: Mapping[str, str]) -> Live:
    """问 ``question``；``replies`` 是选项 → 选了它以后的回应。选过了还可以改。"""
    head = f"<b>先猜再看</b>　{escape(question)}"
    buttons = [
        widgets.Button(description=option, tooltip=option, layout=widgets.Layout(width="auto", max_width="100%"))
        for option in replies
    ]
    answer = widgets.HTML()

    def pick(picked: widgets.Button) -> None:
        for button, option in zip(buttons, replies, strict=True):
            mine = button is picked
            button.description, button.button_style = (f"✓ {option}", "info") if mine else (option, "")
        answer.value = f'<div role="status">{escape(replies[picked.tooltip])}</div>'

    for button in buttons:
        button.on_click(pick)
    row = widgets.Box(buttons, layout=widgets.Layout(flex_flow="row wrap"))
    return Live([widgets.HTML(head), row, answer], _fallback(head, replies))


def _fallback(head: str, replies: Mapping[str, str]) -> str:
    options = "".join(
        f'<details style="margin:2px 0 2px 12px"><summary>{escape(option)}</summary>'
        f'<div style="margin:2px 0 6px 18px">{escape(reply)}</div></details>'
        for option, reply in replies.items()
    )
    return f"<div>{head}</div>{options}{note('点一个选项，看它的回应。')}"
