"""把 token 画成一排小方块：谁说的，学不学，标签是什么。"""

from collections.abc import Sequence
from html import escape
from typing import Any

from IPython.display import HTML
from transformers import PreTrainedTokenizerBase

from finetuning.chatml import ChatML
from finetuning.collator import IGNORE_INDEX
from finetuning.conversations import Conversation
from notebook_helpers.html import ROLE_STYLES, chip, note

_TRAINED = ROLE_STYLES["assistant"] + ";font-weight:bold;text-decoration:underline"
_MASKED = "border:1px dashed rgba(128,128,128,.7);opacity:.75"


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """一个 token 的样子；换行显示成 ↵。"""
    return str(tokenizer.decode([token_id])).replace("\n", "↵")


def show_roles(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> HTML:
    """按角色上色的 token：灰底点线是 system，蓝底细线是 user，绿底粗线是 assistant。"""
    chatml = ChatML(tokenizer)
    lines = []
    for message in conversation:
        ids = [token_id for segment in chatml.segments(message) for token_id in segment]
        chips = "".join(
            chip(token_text(tokenizer, token_id), ROLE_STYLES[message["role"]], f"id {token_id}") for token_id in ids
        )
        lines.append(f'<div style="margin:4px 0"><code>{message["role"]:>9}</code> {chips}</div>')
    return HTML(
        "".join(lines) + note("灰底点线：system；蓝底细线：user；绿底粗线：assistant。鼠标停在 token 上，看它的 id。")
    )


def show_ids(input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, caption: str = "") -> HTML:
    """一排 token，特殊 token 加粗边。"""
    special = set(tokenizer.all_special_ids)
    chips = "".join(
        chip(
            token_text(tokenizer, token_id),
            "border:2px solid rgba(220,90,40,.95);font-weight:bold" if token_id in special else
            "border:1px solid rgba(128,128,128,.4)",
            f"id {token_id}",
        )
        for token_id in input_ids
    )  # fmt: skip
    return HTML(f"<div>{escape(caption)}</div><div>{chips}</div>")


def mask_html(input_ids: Sequence[int], labels: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """一段对话的掩码：要学的 token 绿底、加粗、下划线；不学的（标签 -100）虚线、变淡。每条消息一行。"""
    rows: list[list[str]] = [[]]
    start_id = tokenizer.convert_tokens_to_ids("<|im_start|>")
    for token_id, label in zip(input_ids, labels, strict=True):
        if token_id == start_id and rows[-1]:
            rows.append([])
        trained = label != IGNORE_INDEX
        rows[-1].append(
            chip(token_text(tokenizer, token_id), _TRAINED if trained else _MASKED, f"id {token_id}，标签 {label}")
        )
    count = sum(label != IGNORE_INDEX for label in labels)
    lines = "".join(f'<div style="margin:3px 0">{"".join(row)}</div>' for row in rows)
    masked = len(labels) - count
    return lines + note(f"{len(labels)} 个 token，要学 {count} 个（绿底、下划线），其余 {masked} 个是 -100（虚线）。")


def show_mask(examples: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> HTML:
    """几段对话的掩码，一段一框。"""
    boxes = (
        f'<div style="border-left:3px solid rgba(128,128,128,.5);padding-left:8px;margin:10px 0">'
        f"{mask_html(example['input_ids'], example['labels'], tokenizer)}</div>"
        for example in examples
    )
    return HTML("".join(boxes))


def show_shift(input_ids: Sequence[int], labels: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> HTML:
    """错位（shift）：第 t 格读完 token t，要说出的是 token t+1。"""
    names = [token_text(tokenizer, token_id) for token_id in input_ids]
    cell = 'style="text-align:center;border:1px solid rgba(128,128,128,.4);padding:2px 6px"'
    trained = [label != IGNORE_INDEX for label in labels]
    rows = {
        "input_ids": [chip(name) for name in names],
        "labels": [chip(name, _TRAINED) if learn else "-100" for name, learn in zip(names, trained, strict=True)],
        "这一格要预测": [
            chip(name, _TRAINED) if learn else "（不计）" for name, learn in zip(names[1:], trained[1:], strict=True)
        ]
        + ["（没有了）"],
    }
    body = "".join(
        f"<tr><th {cell}>{title}</th>" + "".join(f"<td {cell}>{value}</td>" for value in values) + "</tr>"
        for title, values in rows.items()
    )
    return HTML(
        f'<div style="overflow-x:auto"><table>{body}</table></div>'
        + note("第三行就是第二行向左移一格：错位由模型在计算损失时完成，我们交给它的 labels 不错位。")
    )
