"""一行原始数据 → 一段对话：认出各种常见的格式。

==========================  ==========================================================================
格式                        一行的样子
==========================  ==========================================================================
本项目                      ``{"conversations": [{"role": "user", "content": "…"}, …]}``
OpenAI                      ``{"messages": [{"role": "user", "content": "…"}, …]}``
ShareGPT                    ``{"conversations": [{"from": "human", "value": "…"}, …]}``
一问一答的列表              ``{"conversation": [{"system": "…", "input": "…", "output": "…"}, …]}``（XTuner），
                            ``{"conversation": [{"human": "…", "assistant": "…"}, …]}``（Firefly）
Alpaca                      ``{"instruction": "…", "input": "…", "output": "…"}``（Dolly 的叫 context、response）
一问一答                    ``prompt``/``completion``、``question``/``answer``、``query``/``response``、
                            ``input``/``output``、``问题``/``回答`` 等；TRL 的 prompt、completion 也可以是消息的列表
种子任务                    ``{"instruction": "…", "instances": [{"input": "…", "output": "…"}]}``
==========================  ==========================================================================

旁边可以有 system、history（更早的几轮）、tools（工具的定义）；别的列名用 ``--columns`` 指明。
工具调用认得 OpenAI 的 tool_calls、function_call，和 ShareGPT 的 function_call、observation 两种角色；思考过程认得
reasoning_content 等；一条消息上的 weight、train、loss 等记号，0 是“这个回答不学”。

值是 null 的键等于没有这个键（Parquet 用 null 补齐各行的键）。不看就会学错的（图片，偏好数据的好坏，不知道属于哪一条的
思考）不收；其余用不到的键，记下名字，由报告说出来。
``skill``（这一段考的是什么）不影响学什么，只在检验以后按它分开数，由 :func:`skill_of` 取出。
"""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from finetuning.conversations import BadRowError, Conversation, Message, ToolCall, check_turns, thought_of

# 各家对同一个角色的叫法。
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "bing"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),  # 内容是调用的 JSON
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "function_response", "ipython"), "tool"),
}
_CALLING_ROLES = ("function_call", "tool_call")
_KNOWN_ROLES = "system、user（human）、assistant（gpt）和 tool（observation）"

_LISTS = ("conversations", "messages", "conversation", "dialogue", "dialog")  # 消息的列表在哪个键里
_REASONING = ("reasoning_content", "reasoning", "thinking", "complex_cot", "deepseek_reasoning")
_TOOLS = ("tools", "functions")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "params", "kwargs")
_SYSTEM = ("system", "system_prompt", "systemprompt")
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_PREFERENCE = ("chosen", "rejected", "rejected_response", "rejected_messages")
_GOOD_OR_BAD = ("label", "kto_tag")
# 一条回答学不学的记号。
_LEARNT = ("weight", "loss", "loss_weight", "train", "train_on_turn", "training", "trainable")
_MASKED = ("mask", "masked")
_SAYS_NOTHING = ("", "[]", "{}", "null")  # 有的数据集把列表存成文字

_CONTENT = ("content", "value", "text")
# 一轮是一个对象的列表里，问和答的键。
_TURNS = (
    *(("human", answer) for answer in ("assistant", "gpt", "bot")),
    *(("user", answer) for answer in ("assistant", "bot")),
    *(("input", "output"), ("question", "answer"), ("prompt", "response"), ("query", "response")),
)
_MESSAGE_KEYS = {
    *("role", "from", "tool_calls", "function_call", "name", "id", "tool_call_id"),
    *_CONTENT, *_REASONING, *_MEDIA, *_LEARNT, *_MASKED,
}  # fmt: skip


class _Pair(NamedTuple):
    """一问一答的一种：问在哪个键，答在哪个键，接在问后面的材料在哪个键。"""

    question: str
    answers: tuple[str, ...]
    extras: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        return f'{{"{self.question}": 问, "{self.answers[0]}": 答}}'


