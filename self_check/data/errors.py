"""TODO 1 里常见的异常多半为什么。"""

import re

_SEGMENTS = "segments(message) 给出四段：header, content, end, newline，要用四个变量来接。"
_MESSAGES = "一段对话有几条消息不一定：可能有 system，也可能有好几轮；请用 for message in conversation 一条一条地处理。"
# 报错里的字样 → 为什么；比只看异常的类型说得准。
_WORDS = {
    "tuple indices must be integers": (
        '四段要用 .header、.content、.end、.newline 来取，或者拆成四个变量，不能用 ["header"]。'
    ),
    "list indices must be integers": (
        '把列表当成了字典：conversation 是消息的列表，先用 for message in conversation 取出一条，再取 message["role"]；'
        "segments 收的也是一条消息。"
    ),
    "extend\\(\\) takes exactly one argument": "extend 一次只接一个列表：要接几个，就写几次，或者先用 + 连起来。",
    "'dict' object has no attribute": '消息是字典：用 message["role"]、message["content"] 来取，不是 message.role。',
    "'Segments' object has no attribute": "四段的名字是 header、content、end、newline。",
}


def explain(error: BaseException, message: str, code: str) -> str | None:
    """见 :class:`self_check.exercise.Exercise`。"""
    if isinstance(error, ValueError) and "unpack" in message:
        if "segments" in code:
            return _SEGMENTS
        return _MESSAGES if "conversation" in code else f"等号两边的个数不同。{_SEGMENTS}{_MESSAGES}"
    for words, reason in _WORDS.items():
        if re.search(words, message):
            return reason
    if isinstance(error, KeyError):
        return "字典里没有这个键。每条消息只有 role 和 content 两个键；tokenizer(...) 的结果里 id 在 input_ids 下。"
    if isinstance(error, IndexError):
        return "下标超出了范围。对话可能只有两条消息，也可能没有 system；回答可能只有一个 token。"
    return None
