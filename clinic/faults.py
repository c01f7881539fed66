"""病因：一次只弄坏一处的零件，病例（:mod:`clinic.cases`）由它们组成。"""

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from data_solution import IGNORE_INDEX, SFTDataset
from finetuning.collator import Example, PackedCollator
from finetuning.conversations import Conversation
from finetuning.holdout import prompts
from finetuning.training import CheckedTrainer

# ----------------------------------------------------------------------------------------------------------------------
# 数据


@dataclass(frozen=True)
class Rows:
    """三份数据。"""

    train: Sequence[Conversation]
    validation: Sequence[Conversation]
    test: Sequence[Conversation]


DataFault = Callable[[Rows, random.Random], Rows]


def few(count: int) -> DataFault:
    """只有 ``count`` 段训练数据。"""
    return lambda rows, chance: replace(rows, train=chance.sample(rows.train, count))


def wrong_answers(share: float) -> DataFault:
    """``share`` 的训练数据，回答换成了别的问题的。"""

    def apply(rows: Rows, chance: random.Random) -> Rows:
        train = list(rows.train)
        for index in chance.sample(range(len(train)), round(share * len(train))):
            other = chance.choice(rows.train)[-1]["content"]
            train[index] = [*train[index][:-1], {"role": "assistant", "content": other}]
        return replace(rows, train=train)

    return apply


def duplicated(share: float) -> DataFault:
    """``share`` 的训练数据是其余的重复；段数不变。"""

    def apply(rows: Rows, chance: random.Random) -> Rows:
        kept = rows.train[: round(len(rows.train) * (1 - share))]
        return replace(rows, train=[*kept, *chance.choices(kept, k=len(rows.train) - len(kept))])

    return apply


def one_opening(text: str, share: float) -> DataFault:
    """``share`` 的训练数据，回答都以 ``text`` 开头。"""

    def apply(rows: Rows, chance: random.Random) -> Rows:
        train = list(rows.train)
        for index in chance.sample(range(len(train)), round(share * len(train))):
            answer = train[index][-1]["content"]
            train[index] = [*train[index][:-1], {"role": "assistant", "content": text + answer}]
        return replace(rows, train=train)

    return apply


def test_leaked(rows: Rows, chance: random.Random) -> Rows:
    """检验数据混进了训练数据；段数不变。"""
    return replace(rows, train=[*rows.train[: len(rows.train) - len(rows.test)], *rows.test])


def validated_on_train(rows: Rows, chance: random.Random) -> Rows:
    """验证数据取自训练数据。"""
    return replace(rows, validation=rows.train[: len(rows.validation)])


def validated_on_held_out(rows: Rows, chance: random.Random) -> Rows:
    """没有坏：验证数据从训练数据里留出，问题相同的也不再训练。"""
    validation = rows.train[: len(rows.validation)]
    held_out = {key for conversation in validation for key in prompts(conversation)[-1:]}
    train = [each for each in rows.train if not held_out.intersection(prompts(each))]
    return replace(rows, train=train, validation=validation)


def only_with(words: Sequence[str]) -> DataFault:
    """没有坏：三份数据都只留问题里有这几个词的。"""

    def keep(part: Sequence[Conversation]) -> list[Conversation]:
        return [each for each in part if any(word in each[-2]["content"] for word in words)]

    return lambda rows, chance: Rows(*map(keep, (rows.train, rows.validation, rows.test)))


def with_system(text: str) -> DataFault:
    """每段对话都有同样的系统提示；本来有的，添在它的前面。"""

    def add(conversation: Conversation) -> Conversation:
        own = conversation[0]["content"] if conversation[0]["role"] == "system" else ""
        rest = conversation[1:] if own else conversation
        return [{"role": "system", "content": text + own}, *rest]

    return lambda rows, chance: Rows(*([*map(add, part)] for part in (rows.train, rows.validation, rows.test)))


# ----------------------------------------------------------------------------------------------------------------------
# 标签


class EverythingLearnt(SFTDataset):
    """每个 token 都学。"""

    def _format_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        input_ids, _ = super()._format_conversation(conversation)
        return input_ids, list(input_ids)


class OnlyUserLearnt(SFTDataset):
    """学了用户的话，没有学助手的。"""

    def _format_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        input_ids: list[int] = []
        labels: list[int] = []
        for message in conversation:
            header, content, end, newline = self.chatml.segments(message)
            learnt = [*content, *end]
            input_ids += [*header, *learnt, *newline]
            learnt = learnt if message["role"] == "user" else [IGNORE_INDEX] * len(learnt)
            labels += [IGNORE_INDEX] * len(header) + learnt + [IGNORE_INDEX] * len(newline)
        return input_ids, labels


