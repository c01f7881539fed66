"""TODO 1 的检查（四）：太长的对话。"""

from collections.abc import Sequence

from self_check.data.cases import IGNORE_INDEX
from self_check.data.learner import Learner, describe_call
from self_check.data.named_tokenizers import END
from self_check.data.trials import Trial
from self_check.report import Diagnosis

Lists = tuple[list[int], list[int]]  # input_ids, labels


def check_truncation(learner: Learner, trials: Sequence[Trial]) -> Diagnosis | None:
    """太长的对话：两个列表从末尾一起截，或者都不截。"""
    for trial in trials:
        case, bos, got = trial.case, trial.case.tokenizer.bos, (trial.ids, trial.labels)
        plain, with_bos = (case.ids, case.labels), (bos + case.ids, [IGNORE_INDEX] * len(bos) + case.labels)
        is_left_out = all(label == IGNORE_INDEX for label in _cut(with_bos, case.max_length)[1])
        if not (
            _is_prefix(got, plain, case.max_length - len(bos))
            or _is_prefix(got, with_bos, case.max_length)
            or (is_left_out and got == ([], []))
        ):
            return _truncation(trial, trial.called, got, with_bos if trial.has_bos else plain)
        if is_left_out:
            continue
        item = learner.first_item(case)
        if item not in (_cut(plain, case.max_length), _cut(with_bos, case.max_length)):
            return _truncation(trial, describe_call(case, item=True), item, with_bos)
    return None


def _cut(lists: Lists, length: int) -> Lists:
    return lists[0][:length], lists[1][:length]


def _is_prefix(got: Lists, full: Lists, enough: int) -> bool:
    """两个列表是 full 的同样长的开头，而且没有短于 ``enough``。"""
    length = len(got[0])
    return got == _cut(full, length) and length >= min(enough, len(full[0]))


def _truncation(trial: Trial, called: str, got: Lists, full: Lists) -> Diagnosis:
    ids, labels = got
    limit = trial.case.max_length
    came = f"len(input_ids) = {len(ids)}，len(labels) = {len(labels)}；不截断时是 {len(full[0])}，max_length = {limit}"
    end = trial.case.tokenizer.id(END)
    if len(ids) != len(labels):
        likely = "只截了一个列表。两个列表要一一对应，截短一个，另一个也要在同一处截。"
    elif ids == full[0]:
        first = next(index for index, (a, b) in enumerate(zip(labels, full[1], strict=True)) if a != b)
        likely = (
            f"input_ids 是完整的，标签从下标 {first} 起与应有的不同：很长的回答没有学，或者学到一半就停了。"
            "长度不要写死，长的回答也一样要学。"
        )
    elif ids and ids == full[0][-len(ids) :]:
        likely = "从前面截掉了：留下的回答失去了它的上文（问题），模型学着凭空回答。应该留下开头，截掉末尾。"
    elif len(ids) < len(full[0]) and ids[:-1] == full[0][: len(ids) - 1] and ids[-1] == end:
        likely = "截断之后又补了一个 <|im_end|>：回答并没有说完，这会教模型话说到一半就停下。"
    elif len(ids) < limit and ids == full[0][: len(ids)]:
        likely = (
            f"截得太多：max_length 是 {limit}，却只留下 {len(ids)} 个 token。截断的长度不要写死，用 self.max_length。"
        )
    else:
        likely = "截断以后的 token 或标签与完整的对话对不上。截断要最后做：先得到整段对话的两个列表，再一起截掉末尾。"
    return Diagnosis(
        slug="truncation_mismatch",
        called=called,
        came=came,
        likely=likely + "其实这里可以不管长度：__init__ 会把两个列表一起截到 max_length。",
        look=f"看你的代码里用到 max_length 或切片的地方。\n{trial.look}",
    )
