"""四种训练程序：模型、数据、批次、步数、优化器都相同，只是做法不同。"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from finetuning.data import Splits
from finetuning.trainer_arguments import SFTArguments
from finetuning.training import build_trainer

Options = dict[str, Any]  # 四种程序共有的训练参数
Build = Callable[[PreTrainedModel, PreTrainedTokenizerBase, Dataset, Options, LoraConfig | None], Trainer]


@dataclass(frozen=True)
class Contender:
    """一种训练程序。"""

    label: str
    build: Build


def lora_config() -> LoraConfig:
    """四种程序都用的 LoRA。"""
    return LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")


def padded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Dataset,
    options: Options,
    lora: LoraConfig | None,
) -> Trainer:
    """alpaca-lora（https://github.com/tloen/alpaca-lora）的写法：填充到 8 的倍数，每个位置都算 logits。"""
    return Trainer(
        model=get_peft_model(model, lora) if lora else model,
        args=TrainingArguments(**options),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8, return_tensors="pt", padding=True),
    )


def ours(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Dataset,
    options: Options,
    lora: LoraConfig | None,
) -> Trainer:
    """本项目：与 train_sft_solution.py、train_lora_solution.py 同样地组装。"""
    return build_trainer(
        cast(PreTrainedModel, get_peft_model(model, lora) if lora else model.requires_grad_(True)),
        tokenizer,
        Splits(train=cast(Any, data), validation=None, test=cast(Any, data), test_conversations=[], held_out=False),
        SFTArguments(**options),
        padding_free=True,
    )


def _trl(**settings: Any) -> Build:
    def build(
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        data: Dataset,
        options: Options,
        lora: LoraConfig | None,
    ) -> Trainer:
        from trl import SFTConfig, SFTTrainer

        return SFTTrainer(
            model=model,
            args=SFTConfig(**options | settings),
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=lora,
        )

    return build


CONTENDERS = {
    "padded": Contender("普通的 Trainer（alpaca-lora 的写法）", padded),
    # 默认开着梯度检查点（gradient checkpointing）；截断是数据的事，这里的数据已经截好。
    "trl": Contender("TRL SFTTrainer，默认设置", _trl()),
    # 试过的设置里最快的一种：免填充，不用梯度检查点。
    "trl_best": Contender(
        "TRL SFTTrainer，最快的设置", _trl(padding_free=True, max_length=None, gradient_checkpointing=False)
    ),
    "ours": Contender("本项目", ours),
}
