"""一次训练要说的话：开始前说要做什么，结束时说得到了什么；结果里的数字、曲线和回答也由它写。"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clinic.doctor import Finding, diagnose
from clinic.symptoms import Symptoms, answer_symptoms, finite_log, from_json
from finetuning.accelerators import faster_precision, idle_cards
from finetuning.adapter import adapted_experts, adapted_layers, trains_token_rows, with_experts
from finetuning.answers import AnsweredQuestion, by_skill, write_answers
from finetuning.arguments import DataArguments, ModelArguments
from finetuning.arguments.trainer import SFTArguments
from finetuning.chat_format import ChatFormat, chat_format, fits
from finetuning.conversations import Conversation, Message
from finetuning.data import Splits, answers_are_checkable
from finetuning.device import describe_device, find_trouble, look, peak_memory_mb
from finetuning.errors import EVALUATION, UserError
from finetuning.evaluate import Answer, checked_answers, exact_match, generate_answers, mean_loss
from finetuning.model import max_positions
from finetuning.observing import data_symptoms, first_batch_symptoms, learnt_symptoms, training_symptoms
from finetuning.output.claim import ANSWERS_FILE, METRICS_FILE, SYMPTOMS_FILE
from finetuning.output.fingerprint import write_json
from finetuning.reading import Row
from finetuning.terminal import printable, say, stage
from finetuning.training import CheckedTrainer, planned_steps

_NUM_SAMPLES = 5
_SAMPLE_TOKENS = 64
_TOLD = 40  # 诊断时，从头答到停的问题
_SHOWN_PLACES = 3
_SHOWN_MISTAKES = 3
_ENOUGH = 5  # 一项技能至少问了这么多题，才说它强弱：问得太少，答错一题就像是很弱
_SPLITS = {"validation": "验证", "test": "检验"}


class Score(NamedTuple):
    """检验的结果。"""

    loss: float  # 每个要学的 token 的平均损失，nat
    checked: list[Answer]  # 逐字核对过的回答；数据不适合逐字核对的，是空的
    samples: list[Answer]  # 对几个固定问题的回答

    @property
    def exact_match(self) -> float | None:
        """逐字匹配的比例，0 到 1；None 表示没有核对。"""
        return exact_match(self.checked) if self.checked else None


class Report:
    """一次训练的报告。

    Args:
        method: 方法的名字，写进 ``metrics.json``：``"full"``、``"lora"``、``"prefix"``……
        trainer: 组装好的 Trainer；模型、分词器、设备和批次的拼法都取自它。
    """

    def __init__(
        self, method: str, model_args: ModelArguments, data_args: DataArguments, data: Splits, trainer: CheckedTrainer
    ):
        self.method, self.model_args, self.data, self.trainer = method, model_args, data, trainer
        model = cast(PreTrainedModel, trainer.model)
        self.form = form = chat_format(cast(PreTrainedTokenizerBase, trainer.processing_class))
        most = data_args.max_length
        wanted = data_args.exact_match
        rows = data.test_rows
        checkable = (
            answers_are_checkable(form.reference(row.conversation) for row in rows) if wanted is None else wanted
        )
        asked = rows[: data_args.max_test_prompts] if checkable else []
        self.checked = [row for row in asked if fits(form, row.conversation, most)]
        self.num_too_long = len(asked) - len(self.checked)
        step = max(1, len(rows) // _NUM_SAMPLES)
        samples = rows[::step][:_NUM_SAMPLES]
        self.sampled = [row for row in samples if fits(form, row.conversation, most, new_tokens=1)]
        self.questions = [row.conversation[:-1] for row in self.sampled]
        # 提示词连同回答不能超过模型的位置数。
        room = [(max_positions(model) or 2**31) - len(form.prompt(question)) for question in self.questions]
        self.sample_tokens = [min(_SAMPLE_TOKENS, tokens) for tokens in room]
        self.trainable, self.total = count_parameters(cast(PreTrainedModel, trainer.model))
        self.seen = data_symptoms(data, cast(PreTrainedTokenizerBase, trainer.processing_class)) | training_symptoms(
            trainer
        )

    def announce(self) -> None:
        """训练之前：要做什么。"""
        args = self.trainer.args
        half = "bf16" if args.bf16 else "fp16" if args.fp16 else None
        precision = f"{half} 自动混合精度，要训练的权重 fp32" if half else "fp32"
        say(f"模型    {self.model_args.model_name_or_path}")
        say(f"方法    {self.method}")
        say(f"设备    {describe_device(args.device)}，{precision}")
        if not cast(SFTArguments, args).asked_for_cpu:
            machine = look()
            said = [find_trouble(), idle_cards(machine, args.world_size)]
            said += [] if half else [faster_precision(machine)]
            for sentence in filter(None, said):
                say(f"        {sentence}")
        self._announce_data()
        if self.num_too_long:
            say(f"        {self.num_too_long:,} 个检验的问题连同回答太长（--max_length），逐字匹配时不问")
        say(f"参数    训练 {self.trainable:,} 个，共 {self.total:,} 个（{self.trainable / self.total:.2%}）")
        if layers := adapted_layers(cast(PreTrainedModel, self.trainer.model)):
            counted = "、".join(f"{name} {count} 层 {number:,} 个" for name, (count, number) in layers.items())
            say(f"        LoRA 加在 {counted}")
        if experts := adapted_experts(cast(PreTrainedModel, self.trainer.model)):
            say(f"        {with_experts(experts)}")
        if trains_token_rows(cast(PreTrainedModel, self.trainer.model)):
            say(
                "        还训练了嵌入的几行（新添的对话标记）：vLLM 等只认普通 LoRA 的程序读不了这样的适配器，"
                "给它们用合并好的（--merge_and_save，或训练完以后用 merge.py）"
            )
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        batch_size = min(batch_size, len(self.data.train))
        steps = planned_steps(self.trainer)
        length = f"{steps} 步" if args.max_steps > 0 else f"{args.num_train_epochs:g} 轮，{steps} 步"
        say(f"训练    {length}，每步 {batch_size} 段，学习率 {args.learning_rate:g}")
        warmup = args.get_warmup_steps(steps)
        if warmup >= steps:
            say(f"        预热要 {warmup} 步，一共却只有 {steps} 步，学习率升不到最大值；请减小 --warmup_steps")
        self.seen |= _if_possible(lambda: first_batch_symptoms(self.trainer))
        for finding in diagnose(Symptoms(log=(), **self.seen)):
            say(f"诊断\n{finding.told()}")

    def _announce_data(self) -> None:
        """三份数据各有多少，从哪里来，哪些用不上。"""
        data = self.data
        source = {split: "从训练数据中随机留出" if split in data.held_out else "" for split in _SPLITS}
        parts = [f"训练 {len(data.train):,} 段对话"]
        if data.validation is not None:
            parts.append(f"验证 {len(data.validation):,} 段" + _in_brackets(source["validation"]))
        parts.append(f"检验 {len(data.test):,} 段" + _in_brackets(source["test"] or self._how_unseen()))
        say(f"数据    {'，'.join(parts)}")
        if len(data.sources) > 1 or any(each.share != 1 for each in data.sources):
            total = sum(each.used for each in data.sources)
            for each in data.sources:
                taken = "" if each.share == 1 else f"，取 {each.share:g} 份"
                say(f"        {each.name} 有 {each.read:,} 段{taken}，用 {each.used:,} 段（{each.used / total:.1%}）")
        for name, count in data.skipped.items():
            say(f"        跳过 {count:,} 行坏行，原因在输出目录的 {name}")
        for line in data.counts.told():
            say(f"        {line}")
        if (split := getattr(data.train, "num_split", 0)) > 0:
            say(f"        {split:,} 段对话里，模板把前面的回答写成另一个样子，所以一段拆成几个样本，各学一个回答")
        if data.num_equal:
            say(f"        留出时按问题来分：{data.num_equal:,} 段的问题与留出的相同，也归到留出的一边")
        for split, name in _SPLITS.items():
            if places := data.too_long.get(split):
                more = f"等 {len(places):,} 处" if len(places) > _SHOWN_PLACES else ""
                say(
                    f"        {name}数据略去 {len(places):,} 段，问题太长，--max_length 之内放不下回答："
                    f"{'、'.join(places[:_SHOWN_PLACES])}{more}"
                )
        for name, dataset in (("训练", data.train), ("验证", data.validation), ("检验", data.test)):
            if dataset and (dataset.num_truncated or dataset.num_dropped):
                say(
                    f"        {name}数据太长（--max_length）：截断 {dataset.num_truncated:,} 段，"
                    f"截断后没有回答可学而略去 {dataset.num_dropped:,} 段"
                )

    def _how_unseen(self) -> str:
        """检验数据学过没有；前几轮学的是什么，只有记录，没有数据可比。"""
        seen = self.data.num_seen.get("test", 0)
        output = self.trainer.output
        if output is not None and output.record.content["ancestry"]:
            return f"这一轮{f'学过其中 {seen:,} 段的问题' if seen else '没有学过'}，前几轮可能学过"
        return f"其中 {seen:,} 段的问题学过" if seen else "没有学过"

    def evaluate(self, moment: str) -> Score:
        """在检验数据上打分，并回答那几个固定的问题。

        Args:
            moment: ``"训练前"`` 或 ``"训练后"``。

        Raises:
            UserError: 损失不是有限的数：模型坏了，不能当作结果。
        """
        model = cast(PreTrainedModel, self.trainer.model)
        tokenizer = cast(PreTrainedTokenizerBase, self.trainer.processing_class)
        with stage(f"做{moment}的{EVALUATION}"):
            score = Score(
                loss=mean_loss(model, self.data.test, self.trainer.data_collator, accelerator=self.trainer.accelerator),
                checked=checked_answers(model, tokenizer, [row.conversation for row in self.checked]),
                samples=generate_answers(model, tokenizer, self.questions, self.sample_tokens),
            )
        if not math.isfinite(score.loss):
            raise UserError(
                f"{moment}的检验损失不是有限的数（{score.loss}）：模型坏了，不算结果，输出目录里以前的结果没有动；"
                "训练前就坏的，请检查基座；训练后才坏的，请减小 --learning_rate。"
            )
        return score

    def finish(self, before: Score, after: Score, seconds: float) -> None:
        """训练之后：同样的问题前后怎么答，各项数字，哪里最弱；结果的几个文件写进还没有完成的结果。"""
        peak = peak_memory_mb(self.trainer.args.device)
        if self.questions:
            say("\n同样的问题，训练前后的回答")
        for row, old, new in zip(self.sampled, before.samples, after.samples, strict=True):
            reference = self.form.reference(row.conversation)
            say(f"\n  {_dialogue(row.conversation[:-1])}\n    训练前  {_one_line(old)}\n    训练后  {_one_line(new)}")
            if self.checked and not (new.ended and new.text == reference):
                say(f"    应是    {_shorten(reference)}")
        say(f"\n检验数据（{self._how_unseen()}）")
        say(f"  损失      {before.loss:.3f} → {after.loss:.3f}")
        if after.exact_match is not None:
            say(f"  逐字匹配  {before.exact_match:.1%} → {after.exact_match:.1%}（{len(self.checked)} 个问题）")
        answered = self._pair_up(before, after)
        _say_mistakes(answered)
        symptoms = self._symptoms(before, after)
        findings = diagnose(symptoms)
        if findings:
            say("\n诊断")
            for finding in findings:
                say(finding.told())
        say(f"\n训练用时 {seconds:.1f} 秒，内存峰值 {peak:,.0f} MB")
        if self.trainer.is_world_process_zero():
            self._write(before, after, answered, symptoms, findings, seconds, peak)

    def _pair_up(self, before: Score, after: Score) -> list[AnsweredQuestion]:
        """每个问题前后的回答：逐字核对的那些；没有核对的，是那几个固定的问题。"""
        if self.checked:
            return _answered(self.form, self.checked, before.checked, after.checked)
        return _answered(self.form, self.sampled, before.samples, after.samples)

    def _symptoms(self, before: Score, after: Score) -> Symptoms:
        """这次训练的症状；逐字核对的数据，另让它把一部分问题从头答到停，看看回答的样子。"""
        trainer = self.trainer
        tokenizer = cast(PreTrainedTokenizerBase, trainer.processing_class)
        form = self.form
        short = [row for row in self.checked if len(form.answer(row.conversation)) < _SAMPLE_TOKENS // 2]
        told = short[:: max(1, len(short) // _TOLD)][:_TOLD]
        room = max_positions(cast(PreTrainedModel, trainer.model)) or 2**31
        questions = [row.conversation[:-1] for row in told]
        tokens = [min(_SAMPLE_TOKENS, room - len(form.prompt(question))) for question in questions]
        references = [form.reference(row.conversation) for row in told]

        def spoken() -> dict[str, Any]:
            answers = generate_answers(cast(PreTrainedModel, trainer.model), tokenizer, questions, tokens)
            return answer_symptoms(references, [(each.text, each.ended) for each in answers])

        found = self.seen | _if_possible(lambda: learnt_symptoms(trainer)) | _if_possible(spoken)
        found |= {
            "log": finite_log(trainer.state.log_history),
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "before": before.loss,
            "after": after.loss,
            "exact_before": before.exact_match,
            "exact_after": after.exact_match,
        }
        return from_json(found)

    def _write(
        self,
        before: Score,
        after: Score,
        answered: list[AnsweredQuestion],
        symptoms: Symptoms,
        findings: list[Finding],
        seconds: float,
        peak: float,
    ) -> None:
        assert self.trainer.output is not None
        directory = self.trainer.output.unfinished
        metrics: dict[str, Any] = {
            "method": self.method,
            "model": self.model_args.model_name_or_path,
            "seed": self.trainer.args.seed,
            "trainable_parameters": self.trainable,
            "total_parameters": self.total,
            "steps": self.trainer.state.global_step,
            "train_seconds": round(seconds, 2),
            "peak_memory_mb": round(peak, 1),
            "before": {"loss": before.loss, "exact_match": before.exact_match},
            "after": {"loss": after.loss, "exact_match": after.exact_match},
        }
        if tallies := by_skill(answered):
            metrics["after"]["skills"] = {name: tally._asdict() for name, tally in tallies.items()}
        metrics["diagnosis"] = [asdict(finding) for finding in findings]
        write_json(directory / SYMPTOMS_FILE, asdict(symptoms))
        plot_losses(self.trainer.state.log_history, directory / "loss_curve.png")
        write_answers(directory, answered)
        write_json(directory / METRICS_FILE, metrics)


def _if_possible(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """诊断用的、另外算一算的症状；算不了（如显存不够）就不要，训练和结果不受影响。"""
    try:
        return look()
    except RuntimeError as error:
        say(f"（有的症状没有看成，诊断会少一些：{str(error).strip().splitlines()[0]}）")
        return {}


def _in_brackets(text: str) -> str:
    return f"（{text}）" if text else ""


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


def _answered(form: ChatFormat, rows: list[Row], before: list[Answer], after: list[Answer]) -> list[AnsweredQuestion]:
    return [
        {
            "file": row.source,
            "line": row.line,
            "skill": row.skill,
            "question": row.conversation[:-1],
            "reference": form.reference(row.conversation),
            "answer": new.text,
            "ended": new.ended,
            "right": new.right,
            "answer_before": old.text,
            "right_before": old.right,
        }
        for row, old, new in zip(rows, before, after, strict=True)
    ]


def _say_mistakes(answered: list[AnsweredQuestion]) -> None:
    """最弱的几项技能，各举一个答错的；分不出技能的，举几个答错的。"""
    wrong = [each for each in answered if each["right"] is False]
    if not wrong:
        return
    weak = [(name, tally) for name, tally in by_skill(answered).items() if tally.asked >= _ENOUGH and tally.share < 1]
    if weak:
        say(f"  最弱的技能（至少问了 {_ENOUGH} 题的；每个问题的回答在 {ANSWERS_FILE}）")
    else:
        say(f"  答错的（每个问题的回答在 {ANSWERS_FILE}）")
    for name, tally in weak[:_SHOWN_MISTAKES]:
        say(f"    {_shorten(name)}  {tally.share:.0%}（{tally.asked} 题答对 {tally.right} 题），答错的如")
        say(f"      {_mistake(next(each for each in wrong if each['skill'] == name))}")
    for each in [] if weak else wrong[:_SHOWN_MISTAKES]:
        say(f"    {_mistake(each)}")


def _mistake(answered: AnsweredQuestion) -> str:
    answer = _one_line(Answer(answered["answer"], answered["ended"]))
    return f"{_dialogue(answered['question'])} → {answer}  应是：{_shorten(answered['reference'])}"


def _dialogue(messages: Conversation) -> str:
    names = {"system": "系统", "user": "问", "assistant": "答", "tool": "工具"}
    return "  ".join(
        f"{names[message['role']]}：{_shorten(text)}" for message in messages if (text := _said_in(message))
    )


def _said_in(message: Message) -> str:
    """一条消息的内容；调用了工具的，写上调用了什么。"""
    calls = [
        f"{call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})" for call in message.get("tool_calls", ())
    ]
    return " ".join(filter(None, [message["content"], *calls]))


def _one_line(answer: Answer) -> str:
    return _shorten(answer.text) if answer.ended else f"{_shorten(answer.text)}……（没有停下）"


def _shorten(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= 80 else text[:80] + "…"
