"""一行原始数据 → 一段对话：认出四种常见格式，检查对话的规则。

================  ==========================================================================
格式              一行的样子
================  ==========================================================================
本项目            ``{"conversations": [{"role": "user", "content": "…"}, …]}``
OpenAI / HF       ``{"messages": [{"role": "user", "content": "…"}, …]}``
ShareGPT          ``{"conversations": [{"from": "human", "value": "…"}, …]}``
Alpaca            ``{"instruction": "…", "input": "…", "output": "…"}``，可以另有 system、history
================  ==========================================================================

值是 null 的键等于没有这个键（Parquet 用 null 补齐各行的键）。多余的键不看，除非不看就会学错：写在消息外面的系统提示，
工具、图片，思考过程，“这一条不学”的记号，偏好数据的好坏。这里还不会用它们，有就不收，不悄悄丢掉。
``skill``（这一段考的是什么）不影响学什么，只在检验以后按它分开数，由 :func:`skill_of` 取出。
"""

import re
import reprlib
from typing import TypedDict


class Message(TypedDict):
    """对话里的一条消息；``role`` 是 ``"system"``、``"user"`` 或 ``"assistant"``。"""

    role: str
    content: str


Conversation = list[Message]

# 各家对同一个角色的叫法；不在表里的（tool、function、observation……）不是本项目能教的对话。
ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}

# 消息的一部分，却不在 content 里：不看它，模型学到的就是半段话。
_MORE_CONTENT = {
    **dict.fromkeys(("tool_calls", "function_call"), "工具调用"),
    **dict.fromkeys(("reasoning_content", "reasoning", "thinking"), "思考过程"),
    **dict.fromkeys(("images", "image", "videos", "video", "audios", "audio"), "图片、视频或声音"),
}
# 写在对话旁边、不看就会学错的。
_BESIDE = {
    **dict.fromkeys(("tools", "functions"), "工具的定义"),
    **{key: meaning for key, meaning in _MORE_CONTENT.items() if meaning != "工具调用"},
    **dict.fromkeys(("chosen", "rejected", "rejected_response", "rejected_messages"), "偏好数据的一部分"),
}
_SYSTEM = ("system", "system_prompt", "systemPrompt")
_GOOD_OR_BAD = ("label", "kto_tag")
# 一条回答学不学、学几分的记号：这里每条回答都学，所以只收“学”。
_LEARN_OR_NOT = ("weight", "loss", "loss_weight", "train", "train_on_turn", "training", "trainable")
_MASKED = ("mask", "masked")
_SAYS_NOTHING = ("", "[]", "{}", "null")  # 有的数据集把列表存成文字

# NUL 来自损坏的文件；单独的代理项（lone surrogate）来自被截成两半的 emoji，它无法写成 UTF-8，分词器也不收。
_UNENCODABLE = re.compile("[\0\ud800-\udfff]")

_KINDS: dict[type, str] = {
    dict: "对象",
    list: "列表",
    str: "文字",
    bytes: "字节串",
    bool: "布尔值",
    int: "数字",
    float: "数字",
    type(None): "空值",
}


class BadRowError(ValueError):
    """这一行不能用于训练；消息是中文的原因，不含文件名和行号（由读文件的人补上）。"""


def to_conversation(row: object) -> Conversation:
    """把一行原始数据变成一段合乎规则的对话。

    规则：开头可以有一条 system；然后 user 与 assistant 轮流，user 在先；最后一条是 assistant；
    assistant 的回答不能是空的（只有空白也算空）。

    Args:
        row: 从 JSON 或表格读出的一行；也可以直接是消息的列表。不会被改动。

    Returns:
        新的消息列表，每条恰有 ``role`` 和 ``content`` 两个键。内容一字不改，首尾的空白也保留。

    Raises:
        BadRowError: 认不出格式，或违反上面的规则。
    """
    messages = _find_messages(row)
    conversation = [_to_message(message, f"第 {number} 条消息") for number, message in enumerate(messages, 1)]
    _check_turns(conversation)
    if isinstance(row, dict):
        _check_beside(row, conversation)
    return conversation


def skill_of(row: object) -> str | None:
    """一行原始数据里的 ``skill``；没有，或不是能写成 UTF-8 的文字，是 None。"""
    skill = row.get("skill") if isinstance(row, dict) else None
    return skill if isinstance(skill, str) and skill.strip() and not _UNENCODABLE.search(skill) else None


def _find_messages(row: object) -> list[object]:
    """取出一行里的消息列表；只认格式，不看每条消息的内容。"""
    if isinstance(row, list):
        return row
    if not isinstance(row, dict):
        raise BadRowError(f"应该是一个 JSON 对象，实际是{_kind(row)}")
    for key in ("conversations", "messages"):
        if row.get(key) is not None:
            if not isinstance(row[key], list):
                raise BadRowError(f"{key} 应该是消息的列表，实际是{_kind(row[key])}")
            return row[key]
    if row.get("instruction") is not None:
        return _alpaca_messages(row)
    keys = "、".join(_quote(key) for key in list(row)[:8]) or "（没有）"
    raise BadRowError(f"认不出格式：要有 conversations、messages 或 instruction 这三个键之一，这一行的键是 {keys}")


