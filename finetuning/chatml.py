"""ChatML 的唯一出处：训练、评测、聊天都从这里得到同样的 token id。

一条消息写成 ``<|im_start|>{role}\\n{content}<|im_end|>\\n``。两个标记（control token）按 id 放进去，内容按普通文字
分段编码，所以用户在内容里写 ``<|im_end|>`` 也变不成标记，别人无法靠一句话“伪造”一轮对话。
工具和思考先变成文字，见 :mod:`finetuning.hermes`。
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from finetuning.conversations import Conversation, Message, thought_of
from finetuning.errors import UserError
from finetuning.hermes import TOOLS_HEAD, TOOLS_TAIL, as_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
_HOW_TO_ADD = (
    "请先执行 tokenizer.add_tokens(list(CHATML_TOKENS), special_tokens=True)，再 model.resize_token_embeddings(...)。"
)

# 与下面的分段编码对应的对话模板（chat template），随模型一起保存，供 transformers.pipeline 等工具使用。
# {% generation %} 圈出 assistant 的内容和 <|im_end|>，return_assistant_tokens_mask=True 靠它给出掩码。
# 模板把整段对话当作一个字符串来分词，与分段编码有三点不同：内容里的 <|im_end|> 会成为真的标记；以换行开头的回答，
# 换行会与角色后面的换行并成一个 token，而推理时的提示词里从不出现这样的 token；会在文字开头补一个“▁”的分词器
# （如 Llama 2），分段编码时每一段都补。训练、评测、聊天都用分段编码，所以彼此一致。
CHAT_TEMPLATE = (
    f"""\
{{%- macro described(tools) -%}}
    {{{{- {TOOLS_HEAD!r} -}}}}
    {{%- for tool in tools -%}}
        {{{{- (tool | tojson) + ('' if loop.last else '\\n') -}}}}
    {{%- endfor -%}}
    {{{{- {TOOLS_TAIL!r} -}}}}
{{%- endmacro -%}}
"""
    + """\
{%- if tools and messages[0]['role'] not in ('system', 'developer') -%}
    {{- '<|im_start|>system\\n' + described(tools) + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- set content = message['content'] or '' -%}
    {%- if message['role'] == 'tool' -%}
        {{- '\\n' if loop.previtem and loop.previtem['role'] == 'tool' else '<|im_start|>user\\n' -}}
        {%- if content.lstrip().startswith('<tool_response>') -%}
            {{- content -}}
        {%- else -%}
            {{- '<tool_response>\\n' + content + '\\n</tool_response>' -}}
        {%- endif -%}
        {%- if not loop.nextitem or loop.nextitem['role'] != 'tool' -%}
            {{- '<|im_end|>\\n' -}}
        {%- endif -%}
    {%- elif message['role'] == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        {%- generation -%}
            {%- if message['reasoning_content'] -%}
                {{- '<think>\\n' + message['reasoning_content'].strip('\\n') + '\\n</think>\\n\\n' -}}
            {%- endif -%}
            {{- content -}}
            {%- for call in message['tool_calls'] or [] -%}
                {%- set function = call['function'] or call -%}
                {{- '\\n' if content or not loop.first else '' -}}
                {{- '<tool_call>\\n{"name": ' + (function['name'] | tojson) -}}
                {{- ', "arguments": ' -}}
                {{- function['arguments'] if function['arguments'] is string else (function['arguments'] | tojson) -}}
                {{- '}\\n</tool_call>' -}}
            {%- endfor -%}
            {{- '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- else -%}
        {%- set role = 'system' if message['role'] == 'developer' else message['role'] -%}
        {{- '<|im_start|>' + role + '\\n' + content -}}
        {%- if tools and loop.first and role == 'system' -%}
            {{- ('\\n\\n' if content else '') + described(tools) -}}
        {%- endif -%}
        {{- '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
)
_BOS = "{{- bos_token -}}\n"
# 会写工具和思考以前的样子，旧的结果里存着它；其中的这一句，别的模板里没有。
_EARLIER = "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"


class Segments(NamedTuple):
    """一条消息的四段 token id，首尾相接就是整条消息。"""

    header: list[int]  # <|im_start|>assistant\n
    content: list[int]  # 今天天气晴朗。
    end: list[int]  # <|im_end|>
    newline: list[int]  # \n


class ChatML:
    """用一个分词器（tokenizer）把消息编码成 ChatML。

    分词器只需要 transformers 的分词器公开的几样：可调用、``convert_tokens_to_ids``、``convert_ids_to_tokens``、各个特殊
    token（``bos_token_id``、``unk_token_id``、``all_special_ids``、``added_tokens_decoder``）。

    Attributes:
        end_id: ``<|im_end|>`` 的 id。
        end_ids: 说完了的标记，这里只有它。

    Raises:
        UserError: 分词器没有 ChatML 的两个标记，或者它们不是特殊 token。
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self._tokenizer = tokenizer
        marker_ids = cast(list[int], tokenizer.convert_tokens_to_ids(list(CHATML_TOKENS)))
        names = " 和 ".join(CHATML_TOKENS)
        # 没有这个 token 时，有的分词器给 None，有的给 unk 的 id。
        if any(marker in (None, tokenizer.unk_token_id) for marker in marker_ids):
            raise UserError(f"分词器里没有 ChatML 的标记 {names}；{_HOW_TO_ADD}")
        added = tokenizer.added_tokens_decoder
        if not all(marker in added and added[marker].special for marker in marker_ids):
            raise UserError(f"{names} 在分词器里不是特殊 token，内容里的同样文字会变成标记；{_HOW_TO_ADD}")
        self._control_ids, self._control_text = control_tokens(tokenizer)
        start_id, self.end_id = marker_ids
        self.end_ids = frozenset([self.end_id])
        self._bos = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
        self._newline = self.encode("\n")
        self._headers = {role: [start_id, *self.encode(f"{role}\n")] for role in ("system", "user", "assistant")}

    @property
    def bos(self) -> list[int]:
        """对话最前面的 BOS（begin of sequence），0 个或 1 个 id。

        只有分词器自己会加它时才有：这样的模型（如 Gemma）预训练时每篇文章都以它开头，少了它损失会高得多。
        """
        return list(self._bos)

    def encode(self, text: str) -> list[int]:
        """把内容当作普通文字编码。

        ``split_special_tokens=True`` 使文字里的特殊 token 只按字面拆开，且只对这一次调用有效。以 ``special=False``
        加进词表的 token（如 Qwen3 的 ``<think>``）照旧是一个 token：它们是内容的一部分，不划分轮次。

        有的分词器把控制 token 的文字也收在普通的词表里（Unigram 的 ``</s>``，按空格切词的整词表），拆了还会拼回去；
        这时从它的中间切开，两边分别编码。

        Raises:
            UserError: 切开了也躲不过，文字里一定会冒出控制 token。
        """
        ids = self._plain(text)
        if self._control_ids.isdisjoint(ids):
            return ids
        pieces = [""]
        for number, part in enumerate(self._control_text.split(text)):
            if number % 2 == 0:
                pieces[-1] += part
            else:
                pieces[-1] += part[: len(part) // 2]
                pieces.append(part[len(part) // 2 :])
        ids = [token for piece in pieces for token in self._plain(piece)]
        if not self._control_ids.isdisjoint(ids):
            found = self._tokenizer.convert_ids_to_tokens(next(token for token in ids if token in self._control_ids))
            raise UserError(
                f"这个分词器把普通的文字 {text[:40]!r} 编码成了控制 token {found}，拆不开；"
                "请改掉这样的文字，或换一个基座。"
            )
        return ids

    def _plain(self, text: str) -> list[int]:
        # verbose=False：超过 model_max_length 的警告在这里没有意义，长度由 max_length 管。
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]

    def segments(self, message: Message) -> Segments:
        """一条消息 → 角色头、内容、``<|im_end|>``、换行四段 id；都是新的列表，可以随意改动。"""
        header = list(self._headers[message["role"]])
        return Segments(header, self.encode(message["content"]), [self.end_id], list(self._newline))

    def prepare(self, conversation: Conversation) -> Conversation:
        """工具和思考变成文字。"""
        return as_text(conversation)

    def prompt(self, messages: Conversation) -> list[int]:
        """推理时的提示词（prompt）：所有消息，加上 ``<|im_start|>assistant\\n``；与训练时回答之前的 id 完全相同。"""
        input_ids = self.bos
        for message in messages:
            for segment in self.segments(message):
                input_ids += segment
        return input_ids + self._headers["assistant"]

    def answer(self, conversation: Conversation) -> list[int]:
        """最后一个回答的 id，不含 ``<|im_end|>``。"""
        return self.encode(self.reference(conversation))

    def reference(self, conversation: Conversation) -> str:
        """最后一个回答的文字。"""
        return conversation[-1]["content"]

    def context_positions(self, conversation: Conversation, length: int) -> list[int]:
        """标了不学的回答（``learnt``），和标了不学的思考（``reasoning_learnt``），占着哪些位置。

        Args:
            length: 整段对话有多少个 id；最前面可能有 BOS。
        """
        if not any("learnt" in message or "reasoning_learnt" in message for message in conversation):
            return []
        parts = [self.segments(message) for message in conversation]
        start = length - sum(len(segment) for part in parts for segment in part)
        positions: list[int] = []
        for message, part in zip(conversation, parts, strict=True):
            size = sum(map(len, part))
            if not message.get("learnt", True):
                positions += range(start, start + size)
            elif not message.get("reasoning_learnt", True):
                thought = self.encode(thought_of(message["content"]))
                first = start + len(part.header)
                positions += range(first, first + common_length(thought, part.content))
            start += size
        return positions


def common_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """从头起有几个相同。"""
    same = (index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(same, min(len(one), len(other)))


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> tuple[set[int], re.Pattern[str]]:
    """不许从内容里冒出来的 token：它们的 id，和匹配它们的文字的式子（圈成一组，切开时留着）。

    unk 不算：词表里没有的字，编码出来就该是它。只有一个字符的也不算：有的分词器拿“!”来填充，那是普通的字，切也切不开。
    """
    added = {token_id: token.content for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    tokens = {
        token_id: text
        for token_id, text in (added | named).items()
        if token_id != tokenizer.unk_token_id and len(text) > 1
    }
    longest_first = sorted(tokens.values(), key=len, reverse=True)
    return set(tokens), re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """分词器定义了 BOS，并且编码时自己会把它加在最前面。"""
    return tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]


def chat_template_for(tokenizer: "PreTrainedTokenizerBase") -> str:
    """给这个分词器用的对话模板：会自己加 BOS 的，模板里也写上（apply_chat_template 编码时不会再加）。"""
    return _BOS + CHAT_TEMPLATE if adds_bos(tokenizer) else CHAT_TEMPLATE


def is_chatml_template(template: object) -> bool:
    """是不是 :func:`chat_template_for` 写的，以前的版本也算。"""
    return isinstance(template, str) and (template.removeprefix(_BOS) == CHAT_TEMPLATE or _EARLIER in template)
