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
from collections.abc import Mapping
from typing import Any, NamedTuple

from finetuning.conversations import BadRowError, Conversation, Message, ToolCall, check_turns

# 各家对同一个角色的叫法。
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),  # 内容是调用的 JSON
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "function_response"), "tool"),
}
_CALLING_ROLES = ("function_call", "tool_call")
_KNOWN_ROLES = "system、user（human）、assistant（gpt）和 tool（observation）"

_LISTS = ("conversations", "messages", "conversation")  # 消息的列表在哪个键里
_REASONING = ("reasoning_content", "reasoning", "thinking", "complex_cot")
_TOOLS = ("tools", "functions")
_SYSTEM = ("system", "system_prompt", "systemprompt")
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_PREFERENCE = ("chosen", "rejected", "rejected_response", "rejected_messages")
_GOOD_OR_BAD = ("label", "kto_tag")
# 一条回答学不学的记号。
_LEARNT = ("weight", "loss", "loss_weight", "train", "train_on_turn", "training", "trainable")
_MASKED = ("mask", "masked")
_SAYS_NOTHING = ("", "[]", "{}", "null")  # 有的数据集把列表存成文字

_CONTENT = ("content", "value", "text")
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
    _Pair("input", ("output", "response", "completion", "answer", "content")),
    _Pair("context", ("response",)),
    _Pair("指令", ("输出", "回答"), ("输入",)),
    _Pair("问题", ("回答", "答案")),
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
        row = _chosen_columns(row, columns)
    _check_kind(row)
    found = _find_list(row) or _find_pair(row)
    if found is None:
        raise BadRowError(_unknown(row))
    parsed = _finish(found, row)
    if columns:
        used = {*columns.values(), "skill"}
        return parsed._replace(format="--columns", unused=_unused(original, used, ()))
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
    # 偏好数据的记号等都看过了：它们不说什么，才走得到这里。
    seen = {*_MEDIA, *_PREFERENCE, *_LEARNT, *_MASKED, *_TOOLS, *_SYSTEM, *_REASONING}
    return Parsed(messages[: last + 1], found.format, _unused(row, used | seen, found.unused_inside))


def _is_learnt(message: Message) -> bool:
    return message.get("learnt", True)


def _unused(row: dict[str, Any], used: set[str], inside: tuple[str, ...]) -> tuple[str, ...]:
    outside = (key for key, value in row.items() if str(key).lower() not in used and key not in used)
    return (*(str(key) for key in outside if _says_something(row[key])), *inside)


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
    for key in _GOOD_OR_BAD:
        value = lower.get(key)
        if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
            raise BadRowError(
                f"对话旁边有 {key}（true 或 false），这是 KTO 的偏好数据；请只留下要学的回答，并去掉这个键"
            )
    if _learnt_mark(row, "对话旁边") is False:
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
        return f"{said}；只有 text 的是预训练用的文本，不是一问一答，不能用来做指令微调"
    columns = "；哪一列是问、哪一列是答，可以用 --columns 指明，如 --columns question=列名 answer=列名"
    nearest = max(_PAIRS, key=lambda pair: sum(key in lower for key in (pair.question, *pair.answers)))
    missing = [nearest.question] if nearest.question not in lower else list(nearest.answers[:1])
    if any(key in lower for key in (nearest.question, *nearest.answers)):
        return f"{said}；最像的是 {nearest.example}，缺 {missing[0]}{columns}"
    return f"{said}；要有 conversations 或 messages（消息的列表），或 instruction 和 output 等一问一答的键{columns}"


def _chosen_columns(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """只留 ``--columns`` 说的几列，换成这里的名字。"""
    for name, column in columns.items():
        if column not in row and name in ("question", "answer", "messages"):
            keys = "、".join(_quote(key) for key in list(row)[:8]) or "（没有）"
            raise BadRowError(f"没有 --columns 里说的 {_quote(column)} 这一列；这一行的键是 {keys}")
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
    key = next((key for key in _LISTS if row.get(key) is not None), None)
    if key is None:
        return None
    value = _unpacked(row[key])
    if not isinstance(value, list):
        raise BadRowError(f"{key} 应该是消息的列表，实际是{_kind(row[key])}")
    for beside in ("instruction", "history"):
        if _says_something(row.get(beside)):
            raise BadRowError(f"既有消息的列表，又有 {beside}，不知道该学哪一个；请去掉一个")
    for beside in _REASONING:
        if _says_something(row.get(beside)):
            raise BadRowError(f"对话旁边有思考过程（{beside}），不知道属于哪个回答；请把它写进那条消息里")
    first = value[0] if value and isinstance(value[0], dict) else {}
    if "role" not in first and "from" not in first:
        if first.get("output") is not None and first.get("input") is not None:
            return _Found("XTuner", _turns(value, "input", "output"), (key,))
        if first.get("human") is not None and first.get("assistant") is not None:
            return _Found("Firefly", _turns(value, "human", "assistant"), (key,))
    messages, inside = _messages(value)
    name = "ShareGPT" if first.get("from") is not None else "本项目" if key == "conversations" else "OpenAI"
    return _Found(name, messages, (key,), inside)


def _turns(turns: list[Any], question: str, answer: str) -> list[Message]:
    """一轮是一个对象的列表 → 消息。"""
    messages: list[Message] = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict):
            raise BadRowError(f"第 {number} 轮应该是一个对象，实际是{_kind(turn)}")
        if _says_something(system := turn.get("system")):
            if messages:
                raise BadRowError(f"第 {number} 轮又有 system；系统提示只能写在第一轮")
            messages.append({"role": "system", "content": _to_text(system, f"第 {number} 轮的 system ")})
        messages.append({"role": "user", "content": _to_text(turn.get(question), f"第 {number} 轮的 {question} ")})
        messages.append(_answer(turn, answer, f"第 {number} 轮"))
    return messages


