"""一段对话：消息的列表，和它要合乎的规则。一行原始数据怎样变成它，见 :mod:`finetuning.formats`。

大多数消息只有 ``role`` 和 ``content``。用得着时才有的几个键::

    {"role": "system", "content": "…", "tools": [工具的定义]}       只在第一条
    {"role": "assistant", "content": "", "tool_calls": [{"name": "…", "arguments": {…}}]}
    {"role": "assistant", "content": "…", "reasoning": "思考过程"}
    {"role": "assistant", "content": "…", "learnt": False}         这个回答是上文，不学
    {"role": "assistant", "content": "…", "reasoning_learnt": False}  它的思考是上文，不学，其余的学
    {"role": "tool", "content": "工具的结果"}
"""

import re
from typing import Any, NotRequired, TypedDict


class ToolCall(TypedDict):
    """一次工具调用：函数的名字，和它的参数。"""

    name: str
    arguments: dict[str, Any]


class Message(TypedDict):
    """对话里的一条消息；``role`` 是 ``"system"``、``"user"``、``"assistant"`` 或 ``"tool"``。"""

    role: str
    content: str
    tools: NotRequired[list[dict[str, Any]]]
    tool_calls: NotRequired[list[ToolCall]]
    reasoning: NotRequired[str]
    learnt: NotRequired[bool]
    reasoning_learnt: NotRequired[bool]


Conversation = list[Message]


class BadRowError(ValueError):
    """这一行不能用于训练；消息是中文的原因，不含文件名和行号（由读文件的人补上）。"""


# 写在回答开头的思考，连同它后面的空白；有的数据没有开头的标签（R1 的提示词里已经写了）。
_THOUGHT = re.compile(r"\s*(<think>)?((?!</?think>).)*</think>\s*", re.DOTALL)

# 谁的后面可以是谁；开头是 None。工具的结果后面可以还是结果（一次调用了几个），也可以是回答。
_NEXT = {
    None: ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def thought_of(content: str) -> str:
    """一个回答开头的思考，到 ``</think>`` 和后面的空白；没有是空的。"""
    found = _THOUGHT.match(content) if "</think>" in content else None
    return found.group() if found else ""


def check_turns(conversation: Conversation) -> None:
    """规则：开头可以有一条 system；然后 user 与 assistant 轮流，user 在先；最后一条是 assistant；回答不能是空的
    （只有空白也算空），除非它调用了工具。工具的结果跟在 assistant 后面，接着还是 assistant；调用了工具的，
    后面就是工具的结果。

    Raises:
        BadRowError: 违反规则。
    """
    if not conversation:
        raise BadRowError("一条消息也没有")
    last: str | None = None
    calling = False  # 上一条调用了工具
    first_turn = 1 if conversation[0]["role"] == "system" else 0
    for number, message in enumerate(conversation[first_turn:], first_turn + 1):
        role = message["role"]
        expected = ("tool",) if calling else _NEXT[last]
        if role not in expected:
            # 工具很少见：没有调用它的地方，不提它。
            raise BadRowError(f"第 {number} 条消息应该是 {expected[0]}，实际是 {role}")
        calling = bool(message.get("tool_calls"))
        if role == "assistant" and not calling:
            content = message["content"]
            if not content.strip():
                raise BadRowError(f"第 {number} 条消息：assistant 的回答是空的")
            if not content[len(thought_of(content)) :].strip():
                raise BadRowError(f"第 {number} 条消息：assistant 只有思考，没有回答")
        last = role
    if conversation[-1]["role"] != "assistant":
        raise BadRowError(
            f"最后一条消息应该是 assistant 的回答，实际是 {conversation[-1]['role']}；多出来的，去掉就可以"
        )
