"""诊断：从症状（:mod:`clinic.symptoms`）说出病名。只看症状，不知道训练是怎样做的；一切正常就不说话。

每条规则是一个函数，只看一种病，返回一个 :class:`Finding` 或 None。界限写在规则的前面，旁边是它从哪里来：
“病历”是 ``results/clinic*.jsonl`` 里量过的病例（四个种子）和健康的训练（十二种，十个种子以上），“估计”的没有量过。
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean as mean
from statistics import median, pstdev
from typing import Any

from clinic.symptoms import Symptoms


@dataclass(frozen=True)
class Finding:
    """一个诊断。

    Attributes:
        name: 代号。
        title: 一句话，说是什么病。
        evidence: 证据，有数字。
        cause: 多半是什么原因。
        next_step: 下一步做什么，怎样证实。
        confidence: 几成把握：``"高"``、``"中"``、``"低"``。
        instead: 单凭这些症状分不开的别的原因；next_step 说怎样分。
    """

    name: str
    title: str
    evidence: str
    cause: str
    next_step: str
    confidence: str
    instead: str = ""

    def told(self) -> str:
        """给人看的几行。"""
        lines = [f"  {self.title}：{self.evidence}", f"    多半是：{self.cause}。", f"    {self.next_step}。"]
        if self.instead:
            lines.append(f"    单凭这些还分不开的：{self.instead}。")
        return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------------------------
# 曲线的几个特征


def _smoothed(values: Sequence[float], average: Callable[[Sequence[float]], float] = mean) -> list[float]:
    """连同前后各 :func:`_reach` 个一起平均。"""
    reach = _reach(values)
    return [average(values[max(0, index - reach) : index + reach + 1]) for index in range(len(values))]


def _reach(values: Sequence[float]) -> int:
    """总数的五十分之一，至少两个。"""
    return max(2, len(values) // 50)


def _end(values: Sequence[float]) -> float:
    """最后一成的平均。"""
    return mean(values[-max(1, len(values) // 10) :])


@dataclass(frozen=True)
class Curve:
    """训练损失和验证损失的几个特征。

    Attributes:
        points: 有几个训练损失。
        start: 第一个训练损失；``opening`` 是头三个的平均。
        end: 训练损失最后一成的平均。
        rise: 训练损失从以前的最低点往上最多升了多少，除以 ``start``；平滑以后的平均和中位数都升了才算，
            一两个尖峰不算；单凭起伏也会有的高低已经减去。
        fall_step: 预热以后，第几步降了三分之二（从 ``start`` 到 ``end``）；``fall_share`` 是它占其余步数的比例。
        validation_end: 最后的验证损失。
        validation_third: 走到三分之一时的验证损失；验证不到 ``_FEWEST_CHECKS`` 次，是 None。
        validation_lift: 最后的验证损失比最低的高几成。
        validation_rise: 验证损失从以前的最低点往上最多升了多少，除以训练前的检验损失（没有就除以 ``start``）。
    """

    points: int
    start: float
    opening: float
    end: float
    rise: float
    fall_step: int
    fall_share: float
    validation_end: float | None
    validation_rise: float
    validation_third: float | None
    validation_lift: float


def curve_of(symptoms: Symptoms) -> Curve | None:
    """至少要有 ``FEWEST_POINTS`` 个训练损失，都是有限的、不小于零的数；不然是 None。"""
    points = symptoms.curve("loss")
    losses = [loss for _, loss in points]
    if len(losses) < FEWEST_POINTS or not all(map(math.isfinite, losses)) or min(losses) < 0 or losses[0] <= 0:
        return None  # 负的损失不是交叉熵
    smooth, start, end = _smoothed(losses), losses[0], _end(losses)
    fallen = next(
        (index for index, loss in enumerate(smooth) if loss <= start - 2 / 3 * (start - end)), len(points) - 1
    )
    validation = [loss for _, loss in symptoms.curve("eval_loss") if math.isfinite(loss) and loss >= 0]
    warm, last = _warm(symptoms), points[-1][0]
    fall_step = max(0, points[fallen][0] - warm)
    return Curve(
        points=len(losses),
        start=start,
        opening=mean(losses[:3]),
        end=end,
        rise=max(0.0, min(_rise(smooth), _rise(_smoothed(losses, median))) - _jitter(losses, smooth)) / start,
        fall_step=fall_step,
        fall_share=fall_step / max(1, last - warm),
        validation_end=validation[-1] if validation else None,
        validation_rise=_rise(validation) / max(symptoms.before or start, _TINY) if validation else 0.0,
        validation_lift=validation[-1] / max(min(validation), _TINY) - 1 if validation else 0.0,
        validation_third=validation[round(len(validation) / 3) - 1] if len(validation) >= _FEWEST_CHECKS else None,
    )


def _jitter(losses: Sequence[float], smooth: Sequence[float]) -> float:
    """平滑以后，单凭起伏也会有的高低：四倍的标准误。"""
    window = 2 * _reach(losses) + 1
    return 4 * pstdev([loss - level for loss, level in zip(losses, smooth, strict=True)]) / math.sqrt(window)


def _warm(symptoms: Symptoms) -> int:
    """预热到第几步：学习率最大的那一步；没有记下，或一直不降的，是 0。"""
    rates = symptoms.curve("learning_rate")
    if not rates:
        return 0
    step, highest = max(rates, key=lambda point: (point[1], -point[0]))
    return step if highest > rates[-1][1] else 0


def _rise(values: Sequence[float]) -> float:
    lowest, rise = math.inf, 0.0
    for value in values:
        lowest = min(lowest, value)
        rise = max(rise, value - lowest)
    return rise


FEWEST_POINTS = 10  # 估计：再少，看不出曲线的样子
_FEWEST_CHECKS = 5  # 估计
_TINY = 1e-9

# ----------------------------------------------------------------------------------------------------------------------
# 规则：先看数据，再看训练，再看回答

_FEW_STEPS = 30  # 病历：健康的训练，预热以后也要 1 到 18 步才降掉三分之二


def few_steps(s: Symptoms) -> Finding | None:
    """步数太少。"""
    if s.steps is None or s.steps >= _FEW_STEPS:
        return None
    return Finding(
        "few_steps",
        "步数太少",
        f"只有 {s.steps} 步，多半学不到多少",
        "数据少，或一步看得太多",
        "加大 --num_train_epochs，或减小 --per_device_train_batch_size（和 --gradient_accumulation_steps）",
        "高",
    )


def test_seen(s: Symptoms) -> Finding | None:
    """检验数据学过。"""
    if not s.test_seen:
        return None
    return Finding(
        "test_seen",
        "检验的问题，训练时学过",
        f"检验数据里 {s.test_seen:.2%} 的问题，训练数据里也有",
        "检验数据混进了训练数据",
        "从训练数据里去掉这些，或另换一份检验数据；现在的检验损失和答对的比例都不算数",
        "高",
    )


def validation_seen(s: Symptoms) -> Finding | None:
    """验证数据学过。"""
    if not s.validation_seen:
        return None
    return Finding(
        "validation_seen",
        "验证的问题，训练时学过",
        f"验证数据里 {s.validation_seen:.2%} 的问题，训练数据里也有",
        "验证数据取自训练数据",
        "另换一份没有学过的；现在的验证损失看不出过拟合，也不能用来挑最好的",
        "高",
    )


_DUPLICATES = 0.1  # 估计


def duplicates(s: Symptoms) -> Finding | None:
    """训练数据里的重复。"""
    if not s.train_rows or not s.duplicate_rows or s.duplicate_rows < _DUPLICATES * s.train_rows:
        return None
    return Finding(
        "duplicates",
        "训练数据里有很多重复",
        f"{s.train_rows:,} 段里，{s.duplicate_rows:,} 段与前面的一字不差（{s.duplicate_rows / s.train_rows:.0%}）",
        "数据拼接时没有去重",
        "去掉重复的再训练；有意要多学几遍的，用 --num_train_epochs",
        "高",
    )


_TRUNCATED = 0.05  # 估计：二十段里有一段学不到怎样收尾


def truncated(s: Symptoms) -> Finding | None:
    """太多对话被截断。"""
    if not s.train_rows or not s.truncated_rows or s.truncated_rows < _TRUNCATED * s.train_rows:
        return None
    return Finding(
        "truncated",
        "很多回答被截断了",
        f"{s.train_rows:,} 段里，{s.truncated_rows:,} 段超过了 --max_length（{s.truncated_rows / s.train_rows:.0%}）",
        "--max_length 太小：这些回答学不到结尾，也学不到停下",
        "加大 --max_length，或去掉太长的对话",
        "高",
    )


_EXTRA = 0.2  # 病历：健康的 0.00，只学了用户的话的 0.08，每个 token 都学的、-100 写成 0 的 0.67


def everything_learnt(s: Symptoms) -> Finding | None:
    """不该学的也学了。"""
    if s.extra_share is None or s.extra_share < _EXTRA:
        return None
    return Finding(
        "everything_learnt",
        "别人的话也在学",
        f"要学的 token 里，{s.extra_share:.0%} 不是助手的",
        "连用户的话、角色的头也学了；或不学的位置写成了 0 之类，没有写成 -100（那样的话，训练前的损失高得出奇）",
        "看几段的 labels：不学的位置应当是 -100",
        "高",
    )


_ANSWERS_LEARNT = 0.5  # 病历：健康的 1.00，只学了用户的话的 0.01


def answers_not_learnt(s: Symptoms) -> Finding | None:
    """该学的回答没有学。"""
    if s.answers_learnt is None or s.answers_learnt >= _ANSWERS_LEARNT:
        return None
    if s.truncated_rows and s.train_rows and s.truncated_rows >= _TRUNCATED * s.train_rows:
        return None  # 被截断的自然不完整
    return Finding(
        "answers_not_learnt",
        "要学的不是回答",
        f"要学的 token 连起来含有整个回答的，只有 {s.answers_learnt:.0%}",
        "掩码（mask）写反了，学的是别人的话；或漏了回答的一部分",
        "把一段的 labels 里不是 -100 的解码出来看；或用 data_exercise.py 的自查",
        "高",
    )


_ANSWERS_RIGHT = 0.5  # 估计：答得对一半的，学的就是该学的
_LABELS_OFF = 1.3  # 病历：随机的基座 1.0，移了两次的标签 1.9，-100 写成 0 的 1.9（训练前的损失除以 ln 词表）


def labels_shifted(s: Symptoms) -> Finding | None:
    """标签与模型要猜的对不上。"""
    if s.before is None or not s.vocabulary or s.before < _LABELS_OFF * math.log(s.vocabulary):
        return None
    if (s.exact_after or 0) >= _ANSWERS_RIGHT:  # 标签错了位，一个也答不对
        return None
    return Finding(
        "labels_shifted",
        "标签与模型要猜的对不上",
        f"训练前的损失是 {s.before:.2f}，比乱猜（ln {s.vocabulary:,} = {math.log(s.vocabulary):.2f}）还差得多",
        "标签自己先移了一位，模型又移一位；或标签里有不该学的 token；或数据里多是基座没有见过的文字",
        "transformers 的 labels 不用自己错位；对照着看一段的 input_ids 和 labels",
        "高",
    )


_RANDOM = 0.85  # 病历：随机的基座 0.99 到 1.01，健康的 0.13 到 0.16（训练前的损失除以 ln 词表）


def random_base(s: Symptoms) -> Finding | None:
    """基座什么也不会。"""
    if s.before is None or not s.vocabulary:
        return None
    guessing = math.log(s.vocabulary)
    if not _RANDOM * guessing <= s.before < _LABELS_OFF * guessing:
        return None
    return Finding(
        "random_base",
        "基座和乱猜一样",
        f"训练前的损失是 {s.before:.2f}，乱猜是 ln {s.vocabulary:,} = {guessing:.2f}",
        "权重没有读进来（名字对不上时，transformers 会随机初始化），或分词器与模型不是一套，"
        "或数据里多是基座没有见过的文字",
        "看读模型时的警告；不训练，先让它续写一句话",
        "高",
        "标签错位，读进来的其实是好的：续写一句通顺的话，就是标签的错",
    )


_LEAK_GAP = 0.01  # nat，估计：损失很低时，舍入也有百分之几
_LEAK = 0.02  # 病历：健康的相差 0.0014 以下，没有边界的 0.41


def leak(s: Symptoms) -> Finding | None:
    """拼成一批以后，损失变了。"""
    if s.packed_loss is None or s.alone_loss is None or s.alone_loss <= 0:
        return None
    difference = abs(s.packed_loss - s.alone_loss) / s.alone_loss
    if difference < _LEAK or abs(s.packed_loss - s.alone_loss) < _LEAK_GAP:
        return None
    return Finding(
        "leak",
        "拼成一批以后，损失变了",
        f"同样的几段对话，拼成训练的一批时损失 {s.packed_loss:.3f}，一段一段单独算 {s.alone_loss:.3f}",
        "首尾相接时没有边界，后面的对话看得见前面的；或填充的位置也算了",
        "改用填充（--padding_free false）再比；换掉第一段，看后面的输出动不动",
        "高",
    )


_BASE_CHANGED = 0.01  # 病历：健康的 LoRA 相差 0，B 不从零开始的 0.19 以上


def base_changed(s: Symptoms) -> Finding | None:
    """适配器还没有训练，输出就变了。"""
    if s.adapter_off_loss is None or s.alone_loss is None:
        return None
    if abs(s.alone_loss - s.adapter_off_loss) < _BASE_CHANGED * s.adapter_off_loss:
        return None
    return Finding(
        "base_changed",
        "刚装上的 LoRA 就改变了基座",
        f"训练以前，装着适配器的损失 {s.alone_loss:.3f}，关掉的 {s.adapter_off_loss:.3f}",
        "B 没有从零开始",
        "B 的初值应当是零：支路的输出才是零，训练才从基座出发",
        "高",
    )


def low_precision(s: Symptoms) -> Finding | None:
    """要训练的权重是半精度的。"""
    if s.trained_dtype not in ("bfloat16", "float16"):
        return None
    return Finding(
        "low_precision",
        f"要训练的权重是 {s.trained_dtype}",
        f"要训练的权重是 {s.trained_dtype}，不是 float32",
        "整个模型转成了半精度，而不是用自动混合精度（autocast）；一步的改动比权重的舍入还小时，就丢了",
        "权重用 float32，加 --bf16 true",
        "高",
    )


_TINY_BATCH, _FEW_TOKENS = 2, 64  # 估计：一两段对话，一步也就学几十个 token


def noisy_steps(s: Symptoms) -> Finding | None:
    """一步看得太少。"""
    if s.rows_per_step is None or s.rows_per_step > _TINY_BATCH or (s.train_rows or 0) <= _TINY_BATCH:
        return None
    if s.rows_per_step * (s.answer_tokens or 0) >= _FEW_TOKENS:
        return None
    return Finding(
        "noisy_steps",
        "一步看得太少",
        f"一步只看 {s.rows_per_step} 段，学 {s.rows_per_step * (s.answer_tokens or 0):.0f} 个 token",
        "每一步的方向只由一两段对话决定，忽左忽右",
        "加大 --per_device_train_batch_size；内存不够，就加大 --gradient_accumulation_steps",
        "中",
    )


def not_finite(s: Symptoms) -> Finding | None:
    """NaN 或无穷大。"""
    names = {"loss": "训练损失", "eval_loss": "验证损失"}
    bad = next(
        (
            (entry["step"], name, entry[name])
            for entry in s.log
            for name in names
            if name in entry and not math.isfinite(entry[name])
        ),
        None,
    )
    gradients = [entry["grad_norm"] for entry in s.log if "grad_norm" in entry]
    # 旧的 Trainer 把 NaN 的损失记成 0；用 fp16 时，梯度每次都溢出的，每一步都跳过了。
    overflowed = len(gradients) >= FEWEST_POINTS and not any(map(math.isfinite, gradients))
    if bad is None and gradients and (math.isnan(gradients[-1]) or overflowed):
        bad, names = (s.log[-1]["step"], "grad_norm", gradients[-1]), {"grad_norm": "梯度"}
    if bad is None:
        return None
    return Finding(
        "not_finite",
        f"{'梯度' if bad[1] == 'grad_norm' else '损失'}不是有限的数",
        f"第 {bad[0]} 步的{names[bad[1]]}是 {bad[2]}",
        "学习率太大，或 fp16 溢出了（梯度溢出的一步不更新参数，每一步都溢出就什么也没有学）",
        "学习率减小到十分之一；用 fp16 的换成 bf16 或 fp32",
        "高",
    )


def nothing_to_learn(s: Symptoms) -> Finding | None:
    """一个要学的 token 也没有。"""
    losses = [loss for _, loss in s.curve("loss")]
    if len(losses) < FEWEST_POINTS or any(abs(loss) > _TINY for loss in losses):
        return None
    return Finding(
        "nothing_to_learn",
        "损失一直是 0",
        f"{len(losses)} 次记录的训练损失全是 0",
        "没有要学的 token：标签全是 -100，或回答都被 max_length 截掉了",
        "看几段的 labels，有没有不是 -100 的；加大 max_length",
        "高",
    )


_FLAT = 0.02  # 估计：从头到尾，损失只动了百分之二


def nothing_trains(s: Symptoms) -> Finding | None:
    """什么也没有训练。"""
    curve = curve_of(s)
    unchanged = s.weights_changed == 0
    same = s.before is not None and s.after is not None and abs(s.after - s.before) <= 1e-6 * s.before
    losses = [loss for _, loss in s.curve("loss")]
    third = len(losses) // 3
    flat = (
        s.weights_changed is None
        and s.after is None
        and curve is not None
        and abs(mean(losses[:third]) - mean(losses[-third:])) < _FLAT * curve.start
        and abs(curve.opening - curve.end) < 2 * _FLAT * curve.start
    )
    if not (unchanged or same or flat):
        return None
    evidence = "要训练的权重一个也没有变" if unchanged else "训练前后的损失一样" if same else "训练损失从头到尾没有动"
    return Finding(
        "nothing_trains",
        "什么也没有学到",
        evidence,
        "参数全都冻结了，或优化器里的不是这个模型的参数（建好优化器以后才换了模型），或学习率是零",
        "走一步，看要训练的权重动没有动；优化器要在模型准备好以后再建",
        "高" if unchanged or same else "低",
        "" if unchanged or same else "数据里没有模型不会的：先看它训练以前答得怎样",
    )


_CLIMBED, _EXPLODED = 0.1, 0.25  # 病历：过大的，全参数 × 30 是 0.08 到 0.14，LoRA × 10 是 1.9 以上；别的 0.04 以下
_VALIDATION_RISE = 0.05  # 病历：全参数 × 10 是 0.11 到 0.22；健康的 0.021 以下，别的病 0.0495 以下
_ONCE = 1.5  # 看了不到一遍半：还没有来得及记住
# 病历：alpha 没有除以 r 的 0.11、3.0 以上，A 太大的 0.31、2.8 以上；健康的过了 0.08 的只有一次，0.091、1.8。
_STUCK, _LATE_GAIN = 0.08, 2.0


def rate_too_high(s: Symptoms) -> Finding | None:
    """学习率太大。"""
    curve = curve_of(s)
    if curve is None:
        return None
    climbed = curve.validation_rise >= _VALIDATION_RISE and (s.epochs is None or s.epochs <= _ONCE)
    if curve.rise >= _CLIMBED:
        evidence = f"训练损失降下来以后，又升了至少 {curve.rise * curve.start:.2f}（开始是 {curve.start:.2f}）"
    elif climbed:
        evidence = f"数据还没有看完一遍半，验证损失已经先降后升，升了 {curve.validation_rise:.0%}"
    elif _stuck_until_the_end(s, curve):
        evidence = (
            f"预热以后 {curve.fall_step} 步，训练损失就降了三分之二；验证损失走到三分之一时却还有"
            f" {curve.validation_third:.3f}，学习率降下来以后才到 {curve.validation_end:.3f}"
        )
    else:
        return None
    return Finding(
        "rate_too_high",
        "学习率太大，训练坏了",
        evidence,
        "学习率太大（LoRA：学习率 × alpha / r 太大，或 A 的初值太大）",
        "学习率减小到三分之一和十分之一，各走几十步，看损失是不是一路往下",
        "高" if curve.rise >= _EXPLODED else "中",
        ""
        if curve.rise >= _EXPLODED
        else "任务本来学得慢，或训练数据与验证数据不是一回事：学习率减小了还是这样，就是它们",
    )


def _stuck_until_the_end(s: Symptoms, curve: Curve) -> bool:
    """开头降得很快，然后停在高处，学习率降下来才接着降。"""
    third, last = curve.validation_third, curve.validation_end
    if third is None or last is None or curve.fall_share >= _LATE_SHARE:
        return False
    return third >= _STUCK * (s.before or curve.start) and third >= _LATE_GAIN * last


def _first_epoch(s: Symptoms) -> Symptoms:
    if not s.epochs or s.epochs <= 1 or not s.log:
        return s
    last = max(entry["step"] for entry in s.log) / s.epochs
    return replace(s, log=[entry for entry in s.log if entry["step"] <= last])


_ENOUGH_POINTS = 20  # 估计：隔得太远的记录，看不出降得快慢
_FALLEN = 0.75  # 估计；病历：学习率最小的，从 1.9 降到 0.9
# 病历：太小的 0.15 到 0.38（21 到 54 步）；健康的 18 步以下，0.13 以下（预热以后一共只有 17 步的，到 0.29）。
_LATE_SHARE, _LATE_STEPS = 0.14, 20


def rate_too_low(s: Symptoms) -> Finding | None:
    """学习率太小。只看第一遍：第二遍起，训练损失一级一级地降，是因为学过了。"""
    curve = curve_of(_first_epoch(s))
    if curve is None or curve.points < _ENOUGH_POINTS:
        return None
    if curve.fall_share < _LATE_SHARE or curve.fall_step < _LATE_STEPS:
        return None
    if curve.end >= _FALLEN * curve.opening:
        return None  # 降得太少，分不出是慢，还是数据本来如此
    return Finding(
        "rate_too_low",
        "学得太慢",
        f"预热以后走了 {curve.fall_step} 步（{curve.fall_share:.0%}），能降的损失才降了三分之二",
        "学习率太小",
        "学习率加大到三倍和十倍，各走几十步，看损失是不是降得快得多",
        "中",
        "训练的参数太少，或任务本来学得慢：看训练了多少参数",
    )


def not_better(s: Symptoms) -> Finding | None:
    """白练了。"""
    if s.before is None or s.after is None or s.after < s.before:
        return None
    return Finding(
        "not_better",
        "训练后不比训练前好",
        f"检验损失没有下降，从 {s.before:.3f} 到 {s.after:.3f}",
        "学习率太大或太小，练得太久，或训练数据与检验数据不是一回事",
        "学习率减小到三分之一，再加大到三倍，各走几十步比一比；都不行，就拿一部分训练数据来检验",
        "低",
    )


_RISING = 0.1  # 估计：最后的验证损失比最低的高一成
_MEMORIZED = 0.45  # 病历：200 段看 10 遍的 0.13 到 0.33，1,000 段看 4.8 遍的 0.28 到 0.41，健康的 0.67 以上


def overfit(s: Symptoms) -> Finding | None:
    """记住了训练数据。"""
    curve = curve_of(s)
    if curve is None or (s.epochs or 0) <= _ONCE:
        return None
    # 验证数据可以很少，一两段就左右它；两份都没有学过的，看损失低的一份。
    losses = [(loss, name) for loss, name in ((curve.validation_end, "验证"), (s.after, "检验")) if loss is not None]
    if not losses:
        return None
    held_out, name = min(losses)
    rising = curve.validation_lift >= _RISING and curve.end < held_out
    if curve.end >= _MEMORIZED * held_out and not rising:
        return None
    return Finding(
        "overfit",
        "记住了训练数据",
        f"数据看了 {s.epochs:.3g} 遍，最后的训练损失 {curve.end:.3f}，{name}损失 {held_out:.3f}"
        + (f"，验证损失从最低处升了 {curve.validation_lift:.0%}" if rising else ""),
        "数据太少，看的遍数太多：训练损失接着降，没有学过的不再变好",
        "增加数据，或减小 --num_train_epochs；加 --early_stopping_patience 看验证损失停下",
        "高" if curve.end < _MEMORIZED / 2 * held_out else "中",
        "" if s.validation_seen == 0 else "训练数据与验证数据不是一回事",
    )


_WHOLE_ROUND, _ENOUGH_STEPS = 0.9, 100  # 估计
_UNLEARNT = 0.03  # 病历：一成标签错的 0.04 到 0.06，三成的 0.10 到 0.16，健康的 0.01 以下（前缀微调 0.03 到 0.06）
_LEARNT_WELL = 0.3  # 病历：三成标签错的一般的一段 0.09
# 病历：学不会的训练数据，除以没有学过的问题答错的比例，一成标签错的 0.56 到 0.94，三成的 0.86 以上；前缀微调的
# 0.42 以下：它只是学得不够，在没有学过的问题上同样弱。
_MORE_THAN_UNSEEN = 0.52


def wrong_answers(s: Symptoms) -> Finding | None:
    """训练数据里有错的。"""
    if s.unlearnt_share is None or s.typical_loss is None or s.exact_after is None:
        return None
    if s.unlearnt_share < _UNLEARNT or s.typical_loss > _LEARNT_WELL:
        return None
    if (s.epochs or 0) < _WHOLE_ROUND or (s.steps or 0) < _ENOUGH_STEPS:
        return None  # 还没有学过，或学得太少，学不会不说明什么
    if s.unlearnt_share < _MORE_THAN_UNSEEN * (1 - s.exact_after):
        return None
    return Finding(
        "wrong_answers",
        "有一部分训练数据怎么也学不会",
        f"训练以后，一般的一段损失 {s.typical_loss:.3f}，却有 {s.unlearnt_share:.0%} 的训练数据比它高 1 nat 以上；"
        f"没有学过的问题反而答对 {s.exact_after:.0%}",
        "这些回答是错的，或与问题对不上",
        "按损失从大到小排，读最前面的几十段训练数据",
        "中",
        "那几段本来就难、与别的大不相同，或学得还太少：读过就知道",
    )


_ENOUGH_ANSWERS = 10  # 估计：问得太少，看不出回答的样子
_STOPS = 0.9  # 病历：健康的 0.997 以上，不学结束标记的 0.50 到 0.57


def never_stops(s: Symptoms) -> Finding | None:
    """回答不停。"""
    if s.ended is None or s.ended >= _STOPS or (s.asked or 0) < _ENOUGH_ANSWERS:
        return None
    unlearnt = s.ends_learnt is not None and s.ends_learnt < _STOPS
    return Finding(
        "never_stops",
        "回答不停下",
        f"{s.asked} 个回答里，自己停下的只有 {s.ended:.0%}"
        + (f"；检验数据里，最后学结束标记的只有 {s.ends_learnt:.0%}" if unlearnt else ""),
        "结束标记没有学：标签漏了它，或 pad 设成了它、再按 id 遮掉" if unlearnt else "没有学会停下",
        "看一段的 labels，最后要学的应当是结束标记；pad 用另一个 token，按位置遮",
        "高" if unlearnt else "中",
        "" if unlearnt else "回答被截断（--max_length）、学得还太少、提问的模板与训练时不同",
    )


_SAME_OPENING = 0.3  # 病历：八成的回答同一个开头的 0.76，健康的 0.00


def one_opening(s: Symptoms) -> Finding | None:
    """回答千篇一律。"""
    if s.opening_share is None or (s.asked or 0) < _ENOUGH_ANSWERS:
        return None
    if s.opening_share - (s.references_opening_share or 0) < _SAME_OPENING:
        return None
    return Finding(
        "one_opening",
        "回答都是一个开头",
        f"{s.opening_share:.0%} 的回答以“{s.opening}”开头，参考答案里只有 {s.references_opening_share:.0%}",
        "训练数据里有一种口气占了大半",
        "数一数训练数据的回答的开头；减少那一种，或给它加上说明口气的系统提示",
        "中",
        "学坏了，只会说这一句：先看损失是不是也高",
    )


_SYSTEM_GAP = 0.8  # 估计
_UNEXPECTED = 0.5  # 病历：健康的 1.1 以上，换了模板的 0.18 以下（答对的比例，除以从损失推算的）


def asked_differently(s: Symptoms) -> Finding | None:
    """提问的样子与训练时不同。"""
    shares = (s.system_share, s.tested_system_share)
    if shares[0] is not None and shares[1] is not None and abs(shares[0] - shares[1]) >= _SYSTEM_GAP:
        return Finding(
            "asked_differently",
            "提问与训练时的样子不同",
            f"训练数据里 {shares[0]:.0%} 有系统提示，提问时 {shares[1]:.0%} 有",
            "训练和提问用的不是同样的系统提示",
            "提问时加上（或去掉）训练时的系统提示，再比答对的比例",
            "高",
        )
    if s.exact_after is None or s.after is None or not s.answer_tokens or not math.isfinite(s.after):
        return None
    expected = math.exp(-s.after * s.answer_tokens)
    if s.exact_after >= _UNEXPECTED * expected or expected < _UNEXPECTED / 2:
        return None
    return Finding(
        "asked_differently",
        "损失很低，回答却不对",
        f"检验损失 {s.after:.3f}，每个 token 都猜对的概率约有 {expected:.0%}，实际答对 {s.exact_after:.0%}",
        "提问用的模板、系统提示与训练时不同",
        "把训练的一段和提问的 token 解码出来，并排比：回答以前的应当一模一样",
        "中",
        "生成的设置（采样、最多写几个 token）、参考答案不止一种写法",
    )


_RULES: tuple[Callable[[Symptoms], Finding | None], ...] = (
    few_steps, test_seen, validation_seen, duplicates, truncated, everything_learnt, answers_not_learnt,
    labels_shifted, random_base, leak, base_changed, low_precision, noisy_steps,
    not_finite, nothing_to_learn, nothing_trains, rate_too_high, rate_too_low, not_better, overfit, wrong_answers,
    never_stops, one_opening, asked_differently,
)  # fmt: skip
_ANSWERS = {"never_stops", "one_opening", "asked_differently"}
_LEARNING = {"rate_too_high", "rate_too_low", "not_better", "overfit", "wrong_answers"}
# 有了前一个，后面的就都说得通了，不再说。
_EXPLAINS: dict[str, set[str]] = {
    "few_steps": {"rate_too_low"},
    "test_seen": {"overfit"},
    "truncated": {"never_stops", "asked_differently"},
    "everything_learnt": {"labels_shifted", "random_base", "wrong_answers", "asked_differently"},
    "answers_not_learnt": {"not_better", "overfit", "wrong_answers", *_ANSWERS},
    "labels_shifted": _LEARNING - {"not_better"} | _ANSWERS,
    "random_base": _LEARNING - {"not_better"} | _ANSWERS,
    "leak": {"wrong_answers", "rate_too_high"},
    "base_changed": {"rate_too_high"},
    "low_precision": {"rate_too_low"},
    "noisy_steps": _LEARNING - {"not_better"},
    "not_finite": {"nothing_to_learn", "nothing_trains"} | _LEARNING | _ANSWERS,
    "nothing_to_learn": {"nothing_trains"} | _LEARNING | _ANSWERS,
    "nothing_trains": _LEARNING | _ANSWERS,
    "rate_too_high": _LEARNING - {"rate_too_high"} | _ANSWERS,
    "rate_too_low": {"not_better", "wrong_answers", *_ANSWERS},
    "never_stops": {"one_opening", "asked_differently"},
    "asked_differently": {"one_opening"},
}


def exploded(log: Sequence[Mapping[str, Any]]) -> Finding | None:
    """训练到一半，只看到现在为止的记录：损失已经升得很高，不必等到最后。"""
    finding = rate_too_high(Symptoms(log=log))
    return finding if finding is not None and finding.confidence == "高" else None


def diagnose(symptoms: Symptoms) -> list[Finding]:
    """症状 → 诊断，按数据、训练、回答的次序；一切正常是空的。"""
    found = [finding for rule in _RULES if (finding := rule(symptoms)) is not None]
    explained = set[str]().union(*(_EXPLAINS.get(finding.name, set()) for finding in found))
    return [finding for finding in found if finding.name not in explained]
