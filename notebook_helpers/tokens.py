"""把 token 画成一排小方块：谁说的，学不学，标签是什么。"""

from collections.abc import Sequence
from html import escape
from typing import Any

from IPython.display import HTML
from transformers import PreTrainedTokenizerBase

from finetuning.chatml import ChatML
from finetuning.collator import IGNORE_INDEX
from finetuning.conversations import Conversation, Message
from notebook_helpers.html import ROLE_STYLES, chip, note

_TRAINED = ROLE_STYLES["assistant"] + ";font-weight:bold;text-decoration:underline"
_MASKED = "border:1px dashed rgba(128,128,128,.7);opacity:.75"


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """一个 token 的样子；换行显示成 ↵。"""
    return str(tokenizer.decode([token_id])).replace("\n", "↵")


def message_ids(message: Message, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """一条消息的全部 token：标记按 id 放进去，内容一律当普通文字。"""
    return [token_id for segment in ChatML(tokenizer).segments(message) for token_id in segment]


def show_roles(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> HTML:
    """按角色上色的 token：灰底点线是 system，蓝底细线是 user，绿底粗线是 assistant。"""
    lines = []
    for message in conversation:
        ids = message_ids(message, tokenizer)
        chips = "".join(
            chip(token_text(tokenizer, token_id), ROLE_STYLES[message["role"]], f"id {token_id}") for token_id in ids
        )
        lines.append(f'<div style="margin:4px 0"><code>{message["role"]:>9}</code> {chips}</div>')
    return HTML(
        "".join(lines) + note("灰底点线：system；蓝底细线：user；绿底粗线：assistant。鼠标停在 token 上，看它的 id。")
    )


def show_ids(input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, caption: str = "") -> HTML:
    """一排 token；标记（特殊 token）加粗边，普通的字细边，哪怕拼起来像标记。"""
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
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
    """错位（shift）：第 t 行读完 token t，要说出的是 token t+1。一行一个 token，从上往下读。"""
    style = "text-align:center;padding:1px 10px"
    read = [chip(token_text(tokenizer, token_id)) for token_id in input_ids]
    wanted = [
        "-100" if label == IGNORE_INDEX else chip(token_text(tokenizer, label), _TRAINED, f"标签 {label}")
        for label in labels
    ]
    following = [*("（不计）" if one == "-100" else one for one in wanted[1:]), "（没有了）"]
    head = "".join(
        f'<th scope="col" style="{style}">{title}</th>' for title in ("t", "input_ids", "labels", "读到这里，要预测")
    )
    body = "".join(
        "<tr>" + "".join(f'<td style="{style}">{value}</td>' for value in row) + "</tr>"
        for row in zip(range(len(read)), read, wanted, following, strict=True)
    )
    return HTML(
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + note("最后一列就是 labels 那一列向上移一格：错位由模型在计算损失时完成，我们交给它的 labels 不错位。")
    )


def show_positions(position_ids: Sequence[int]) -> str:
    """``[0, 1, 2, 0, 1]`` → ``"0…2 | 0…1"``：接着数的连成一段，重新数起的分开。"""
    runs: list[list[int]] = []
    for position in position_ids:
        if runs and position == runs[-1][-1] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    return " | ".join(f"{run[0]}…{run[-1]}" for run in runs)
