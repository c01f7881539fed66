"""工具和思考在 ChatML 里的写法：都变成文字，一段对话就又只有 system、user、assistant 三种消息。

写法是 Qwen2.5、Qwen3 的对话模板的，起自 Hermes（https://github.com/NousResearch/Hermes-Function-Calling）；有两处不同：没有系统提示的
不添默认的一句（Qwen2.5 添），以前几轮的思考留着（Qwen3 去掉）：

- 工具的定义接在系统提示后面，一行一个，写在 ``<tools></tools>`` 里；
- 调用是 assistant 说的话：``<tool_call>`` 里一个 JSON 对象，函数的名字和参数；
- 工具的结果由程序给出，写在 user 的一条消息里：``<tool_response></tool_response>``；几个结果在同一条里；
- 思考也是 assistant 说的话：写在回答前面的 ``<think></think>`` 里。

所以学哪些 token 不用另外说：assistant 的话全都学，工具的结果是别人的话，不学。
"""

import json

from finetuning.conversations import Conversation, Message, ToolCall, thought_of

# 工具的定义前后的话。
TOOLS_HEAD = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
"""
TOOLS_TAIL = """
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

_PLAIN = {"role", "content", "learnt", "reasoning_learnt"}


def as_text(conversation: Conversation) -> Conversation:
    """工具和思考变成文字；本来就只有文字的，原样返回。

    Returns:
        每条消息只有 ``role``、``content``，和用得着时的 ``learnt``、``reasoning_learnt``；两条 user 不会相连。
    """
    if all(message.keys() <= _PLAIN and message["role"] != "tool" for message in conversation):
        return conversation
    messages: Conversation = []
    for number, message in enumerate(conversation):
        if message["role"] == "tool":
            result = _tagged("tool_response", message["content"])
            if number and conversation[number - 1]["role"] == "tool":
                messages[-1]["content"] += "\n" + result
            else:
                messages.append({"role": "user", "content": result})
            continue
        text: Message = {"role": message["role"], "content": _text_of(message)}
        for key in ("learnt", "reasoning_learnt"):
            if key in message:
                text[key] = message[key]
        messages.append(text)
    return messages


def with_thoughts_unlearnt(conversation: Conversation) -> Conversation:
    """各个回答的思考改作上文，不学；没有思考的原样。"""
    return [
        {**message, "reasoning_learnt": False}
        if message["role"] == "assistant" and ("reasoning" in message or thought_of(message["content"]))
        else message
        for message in conversation
    ]


def _text_of(message: Message) -> str:
    parts = [message["content"]] if message["content"] else []
    if tools := message.get("tools"):
        parts.append(("\n" if parts else "") + TOOLS_HEAD + "\n".join(map(_json, tools)) + TOOLS_TAIL)
    parts += [_tagged("tool_call", _json(call)) for call in message.get("tool_calls", ())]
    text = "\n".join(parts)
    if "reasoning" not in message:
        return text
    return "<think>\n" + message["reasoning"].strip("\n") + "\n</think>\n\n" + text


def _tagged(tag: str, text: str) -> str:
    """有的数据自己已经写上了标签。"""
    return text if text.lstrip().startswith(f"<{tag}>") else f"<{tag}>\n{text}\n</{tag}>"


def _json(value: dict | ToolCall) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