def _answer(turn: dict[str, Any], key: str, where: str) -> Message:
    message: Message = {"role": "assistant", "content": _to_text(turn.get(key), f"{where}的 {key} ")}
    if _learnt_mark(turn, where) is False:
        message["learnt"] = False
    return message


def _messages(values: list[Any]) -> tuple[list[Message], tuple[str, ...]]:
    """各家的消息 → 消息，和没有用到的键。"""
    messages: list[Message] = []
    unused: dict[str, None] = {}
    for number, value in enumerate(values, 1):
        where = f"第 {number} 条消息"
        message, is_call = _to_message(value, where)
        if is_call and messages and messages[-1]["role"] == "assistant":
            # 先说一句话再调用，或连着调用两次，写成了几条：合成一条。
            messages[-1].setdefault("tool_calls", []).extend(message["tool_calls"])
            continue
        messages.append(message)
        if more := value.keys() - _MESSAGE_KEYS:
            unused.update(
                {f"消息里的 {key}": None for key in sorted(map(str, more)) if _says_something(value.get(key))}
            )
    return messages, tuple(unused)


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
    calls = (
        content
        if is_call
        else next((value[k] for k in ("tool_calls", "function_call") if _says_something(value.get(k))), None)
    )
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
    return message, is_call


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
    if (thought := _said_key(lower, _REASONING)) is not None:
        reply["reasoning"] = _to_text(lower[thought], f"{thought} ")
    return _Found(name, [*messages, reply], (question, answer, *answers, "history", *pair.extras))


def _seed_task(lower: dict[str, Any]) -> _Found:
    instances = lower["instances"]
    if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
        number = len(instances) if isinstance(instances, list) else 0
        raise BadRowError(f"instances 应该恰有一个例子，实际是 {number} 个；请拆成几行，一行一个")
    found = _find_pair({"instruction": lower["instruction"], **instances[0]})
    assert found is not None  # instruction 不是空值
    return found._replace(format="种子任务", used=(*found.used, "instances"))


def _conversational(lower: dict[str, Any], question: str, answer: str) -> _Found:
    """TRL 的 prompt、completion：各是消息的列表；prompt 里的回答是上文，不学。"""

    def part(key: str, role: str) -> list[Message]:
        value = lower.get(key)
        if isinstance(value, list):
            return _messages(value)[0]
        return [{"role": role, "content": _to_text(value, f"{key} ")}]

    before = part(question, "user")
    for message in before:
        if message["role"] == "assistant":
            message["learnt"] = False
    return _Found(
        "prompt/completion（消息的列表）",
        [*_earlier_turns(lower), *before, *part(answer, "assistant")],
        (question, answer, "history"),
    )


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
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRowError(f"{key} 应该是工具定义的列表（或写成文字的 JSON 列表）")
    wrapped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    for number, tool in enumerate(wrapped, 1):
        function = tool["function"]
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRowError(f"{key} 的第 {number} 个工具没有名字（name）")
    _check_encodable(json.dumps(wrapped, ensure_ascii=False, default=str), f"{key} ")
    if messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": ""})
    messages[0]["tools"] = wrapped
    return (key,)


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
            if value not in (0, 1):  # True 等于 1，False 等于 0
                raise BadRowError(f"{where}的 {key} 是 {_quote(value)}；只认 0 和 1（false 和 true）：不学，或学")
            said.add(bool(value) is positive)
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
        arguments = inner["arguments"] if inner.get("arguments") is not None else inner.get("parameters")
        arguments = {} if arguments is None or arguments == "" else _unpacked(arguments)
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


def _said_key(values: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """几个键里第一个有内容的。"""
    return next((key for key in keys if _says_something(values.get(key))), None)


def _unpacked(value: object) -> Any:
    """写成文字的 JSON 列表、对象（表格里常见）打开；打不开的原样。"""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


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