_PAIRS = (
    _Pair("instruction", ("output", "response", "completion", "answer"), ("input", "context")),
    _Pair("prompt", ("completion", "response", "output", "answer"), ("input", "context")),
    _Pair("query", ("response", "answer", "output"), ("context",)),
    _Pair("question", ("answer", "response", "output"), ("context",)),
    _Pair("input", ("output", "response", "completion", "answer", "content", "target")),
    _Pair("inputs", ("targets",)),
    _Pair("problem", ("solution",)),
    _Pair("context", ("response",)),
    _Pair("指令", ("输出", "回答"), ("输入",)),
    _Pair("q", ("a",)),
    *(_Pair(question, ("assistant",)) for question in ("human", "user")),
    *(_Pair(question, ("回答", "答案", "解答")) for question in ("问题", "提问", "题目")),
    _Pair("问", ("答",)),
)
# --columns 里等号左边的名字，和它们在这里的键。
COLUMN_NAMES = {
    "question": "question",
    "answer": "answer",
    "input": "context",
    "system": "system",
    "history": "history",
    "reasoning": "reasoning",
    "messages": "messages",
    "tools": "tools",
    "skill": "skill",
}

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


_INSIDE = "消息里的 "


class Parsed(NamedTuple):
    """认出来的一行。"""

    conversation: Conversation
    format: str  # 格式的名字
    unused: tuple[str, ...]  # 没有用到的键，值是空的不算


class _Found(NamedTuple):
    """认出的格式，取出的消息，用到了哪些键。"""

    format: str
    messages: list[Message]
    used: tuple[str, ...]
    unused_inside: tuple[str, ...] = ()


def to_conversation(row: object, columns: Mapping[str, str] | None = None) -> Conversation:
    """把一行原始数据变成一段合乎规则的对话；参数和异常见 :func:`parse_row`。"""
    return parse_row(row, columns).conversation


def parse_row(row: object, columns: Mapping[str, str] | None = None) -> Parsed:
    """认出一行的格式，变成一段合乎规则的对话。

    Args:
        row: 从 JSON 或表格读出的一行；也可以直接是消息的列表。不会被改动。
        columns: 哪一列是什么，例如 ``{"question": "prompt", "answer": "reply"}``；给了就只看这几列。

    Returns:
        新的消息列表。内容一字不改，首尾的空白也保留；最后一个要学的回答以后的话没有用，去掉。

    Raises:
        BadRowError: 认不出格式，或不合规则（见 :func:`finetuning.conversations.check_turns`）。
    """
    if isinstance(row, list):
        messages, inside = _messages(row)
        return _finish(_Found("消息的列表", messages, (), inside), {})
    if not isinstance(row, dict):
        raise BadRowError(f"应该是一个 JSON 对象，实际是{_kind(row)}")
    original = row
    if columns:
        # 偏好数据里挑了哪一列来学，是用户说的；别的不看就会学错的，照样要看。
        others = {key: value for key, value in row.items() if key not in columns.values()}
        _check_kind({key: value for key, value in others.items() if str(key).lower() not in _PREFERENCE})
        row = _chosen_columns(row, columns)
    _check_kind(row)
    found = _find_list(row) or _find_pair(row)
    if found is None:
        raise BadRowError(_unknown(row))
    parsed = _finish(found, row)
    if columns:
        inside = tuple(key for key in parsed.unused if key.startswith(_INSIDE))
        return parsed._replace(format="--columns", unused=_unused(original, {*columns.values(), "skill"}, inside))
    return parsed


def skill_of(row: object, columns: Mapping[str, str] | None = None) -> str | None:
    """一行原始数据里的 ``skill``；没有，或不是能写成 UTF-8 的文字，是 None。"""
    skill = row.get((columns or {}).get("skill", "skill")) if isinstance(row, dict) else None
    return skill if isinstance(skill, str) and skill.strip() and not _UNENCODABLE.search(skill) else None


def _finish(found: _Found, row: dict[str, Any]) -> Parsed:
    """各种格式共用的后半段：规则，旁边的键，学不学。"""
    messages = found.messages
    check_turns(messages)
    used = {*found.used, "skill"}
    used.update(_attach_system(row, messages))
    used.update(_attach_tools(row, messages))
    last = max((n for n, each in enumerate(messages) if each["role"] == "assistant" and _is_learnt(each)), default=None)
    if last is None:
        raise BadRowError("每条回答都标了不学，没有可学的；请去掉这一行，或改掉记号")
    if (key := _said_key(_by_lower(row), _REASONING)) is not None and key not in used:
        raise BadRowError(f"对话旁边有思考过程（{key}），不知道属于哪个回答；请把它写进那条消息里")
    return Parsed(messages[: last + 1], found.format, _unused(row, used, found.unused_inside))


