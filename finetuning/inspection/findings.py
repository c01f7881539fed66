"""看到的 → 说给人听的：一件一件，有多少、例子在哪里、怎么办；最后的结论和训练的命令。"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from finetuning.inspection.overlap import Conflicts, Duplicates, Leaks
from finetuning.inspection.personal import PERSONAL_KINDS
from finetuning.inspection.survey import Example, Survey, answer_at, excerpt
from finetuning.reading import Row

Level = Literal["先改", "看一看", "知道就好"]
_MOST_EXAMPLES = 5
_FEWEST_ROWS = 100
_MANY_REFUSALS = 0.05
_MANY_CUT = 0.01
_MOSTLY_CHINESE = 0.8


@dataclass
class Finding:
    """一件事。

    Attributes:
        slug: 代号；``--keep`` 用它。
        title: 是什么。
        count: 几段对话。
        share: 占几成。
        advice: 怎么办。
        left_out: ``--clean`` 时不要这些。
    """

    slug: str
    level: Level
    title: str
    count: int
    share: float
    advice: str
    examples: list[Example] = field(default_factory=list)
    left_out: bool = False


class BadRows(NamedTuple):
    """读不成对话的行：理由 → 几行，前几个在哪里。"""

    total: int
    reasons: list[tuple[str, int, list[str]]]


class Overlaps(NamedTuple):
    """谁与谁重复。"""

    duplicates: Duplicates
    conflicts: Conflicts
    leaks: Leaks | None


# 内容里的毛病：级别，是什么，怎么办，--clean 要不要去掉。
_CONTENT: dict[str, tuple[Level, str, str, bool]] = {
    "empty_answer": (
        "先改",
        "回答等于没有答（“无”“None”“N/A”……）",
        "补上真的答案，或去掉这一段；学了它，模型也会这样答",
        True,
    ),
    "placeholder": (
        "先改",
        "有没填的占位符（{{name}} 这样的）",
        "多半是生成数据的程序漏填了；改好程序，或去掉这一段",
        True,
    ),
    "mojibake": ("先改", "有乱码", "多半是按错误的编码读过一次；从原始文件重新转换，转不回来的去掉", True),
    "control_token": (
        *("先改", "内容里有像对话标记的文字（<|im_end|>、</s>、[INST] 等）"),
        "多半是拼好了模板的文字又当作内容；训练时它们只当普通的字，模型会学着把它们写出来。请去掉标记，拆成各条消息",
        True,
    ),
    "markup": (
        "看一看",
        "有网页的标签或转义（<br>、&nbsp; 等）",
        "不是要模型写网页的，换成普通的文字（换行、空格）",
        False,
    ),
    "empty_input": (
        "看一看",
        "问题的最后一行只有“无”“None”这样的空话",
        "多半是空的 input 也拼进了问题；去掉这一行",
        False,
    ),
    "refusal": (
        "看一看",
        "回答是拒答（“抱歉，我无法……”）",
        "该拒的留着，不该拒的改成真的回答；太多，模型会动不动就拒绝",
        False,
    ),
    "identity": ("看一看", "回答自称是别家的模型", "除非就是要它这样说，改成自己的名字，或去掉", False),
    "not_chinese": ("看一看", "用中文问，却用外文答", "没有要求外文的，换成中文，或去掉", False),
}


def find(survey: Survey, overlaps: Overlaps, bad: BadRows) -> list[Finding]:
    """看到的各件事，要紧的在前。"""
    total = len(survey)
    found: list[Finding] = []

    def add(
        slug: str, level: Level, title: str, count: int, advice: str, examples: Sequence[Example] = (), **more: bool
    ) -> None:
        if count:
            found.append(Finding(slug, level, title, count, count / total, advice, list(examples), **more))

    if bad.total:
        examples = [
            Example("、".join(places) + ("" if count == len(places) else f" 等 {count:,} 行"), reason)
            for reason, count, places in bad.reasons
        ]
        share = bad.total / (bad.total + total)
        found.append(
            Finding(
                "bad_row",
                "先改",
                "读不成对话的行",
                bad.total,
                share,
                "照各行的理由改好；不改，就要跳过它们（--on_bad_rows skip）",
                examples,
                True,
            )
        )
    if overlaps.leaks is not None:
        _add_leaks(add, survey, overlaps.leaks)
    _add_personal(add, survey)
    _add_duplicates(add, survey, overlaps.duplicates)
    _add_conflicts(add, survey, overlaps.conflicts)
    for kind, (level, title, advice, left_out) in _CONTENT.items():
        tally = survey.tallies[kind]
        if kind == "not_chinese" and survey.chinese_answers < _MOSTLY_CHINESE * survey.answers:
            continue
        if kind == "refusal" and tally.rows < _MANY_REFUSALS * total:
            level = "知道就好"
        add(kind, level, title, tally.rows, advice, tally.examples, left_out=left_out)
    _add_lengths(add, survey)
    if total < _FEWEST_ROWS:
        add(
            "few",
            "看一看",
            f"只有 {total} 段对话",
            total,
            "这么少，只够学一种说话的样子，学不到新的本事；几百段起才看得出效果",
        )
    order = ("先改", "看一看", "知道就好")
    return sorted(found, key=lambda each: order.index(each.level))


def _places(
    survey: Survey, rows: np.ndarray, others: np.ndarray | None = None, names: Sequence[str] | None = None
) -> list[Example]:
    """前几段在哪里，各与谁一样。"""
    examples = []
    for number in rows[:_MOST_EXAMPLES].tolist():
        row = survey.rows[number]
        place = row.place
        if others is not None:
            other = int(others[number])
            place += f" 与 {names[other] if names else _near_place(survey, other, row)}"
        question = next(message["content"] for message in row.conversation if message["role"] == "user")
        examples.append(Example(place, excerpt(question)))
    return examples


def _near_place(survey: Survey, other: int, row: Row) -> str:
    """另一段在哪里；同一个文件的，文件名不再说一遍。"""
    place = survey.rows[other]
    return f"第 {place.line} 行" if place.source == row.source else place.place


def _add_leaks(add, survey: Survey, leaks: Leaks) -> None:  # type: ignore[no-untyped-def]
    advice = "考过的题不算数：从训练数据里去掉这些，或换一份检验数据"
    for slug, others, how in (("leak", leaks.exact, "相同"), ("near_leak", leaks.near, "几乎相同（只差几个字）")):
        rows = np.flatnonzero(others >= 0)
        asked = len(np.unique(others[rows]))
        title = f"问题与检验数据的{how}（检验的 {len(leaks.places):,} 段里，{asked:,} 段的问题在训练数据里有）"
        add(slug, "先改", title, len(rows), advice, _places(survey, rows, others, leaks.places), left_out=True)


def _add_personal(add, survey: Survey) -> None:  # type: ignore[no-untyped-def]
    for kind in PERSONAL_KINDS:
        tally = survey.tallies[kind]
        advice = "个人信息不该进训练数据，模型会背下来：换成编的，或去掉这一段（这里从不显示它们）"
        add(kind, "先改", f"有{kind}（共 {tally.times:,} 处）", tally.rows, advice, tally.examples, left_out=True)


def _add_duplicates(add, survey: Survey, duplicates: Duplicates) -> None:  # type: ignore[no-untyped-def]
    rows = np.flatnonzero(duplicates.exact >= 0)
    if len(rows):
        most = int(np.bincount(duplicates.exact[rows]).max()) + 1
        level: Level = "先改" if len(rows) > 0.01 * len(survey) else "看一看"
        advice = "学几遍同样的，等于给它加了权；除非有意，只留一份"
        title = f"与前面的一字不差（最多的一段出现 {most:,} 次）"
        add("duplicate", level, title, len(rows), advice, _places(survey, rows, duplicates.exact), left_out=True)
    rows = np.flatnonzero(duplicates.near >= 0)
    advice = "只差标点、空白或几个字，问题和回答都一样：只留一份"
    add(
        "near_duplicate",
        "看一看",
        "与前面的几乎一样",
        len(rows),
        advice,
        _places(survey, rows, duplicates.near),
        left_out=True,
    )


def _add_conflicts(add, survey: Survey, conflicts: Conflicts) -> None:  # type: ignore[no-untyped-def]
    examples = []
    for conflict in conflicts.short[:_MOST_EXAMPLES]:
        rows = [survey.rows[row] for row, _ in conflict.answers]
        said = "；".join(
            f"“{excerpt(answer_at(row.conversation, place))}”"
            for row, (_, place) in zip(rows, conflict.answers, strict=True)
        )
        asked = rows[0].conversation[conflict.answers[0][1] - 1]["content"]
        examples.append(Example("、".join(row.place for row in rows), f"{excerpt(asked)} → {said}"))
    title = f"同一个问题，回答互相矛盾（{len(conflicts.short):,} 个问题）"
    advice = "看看哪个对，只留对的；都对的（如打招呼），可以不管"
    level: Level = "先改" if conflicts.num_rows > 0.01 * len(survey) else "看一看"
    add("contradiction", level, title, conflicts.num_rows, advice, examples)
    title = f"同一个问题有几种回答，长的或很多种（{conflicts.num_open:,} 个问题）"
    advice = "开放的问题（写作、闲聊）本来如此；只该有一个答案的，只留一个"
    add("several_answers", "知道就好", title, conflicts.num_open_rows, advice)


def _add_lengths(add, survey: Survey) -> None:  # type: ignore[no-untyped-def]
    lengths = survey.lengths
    examples = _places(survey, np.array(lengths.longer_than(lengths.max_length), dtype=np.int64))
    level: Level = "看一看" if lengths.num_cut > _MANY_CUT * len(lengths.all) else "知道就好"
    wanted = suggested_length(survey)
    advice = f"把 --max_length 加大到 {wanted}（99% 放得下），或把长的拆开"
    if wanted <= lengths.max_length:
        advice = "99% 已经放得下；其余的拆开，或就让它截断"
    dropped = f"；其中 {lengths.num_dropped:,} 段截断后没有要学的，会略去" if lengths.num_dropped else ""
    title = f"超过 max_length={lengths.max_length}，末尾会截掉（要学的 token 丢了 {lengths.lost_share:.1%}{dropped}）"
    add("cut", level, title, lengths.num_cut, advice, examples)


def suggested_length(survey: Survey, limit: int | None = None) -> int:
    """``--max_length``：99% 的样本放得下的，凑成 64（1024 以上是 256）的倍数，不超过 ``limit``。"""
    wanted = survey.lengths.quantile(0.99)
    step = 64 if wanted <= 1024 else 256
    length = max(64, math.ceil(wanted / step) * step)
    return min(length, limit) if limit else length


def verdict(findings: Sequence[Finding], num_kept: int | None) -> str:
    """一句结论。

    Args:
        num_kept: ``--clean`` 以后留下几段；没有清理是 None。
    """
    must = [finding for finding in findings if finding.level == "先改"]
    look = [finding for finding in findings if finding.level == "看一看"]
    names = "、".join(_short(finding) for finding in (must or look))
    if must and num_kept is None:
        return f"先别训练，有 {len(must)} 件事要先改：{names}。" + (
            "其中能去掉的，加上 --clean 干净的.jsonl，会去掉它们。" if any(finding.left_out for finding in must) else ""
        )
    if num_kept is not None:
        rest = [finding for finding in findings if not finding.left_out and finding.level != "知道就好"]
        more = f"：{'、'.join(_short(finding) for finding in rest)}（清理以前数的）" if rest else ""
        if any(finding.level == "先改" for finding in rest):
            return f"清理以后留下 {num_kept:,} 段，还有要自己改的，先别训练{more}。"
        return f"清理以后的 {num_kept:,} 段可以训练{'；还要看一看' if rest else ''}{more}。"
    return f"可以训练；先看一看：{names}。" if look else "可以训练，没有看出毛病。"


def _short(finding: Finding) -> str:
    return f"{finding.title.split('（')[0]}（{finding.count:,} 段）"
