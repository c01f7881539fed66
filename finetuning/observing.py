"""一次训练的症状里，要看着数据、模型和 Trainer 才知道的那些；诊断在 ``clinic/doctor.py``。"""

from array import array
from collections.abc import Sequence
from statistics import median
from typing import Any, cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.chat_format import chat_format
from finetuning.chatml import ChatML
from finetuning.collator import IGNORE_INDEX
from finetuning.conversations import Conversation
from finetuning.data import Splits, TokenizedDataset
from finetuning.evaluate import mean_loss, row_losses
from finetuning.training import CheckedTrainer, planned_steps

_LOOKED_AT = 500  # 数要学的 token 时，看这么多段，从头到尾均匀地取
_COMPARED = 16  # 首尾相接与单独算，比这么多段
_REREAD = 128  # 训练以后再看这么多段训练数据
_UNLEARNT = 1.0  # nat：比一般的高这么多，就是没有学会


def data_symptoms(data: Splits, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """数据的症状，训练以前就知道；各项的意思见 :class:`clinic.symptoms.Symptoms`。"""
    learnt, total = _count_learnt([data.train[index] for index in _some_of(len(data.train))])
    tested = [(data.test[index], index) for index in _some_of(len(data.test))]
    form = chat_format(tokenizer)
    taught = [[label for label in example["labels"] if label != IGNORE_INDEX] for example, _ in tested]
    found = {
        "train_rows": data.counts.rows,
        "duplicate_rows": data.counts.duplicates,
        "truncated_rows": data.train.num_truncated + data.train.num_dropped,
        "system_share": data.counts.with_system / data.counts.rows,
        "tested_system_share": _share_with_system([row.conversation for row in data.test_rows]),
        "learnt_share": learnt / total,
        "answer_tokens": sum(map(len, taught)) / len(taught),
        "ends_learnt": sum(not form.end_ids.isdisjoint(ids[-1:]) for ids in taught) / len(taught),
        "test_seen": data.num_seen.get("test", 0) / len(data.test),
    }
    if data.validation is not None:
        found["validation_seen"] = data.num_seen.get("validation", 0) / len(data.validation)
    if len(data.test) == len(data.test_rows) and not data.test.num_truncated:  # 两边对得上，回答都完整
        conversations = [data.test_rows[index].conversation for _, index in tested]
        answers = [form.answer(conversation) for conversation in conversations]
        whole = [_contains(ids, answer) for ids, answer in zip(taught, answers, strict=True)]
        found["answers_learnt"] = sum(whole) / len(whole)
        if isinstance(form, ChatML):
            own = sum(_assistant_tokens(conversation, form) for conversation in conversations)
            found["extra_share"] = max(0.0, 1 - own / max(1, sum(map(len, taught))))
    return found


def training_symptoms(trainer: CheckedTrainer) -> dict[str, Any]:
    """怎样训练，训练以前就知道。"""
    args, model = trainer.args, cast(PreTrainedModel, trainer.model)
    steps = planned_steps(trainer)
    rows = len(cast(TokenizedDataset, trainer.train_dataset))
    per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    trained = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    return {
        "steps": steps,
        "epochs": steps * per_step / rows if args.max_steps > 0 else args.num_train_epochs,
        "rows_per_step": min(per_step, rows),
        "warmup_steps": args.get_warmup_steps(steps),
        "trained_dtype": str(trained.dtype).removeprefix("torch."),
        "vocabulary": model.config.get_text_config().vocab_size,
    }


def first_batch_symptoms(trainer: CheckedTrainer, fresh_adapter: bool = False) -> dict[str, float]:
    """训练以前，用几段训练数据试：拼成一批与单独算，开着与关掉适配器，损失应当一样；几张卡切分权重的不试。

    Args:
        fresh_adapter: 刚装上的 LoRA，应当从基座出发的。
    """
    if trainer.sharded:
        return {}
    dataset = cast(TokenizedDataset, trainer.train_dataset)
    compared = max(2, min(_COMPARED, trainer.args.per_device_train_batch_size))  # 训练的一批放得下的，这里也放得下
    rows = cast(TokenizedDataset, [dataset[index] for index in range(min(compared, len(dataset)))])
    model = cast(PreTrainedModel, trainer.model)

    def loss(batch_size: int) -> float:
        """用训练的拼法：词表很大时，它不展开全部的 logits。一批一段，就是单独算。"""
        return mean_loss(model, rows, trainer.data_collator, batch_size, trainer.own_autocast)

    found = {"packed_loss": loss(_COMPARED), "alone_loss": loss(1)}
    if fresh_adapter and isinstance(model, PeftModel):
        with model.disable_adapter():
            found["adapter_off_loss"] = loss(1)
    return found


def learnt_symptoms(trainer: CheckedTrainer) -> dict[str, float]:
    """训练以后，训练数据自己学得怎样：均匀地取 ``_REREAD`` 段，各算损失；几张卡切分权重的不看。"""
    if trainer.sharded:
        return {}
    dataset = cast(TokenizedDataset, trainer.train_dataset)
    model = cast(PreTrainedModel, trainer.model)
    looked_at = range(0, len(dataset), max(1, -(-len(dataset) // _REREAD)))
    rows = cast(TokenizedDataset, [dataset[index] for index in looked_at])
    batch_size = trainer.args.per_device_train_batch_size  # 训练放得下的，这里也放得下
    losses = row_losses(model, rows, trainer.data_collator, batch_size, trainer.own_autocast)
    typical = median(losses)
    unlearnt = sum(loss > typical + _UNLEARNT for loss in losses)
    return {"typical_loss": typical, "unlearnt_share": unlearnt / len(losses)}


def changed_share(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float | None:
    """要训练的矩阵里，和或长度变了的占多少（见 :meth:`finetuning.training.CheckedTrainer.parameter_sizes`）。"""
    return sum(after[name] != size for name, size in before.items()) / len(before) if before else None


def _some_of(count: int) -> range:
    """从头到尾均匀地取，最多 ``_LOOKED_AT`` 个。"""
    return range(0, count, max(1, -(-count // _LOOKED_AT)))


def _count_learnt(examples: Sequence[dict[str, list[int]]]) -> tuple[int, int]:
    """（要学的 token 数, 全部的 token 数）。"""
    learnt = sum(label != IGNORE_INDEX for example in examples for label in example["labels"])
    return learnt, sum(len(example["input_ids"]) for example in examples)


def _assistant_tokens(conversation: Conversation, chatml: ChatML) -> int:
    """助手的内容和结束标记一共几个 token。"""
    segments = [chatml.segments(message) for message in conversation if message["role"] == "assistant"]
    return sum(len(each.content) + len(each.end) for each in segments)


def _contains(ids: list[int], part: list[int]) -> bool:
    """``part`` 在 ``ids`` 里连着出现；一个 token 占八个字节，按字节找快得多。"""
    return array("q", part).tobytes() in array("q", ids).tobytes()


def _share_with_system(conversations: Sequence[Conversation]) -> float:
    return sum(conversation[0]["role"] == "system" for conversation in conversations) / len(conversations)