def _is_learnt(message: Message) -> bool:
    return message.get("learnt", True)


def _unused(row: dict[str, Any], used: set[str], inside: tuple[str, ...]) -> tuple[str, ...]:
    outside = (key for key, value in row.items() if str(key).lower() not in used and key not in used)
    return (*(str(key) for key in outside if not _is_empty(row[key])), *inside)


# ----------------------------------------------------------------------------------------------------------------------
# 不是 SFT 数据的，先认出来：不然说的会是别的毛病


def _check_kind(row: dict[str, Any]) -> None:
    lower = _by_lower(row)
    for key in _MEDIA:
        if _says_something(lower.get(key)):
            raise BadRowError(f"对话旁边有图片、视频或声音（{key}），只支持纯文字的对话")
    for key in _PREFERENCE:
        if _says_something(lower.get(key)):
            raise BadRowError(
                f"对话旁边有偏好数据的一部分（{key}）：这是 DPO 等用的偏好数据，不是一问一答；"
                "只学好的那个，请用 --columns 指明，如 question=prompt answer=chosen"
            )
    is_pair = "completion" in lower  # KTO 的标准格式：prompt、completion、label；表格里 label 写作 0、1
    for key in _GOOD_OR_BAD:
        value = lower.get(key)
        if isinstance(value, bool) or (_switch(value) is not None and (is_pair or isinstance(value, str))):
            raise BadRowError(
                f"对话旁边有 {key}（true 或 false），这是 KTO 的偏好数据；请只留下要学的回答，并去掉这个键"
            )
    # 对话旁边的 weight、loss 也可能是打分，只认 0 和 1
    marks = {key: value for key, value in lower.items() if key in (*_LEARNT, *_MASKED) and _switch(value) is not None}
    if _learnt_mark(marks, "对话旁边") is False:
        raise BadRowError("对话旁边的记号说这一段不学；请去掉这一行，或这个键")


def _unknown(row: dict[str, Any]) -> str:
    """认不出格式：这一行有哪些键，最像哪一种，怎么办。"""
    keys = "、".join(_quote(key) for key in list(row)[:8]) or "（没有）"
    said = f"认不出格式：这一行的键是 {keys}"
    lower = _by_lower(row)
    for key in (*_LISTS, *(pair.question for pair in _PAIRS)):
        if key in lower and lower[key] is None:
            return f"{said}，其中 {key} 是空值；请补上内容，或去掉这一行"
    if isinstance(lower.get("text"), str):
        return f"{said}；只有 text 的多半是预训练用的文本，或已经拼好的对话，看不出哪里是回答；请换成一问一答的数据"
    columns = "；哪一列是问、哪一列是答，可以用 --columns 指明，如 --columns question=列名 answer=列名"
    nearest = max(_PAIRS, key=lambda pair: sum(key in lower for key in (pair.question, *pair.answers)))
    missing = [nearest.question] if nearest.question not in lower else list(nearest.answers[:1])
    if any(key in lower for key in (nearest.question, *nearest.answers)):
        return f"{said}；最像的是 {nearest.example}，缺 {missing[0]}{columns}"
    return f"{said}；要有 conversations 或 messages（消息的列表），或 instruction 和 output 等一问一答的键{columns}"


