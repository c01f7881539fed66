"""一次训练要说的话：开始前说要做什么，结束时说得到了什么；留下 ``metrics.json`` 和 ``loss_curve.png``。"""

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from finetuning.arguments import DataArguments, ModelArguments
from finetuning.conversations import Conversation
from finetuning.data import Splits, answers_are_checkable
from finetuning.device import describe_device, peak_memory_mb
from finetuning.errors import say
from finetuning.evaluate import Answer, exact_match, generate_answers, mean_loss
from finetuning.output_dir import METRICS_FILE, publish, unfinished_dir
from finetuning.trainer_arguments import SFTArguments

_NUM_SAMPLES = 5
_SAMPLE_TOKENS = 64


class Score(NamedTuple):
    """检验的结果。"""

    loss: float  # 每个要学的 token 的平均损失，nat
    exact_match: float | None  # 0 到 1；None 表示数据不适合逐字核对
    samples: list[Answer]  # 对几个固定问题的回答


class Report:
    """一次训练的报告。

    Args:
        method: 方法的名字，写进 ``metrics.json``：``"full"``、``"lora"``、``"prefix"``……
        trainer: 组装好的 Trainer；模型、分词器、设备和批次的拼法都取自它。
    """

    def __init__(
        self, method: str, model_args: ModelArguments, data_args: DataArguments, data: Splits, trainer: Trainer
    ):
        self.method, self.model_args, self.data, self.trainer = method, model_args, data, trainer
        wanted = data_args.exact_match
        checkable = answers_are_checkable(data.test_conversations) if wanted is None else wanted
        self.checked = data.test_conversations[: data_args.max_test_prompts] if checkable else []
        step = max(1, len(data.test_conversations) // _NUM_SAMPLES)
        self.questions = [conversation[:-1] for conversation in data.test_conversations[::step][:_NUM_SAMPLES]]
        self.trainable, self.total = count_parameters(cast(PreTrainedModel, trainer.model))

    def announce(self) -> None:
        """训练之前：要做什么。"""
        args, data = self.trainer.args, self.data
        half = "bf16" if args.bf16 else "fp16" if args.fp16 else None
        precision = f"{half} 自动混合精度，要训练的权重 fp32" if half else "fp32"
        test_source = "从训练数据中随机留出" if data.held_out else "没有学过"
        say(f"模型    {self.model_args.model_name_or_path}")
        say(f"方法    {self.method}")
        say(f"设备    {describe_device(args.device)}，{precision}")
        say(
            f"数据    训练 {len(data.train):,} 段对话，"
            + (f"验证 {len(data.validation):,} 段，" if data.validation else "")
            + f"检验 {len(data.test):,} 段（{test_source}）"
        )
        if data.train.num_truncated or data.train.num_dropped:
            say(f"        截断 {data.train.num_truncated:,} 段，截断后没有回答可学而略去 {data.train.num_dropped:,} 段")
        say(f"参数    训练 {self.trainable:,} 个，共 {self.total:,} 个（{self.trainable / self.total:.2%}）")
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        length = f"{args.max_steps} 步" if args.max_steps > 0 else f"{args.num_train_epochs:g} 轮"
        say(f"训练    {length}，每步 {batch_size} 段，学习率 {args.learning_rate:g}")

    def evaluate(self) -> Score:
        """在检验数据上打分，并回答那几个固定的问题。"""
        model = cast(PreTrainedModel, self.trainer.model)
        tokenizer = cast(PreTrainedTokenizerBase, self.trainer.processing_class)
        return Score(
            loss=mean_loss(model, self.data.test, self.trainer.data_collator),
            exact_match=exact_match(model, tokenizer, self.checked) if self.checked else None,
            samples=generate_answers(model, tokenizer, self.questions, [_SAMPLE_TOKENS] * len(self.questions)),
        )

    def finish(self, before: Score, after: Score, seconds: float) -> None:
        """训练之后：同样的问题前后怎么答，各项数字，结果在哪里；写下 ``metrics.json`` 和 ``loss_curve.png``。"""
        peak = peak_memory_mb(self.trainer.args.device)
        say("\n同样的问题，训练前后的回答")
        for question, old, new in zip(self.questions, before.samples, after.samples, strict=True):
            say(f"\n  {_dialogue(question)}\n    训练前  {_one_line(old)}\n    训练后  {_one_line(new)}")
        say("\n检验数据（没有学过）")
        say(f"  损失      {before.loss:.3f} → {after.loss:.3f}")
        if after.exact_match is not None:
            say(f"  逐字匹配  {before.exact_match:.1%} → {after.exact_match:.1%}（{len(self.checked)} 个问题）")
        say(f"\n训练用时 {seconds:.1f} 秒，内存峰值 {peak:,.0f} MB")
        if self.trainer.is_world_process_zero():
            self._write(before, after, seconds, peak)
        self.trainer.accelerator.end_training()  # 有几个进程时，一起结束；不告而别，NCCL 会警告

    def _write(self, before: Score, after: Score, seconds: float, peak: float) -> None:
        args = cast(SFTArguments, self.trainer.args)
        metrics = {
            "method": self.method,
            "model": self.model_args.model_name_or_path,
            "seed": args.seed,
            "trainable_parameters": self.trainable,
            "total_parameters": self.total,
            "train_seconds": round(seconds, 2),
            "peak_memory_mb": round(peak, 1),
            "before": {"loss": before.loss, "exact_match": before.exact_match},
            "after": {"loss": after.loss, "exact_match": after.exact_match},
        }
        text = json.dumps(metrics, ensure_ascii=False, indent=2)
        (unfinished_dir(args) / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
        plot_losses(self.trainer.state.log_history, unfinished_dir(args) / "loss_curve.png")
        publish(args)
        say(f"结果在 {args.output_dir}：权重、分词器、{METRICS_FILE}、loss_curve.png")
        say(f"和它聊天：uv run python chat.py {args.output_dir}")


def count_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """(要训练的, 全部的) 参数个数；共用的矩阵（tied embeddings）只数一次，两个 4 bit 的数存成一个字节，仍数作两个。"""
    if isinstance(model, PeftModel):
        return model.get_nb_trainable_parameters()
    return model.num_parameters(only_trainable=True), model.num_parameters()


def plot_losses(log_history: list[dict[str, Any]], path: Path) -> None:
    """画出损失曲线。图里只用英文：很多机器上没有 matplotlib 能用的中文字体。"""
    import matplotlib

    matplotlib.use("Agg")  # 不需要显示器
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for key, label, style in (("loss", "train", "-"), ("eval_loss", "validation", "o-")):
        points = [(entry["step"], entry[key]) for entry in log_history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="step", ylabel="loss (nats per token)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _dialogue(messages: Conversation) -> str:
    names = {"system": "系统", "user": "问", "assistant": "答"}
    return "  ".join(f"{names[message['role']]}：{_shorten(message['content'])}" for message in messages)


def _one_line(answer: Answer) -> str:
    return _shorten(answer.text) if answer.ended else f"{_shorten(answer.text)}……（没有停下）"


def _shorten(text: str) -> str:
    text = "".join(char if char.isprintable() else "·" for char in " ".join(text.split()))
    return text if len(text) <= 80 else text[:80] + "…"
