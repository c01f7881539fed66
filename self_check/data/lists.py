"""TODO 1 的检查（一）：返回的是不是两个整数列表，长度、对齐、有没有副作用。"""

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from self_check.data.cases import IGNORE_INDEX
from self_check.data.columns import token_text
from self_check.data.drawing import draw_lists
from self_check.data.trials import Trial
from self_check.report import Diagnosis
from self_check.text import shorten


def check_return_type(trials: Sequence[Trial]) -> Diagnosis | None:
    """返回两个整数列表组成的元组，顺序是 input_ids、labels。"""
    for trial in trials:
        problem = _type_problem(trial.result) if trial.lists is None else _order_problem(trial)
        if problem:
            came, likely = problem
            return trial.diagnosis("wrong_return_type", came, likely, "看 return 那一行，和它返回的变量是怎么来的。")
    return None


def _type_problem(result: Any) -> tuple[str, str] | None:
    """(得到了什么, 多半为什么)；两个整数列表的元组返回 None。"""
    came = f"返回的是 {_describe(result)}"
    if result is None:
        return came, "多半是忘了 return，或者有一条路走到了函数末尾。没有返回值，数据集里就什么也没有。"
    if isinstance(result, dict):
        return came, "应该返回元组 (input_ids, labels)。放进字典是 __getitem__ 做的事，它已经写好了。"
    if not isinstance(result, tuple):
        return came, "应该返回两个列表组成的元组：return input_ids, labels。"
    if len(result) != 2:
        return came, f"应该恰好是两个列表，实际有 {len(result)} 个。attention_mask 等是组成批次时才加的。"
    for name, values in zip(("input_ids", "labels"), result, strict=True):
        if not isinstance(values, list):
            return (
                f"{name} 是 {_describe(values)}",
                "应该是普通的列表。后面还要补 BOS、截断；拼成张量是组成批次时的事，那时才知道要补多长。"
                "张量和数组可以用 .tolist() 变成列表。",
            )
        for index, value in enumerate(values):
            if type(value) is not int:
                return f"{name}[{index}] 是 {_describe(value)}", _element_problem(value)
    return None


