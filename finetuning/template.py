"""模型自己的对话模板（chat template）：训练、检验、聊天都照它，不改成 ChatML。

要学的是什么，由模板的两次渲染来定：``P`` 是推理时的提示词（到这个回答之前，``add_generation_prompt``），``E`` 是说完
这个回答以后的整段。``P`` 是 ``E`` 的开头，多出来的就是模型要说的：回答的内容，模板给它加上的东西，和结束这一轮的标记。
所以不用在模板里另加 ``{% generation %}``，学的就是推理时要它说的（模板里写着当天日期的，如 Llama 3.2，训练用的是训练
那天的）。

前面几轮的回答，有的模板在整段里写成另一个样子（Qwen3 去掉以前的思考）：整段对话里没有推理时的样子，就不能在整段里
学它。这样的对话拆成几个样本，每个到一个回答为止，只学最后的那个回答。

内容里划分轮次的控制 token 变不成真的：渲染之前，内容里与控制 token 相同的文字换成别处没有的占位符，渲染以后再换回来，
按普通文字编码；剩下的都是模板自己写的。``<think>``、``<tool_call>``、``<tool_response>`` 不算：它们不划分轮次，在助手的
话里是正常的，所以别人的话里写了，在把它们收作 token 的词表（如 Qwen3）里，照样是那个 token。
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from jinja2 import TemplateError

from finetuning.chatml import common_length, control_tokens
from finetuning.conversations import BadRowError, Conversation, Message, ToolCall, thought_of
from finetuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# 思考和工具的标签：它们在内容里出现是正常的，不划分轮次。
_TAG = re.compile(r"</?(think|tool_call|tool_response|tools)>")
# 提示词比对话多出来的、说好了要（或不要）思考的开头。
_OPENING = re.compile(r"\s*<think>\s*(?P<closed></think>\s*)?")
_CLOSING = re.compile(r"\s*(</think>)?\s*")
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
# 占位符：从这里起的私用区的字符，一种控制 token 一个，正常的文字里没有。
_FIRST = 0x100000
_PLACEHOLDER = re.compile("[\U00100000-\U0010fffd]")
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)
# 别处不会有的文字：写得出它，就是写得出那一样。
_MARK, _MARK2 = "probe_of_name", "probe_of_value"
_CALL: ToolCall = {"name": _MARK, "arguments": {"x": _MARK2}}
_QUESTION: Message = {"role": "user", "content": "问"}
_ANSWER: Message = {"role": "assistant", "content": "答"}


class Example(NamedTuple):
    """一个训练样本：``input_ids``，和每个位置要不要学。"""

    input_ids: list[int]
    learnt: list[bool]


class _Token(NamedTuple):
    """一个 token，和它在文字里的位置。"""

    id: int
    start: int
    end: int


class _Turn(NamedTuple):
    """一个回答，在它自己的渲染里的位置。"""

    text: str  # 到这个回答说完为止的整段
    start_of_all: int  # 从哪里起是模型要说的
    start: int  # 从哪里起要学；思考不学的，在思考之后
    end: int  # 结束标记之后


class ModelTemplate:
    """用分词器自己的对话模板，把对话编码成 token。

    Attributes:
        end_ids: 说完了的标记。
        controls: 划分轮次的 token 的文字，长的在前；内容里的同样文字变不成它们。

    Raises:
        UserError: 分词器没有对话模板，或模板连一问一答也写不出来，或写出的提示词不是对话的开头。
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self._tokenizer: Any = tokenizer
        if not tokenizer.chat_template:
            raise UserError("这个模型的分词器没有对话模板，不能用 --chat_template model；请去掉它，用 ChatML。")
        ids, _ = control_tokens(tokenizer)
        specials = {str(tokenizer.convert_ids_to_tokens(token)) for token in ids}
        self._set_controls(specials)
        self._tail = ""
        answered: Conversation = [_QUESTION, _ANSWER]
        try:
            # 模板写出来的、添进词表的 token，不是特殊 token 的也划分轮次（DeepSeek 的 <｜User｜>）。
            shown = self._render(answered, False) + json.dumps(tokenizer.chat_template, ensure_ascii=False)
            added = {token.content for token in tokenizer.added_tokens_decoder.values()}
            self._set_controls(specials | {token for token in added if token in shown and not _TAG.fullmatch(token)})
            self._tail = self._always_appended(answered)
            self.end_ids = self._ends()
        except BadRowError as error:
            raise UserError(
                f"这个模型的对话模板用不了（{error}）；请改用 --chat_template chatml，或换一个模型。"
            ) from error

    def _set_controls(self, tokens: Iterable[str]) -> None:
        """划分轮次的 token：长的在前，匹配时先试。"""
        self.controls = sorted({token for token in tokens if len(token) > 1}, key=lambda token: (-len(token), token))
        self._control = re.compile("|".join(map(re.escape, self.controls)) or r"(?!)")
        self._closing = re.compile(rf"(\s*({self._control.pattern}))+\s*$")

    def _always_appended(self, answered: Conversation) -> str:
        """有的模板（如 Llama 3 最初的）不管要不要，总在末尾写上下一个回答的开头：那不是这个回答里的。"""
        prompt, whole = self._render(answered[:1], True), self._render(answered, False)
        common = whole[len(whole) - common_length(prompt[::-1], whole[::-1]) :]
        end = self._control.search(common)
        rest = common[end.end() :] if end else ""
        return rest if self._control.search(rest) else ""

    def _ends(self) -> frozenset[int]:
        """回答和工具调用各以什么结束；没有结束标记的，下一轮（问题，工具的结果）的标记就是结束。"""
        ends = self._last_learnt([_QUESTION, _ANSWER]) | self._last_learnt([_QUESTION, _ANSWER, _QUESTION, _ANSWER])
        if self._writes_calls:
            result: Message = {"role": "tool", "content": "果"}
            for conversation in ([_QUESTION, _call("")], [_QUESTION, _call(""), result, _ANSWER]):
                try:
                    ends |= self._last_learnt(conversation)
                except BadRowError:
                    continue
        return frozenset(ends)

    def _last_learnt(self, conversation: Conversation) -> set[int]:
        """各段要学的，最后一个 token。"""
        return {
            ids[number]
            for ids, learnt in self.examples(conversation)
            for number in range(len(ids))
            if learnt[number] and not (number + 1 < len(ids) and learnt[number + 1])
        }

    def prepare(self, conversation: Conversation) -> Conversation:
        """原样返回；模板写不出来的不收。

        Raises:
            BadRowError: 模板不收这样的对话（例如不能有系统提示），丢掉了其中的话，或写出来的与提示词对不上。
        """
        self._check_features(conversation)
        for number in _answers(conversation):
            turn = self._turn(conversation[: number + 1], number)
            said = turn.text[turn.start_of_all : turn.end]
            if not self._is_in(conversation[number]["content"], said):
                raise BadRowError("模型的对话模板写出来的回答，与数据里的不一样（丢掉了一部分）")
        for number, message in enumerate(conversation, 1):
            if message["role"] != "assistant" and not self._is_in(message["content"], turn.text):
                raise BadRowError(f"模型的对话模板没有写出第 {number} 条消息（{message['role']}）的内容")
        return conversation

    def prompt(self, messages: Conversation) -> list[int]:
        """推理时的提示词：与训练时回答之前的 id 相同。"""
        return [token.id for token in self._encode(self._render(messages, True))]

    def answer(self, conversation: Conversation) -> list[int]:
        """最后一个回答的 id，不含结束标记；模板给它加的东西（如空的思考）也在内。"""
        (example,) = self.examples(_only_last(conversation))
        return [token for token, learnt in zip(*example, strict=True) if learnt][:-1]

    def reference(self, conversation: Conversation) -> str:
        """最后一个回答，写成模型会写出的文字。"""
        return cast(str, self._tokenizer.decode(self.answer(conversation)))

    def is_control(self, token_id: int) -> bool:
        """是不是划分轮次的 token。"""
        return str(self._tokenizer.convert_ids_to_tokens(token_id)) in self.controls

    def examples(self, conversation: Conversation) -> list[Example]:
        """一段对话 → 一个样本；前面的回答在整段里变了样的，是几个。"""
        wanted = [number for number in _answers(conversation) if conversation[number].get("learnt", True)]
        turns = {number: self._turn(conversation[: number + 1], number) for number in wanted}
        whole = turns[wanted[-1]]
        together: list[_Turn] = []
        apart: list[_Turn] = []
        for number in wanted:
            turn = turns[number]
            same = turn is whole or whole.text[: turn.end] == turn.text[: turn.end]
            (together if same else apart).append(turn)
        if not self._ends_itself(whole):  # 下一轮的标记就是结束，也要学
            together = [turn if turn is whole else self._with_next_control(whole.text, turn) for turn in together]
        found = [self._example(turn.text, [turn]) for turn in apart]
        return [*found, self._example(whole.text, together)]

    # ------------------------------------------------------------------------------------------------------------------
    # 渲染：一段对话 → 文字，要学的从哪里到哪里

    def _render(self, messages: Conversation, for_answer: bool) -> str:
        """模板写出来的文字；内容里的控制 token 是占位符。"""
        tools = messages[0].get("tools") if messages else None
        shown, tools = self._hide((self._as_template_wants(messages), tools))
        try:
            return cast(
                str,
                self._tokenizer.apply_chat_template(
                    shown, tools=tools, tokenize=False, add_generation_prompt=for_answer
                ),
            )
        except _TEMPLATE_ERRORS as error:
            reason = " ".join(str(error).split())[:120].rstrip("。.") or type(error).__name__
            raise BadRowError(f"模型的对话模板不收这样的对话：{reason}") from error

    def _as_template_wants(self, messages: Conversation) -> list[dict[str, Any]]:
        """transformers 的写法：工具调用带上编号，结果带上它回答的那次调用的编号和名字。"""
        shown: list[dict[str, Any]] = []
        waiting: list[tuple[str, str]] = []
        number = 0
        for index, message in enumerate(messages):
            if index == 0 and message["role"] == "system" and not message["content"] and message.get("tools"):
                continue  # 只是用来放工具的
            one: dict[str, Any] = {"role": message["role"], "content": message["content"]}
            if "reasoning" in message:
                self._put_reasoning(one, message["reasoning"].strip("\n"))
            if calls := message.get("tool_calls"):
                waiting = [(f"call{number + n:05d}", call["name"]) for n, call in enumerate(calls)]
                number += len(calls)
                one["tool_calls"] = [
                    _shown_call(call_id, call, self._arguments_as_text)
                    for (call_id, _), call in zip(waiting, calls, strict=True)
                ]
            elif message["role"] == "tool" and waiting:
                one["tool_call_id"], one["name"] = waiting.pop(0)
            shown.append(one)
        return shown

    def _check_features(self, conversation: Conversation) -> None:
        """用到的几样，模板都会写：有的模板见了工具、思考，一声不响地丢掉。

        Raises:
            BadRowError: 有一样不会写。
        """
        missing = None
        if any("tools" in message for message in conversation) and not self._writes_tools:
            missing = "工具的定义"
        elif any("tool_calls" in message for message in conversation) and not self._writes_calls:
            missing = "工具调用"
        elif any(message.get("tool_calls") and message["content"] for message in conversation) and not (
            self._writes_calls_beside_text
        ):
            missing = "写在话后面的工具调用"
        elif any(message["role"] == "tool" for message in conversation) and not self._writes_results:
            missing = "工具的结果"
        elif any("reasoning" in message for message in conversation) and not self._writes_reasoning:
            missing = "思考"
        if missing:
            raise BadRowError(f"模型的对话模板不会写{missing}；请换一个会的模型，或用 --chat_template chatml")

    @cached_property
    def _writes_tools(self) -> bool:
        tool = {"type": "function", "function": {"name": _MARK, "description": _MARK2, "parameters": {}}}
        asked: Conversation = [{"role": "system", "content": "", "tools": [tool]}, _QUESTION, _ANSWER]
        return self._shows(asked, _MARK, _MARK2)

    @cached_property
    def _writes_calls(self) -> bool:
        return self._shows([_QUESTION, _call("")], _MARK, _MARK2)

    @cached_property
    def _writes_calls_beside_text(self) -> bool:
        return self._shows([_QUESTION, _call("好")], _MARK, _MARK2, "好")

    @cached_property
    def _writes_results(self) -> bool:
        return self._shows([_QUESTION, _call(""), {"role": "tool", "content": "结果在此"}, _ANSWER], "结果在此")

    @cached_property
    def _writes_reasoning(self) -> bool:
        thought: Message = {"role": "assistant", "content": "答", "reasoning": _MARK}
        try:
            return _MARK in self._turn([_QUESTION, thought], 1).text
        except BadRowError:
            return False

    def _shows(self, conversation: Conversation, *marks: str) -> bool:
        try:
            shown = self._render(conversation, False)
        except BadRowError:
            return False
        return all(mark in shown for mark in marks)

    def _is_in(self, content: str, text: str) -> bool:
        """模板可以去掉首尾的空白、补上换行，或写成 JSON 的文字，别的都要在。"""
        hidden = self._hide(content)
        squeezed = _without_spaces(text)
        return any(_without_spaces(each) in squeezed for each in (hidden, json.dumps(hidden, ensure_ascii=False)[1:-1]))

    def _put_reasoning(self, message: dict[str, Any], reasoning: str) -> None:
        if self._reasoning_key is None:
            message["content"] = f"<think>\n{reasoning}\n</think>\n\n{message['content']}"
        else:
            message[self._reasoning_key] = reasoning

    @cached_property
    def _arguments_as_text(self) -> bool:
        """工具调用的参数写成 JSON 的文字，而不是对象：有的模板只认文字。"""
        written = {
            as_text: self._raw({"content": "", "tool_calls": [_shown_call("call00000", _CALL, as_text)]})
            for as_text in (False, True)
        }
        return _MARK2 not in written[False] and _MARK2 in written[True]

    @cached_property
    def _reasoning_key(self) -> str | None:
        """模板从哪个键里取思考；都不取的，写在内容的开头。"""
        return next((key for key in _REASONING_KEYS if _MARK in self._raw({"content": "答", key: _MARK})), None)

    def _raw(self, answer: dict[str, Any]) -> str:
        """一问一答，``answer`` 的各个键原样交给模板，写出来的文字；模板不收的是空的。"""
        shown = [{"role": "user", "content": "问"}, {"role": "assistant", **answer}]
        try:
            return str(self._tokenizer.apply_chat_template(shown, tokenize=False))
        except _TEMPLATE_ERRORS:
            return ""

    def _hide(self, value: Any) -> Any:
        """内容里与控制 token 相同的文字换成占位符。"""
        if isinstance(value, str):
            if found := _PLACEHOLDER.search(value):
                raise BadRowError(f"内容里有私用区的字符 U+{ord(found.group()):X}，不是正常的文字；请去掉它")
            return self._control.sub(lambda found: chr(_FIRST + self.controls.index(found.group())), value)
        if isinstance(value, dict):
            return {self._hide(key): self._hide(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._hide(each) for each in value]
        return value

    def _turn(self, messages: Conversation, number: int) -> _Turn:
        """``messages`` 最后的回答：整段的文字，从哪里起是模型要说的，到哪里为止。"""
        whole = self._render(messages, False)
        prompt = self._render(messages[:number], True)
        message = messages[number]
        if not whole.startswith(prompt):
            whole = self._as_at_inference(messages, whole, prompt)
        said = whole[len(prompt) :]
        end = self._end_of(said)
        start = len(prompt) + (0 if message.get("reasoning_learnt", True) else _after_thought(said, message))
        if start >= len(prompt) + end:
            raise BadRowError("模型的对话模板写出来的回答是空的")
        return _Turn(whole, len(prompt), start, len(prompt) + end)

    def _as_at_inference(self, messages: Conversation, whole: str, prompt: str) -> str:
        """提示词不是整段的开头：照推理时的样子接上，提示词，再是模型要说的。

        有两种。提示词里已经替模型写下 ``<think>``，整段里却去掉了思考（如 DeepSeek-R1）：补上思考。
        系统提示写在最后的问题里，整段里最后的却不是问题（如 Mistral）：要说的，从没有系统提示的渲染里取。

        Raises:
            BadRowError: 是别的样子，不知道模型推理时接在哪里。
        """
        common = common_length(whole, prompt)
        if opening := _OPENING.fullmatch(prompt[common:]):
            reasoning = messages[-1].get("reasoning", "").strip("\n")
            return prompt + ("" if opening["closed"] else reasoning + "\n</think>\n\n") + whole[common:]
        if messages[0]["role"] == "system" and messages[0]["content"]:
            without = [cast(Message, {**messages[0], "content": ""}), *messages[1:]]
            without = without if without[0].get("tools") else without[1:]
            other, before = self._render(without, False), self._render(without[:-1], True)
            if other.startswith(before) and whole.endswith(other[len(before) :]):
                return prompt + other[len(before) :]
        raise BadRowError(
            "模型的对话模板写出的提示词不是整段对话的开头，推理时的样子没有学过；请用 --chat_template chatml"
        )

    def _end_of(self, said: str) -> int:
        """结束标记之后的位置：末尾可能还有换行，和整段的结束标记；没有结束标记的，是末尾。"""
        if self._tail:
            said = said.removesuffix(self._tail)
        closing = self._closing.search(said)
        if not closing:
            return len(said)
        first = self._control.search(said, closing.start())
        assert first is not None
        return first.end()

    def _ends_itself(self, turn: _Turn) -> bool:
        """这一轮以控制 token 结束（GLM 的不是：下一轮的标记就是结束）。"""
        return any(found.end() == turn.end for found in self._control.finditer(turn.text))

    def _with_next_control(self, text: str, turn: _Turn) -> _Turn:
        following = self._control.match(text, turn.end)
        return turn._replace(end=following.end()) if following else turn

    def _own_end(self) -> int:
        token = self._tokenizer.eos_token_id
        if token is None:
            raise UserError("这个模型的对话模板里，回答没有结束的标记，分词器也没有；请改用 --chat_template chatml。")
        return cast(int, token)

    # ------------------------------------------------------------------------------------------------------------------
    # 编码：文字 → token

    def _example(self, text: str, turns: list[_Turn]) -> Example:
        """整段编码，标出要学的。"""
        ids: list[int] = []
        learnt: list[bool] = []
        for token, start, end in self._encode(text, [turn.start for turn in turns], [turn.end for turn in turns]):
            ids.append(token)
            learnt.append(any(start < turn.end and end > turn.start for turn in turns))
        if not self._ends_itself(turns[-1]):
            ids.append(self._own_end())
            learnt.append(True)
        return Example(ids, learnt)

    def _encode(self, text: str, starts: Sequence[int] = (), ends: Sequence[int] = ()) -> list[_Token]:
        """文字 → token 和它们的位置。

        与 apply_chat_template 一样，整段一起编码。只有两种时候在要学的地方切开：一个 token 跨过了开头（以换行开头的
        回答，换行会与前面的换行并成一个 token，而推理时提示词就到那里为止，从不出现这样的 token）；内容里有控制 token。
        """
        if _PLACEHOLDER.search(text):
            return self._encode_pieces(text, {*starts, *ends}, self._encode_hidden)
        if not self._tokenizer.is_fast:  # 不知道每个 token 的位置
            return self._encode_pieces(text, {*starts, *ends}, self._encode_whole)
        tokens = self._encode_whole(text)
        across = {mark for mark in starts if any(start < mark < end for _, start, end in tokens)}
        return self._encode_pieces(text, across, self._encode_whole) if across else tokens

    def _encode_pieces(self, text: str, marks: set[int], encode: Callable[[str], list[_Token]]) -> list[_Token]:
        tokens: list[_Token] = []
        for start, end in pairwise([0, *sorted(marks), len(text)]):
            tokens += [_Token(each.id, start + each.start, start + each.end) for each in encode(text[start:end])]
        return tokens

    def _encode_whole(self, text: str) -> list[_Token]:
        """模板的文字，里面的控制 token 是真的。"""
        if not self._tokenizer.is_fast:
            ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            return [_Token(token, 0, len(text)) for token in ids]
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [_Token(token, *place) for token, place in zip(found["input_ids"], found["offset_mapping"], strict=True)]

    def _encode_hidden(self, text: str) -> list[_Token]:
        """有占位符的文字：占位符换回原来的文字，从中间切开，两边分别当作普通文字编码，就拼不成控制 token。"""
        ids: list[int] = []
        for part in re.split(f"({self._control.pattern})", text):
            if self._control.fullmatch(part):
                ids.append(self._tokenizer.convert_tokens_to_ids(part))
                continue
            pieces = [""]
            for character in part:
                if _PLACEHOLDER.match(character):
                    control = self.controls[ord(character) - _FIRST]
                    pieces[-1] += control[: len(control) // 2]
                    pieces.append(control[len(control) // 2 :])
                else:
                    pieces[-1] += character
            for piece in filter(None, pieces):
                ids += self._tokenizer(piece, add_special_tokens=False, split_special_tokens=True, verbose=False)[
                    "input_ids"
                ]
        return [_Token(token, 0, len(text)) for token in ids]


def _call(content: str) -> Message:
    return {"role": "assistant", "content": content, "tool_calls": [_CALL]}


def _shown_call(call_id: str, call: ToolCall, as_text: bool) -> dict[str, Any]:
    arguments = call["arguments"]
    shown = json.dumps(arguments, ensure_ascii=False, default=str) if as_text else arguments
    return {"id": call_id, "type": "function", "function": {"name": call["name"], "arguments": shown}}


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _answers(conversation: Conversation) -> list[int]:
    return [number for number, message in enumerate(conversation) if message["role"] == "assistant"]


def _only_last(conversation: Conversation) -> Conversation:
    """只学最后的回答。"""
    before: list[Message] = [
        {**message, "learnt": False} if message["role"] == "assistant" else message for message in conversation[:-1]
    ]
    last = {key: value for key, value in conversation[-1].items() if key != "learnt"}
    return [*before, cast(Message, last)]


def _after_thought(said: str, message: Message) -> int:
    """思考写完以后的位置。"""
    if (reasoning := message.get("reasoning", "").strip()) and (found := said.find(reasoning)) >= 0:
        end = found + len(reasoning)
        content = message["content"].strip()
        if content and (position := said.find(content, end)) >= 0:
            return position
        closing = _CLOSING.match(said, end)
        return closing.end() if closing else end
    return len(thought_of(said))
