"""TODO 1：一段对话 → ``input_ids`` 与 ``labels``，只学 assistant 的回答。

只需要写 ``SFTDataset._format_conversation``，其余的都已写好。写完检查一下，它会说出错在哪里：

    uv run python data_exercise.py           # 加 --watch：每次保存后自动检查
    uv run python data_exercise.py --hint    # 提示
"""

import self_check

self_check.guard("data", __name__)  # 直接运行时，其余的在另一个进程里装入、检查：卡住了也能停下

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from finetuning.chatml import ChatML
from finetuning.conversations import Conversation
from finetuning.errors import UserError
from finetuning.reading import iterate_conversations
from finetuning.store import ExampleStore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# torch.nn.CrossEntropyLoss 的 ignore_index 的默认值：标签是它的位置不计入损失。
IGNORE_INDEX = -100


class SFTDataset:
    """监督微调（supervised fine-tuning，SFT）的数据集：每个样本是一段对话的 ``input_ids`` 与 ``labels``。

    Args:
        data_path: 数据文件或 hub 数据集（见 ``finetuning/reading.py``）；也可以直接是对话的列表。
        tokenizer: 分词器，词表里有 ``<|im_start|>`` 和 ``<|im_end|>``。
        max_length: 一段对话最多多少个 token，超出的部分截断（truncation）。

    Attributes:
        num_truncated: 被截断、但仍有回答可学的对话数。
        num_dropped: 截断后一个要学的 token 也不剩、因而没有收进数据集的对话数。

    Raises:
        UserError: 数据读不到或有坏行；分词器缺少 ChatML 的标记；没有一段对话有要学的 token。
    """

    def __init__(
        self,
        data_path: str | os.PathLike[str] | Iterable[object],
        tokenizer: "PreTrainedTokenizerBase",
        max_length: int = 512,
    ):
        self.tokenizer = tokenizer
        self.chatml = ChatML(tokenizer)
        self.max_length = max_length
        self.num_truncated = 0
        self.num_dropped = 0

        # 读一条，变一条；原文不留，token 放在磁盘上：五十万条对话与一千条用的内存几乎一样多。
        self._examples = ExampleStore()
        for conversation in iterate_conversations(data_path):
            input_ids, labels = self._add_bos(*self._format_conversation(conversation))
            for position in self.chatml.context_positions(conversation, len(labels)):
                labels[position] = IGNORE_INDEX  # 数据里标明“这个回答不学”的；少见
            is_too_long = len(input_ids) > max_length
            # 两个列表一起截掉末尾：长度仍然相同，留下的每个 token 前面的上下文都还完整。
            input_ids, labels = input_ids[:max_length], labels[:max_length]
            if all(label == IGNORE_INDEX for label in labels):
                self.num_dropped += 1
                continue
            self.num_truncated += is_too_long
            self._examples.append(input_ids, labels)

        if self.num_dropped and not len(self):
            raise UserError(
                f"{self.num_dropped} 段对话在 max_length={max_length} 之内都没有要学的 token；"
                "请调大 max_length；如果它已经够大，请检查 _format_conversation 的标签。"
            )

    def _format_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        r"""一段对话 → ``input_ids`` 与 ``labels``，两者一样长。

        每条消息写成 ChatML，首尾相接：``<|im_start|>{role}\n{content}<|im_end|>\n``。
        ``labels`` 是每个位置的正确答案：只有 assistant 要说的话才有答案，就是这个 token 自己的 id；
        其余的位置是 ``IGNORE_INDEX``，不计入损失。

        例子：user 问“几点了？”，assistant 答“三点。”（表里用 token 的文字代替它的 id）::

            input_ids  <|im_start|>  user       \n     几    点    了    ？    <|im_end|>  \n
            labels     -100          -100       -100  -100  -100  -100  -100  -100        -100

            input_ids  <|im_start|>  assistant  \n     三    点    。    <|im_end|>  \n
            labels     -100          -100       -100  三    点    。    <|im_end|>  -100

        可以用的工具：``self.chatml.segments(message)`` 把一条消息编码成 ``header``、``content``、``end``、``newline``
        四段 id，例如上面第二行是 ``<|im_start|>assistant\n``、``三点。``、``<|im_end|>``、``\n``。

        不用管长度和 BOS：``__init__`` 会在前面补上 BOS，再把两个列表一起截到 ``max_length``。

        Args:
            conversation: 消息的列表，每条是 ``{"role": …, "content": …}``，role 是 system、user 或 assistant；
                可能有好几轮。不要改动它。

        Returns:
            ``(input_ids, labels)``，两个长度相同的整数列表。
        """
        # TODO 1：一条消息一条消息地接起 input_ids 和 labels；哪些 token 要学，见上面的例子。
        raise NotImplementedError

    def _add_bos(self, input_ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
        """有的分词器以 BOS（begin of sequence）开头，还没有就补上，不学；多数分词器没有，原样返回。"""
        bos = self.chatml.bos
        if input_ids[: len(bos)] == bos:
            return input_ids, labels
        return bos + input_ids, [IGNORE_INDEX] * len(bos) + labels

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self._examples[index]


if __name__ == "__main__":
    import sys

    self_check.main("data", sys.modules[__name__])
