"""掩码探索器：改一改对话，立刻看见 token、标签和要学的部分。"""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
from transformers import PreTrainedTokenizerBase

from finetuning.errors import UserError
from finetuning.formats import to_conversation
from notebook_helpers.html import note
from notebook_helpers.live import Live
from notebook_helpers.tokens import mask_html

_ROLES = {"系统": "system", "用户": "user", "助手": "assistant"}
_EXAMPLE = "系统：只说答案。\n用户：法国的首都是哪里？\n助手：巴黎\n用户：那德国呢？\n助手：柏林"


def parse_dialogue(text: str) -> list[dict[str, str]]:
    """“用户：你好”这样一行一条的对话 → 消息的列表；没有角色的行接在上一条的后面。

    Raises:
        ValueError: 第一行没有写是谁说的。
    """
    messages: list[dict[str, str]] = []
    for line in text.splitlines():
        role, colon, content = line.replace(":", "：", 1).partition("：")
        if colon and role.strip() in _ROLES:
            messages.append({"role": _ROLES[role.strip()], "content": content})
        elif messages:
            messages[-1]["content"] += "\n" + line
        elif line.strip():
            raise ValueError("第一行要写明是谁说的，例如“用户：你好”")
    return messages


def explore(dataset_class: Callable[..., Any], tokenizer: PreTrainedTokenizerBase) -> Live:
    """左边写对话，右边是掩码；``dataset_class`` 是学习者的 ``SFTDataset``。"""
    source = widgets.Textarea(_EXAMPLE, layout=widgets.Layout(width="38%", height="190px"))
    picture = widgets.HTML(layout=widgets.Layout(width="60%"))

    def redraw(*_: Any) -> None:
        picture.value = _draw(source.value, dataset_class, tokenizer)

    source.observe(redraw, names="value")
    redraw()
    head = widgets.HTML("改左边的对话（一行一条），右边立刻跟着变：")
    fallback = f"<pre>{escape(_EXAMPLE)}</pre>{picture.value}{note('要改上面的对话，请在 Jupyter 里运行这一格。')}"
    return Live([head, widgets.HBox([source, picture])], fallback)


def _draw(text: str, dataset_class: Callable[..., Any], tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        conversation = to_conversation({"conversations": parse_dialogue(text)})
        (example,) = dataset_class([conversation], tokenizer)
    except (ValueError, UserError) as error:
        return f"<p>✎ 还不是一段完整的对话：{escape(str(error))}</p>"
    return mask_html(example["input_ids"], example["labels"], tokenizer)
