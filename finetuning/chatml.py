"""ChatML 的唯一出处：训练、评测、聊天都从这里得到同样的 token id。

一条消息写成 ``<|im_start|>{role}\\n{content}<|im_end|>\\n``。两个标记（control token）按 id 放进去，内容按普通文字
分段编码，所以用户在内容里写 ``<|im_end|>`` 也变不成标记，别人无法靠一句话“伪造”一轮对话。
"""

from typing import TYPE_CHECKING, NamedTuple, cast

from finetuning.conversations import Conversation, Message
from finetuning.errors import UserError

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
CHAT_TEMPLATE = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] + '<|im_end|>' -}}
    {%- endif -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


class Segments(NamedTuple):
    """一条消息的四段 token id，首尾相接就是整条消息。"""

    header: list[int]  # <|im_start|>assistant\n
    content: list[int]  # 今天天气晴朗。
    end: list[int]  # <|im_end|>
    newline: list[int]  # \n


class ChatML:
    """用一个分词器（tokenizer）把消息编码成 ChatML。

    分词器只需要三样：``convert_tokens_to_ids``、可调用、``bos_token_id`` 与 ``unk_token_id`` 两个属性。

    Attributes:
        end_id: ``<|im_end|>`` 的 id。

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
        if set(self.encode("".join(CHATML_TOKENS))) & set(marker_ids):
            raise UserError(f"{names} 在分词器里不是特殊 token，内容里的同样文字会变成标记；{_HOW_TO_ADD}")
        start_id, self.end_id = marker_ids
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
        """
        # verbose=False：超过 model_max_length 的警告在这里没有意义，长度由 max_length 管。
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]

    def segments(self, message: Message) -> Segments:
        """一条消息 → 角色头、内容、``<|im_end|>``、换行四段 id；都是新的列表，可以随意改动。"""
        header = list(self._headers[message["role"]])
        return Segments(header, self.encode(message["content"]), [self.end_id], list(self._newline))

    def prompt(self, messages: Conversation) -> list[int]:
        """推理时的提示词（prompt）：所有消息，加上 ``<|im_start|>assistant\\n``；与训练时回答之前的 id 完全相同。"""
        input_ids = self.bos
        for message in messages:
            for segment in self.segments(message):
                input_ids += segment
        return input_ids + self._headers["assistant"]


def encode_prompt(messages: Conversation, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """见 :meth:`ChatML.prompt`；最后一条消息应是 user。返回的 id 没有截断。"""
    return ChatML(tokenizer).prompt(messages)


def adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """分词器定义了 BOS，并且编码时自己会把它加在最前面。"""
    return tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]


def chat_template_for(tokenizer: "PreTrainedTokenizerBase") -> str:
    """给这个分词器用的对话模板：会自己加 BOS 的，模板里也写上（apply_chat_template 编码时不会再加）。"""
    return "{{- bos_token -}}\n" + CHAT_TEMPLATE if adds_bos(tokenizer) else CHAT_TEMPLATE