def _element_problem(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "多了一层列表：把一段 id 接到后面要用 += 或 extend，append 会把整段当作一个元素。"
    if isinstance(value, str):
        return "这是文字，不是 id。模型只认 id：convert_tokens_to_ids 或 tokenizer(文字) 给出 id。"
    if value is None:
        return "None 不是 id，也不能表示“不学”。可能是 convert_tokens_to_ids 没找到这个 token，或分词器没有 BOS/EOS。"
    if isinstance(value, bool):
        return "这是布尔值的掩码。labels 里要放的是 id 本身，不学的位置放 IGNORE_INDEX。"
    return "应该是 Python 的 int。numpy 的数组和 torch 的张量用 .tolist() 变成列表，单个的数用 int()。"


def _order_problem(trial: Trial) -> tuple[str, str] | None:
    """两个列表的顺序反了。"""
    first, second = trial.ids, trial.labels
    expected = trial.case.ids
    if second in (expected, trial.case.tokenizer.bos + expected) and first != second and IGNORE_INDEX in first:
        return (
            "第一个列表里有 -100，第二个列表才是完整的 input_ids",
            "两个列表的顺序反了，应该是 return input_ids, labels。这样训练，-100 会被当作 token 送进模型。",
        )
    return None


def check_conversation_is_unchanged(trials: Sequence[Trial]) -> Diagnosis | None:
    """不改动传进来的对话。"""
    for trial in trials:
        before, after = trial.case.conversation, trial.after
        if after == before:
            continue
        changed = next(pair for pair in zip_longest(before, after) if pair[0] != pair[1])
        return trial.diagnosis(
            "input_mutated",
            f"调用之前，对话有 {len(before)} 条消息；调用之后有 {len(after)} 条。第一处不同：\n"
            f"  之前  {shorten(repr(changed[0]), 70)}\n  之后  {shorten(repr(changed[1]), 70)}",
            '你的代码改动了传进来的 conversation（例如 pop、append、给 message["content"] 赋值）。'
            "调用你的人还要用它：同一段对话再用一次，结果就不同了，而且不会报错。",
            '找出改动它的那一行；需要改动就先复制，例如 messages = list(conversation)、text = message["content"]。',
        )
    return None


def check_lists_are_separate(trials: Sequence[Trial]) -> Diagnosis | None:
    """labels 与 input_ids 不是同一个列表。"""
    for trial in trials:
        ids = trial.ids
        if ids is not trial.labels or IGNORE_INDEX not in ids:
            continue
        first = max(0, ids.index(IGNORE_INDEX) - 3)
        if len(ids) > len(trial.case.tokens) + len(trial.case.tokenizer.bos):
            likely = "input_ids = labels = [] 只造了一个列表，起了两个名字：id 和标签接到了同一个列表里，混在了一起。"
            look = "分开写两行：input_ids = []，labels = []。"
        else:
            likely = (
                "labels = input_ids 没有复制，只是给同一个列表起了第二个名字；改 labels 就改了 input_ids。"
                "于是问题被 -100 盖掉了，模型看不到问题，-100 也不是合法的 id。"
            )
            look = "看 labels 是在哪里得到的；要一个新的列表，用 list(input_ids) 或 input_ids.copy()。"
        came = (
            f"labels is input_ids：它们是同一个列表，里面有 {ids.count(IGNORE_INDEX)} 个 -100：\n"
            f"  从下标 {first} 起  {shorten(str(ids[first : first + 20]), 58)}"
        )
        return trial.diagnosis("labels_alias_input_ids", came, likely, look)
    return None


def check_labels_are_not_shifted(trials: Sequence[Trial]) -> Diagnosis | None:
    """每个标签与它自己的 token 对齐，没有错开。

    只有一个 token 的回答会有巧合，所以要好几段对话都错开同样多，才算。
    """
    found = [(trial, offset) for trial in trials if (offset := _trial_offset(trial))]
    offsets = {offset for _, offset in found}
    disagree = any(trial not in [one for one, _ in found] and _has_misplaced_labels(trial) for trial in trials)
    if len(offsets) != 1 or disagree or sum(_learnt(trial) for trial, _ in found) < _ENOUGH_LABELS:
        return None
    trial, offset = found[0]
    text = partial(token_text, trial.case.tokenizer.backend)
    examples = [
        f"  input_ids[{i}] = {token}（{text(token)}），labels[{i}] = {label}（{text(label)}）"
        for i, (token, label) in enumerate(zip(trial.ids, trial.labels, strict=True))
        if label not in (IGNORE_INDEX, token)
    ]
    direction = "后" if offset > 0 else "前"
    return trial.diagnosis(
        "labels_shifted",
        f"标签错开了：每个标签是它{direction}面第 {abs(offset)} 个 token：\n" + "\n".join(examples[:5]),
        "“用前面的 token 预测下一个”里的错开一位，由模型在计算损失时做。这里再错开，模型学的就是"
        f"{'隔一个 token 去预测' if offset == 1 else '别的位置的 token'}，说出来的话会颠三倒四，损失却照样下降。",
        "labels 要与 input_ids 逐个对齐：要学的位置上 labels[i] == input_ids[i]。",
    )


_ENOUGH_LABELS = 4


def _trial_offset(trial: Trial) -> int | None:
    """一段对话的标签整体错开了几位；input_ids 不对、没有错开，或长度不同时是 None。"""
    ids, labels, full = trial.ids, trial.labels, trial.case.ids
    if len(ids) != len(labels):
        return None
    both = (full, trial.case.tokenizer.bos + full)
    if ids in both:
        return _offset(ids, labels)
    if ids in [whole[:-1] for whole in both]:  # return input_ids[:-1], labels[1:]
        return _offset([*ids, full[-1]], [*labels, IGNORE_INDEX])
    return None


def _learnt(trial: Trial) -> int:
    return sum(label != IGNORE_INDEX for label in trial.labels)


def _has_misplaced_labels(trial: Trial) -> bool:
    """有的标签既不是 -100，也不是它那个位置的 id。"""
    return any(label not in (IGNORE_INDEX, token) for token, label in zip(trial.ids, trial.labels, strict=False))


def _offset(ids: list[int], labels: list[int]) -> int | None:
    """标签整体错开了几位（正数：标签是后面的 token）；没有错开返回 None。"""
    learnt = [(i, label) for i, label in enumerate(labels) if label != IGNORE_INDEX]
    if len(ids) != len(labels) or all(label == ids[i] for i, label in learnt):
        return None
    for offset in (1, -1, 2, -2, 3, -3):
        inside = [(i, label) for i, label in learnt if 0 <= i + offset < len(ids)]
        if inside and all(label == ids[i + offset] for i, label in inside):
            return offset
    return None


def check_lengths(trials: Sequence[Trial]) -> Diagnosis | None:
    """两个列表一样长。"""
    for trial in trials:
        ids, labels, bos, right = trial.ids, trial.labels, trial.case.tokenizer.bos, trial.case.labels
        if len(ids) == len(labels):
            continue
        if bos and trial.has_bos and labels == right:
            likely = "BOS 只加在了 input_ids 上，labels 没有相应地多一个 -100；也可以不管 BOS，__init__ 会补上。"
        elif bos and labels in (bos + right, [IGNORE_INDEX] * len(bos) + right) and not trial.has_bos:
            likely = "BOS 只加在了 labels 上，input_ids 没有；也可以不管 BOS，__init__ 会给两个列表都补上。"
        elif labels == ids[1:] or (labels and len(ids) == len(labels) + 1 and _offset(ids, [*labels, IGNORE_INDEX])):
            likely = "labels 像是去掉了第一个 token。错开一位由模型自己做，这里不要错开。"
        elif labels and labels == [t.id for t in trial.case.tokens if t.trained][-len(labels) :]:
            likely = (
                "labels 里只有回答。不学的位置也要有标签，放 IGNORE_INDEX，才能与 input_ids 一一对应；否则组不成批次。"
            )
        else:
            likely = (
                "接 input_ids 和接 labels 时的段数或每段的长度不同。常见的原因：数了汉字的个数而不是 token 的个数，"
                "漏了角色头、<|im_end|> 或换行的标签，BOS 只加在了一边，"
                "或者 ids = header 以后又用 += 接，把 header 自己也接长了。错了位，模型学的就是别的位置的 token。"
            )
        return trial.diagnosis(
            "length_mismatch",
            f"len(input_ids) = {len(ids)}，len(labels) = {len(labels)}\n" + draw_lists(trial),
            likely,
            "每接上一段 id，就接上同样多的标签；这样怎么接都不会错位。",
        )
    return None


def _describe(value: Any) -> str:
    """一个值给人看的样子：类型和内容的开头。"""
    if value is None:
        return "None"
    kind = type(value)
    package = kind.__module__.split(".")[0]
    name = f"{package}.{kind.__qualname__}" if package in ("numpy", "torch") else kind.__qualname__
    try:
        text = " ".join(repr(value).split())
    except Exception:  # 学习者的类型，它的 __repr__ 也可能出错
        return name
    return shorten(f"{name}：{text}", 60)
