"""对话的格式：ChatML，或模型自己的模板。训练、检验、聊天都从 :func:`chat_format` 得到它，所以彼此一致。"""

from typing import TYPE_CHECKING, Protocol

from finetuning.chatml import ChatML, is_chatml_template
from finetuning.conversations import Conversation
from finetuning.template import ModelTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatFormat(Protocol):
    """对话 → token 的一种写法。

    Attributes:
        end_ids: 说完了的标记：一个回答以其中之一结束。
    """

    end_ids: frozenset[int]

    def prepare(self, conversation: Conversation) -> Conversation:
        """变成这种格式写得出来的样子；写不出来的抛出 ``BadRowError``。下面几个方法收的都是它的结果。"""
        ...

    def prompt(self, messages: Conversation) -> list[int]:
        """推理时的提示词：所有消息，和回答的开头；与训练时回答之前的 id 相同。"""
        ...

    def answer(self, conversation: Conversation) -> list[int]:
        """最后一个回答的 id，不含结束的标记。"""
        ...

    def reference(self, conversation: Conversation) -> str:
        """最后一个回答，写成模型会写出的文字（工具调用、模板加上的思考也在内）。"""
        ...


def chat_format(tokenizer: "PreTrainedTokenizerBase") -> ChatFormat:
    """分词器的对话模板是 ChatML 的（读入模型时换上的），或没有模板的，是 ChatML；别的照模板。

    Raises:
        UserError: 分词器没有 ChatML 的标记；或者模板用不了。
    """
    template = tokenizer.chat_template
    return ChatML(tokenizer) if not template or is_chatml_template(template) else ModelTemplate(tokenizer)


def fits(form: ChatFormat, conversation: Conversation, most: int, new_tokens: int | None = None) -> bool:
    """最后的问题连同回答在 ``most`` 个 token 之内：更长的问出来，模型也没有地方答。

    Args:
        new_tokens: 给回答留多少个 token；None 是参考答案的长度。
    """
    answer = len(form.answer(conversation)) + 1 if new_tokens is None else new_tokens
    return len(form.prompt(conversation[:-1])) + answer <= most