def _check_beside(row: dict, conversation: Conversation) -> None:
    """对话旁边的键，有没有不看就会学错的。"""
    for key, meaning in _BESIDE.items():
        if _says_something(row.get(key)):
            raise BadRowError(f"对话旁边有{meaning}（{key}），只支持纯文字的对话")
    for key in _GOOD_OR_BAD:
        if isinstance(row.get(key), bool):
            raise BadRowError(
                f"对话旁边有 {key}（true 或 false），这是 KTO 的偏好数据；请只留下要学的回答，并去掉这个键"
            )
    _check_learnt(row, "对话旁边")
    is_alpaca = not any(row.get(key) is not None for key in ("conversations", "messages"))
    if not is_alpaca:
        for key in ("instruction", "history"):
            if _says_something(row.get(key)):
                raise BadRowError(f"既有消息的列表，又有 {key}，不知道该学哪一个；请去掉一个")
    first = conversation[0]["content"] if conversation[0]["role"] == "system" else ""
    for key in _SYSTEM[1:] if is_alpaca else _SYSTEM:
        if _says_something(system := row.get(key)) and str(system).strip() != first.strip():
            raise BadRowError(f"{key} 写在了对话外面；请把它写成第一条消息（role 是 system）")


def _check_learnt(marked: dict, where: str) -> None:
    """学不学的记号，只能是“学”。"""
    for key in (*_LEARN_OR_NOT, *_MASKED):
        value, learnt = marked.get(key), key in _LEARN_OR_NOT
        if value is not None and value != learnt:  # True 等于 1，False 等于 0
            raise BadRowError(f"{where}的 {key} 是 {_quote(value)}，而这里每条回答都学；请去掉不要学的，或这个键")


def _says_something(value: object) -> bool:
    if isinstance(value, list):
        return any(each is not None for each in value)
    return bool(value) and not (isinstance(value, str) and value.strip() in _SAYS_NOTHING)


def _alpaca_messages(row: dict) -> list[object]:
    """Alpaca 的一行（https://github.com/tatsu-lab/stanford_alpaca）→ 消息列表。

    input 非空时，另起一行接在 instruction 后面。可选的 ``system``（文字）与 ``history``（``[问, 答]`` 的列表，
    在当前这一问之前）是后来的数据集常用的扩展。
    """
    messages: list[object] = []
    if row.get("system"):
        messages.append({"role": "system", "content": row["system"]})
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise BadRowError("history 应该是 [问, 答] 的列表")
    for question, answer in history:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    instruction, extra = (
        _to_text(row["instruction"], "instruction "),
        _to_text(row["input"] if row.get("input") is not None else "", "input "),
    )
    if not instruction.strip():
        raise BadRowError("instruction 是空的；问题请写在 instruction 里")
    question = f"{instruction}\n{extra}" if extra.strip() else instruction
    answer = _to_text(row.get("output"), "output ")
    return [*messages, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _to_message(message: object, where: str) -> Message:
    if not isinstance(message, dict):
        raise BadRowError(f"{where}应该是一个对象，实际是{_kind(message)}")
    role = message["role"] if message.get("role") is not None else message.get("from")
    content = message["content"] if message.get("content") is not None else message.get("value")
    if role is None:
        raise BadRowError(f"{where}没有角色（role 或 from）")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRowError(f"{where}的角色是 {_quote(role)}，只支持 system、user（human）和 assistant（gpt）")
    if content is None:
        raise BadRowError(f"{where}没有内容（content 或 value）")
    for key, meaning in _MORE_CONTENT.items():
        if _says_something(message.get(key)):
            raise BadRowError(f"{where}里有{meaning}（{key}），只支持纯文字的对话")
    if ROLES[role] == "assistant":
        _check_learnt(message, where)
    return {"role": ROLES[role], "content": _to_text(content, f"{where}的内容")}


def _to_text(value: object, where: str) -> str:
    """检查并返回文字；OpenAI 风格的 ``[{"type": "text", "text": "…"}]`` 若各部分都是文字，就连成一段。"""
    if isinstance(value, list):
        for part in value:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                kind = _quote(part["type"]) if isinstance(part, dict) and "type" in part else _kind(part)
                raise BadRowError(f"{where}里有不是文字的部分（{kind}）")
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise BadRowError(f"{where}应该是文字，实际是{_kind(value)}")
    if found := _UNENCODABLE.search(value):
        raise BadRowError(f"{where}的第 {found.start() + 1} 个字符是 {_quote(found.group())}，不是合法的文字")
    return value


def _check_turns(conversation: Conversation) -> None:
    if not conversation:
        raise BadRowError("一条消息也没有")
    first_turn = 1 if conversation[0]["role"] == "system" else 0
    for position, message in enumerate(conversation[first_turn:]):
        number, expected = first_turn + position + 1, ("user", "assistant")[position % 2]
        if message["role"] != expected:
            raise BadRowError(f"第 {number} 条消息应该是 {expected}，实际是 {message['role']}")
        if expected == "assistant" and not message["content"].strip():
            raise BadRowError(f"第 {number} 条消息：assistant 的回答是空的")
    if conversation[-1]["role"] != "assistant":
        raise BadRowError(f"最后一条消息应该是 assistant 的回答，实际是 {conversation[-1]['role']}")


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _quote(value: object) -> str:
    """放进消息里的用户数据：引号括起，不可见字符转义，太长就截短。"""
    text = reprlib.repr(value)  # repr 会先把几十兆的内容全写出来，嵌套太深时还会失败
    return text if len(text) <= 40 else text[:39] + "…"
