"""症状：一次训练留下的、看得见的东西。诊断（:mod:`clinic.doctor`）只看它，不知道训练是怎样做的。

一次训练的结果目录、别人的 Hugging Face ``trainer_state.json``、病历（``results/clinic.jsonl``）都能读成它；
没有的就是 None。
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

_OPENING = 3  # 比较回答的开头时看几个字
_REPEATED = 8  # 一小段最多这么多个字；后面照样重复的，加起来也至少这么多个字


@dataclass(frozen=True)
class Symptoms:
    """一次训练的症状。损失的单位是 nat（每个要学的 token 的平均），比例在 0 到 1 之间。

    Attributes:
        log: 训练中的记录，与 ``trainer_state.json`` 的 ``log_history`` 相同：``step``、``loss``、``grad_norm``、
            ``learning_rate``，和验证时的 ``eval_loss``。
        steps: 走了几步。
        epochs: 训练数据看了几遍。
        rows_per_step: 一步看几段对话。
        warmup_steps: 预热几步。
        train_rows: 训练数据有几段。
        duplicate_rows: 其中与前面的某一段一字不差的。
        truncated_rows: 其中被 ``max_length`` 截断的，和截断后没有回答可学、因而略去的。
        system_share: 训练数据里有系统提示的占多少；``tested_system_share`` 是检验时提问的。
        learnt_share: 训练数据的 token 里，要学的占多少。
        extra_share: 检验数据里，要学的 token 有多少不是助手的（多出来的占要学的多少）。
        answers_learnt: 检验数据里，要学的 token 连起来含有整个回答的占多少段。
        ends_learnt: 检验数据里，要学的最后一个 token 是结束标记的占多少段。
        test_seen: 检验数据里，问题在训练数据里也有的占多少；``validation_seen`` 是验证数据的。
        packed_loss: 训练以前，几段训练数据照训练时的样子（如首尾相接）算的损失；``alone_loss`` 是一段一段单独算的。
        adapter_off_loss: 同样的几段，关掉刚装上的、还没有训练的 LoRA 时的损失；不是这样开始的，是 None。
        trained_dtype: 要训练的权重的类型，如 ``"float32"``。
        vocabulary: 词表的大小。
        weights_changed: 要训练的矩阵里，与训练前不同的占多少。
        typical_loss: 训练以后，训练数据一段的损失（中位数）；``unlearnt_share`` 是比它还高 1 nat 以上的占多少段。
        before: 训练前检验数据的损失；``after`` 是训练后的。
        answer_tokens: 检验数据一段对话要学几个 token（平均）。
        asked: 看了几个回答的样子（``ended`` 以下各项）；逐字匹配的问题可以更多。
        exact_before: 训练前逐字匹配的比例；``exact_after`` 是训练后的。
        ended: 自己停下的回答占多少。
        length_ratio: 回答的字数是参考答案的几倍（中位数）。
        repetitive: 里面有一小段一再重复的回答占多少（见 :func:`is_repetitive`）；
            ``references_repetitive`` 是参考答案的。
        opening: 回答里最常见的开头（三个字）；``opening_share`` 是这样开头的回答占多少，``references_opening_share``
            是参考答案的。
        samples: 几个固定的问题：问题、参考答案、训练后的回答；诊断不看，给人看。
    """

    log: Sequence[Mapping[str, Any]]
    steps: int | None = None
    epochs: float | None = None
    rows_per_step: int | None = None
    warmup_steps: int | None = None
    train_rows: int | None = None
    duplicate_rows: int | None = None
    truncated_rows: int | None = None
    system_share: float | None = None
    tested_system_share: float | None = None
    learnt_share: float | None = None
    extra_share: float | None = None
    answers_learnt: float | None = None
    ends_learnt: float | None = None
    test_seen: float | None = None
    validation_seen: float | None = None
    packed_loss: float | None = None
    alone_loss: float | None = None
    adapter_off_loss: float | None = None
    trained_dtype: str | None = None
    vocabulary: int | None = None
    weights_changed: float | None = None
    typical_loss: float | None = None
    unlearnt_share: float | None = None
    before: float | None = None
    after: float | None = None
    answer_tokens: float | None = None
    asked: int | None = None
    exact_before: float | None = None
    exact_after: float | None = None
    ended: float | None = None
    length_ratio: float | None = None
    repetitive: float | None = None
    references_repetitive: float | None = None
    opening: str | None = None
    opening_share: float | None = None
    references_opening_share: float | None = None
    samples: Sequence[Sequence[str]] = ()

    def curve(self, quantity: str) -> list[tuple[int, float]]:
        """``log`` 里的一个量：（第几步, 值）。"""
        return [(entry["step"], entry[quantity]) for entry in self.log if quantity in entry]


LOGGED = ("step", "loss", "grad_norm", "learning_rate", "eval_loss")
NAMES = {field.name for field in fields(Symptoms)}


def answer_symptoms(references: Sequence[str], answers: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    """检验时的回答有什么特点。

    Args:
        references: 参考答案。
        answers: 训练后的回答，和是不是自己停下的。
    """
    if not answers:
        return {}
    texts = [text for text, _ in answers]
    opening, count = Counter(text[:_OPENING] for text in texts).most_common(1)[0]
    return {
        "asked": len(answers),
        "ended": _share(ended for _, ended in answers),
        "length_ratio": median(len(text) / max(1, len(ref)) for text, ref in zip(texts, references, strict=True)),
        "repetitive": _share(map(is_repetitive, texts)),
        "references_repetitive": _share(map(is_repetitive, references)),
        "opening": opening,
        "opening_share": count / len(answers),
        "references_opening_share": _share(ref.startswith(opening) for ref in references),
    }


def is_repetitive(text: str) -> bool:
    """有没有一小段（1 到 ``_REPEATED`` 个字），后面紧接着照样重复了至少 ``_REPEATED`` 个字。"""
    for size in range(1, _REPEATED + 1):
        times = 1 + math.ceil(_REPEATED / size)
        for start in range(len(text) - size * times + 1):
            if text[start : start + size] * times == text[start : start + size * times]:
                return True
    return False


def _share(values: Iterable[bool]) -> float:
    listed = [bool(value) for value in values]
    return sum(listed) / len(listed)


def from_json(values: Mapping[str, Any]) -> Symptoms:
    """``dataclasses.asdict`` 的逆；不认识的项不看，不是有限的数的当作没有。``after`` 可以是无穷大：训练坏了。"""
    known: dict[str, Any] = {}
    for name, value in values.items():
        broken = isinstance(value, float) and not math.isfinite(value) and (name != "after" or math.isnan(value))
        if name in NAMES:
            known[name] = None if broken else value
    return Symptoms(**known)


def finite_log(log: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """``log_history`` 里诊断要看的各项；不是有限的数（如 fp16 跳过的一步的梯度）去掉，JSON 写不下。"""
    return [{name: entry[name] for name in LOGGED if name in entry and math.isfinite(entry[name])} for entry in log]
