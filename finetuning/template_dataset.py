"""照模型自己的对话模板编码的数据集；与 :class:`data_solution.SFTDataset` 用法相同。"""

from collections.abc import Iterable

from finetuning.collator import IGNORE_INDEX
from finetuning.conversations import Conversation
from finetuning.errors import UserError
from finetuning.store import ExampleStore
from finetuning.template import ModelTemplate


class TemplateDataset:
    """每个样本是 ``input_ids`` 与 ``labels``。

    Args:
        conversations: 已经检查过的对话。
        max_length: 一个样本最多多少个 token，超出的部分截断。

    Attributes:
        num_truncated: 被截断、但仍有回答可学的样本数。
        num_dropped: 截断后一个要学的 token 也不剩、因而没有收进来的样本数。
        num_split: 前面的回答在模板里变了样、因而拆成几个样本的对话数。

    Raises:
        UserError: 没有一个样本有要学的 token。
    """

    def __init__(self, conversations: Iterable[Conversation], template: ModelTemplate, max_length: int):
        self.num_truncated = self.num_dropped = self.num_split = 0
        self._examples = ExampleStore()
        for conversation in conversations:
            examples = template.examples(conversation)
            self.num_split += len(examples) > 1
            for input_ids, learnt in examples:
                if not any(learnt[:max_length]):
                    self.num_dropped += 1
                    continue
                self.num_truncated += len(input_ids) > max_length
                labels = [token if wanted else IGNORE_INDEX for token, wanted in zip(input_ids, learnt, strict=True)]
                self._examples.append(input_ids[:max_length], labels[:max_length])
        if self.num_dropped and not len(self):
            raise UserError(
                f"{self.num_dropped} 个样本在 max_length={max_length} 之内都没有要学的 token；请调大 --max_length。"
            )

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self._examples[index]
