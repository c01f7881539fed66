"""几种训练程序：模型、数据、批次、步数、优化器都相同，只是做法不同。"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from peft import LoraConfig, get_peft_model
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import Example
from finetuning.data import Splits
from finetuning.device import avoid_cudnn_attention
from finetuning.shortcuts.micro_batches import MicroBatchTrainer
from finetuning.training import build_trainer

Options = dict[str, Any]  # 各种程序共有的训练参数


@dataclass(frozen=True)
class Job:
    """训练什么，怎样训练；``lora`` 是 None 时训练全部参数。"""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: Sequence[Example]
    options: Options
    lora: LoraConfig | None

    def trained_model(self) -> PreTrainedModel:
        """套上 LoRA 的模型，或模型自己。"""
        return cast(PreTrainedModel, get_peft_model(self.model, self.lora)) if self.lora else self.model


@dataclass(frozen=True)
class Contender:
    """一种训练程序。"""

    label: str
    build: Callable[[Job], Trainer]
    libraries: tuple[str, ...] = ()  # 本项目不装的，它要用的库


def lora_config(r: int) -> LoraConfig:
    """各种程序都用的 LoRA。"""
    return LoraConfig(task_type="CAUSAL_LM", r=r, lora_alpha=16, target_modules="all-linear")


def padded(job: Job) -> Trainer:
    """alpaca-lora（https://github.com/tloen/alpaca-lora）的写法：填充到 8 的倍数，每个位置都算 logits。"""
    return Trainer(
        model=job.trained_model(),
        args=TrainingArguments(**job.options),
        train_dataset=cast(Any, job.data),
        data_collator=DataCollatorForSeq2Seq(job.tokenizer, pad_to_multiple_of=8, return_tensors="pt", padding=True),
    )


def ours(job: Job) -> Trainer:
    """本项目：与 train_sft_solution.py、train_lora_solution.py 同样地组装。"""
    avoid_cudnn_attention()  # 两个脚本在读入模型时做
    return build_trainer(
        job.trained_model(),
        job.tokenizer,
        Splits(cast(Any, job.data), validation=None, test=cast(Any, job.data), test_rows=[]),
        SFTArguments(**job.options),
        padding_free=True,
    )


def one_row(job: Job) -> Trainer:
    """本项目，但是一批总拼成一行，不分给几个线程。"""
    trainer = ours(job)
    cast(MicroBatchTrainer, trainer).micro_batches = 1
    return trainer


def _trl(**settings: Any) -> Callable[[Job], Trainer]:
    def build(job: Job) -> Trainer:
        from datasets import Dataset as ArrowDataset
        from trl import SFTConfig, SFTTrainer

        return SFTTrainer(
            model=job.model,
            args=SFTConfig(**job.options | settings),
            train_dataset=ArrowDataset.from_list(cast(Any, job.data)),
            processing_class=job.tokenizer,
            peft_config=job.lora,
        )

    return build


_TRL = ("trl", "datasets")
CONTENDERS = {
    "padded": Contender("普通的 Trainer（alpaca-lora 的写法）", padded),
    # 默认开着梯度检查点（gradient checkpointing）；截断是数据的事，这里的数据已经截好。
    "trl": Contender("TRL SFTTrainer，默认设置", _trl(), _TRL),
    "trl_best": Contender(
        "TRL SFTTrainer，免填充、不用梯度检查点",
        _trl(padding_free=True, max_length=None, gradient_checkpointing=False),
        _TRL,
    ),
    # 每段一样长时没有填充，这样 torch 自带的因果注意力就能用上，比免填充的掩码快。
    "trl_rows": Contender(
        "TRL SFTTrainer，一段一行、不用梯度检查点", _trl(max_length=None, gradient_checkpointing=False), _TRL
    ),
    "trl_liger": Contender(
        "TRL SFTTrainer，一段一行、不用梯度检查点、Liger 的算子",
        _trl(max_length=None, gradient_checkpointing=False, use_liger_kernel=True),
        (*_TRL, "liger_kernel"),
    ),
    "ours": Contender("本项目", ours),
    "one_row": Contender("本项目，一行", one_row),
}
