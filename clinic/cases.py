"""病例：每个只弄坏一处，训练的其余各处都与健康的相同。"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from clinic import faults
from clinic.faults import DataFault
from compare_methods import METHODS
from data_solution import SFTDataset
from finetuning.conversations import Conversation
from finetuning.training import CheckedTrainer

RATES = {name: METHODS[name].learning_rate for name in ("full", "lora", "lora_qv", "dora", "qlora", "prefix")}
STEPS, ROWS, BATCH_SIZE = 150, 4_800, 32


@dataclass(frozen=True)
class Case:
    """一个病例。

    Attributes:
        name: 代号。
        title: 弄坏了什么。
        findings: 诊断说出其中一个，就是说对了；空的是没有害处，不该说话。
        method: ``RATES`` 里的一种。
        flags: 与健康的训练不同的 Trainer 参数。
        rows: 用训练数据的前多少段。
        max_length: 一段对话最多多少个 token。
        data: 弄坏数据。
        dataset_class: 对话怎样变成标签。
        base: 弄坏基座。
        model: 弄坏添了 LoRA 的模型。
        trainer: 弄坏训练的过程。
        ask: 提问时怎样改动问题。
    """

    name: str
    title: str
    findings: tuple[str, ...] = ()
    method: str = "full"
    flags: Mapping[str, Any] = field(default_factory=dict)
    rows: int = ROWS
    max_length: int = 512
    data: DataFault | None = None
    dataset_class: type[SFTDataset] = SFTDataset
    base: Callable[[PreTrainedModel], PreTrainedModel] | None = None
    model: Callable[[PreTrainedModel], PreTrainedModel] | None = None
    trainer: Callable[[CheckedTrainer], None] | None = None
    ask: Callable[[Conversation], Conversation] | None = None


def _rates(method: str, label: str) -> list[Case]:
    high, low = "rate_too_high", "rate_too_low"
    return [
        Case(
            f"{method}_rate_{name}",
            f"{label}，学习率 {words}",
            (finding,),
            method,
            {"learning_rate": RATES[method] * by},
        )
        for name, words, by, finding in (
            ("x10", "× 10", 10, high),
            ("x30", "× 30", 30, high),
            ("d10", "÷ 10", 1 / 10, low),
            ("d30", "÷ 30", 1 / 30, low),
        )
    ]


HEALTHY = [
    Case("full", "健康：全参数微调"),
    Case("lora", "健康：LoRA，所有线性层", method="lora"),
    Case("lora_qv", "健康：LoRA，只在 q、v", method="lora_qv"),
    Case("dora", "健康：DoRA", method="dora"),
    Case("qlora", "健康：QLoRA，所有线性层", method="qlora"),
    Case("prefix", "健康：前缀微调", method="prefix"),
    Case("full_half_rate", "健康：全参数，学习率减半", flags={"learning_rate": RATES["full"] / 2}),
    Case("lora_half_rate", "健康：LoRA，学习率减半", method="lora", flags={"learning_rate": RATES["lora"] / 2}),
    Case("full_two_epochs", "健康：全参数，2,400 段看两遍", data=faults.few(2400)),
    Case("lora_batch_16", "健康：LoRA，一步 16 段", method="lora",
         flags={"per_device_train_batch_size": 16, "max_steps": 300}),
    Case("full_held_out", "健康：全参数，验证数据从训练数据里留出", data=faults.validated_on_held_out),
    Case("full_some_words", "健康：全参数，只有几类问题，看两遍",
         data=faults.only_with(("首都", "义词", "量词", "意思", "几", "多少")),
         flags={"max_steps": -1, "num_train_epochs": 2}),
]  # fmt: skip
BROKEN = [
    *_rates("full", "全参数"),
    *_rates("lora", "LoRA"),
    Case("full_no_warmup", "全参数，不预热", flags={"warmup_steps": 0}),
    Case("lora_no_warmup", "LoRA，不预热", method="lora", flags={"warmup_steps": 0}),
    Case("ten_epochs", "200 段数据，看 10 遍（70 步）", ("overfit",), data=faults.few(200),
         flags={"max_steps": -1, "num_train_epochs": 10}),
    *(Case(f"rows_{count}", f"只有 {count:,} 段数据，步数不变", ("overfit",), data=faults.few(count))
      for count in (20, 50, 200, 1000)),
    Case("rows_9000", "9,000 段数据，步数不变", rows=9_000),
    Case("wrong_10", "10% 的回答是错的", ("wrong_answers",), data=faults.wrong_answers(0.1)),
    Case("wrong_30", "30% 的回答是错的", ("wrong_answers",), data=faults.wrong_answers(0.3)),
    Case("duplicated", "一半是重复的", ("duplicates",), data=faults.duplicated(0.5)),
    Case("one_opening", "八成的回答有同样的开头", ("one_opening",), data=faults.one_opening("好的，", 0.8)),
    Case("test_leaked", "检验数据混进了训练数据", ("test_seen",), data=faults.test_leaked),
    Case("validation_seen", "验证数据取自训练数据", ("validation_seen",), data=faults.validated_on_train),
    Case("end_masked", "结束标记没有学", ("never_stops",), dataset_class=faults.EndNotLearnt),
    Case("pad_is_end", "pad 设成结束标记，按 id 遮掉", ("never_stops",), dataset_class=faults.PadIsEnd),
    Case("everything_learnt", "每个 token 都学", ("everything_learnt",), dataset_class=faults.EverythingLearnt),
    Case("only_user", "只学了用户的话", ("answers_not_learnt",), dataset_class=faults.OnlyUserLearnt),
    Case("shifted_twice", "标签多移了一位", ("labels_shifted",), dataset_class=faults.ShiftedTwice),
    Case("zero_ignored", "-100 写成了 0", ("everything_learnt",), dataset_class=faults.ZeroIsIgnored),
    Case("asked_without_system", "训练时有系统提示，提问时没有", ("asked_differently",),
         data=faults.with_system("请用“小问答”的口吻回答。"), ask=faults.asked_without_system),
    Case("asked_in_template", "提问时另套了一层模板", ("asked_differently",), ask=faults.asked_in_other_template),
    Case("truncated", "max_length 太小，回答被截断", ("truncated",), max_length=40),
    Case("leaking", "首尾相接，没有边界", ("leak",), trainer=faults.leaking),
    Case("lost_parameters", "优化器里不是模型的参数", ("nothing_trains",), trainer=faults.lost_parameters),
    Case("lora_unscaled", "LoRA 忘了乘 alpha / r", method="lora", model=faults.unscaled),
    Case("lora_by_alpha", "LoRA 乘了 alpha，忘了除以 r", ("rate_too_high",), "lora", model=faults.scaled_by_alpha),
    Case("lora_b_not_zero", "LoRA 的 B 不从零开始", ("base_changed",), "lora", model=faults.b_not_zero),
    Case("lora_large_a", "LoRA 的 A 没有除以 √in", ("rate_too_high",), "lora", model=faults.large_a),
    Case("random_weights", "基座的权重是随机的", ("random_base",), base=faults.random_weights),
    Case("bf16_weights", "权重是 bf16", ("low_precision",), base=faults.bf16_weights),
    Case("tiny_batch", "一步一段，600 步", ("noisy_steps",),
         flags={"per_device_train_batch_size": 1, "max_steps": 600}),
]  # fmt: skip
CASES = {case.name: case for case in (*HEALTHY, *BROKEN)}