class EndNotLearnt(SFTDataset):
    """结束标记的标签是 -100。"""

    def _format_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        input_ids, labels = super()._format_conversation(conversation)
        return input_ids, [IGNORE_INDEX if label == self.chatml.end_id else label for label in labels]


class PadIsEnd(SFTDataset):
    """pad 设成了结束标记，再按 id 把“填充”的标签改成 -100。"""

    def __getitem__(self, index: int) -> Example:
        example = super().__getitem__(index)
        pad = self.chatml.end_id
        masked = zip(example["input_ids"], example["labels"], strict=True)
        return {**example, "labels": [IGNORE_INDEX if token == pad else label for token, label in masked]}


class ShiftedTwice(SFTDataset):
    """自己先左移了一位，模型又移一位。"""

    def _format_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        input_ids, labels = super()._format_conversation(conversation)
        return input_ids, [*labels[1:], IGNORE_INDEX]


class ZeroIsIgnored(SFTDataset):
    """不学的位置写成了 0，不是 -100。"""

    def _format_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        input_ids, labels = super()._format_conversation(conversation)
        return input_ids, [0 if label == IGNORE_INDEX else label for label in labels]


# ----------------------------------------------------------------------------------------------------------------------
# 模型


def random_weights(model: PreTrainedModel) -> PreTrainedModel:
    """同样的结构，权重是随机的：读错了权重。"""
    return AutoModelForCausalLM.from_config(copy.deepcopy(model.config))


def bf16_weights(model: PreTrainedModel) -> PreTrainedModel:
    """权重本身是 bf16，不是自动混合精度。"""
    return model.bfloat16()


def _lora_layers(model: PreTrainedModel) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "lora_A") and hasattr(module, "scaling")]


def unscaled(model: PreTrainedModel) -> PreTrainedModel:
    """忘了乘 alpha / r。"""
    for layer in _lora_layers(model):
        layer.scaling["default"] = 1.0
    return model


def scaled_by_alpha(model: PreTrainedModel) -> PreTrainedModel:
    """乘了 alpha，忘了除以 r。"""
    for layer in _lora_layers(model):
        layer.scaling["default"] *= layer.r["default"]
    return model


def b_not_zero(model: PreTrainedModel) -> PreTrainedModel:
    """B 与 A 一样随机开始。"""
    for layer in _lora_layers(model):
        torch.nn.init.kaiming_uniform_(layer.lora_B["default"].weight, a=math.sqrt(5))
    return model


def large_a(model: PreTrainedModel) -> PreTrainedModel:
    """A 的初值没有除以 √in。"""
    for layer in _lora_layers(model):
        with torch.no_grad():
            layer.lora_A["default"].weight *= math.sqrt(layer.in_features)
    return model


# ----------------------------------------------------------------------------------------------------------------------
# 训练的过程


def lost_parameters(trainer: CheckedTrainer) -> None:
    """优化器里的是参数的副本：建好优化器以后才换了模型，训练的就不是这个模型。"""
    copies = [
        torch.nn.Parameter(parameter.detach().clone())
        for parameter in cast(torch.nn.Module, trainer.model).parameters()
        if parameter.requires_grad
    ]
    trainer.optimizer = torch.optim.AdamW(copies, lr=trainer.args.learning_rate)


class LeakingCollator(PackedCollator):
    """首尾相接，却没有告诉模型边界在哪里：后面的对话看得见前面的。"""

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        batch = super().__call__(examples)
        length = batch["input_ids"].shape[1]
        whole = torch.tensor([0, length], dtype=torch.int32)
        return batch | {
            "position_ids": torch.arange(length)[None],
            "cu_seq_lens_q": whole,
            "cu_seq_lens_k": whole,
            "max_length_q": length,
            "max_length_k": length,
        }


def leaking(trainer: CheckedTrainer) -> None:
    """训练用 :class:`LeakingCollator`。"""
    trainer.data_collator = LeakingCollator()


# ----------------------------------------------------------------------------------------------------------------------
# 提问


def asked_without_system(question: Conversation) -> Conversation:
    """提问时没有系统提示。"""
    return question[1:] if question[0]["role"] == "system" else question


def asked_in_other_template(question: Conversation) -> Conversation:
    """提问时另套了一层模板。"""
    text = f"### 指令：\n{question[-1]['content']}\n\n### 回答：\n"
    return [*question[:-1], {"role": "user", "content": text}]