def _chosen_columns(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """只留 ``--columns`` 说的几列，换成这里的名字。"""
    for name, column in columns.items():
        if row.get(column) is None and name in ("question", "answer", "messages"):
            keys = "、".join(_quote(key) for key in list(row)[:8] if row[key] is not None) or "（没有）"
            raise BadRowError(f"没有 --columns 里说的 {_quote(column)}（没有这一列，或这一格是空的）；这一行有 {keys}")
    return {COLUMN_NAMES[name]: row.get(column) for name, column in columns.items()}


def _by_lower(row: dict[str, Any]) -> dict[str, Any]:
    """键不分大小写；只差大小写的两个键，用先写的。"""
    lower: dict[str, Any] = {}
    for key, value in row.items():
        lower.setdefault(key.lower() if isinstance(key, str) else key, value)
    return lower


# ----------------------------------------------------------------------------------------------------------------------
# 消息的列表


def _find_list(row: dict[str, Any]) -> _Found | None:
    """一行里有消息的列表的。"""
    lower = _by_lower(row)
    key = next((key for key in _LISTS if lower.get(key) is not None), None)
    if key is None:
        return None
    value = _unpacked(lower[key])
    if not isinstance(value, list):
        raise BadRowError(f"{key} 应该是消息的列表，实际是{_kind(lower[key])}")
    first = value[0] if value and isinstance(value[0], dict) else {}
    inside: tuple[str, ...] = ()
    if len(value) > 1 and all(isinstance(each, str) for each in value) and len(value) % 2 == 0:
        name, messages = "轮流说话的列表", _alternating(value)
    elif "role" not in first and "from" not in first and (pair := _turn_keys(first)) is not None:
        messages, inside = _turns(value, *pair)
        name = {"input": "XTuner", "human": "Firefly"}.get(pair[0], "一轮一个对象")
    else:
        messages, inside = _messages(value)
        name = "ShareGPT" if first.get("from") is not None else "本项目" if key == "conversations" else "OpenAI"
    return _Found(name, messages, (key, *_copies(lower, messages)), inside)


def _copies(lower: dict[str, Any], messages: list[Message]) -> list[str]:
    """消息的列表旁边，把同样的话又写了一遍的键（如 Magpie 的 instruction、response）。

    Raises:
        BadRowError: 不是同样的话，不知道该学哪一个。
    """
    said = {message["content"].strip() for message in messages}
    copied = []
    for beside in ("instruction", "history"):
        if not _says_something(value := lower.get(beside)):
            continue
        if not isinstance(value, str) or value.strip() not in said:
            raise BadRowError(f"既有消息的列表，又有 {beside}，不知道该学哪一个；请去掉一个")
        copied.append(beside)
    answers = ("output", "response")
    return copied + [key for key in answers if isinstance(lower.get(key), str) and lower[key].strip() in said]


def _alternating(texts: list[str]) -> list[Message]:
    """只有文字的列表：问、答、问、答。"""
    roles = ("user", "assistant")
    return [
        {"role": roles[number % 2], "content": _to_text(text, f"第 {number + 1} 条消息的内容")}
        for number, text in enumerate(texts)
    ]


def _turn_keys(turn: dict[str, Any]) -> tuple[str, str] | None:
    """一轮是一个对象的，问和答在哪两个键里。"""
    return next((keys for keys in _TURNS if turn.get(keys[0]) is not None and turn.get(keys[1]) is not None), None)


def _turns(turns: list[Any], question: str, answer: str) -> tuple[list[Message], tuple[str, ...]]:
    """一轮是一个对象的列表 → 消息，和没有用到的键。"""
    messages: list[Message] = []
    unused: dict[str, None] = {}
    for number, turn in enumerate(turns, 1):
        where = f"第 {number} 轮"
        if not isinstance(turn, dict):
            raise BadRowError(f"{where}应该是一个对象，实际是{_kind(turn)}")
        for key in (*_MEDIA, *_TOOLS):
            if _says_something(turn.get(key)):
                raise BadRowError(f"{where}里有 {key}，这种格式里只支持纯文字；请换成 OpenAI 的格式")
        if _says_something(system := turn.get("system")):
            if messages:
                raise BadRowError(f"{where}又有 system；系统提示只能写在第一轮")
            messages.append({"role": "system", "content": _to_text(system, f"{where}的 system ")})
        messages.append({"role": "user", "content": _to_text(turn.get(question), f"{where}的 {question} ")})
        messages.append(_answer(turn, answer, where))
        known = {question, answer, "system", *_MEDIA, *_TOOLS, *_LEARNT, *_MASKED, *_REASONING}
        unused.update(dict.fromkeys(f"{_INSIDE}{key}" for key in turn if key not in known and not _is_empty(turn[key])))
    return messages, tuple(unused)


def _answer(turn: dict[str, Any], key: str, where: str) -> Message:
    message: Message = {"role": "assistant", "content": _to_text(turn.get(key), f"{where}的 {key} ")}
    if _learnt_mark(turn, where) is False:
        message["learnt"] = False
    if (thought := _said_key(turn, _REASONING)) is not None:
        message["reasoning"] = _to_text(turn[thought], f"{where}的 {thought} ")
        _undouble(message, where)
    return message


def _messages(values: list[Any]) -> tuple[list[Message], tuple[str, ...]]:
    """各家的消息 → 消息，和没有用到的键。"""
    messages: list[Message] = []
    ids: list[list[Any]] = []  # 与消息对应：调用的编号，或结果回答的是哪个编号
    unused: dict[str, None] = {}
    for number, value in enumerate(values, 1):
        where = f"第 {number} 条消息"
        message, is_call = _to_message(value, where)
        more = sorted(str(key) for key in value.keys() - _MESSAGE_KEYS if not _is_empty(value[key]))
        unused.update(dict.fromkeys(f"{_INSIDE}{key}" for key in more))
        if is_call and messages and messages[-1]["role"] == "assistant":
            # 先说一句话再调用，或连着调用两次，写成了几条：合成一条。
            _merge_call(messages[-1], message, where)
            continue
        messages.append(message)
        ids.append(_ids_of(value))
    return _in_order_of_calls(messages, ids), tuple(unused)


def _merge_call(before: Message, call: Message, where: str) -> None:
    """``call`` 并进前一条。

    Raises:
        BadRowError: 一条学，一条不学；思考写在了话的后面。
    """
    if before.get("learnt", True) != call.get("learnt", True):
        raise BadRowError(f"{where}是工具调用，与前一条合成一个回答，一条标了不学，另一条没有；请改成一样的")
    if "reasoning" in call:
        if "reasoning" in before or before["content"]:
            raise BadRowError(f"{where}的思考写在了话的后面，不知道怎样合成一个回答；请写进前一条")
        before["reasoning"] = call["reasoning"]
    before.setdefault("tool_calls", []).extend(call["tool_calls"])


def _ids_of(value: dict[str, Any]) -> list[Any]:
    """OpenAI 的编号：一条消息里各个调用的，或工具的结果回答的那一个。"""
    if isinstance(calls := value.get("tool_calls"), list):
        return [call.get("id") for call in calls if isinstance(call, dict)]
    return [value.get("tool_call_id")]


def _in_order_of_calls(messages: list[Message], ids: list[list[Any]]) -> list[Message]:
    """一次调用了几个的，结果照调用的次序排：ChatML 和很多模板只看次序，不写编号。

    Raises:
        BadRowError: 结果回答的不是刚才的任何一个调用。
    """
    ordered: list[Message] = []
    start = 0
    while start < len(messages):
        end = start + 1
        while end < len(messages) and messages[end]["role"] == "tool":
            end += 1
        called = ids[start]
        results = list(range(start + 1, end))
        if called and all(isinstance(each, str) for each in (*called, *(ids[n][0] for n in results))):
            stray = next((n for n in results if ids[n][0] not in called), None)
            if stray is not None:
                raise BadRowError(f"第 {stray + 1} 条消息的 tool_call_id 不是前面任何一次调用的编号")
            results.sort(key=lambda n: called.index(ids[n][0]))
        ordered += [messages[start], *(messages[n] for n in results)]
        start = end
    return ordered


def _to_message(value: object, where: str) -> tuple[Message, bool]:
    """一条消息；第二项是它的角色是不是“工具调用”。"""
    if not isinstance(value, dict):
        raise BadRowError(f"{where}应该是一个对象，实际是{_kind(value)}")
    name = value["role"] if value.get("role") is not None else value.get("from")
    if name is None:
        raise BadRowError(f"{where}没有角色（role 或 from）")
    if not isinstance(name, str) or name not in ROLES:
        raise BadRowError(f"{where}的角色是 {_quote(name)}，只支持 {_KNOWN_ROLES}")
    role = ROLES[name]
    for key in _MEDIA:
        if _says_something(value.get(key)):
            raise BadRowError(f"{where}里有图片、视频或声音（{key}），只支持纯文字的对话")
    content = next((value[key] for key in _CONTENT if value.get(key) is not None), None)
    is_call = name in _CALLING_ROLES
    call_key = _said_key(value, ("tool_calls", "function_call"))
    if call_key == "tool_calls" and _says_something(value.get("function_call")):
        raise BadRowError(f"{where}既有 tool_calls，又有 function_call，不知道学哪一个；请去掉一个")
    calls = content if is_call else value[call_key] if call_key else None
    if calls is not None and role != "assistant":
        raise BadRowError(f"{where}里有工具调用，角色却是 {name}；只有 assistant 能调用工具")
    if content is None and calls is None:
        raise BadRowError(f"{where}没有内容（content 或 value）")
    if role == "tool" and not isinstance(content, str) and not _is_parts(content):
        content = json.dumps(content, ensure_ascii=False, default=str)  # 结果常常是对象
    text = "" if is_call or content is None else _to_text(content, f"{where}的内容")
    message: Message = {"role": role, "content": text}
    if calls is not None:
        message["tool_calls"] = _tool_calls(calls, where)
    if role == "assistant" and _learnt_mark(value, where) is False:
        message["learnt"] = False
    if (thought := _said_key(value, _REASONING)) is not None:
        if role != "assistant":
            raise BadRowError(f"{where}里有思考过程（{thought}），角色却是 {name}；只有 assistant 会思考")
        message["reasoning"] = _to_text(value[thought], f"{where}的 {thought} ")
        _undouble(message, where)
    return message, is_call


def _undouble(message: Message, where: str) -> None:
    """思考另写了一份，内容的开头又写着 ``<think>``：同样的只留一份。

    Raises:
        BadRowError: 两份不一样。
    """
    inside = thought_of(message["content"])
    if not inside:
        return
    own = _squeezed(inside).removeprefix("<think>").removesuffix("</think>")
    if own != _squeezed(message["reasoning"]):
        raise BadRowError(f"{where}的内容里有 <think>，旁边又有另一段思考，不知道学哪一个；请去掉一个")
    message["content"] = message["content"][len(inside) :]


def _squeezed(text: str) -> str:
    return "".join(text.split())


# ----------------------------------------------------------------------------------------------------------------------
# 一问一答


def _find_pair(row: dict[str, Any]) -> _Found | None:
    """问和答各在一个键里的。Alpaca 见 https://github.com/tatsu-lab/stanford_alpaca ；input 等材料非空时，另起一行接在
    问题后面。"""
    lower = _by_lower(row)
    if lower.get("instances") is not None and lower.get("instruction") is not None:
        return _seed_task(lower)
    present = [pair for pair in _PAIRS if lower.get(pair.question) is not None]
    pair = next((pair for pair in present if any(lower.get(key) is not None for key in pair.answers)), None)
    if pair is None:
        pair = next((pair for pair in present if pair.question == "instruction"), None)
    if pair is None:
        return None
    question = pair.question
    answers = [key for key in pair.answers if _says_something(lower.get(key))]
    if len(answers) > 1 and any(lower[key] != lower[answers[0]] for key in answers[1:]):
        raise BadRowError(
            f"有 {'、'.join(answers)} 几个键都像回答，不知道学哪一个；请用 --columns 指明，"
            f"如 --columns question={question} answer={answers[0]}"
        )
    answer = answers[0] if answers else next((key for key in pair.answers if key in lower), pair.answers[0])
    name = "Alpaca" if question == "instruction" else f"{question}/{answer}"
    if isinstance(lower[question], list) or isinstance(lower.get(answer), list):
        return _conversational(lower, question, answer)
    messages = _earlier_turns(lower)
    text = _to_text(lower[question], f"{question} ")
    extras = []
    for key in pair.extras:
        if lower.get(key) is not None and key != answer:
            extras.append(_to_text(lower[key], f"{key} "))
    if not text.strip():
        raise BadRowError(f"{question} 是空的；问题请写在 {question} 里")
    messages.append({"role": "user", "content": "\n".join([text, *(extra for extra in extras if extra.strip())])})
    reply: Message = {"role": "assistant", "content": _to_text(lower.get(answer), f"{answer} ")}
    used = [question, answer, *answers, "history", *pair.extras]
    if (thought := _said_key(lower, _REASONING)) is not None:
        reply["reasoning"] = _to_text(lower[thought], f"{thought} ")
        _undouble(reply, "回答")
        used.append(thought)
    return _Found(name, [*messages, reply], tuple(used))


def _seed_task(lower: dict[str, Any]) -> _Found:
    instances = lower["instances"]
    if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
        number = len(instances) if isinstance(instances, list) else 0
        raise BadRowError(f"instances 应该恰有一个例子，实际是 {number} 个；请拆成几行，一行一个")
    _check_kind(instances[0])
    found = _find_pair({"instruction": lower["instruction"], **instances[0]})
    assert found is not None  # instruction 不是空值
    return found._replace(format="种子任务", used=(*found.used, "instances"))


def _conversational(lower: dict[str, Any], question: str, answer: str) -> _Found:
    """TRL 的 prompt、completion：各是消息的列表；prompt 里的回答是上文，不学。"""

    unused: list[str] = []

    def part(key: str, role: str) -> list[Message]:
        value = lower.get(key)
        if isinstance(value, list):
            messages, inside = _messages(value)
            unused.extend(inside)
            return messages
        return [{"role": role, "content": _to_text(value, f"{key} ")}]

    before = part(question, "user")
    for message in before:
        if message["role"] == "assistant":
            message["learnt"] = False
    messages = [*_earlier_turns(lower), *before, *part(answer, "assistant")]
    inside = tuple(dict.fromkeys(unused))
    return _Found("prompt/completion（消息的列表）", messages, (question, answer, "history"), inside)


def _earlier_turns(lower: dict[str, Any]) -> list[Message]:
    """``history``：``[问, 答]`` 的列表，在当前这一问之前；也有写成消息的列表的。"""
    history = _unpacked(lower.get("history")) if _says_something(lower.get("history")) else []
    if isinstance(history, list) and history and all(isinstance(turn, dict) for turn in history):
        return _messages(history)[0]
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise BadRowError("history 应该是 [问, 答] 的列表")
    messages: list[Message] = []
    for number, (question, answer) in enumerate(history, 1):
        messages.append({"role": "user", "content": _to_text(question, f"history 第 {number} 轮的问 ")})
        messages.append({"role": "assistant", "content": _to_text(answer, f"history 第 {number} 轮的答 ")})
    return messages


# ----------------------------------------------------------------------------------------------------------------------
# 旁边的键


def _attach_system(row: dict[str, Any], messages: list[Message]) -> tuple[str, ...]:
    """写在旁边的系统提示，放到最前面。"""
    lower = _by_lower(row)
    key = _said_key(lower, _SYSTEM)
    if key is None:
        return ()
    system = _to_text(lower[key], f"{key} ")
    if messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    elif messages[0]["content"].strip() != system.strip():
        raise BadRowError(f"旁边的 {key} 与第一条消息（role 是 system）不一样，不知道用哪一个；请去掉一个")
    return (key,)


def _attach_tools(row: dict[str, Any], messages: list[Message]) -> tuple[str, ...]:
    """工具的定义放在第一条消息上；没有系统提示的，添一条空的。"""
    lower = _by_lower(row)
    key = _said_key(lower, _TOOLS)
    if key is None:
        return ()
    tools = _unpacked(lower[key])
    tools = [tools] if isinstance(tools, dict) else tools
    tools = [_unpacked(tool) for tool in tools] if isinstance(tools, list) else tools
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRowError(f"{key} 应该是工具定义的列表（或写成文字的 JSON 列表）")
    wrapped = [tool if "function" in tool else {"type": "function", "function": _without_type(tool)} for tool in tools]
    for number, tool in enumerate(wrapped, 1):
        function = tool["function"]
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRowError(f"{key} 的第 {number} 个工具没有名字（name）")
    _check_encodable(json.dumps(wrapped, ensure_ascii=False, default=str), f"{key} ")
    if messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": ""})
    messages[0]["tools"] = wrapped
    return (key,)


def _without_type(tool: dict[str, Any]) -> dict[str, Any]:
    """OpenAI Responses 的写法，type 与 name 写在一层。"""
    return {key: value for key, value in tool.items() if key != "type" or value != "function"}


def _learnt_mark(marked: dict[str, Any], where: str) -> bool | None:
    """学不学的记号；没有是 None。

    Raises:
        BadRowError: 只学几分的，两个记号说的不一样的。
    """
    said: set[bool] = set()
    for keys, positive in ((_LEARNT, True), (_MASKED, False)):
        for key in keys:
            value = marked.get(key)
            if value is None:
                continue
            switch = _switch(value)
            if switch is None:
                raise BadRowError(f"{where}的 {key} 是 {_quote(value)}；只认 0 和 1（false 和 true）：不学，或学")
            said.add(switch is positive)
    if len(said) > 1:
        raise BadRowError(f"{where}的几个记号，有的说学，有的说不学；请改成一样的")
    return said.pop() if said else None


def _tool_calls(value: object, where: str) -> list[ToolCall]:
    """OpenAI 的 tool_calls、function_call，或写成文字的 JSON → 名字和参数。"""
    value = _unpacked(value)
    calls = value if isinstance(value, list) else [value]
    found: list[ToolCall] = []
    for call in calls:
        if call is None:
            continue  # Parquet 补的
        inner = call.get("function") if isinstance(call, dict) and isinstance(call.get("function"), dict) else call
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
            raise BadRowError(f"{where}的工具调用里没有函数的名字（name）：{_quote(call)}")
        key = next((key for key in _ARGUMENTS if inner.get(key) is not None), None)
        strange = sorted(str(each) for each in inner.keys() - {"name", "id", "type", "index", *_ARGUMENTS})
        if key is None and strange:
            raise BadRowError(
                f"{where}的工具调用没有参数（arguments），却有 {'、'.join(strange)}；请把参数写在 arguments 里"
            )
        arguments = inner[key] if key else {}
        arguments = {} if arguments == "" else _unpacked(arguments)
        if not isinstance(arguments, dict):
            raise BadRowError(
                f"{where}的工具调用 {inner['name']} 的参数应该是一个 JSON 对象，实际是 {_quote(arguments)}"
            )
        _check_encodable(inner["name"] + json.dumps(arguments, ensure_ascii=False, default=str), f"{where}的工具调用")
        found.append({"name": inner["name"], "arguments": arguments})
    if not found:
        raise BadRowError(f"{where}的工具调用是空的")
    return found


# ----------------------------------------------------------------------------------------------------------------------
# 小工具


def _says_something(value: object) -> bool:
    if isinstance(value, list):
        return any(each is not None for each in value)
    return bool(value) and not (isinstance(value, str) and value.strip() in _SAYS_NOTHING)


def _is_empty(value: object) -> bool:
    """没有写什么：空值，空的文字、列表、对象。``false`` 和 0 是写了的。"""
    return value is None or value in ("", [], {}) or (isinstance(value, list) and all(each is None for each in value))


def _switch(value: object) -> bool | None:
    """0、1、true、false，表格里写成文字的也算；别的是 None。"""
    if isinstance(value, str):
        return {"0": False, "1": True, "false": False, "true": True}.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _said_key(values: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """几个键里第一个有内容的。"""
    return next((key for key in keys if _says_something(values.get(key))), None)


def _unpacked(value: object) -> Any:
    """写成文字的 JSON 列表、对象（表格里常见）打开；打不开的原样。"""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value, object_pairs_hook=unique_keys)
        except RepeatedKeyError as error:
            raise BadRowError(f"写成文字的 JSON 里，{error}") from error
        except (ValueError, RecursionError):
            return value
    return value


class RepeatedKeyError(ValueError):
    """同一个对象里，同一个键写了两次。"""


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """JSON 的一个对象。同一个键写了两次时，标准库只留后一个，丢掉的那份数据谁也不会发现；所以不收。"""
    row = dict(pairs)
    if len(row) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise RepeatedKeyError(f"同一个对象里有两个 {reprlib.repr(repeated)}")
    return row


def _is_parts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) and "type" in part for part in value)


def _to_text(value: object, where: str) -> str:
    """文字；或几部分组成的内容（``[{"type": "text", "text": "…"}, …]``，文字也有写在 value、content 里的）。"""
    if isinstance(value, list):
        value = "".join(_part(part, where) for part in value)
    if not isinstance(value, str):
        raise BadRowError(f"{where}应该是文字，实际是{_kind(value)}")
    _check_encodable(value, where)
    return value


def _part(part: object, where: str) -> str:
    if not isinstance(part, dict) or "type" not in part:
        raise BadRowError(f"{where}里有不是文字的部分（{_kind(part)}）")
    if part["type"] != "text":
        raise BadRowError(f"{where}里有不是文字的部分（{_quote(part['type'])}）")
    text = next((part[key] for key in ("text", "value", "content") if part.get(key) is not None), None)
    if not isinstance(text, str):
        raise BadRowError(f"{where}里，有一部分说是文字，却没有写出文字（text）")
    return text


def _check_encodable(text: str, where: str) -> None:
    if found := _UNENCODABLE.search(text):
        raise BadRowError(f"{where}的第 {found.start() + 1} 个字符是 {_quote(found.group())}，不是合法的文字")


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _quote(value: object) -> str:
    """放进消息里的用户数据：引号括起，不可见字符转义，太长就截短。"""
    text = reprlib.repr(value)  # repr 会先把几十兆的内容全写出来，嵌套太深时还会失败
    return text if len(text) <= 40 else text[:39] + "…"
