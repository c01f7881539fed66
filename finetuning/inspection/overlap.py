"""谁与谁重复：一字不差的、只差一点的，同一个问题的矛盾的回答，检验数据里也有的问题。"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np

from finetuning.conversations import Conversation
from finetuning.inspection.content import texts_of
from finetuning.inspection.likeness import BandIndex, Lookup, normalized, shingles_of
from finetuning.inspection.survey import Survey, answer_at, system_of
from finetuning.reading import Row

_ALIKE = 0.7  # 整段有这么像
_QUESTION_ALIKE = 0.6
_ANSWER_ALIKE = 0.7
_LETTERS_ALIKE = 0.85  # 很短的问题，逐字比
_LEAK_ALIKE = 0.75
_FEW_LETTERS = 40
_FEW_CHANGES = 8  # 回答很短的（标签、是非），问题只许差这么几个片段：一两个字
_SHORT_ANSWER = 20
_BATCH = 2000
_MOST_ANSWERS = 4  # 一个问题有更多种回答的，是开放的问题，不是矛盾
_NEGATION = re.compile(r"[不没無无非未否别]|\bno\b|\bnot\b|n't")
_DIGITS = re.compile(r"\d+")


class Duplicates(NamedTuple):
    """重复的：每段对话与前面的哪一段相同，没有是 -1。"""

    exact: np.ndarray
    near: np.ndarray


class Conflict(NamedTuple):
    """同一个问题的几个回答：（第几段, 第几条消息）。"""

    answers: list[tuple[int, int]]


class Conflicts(NamedTuple):
    """一个问题有几种回答的。"""

    short: list[Conflict]  # 短的，互相矛盾
    num_rows: int  # 在几段对话里
    num_open: int  # 其余的问题有几个
    num_open_rows: int  # 在几段对话里


def first_equal(keys: np.ndarray) -> np.ndarray:
    """每一项与前面的哪一项相同，没有是 -1。"""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    original = first[inverse]
    return np.where(original == np.arange(len(keys)), -1, original).astype(np.int32)


def find_duplicates(survey: Survey, progress: Callable[[Iterable[int]], Iterable[int]]) -> Duplicates:
    """重复的。只差标点、空白、大小写的，和改了几个字的，都是近似。"""
    exact = first_equal(np.frombuffer(survey.exact, np.uint64))
    alike = first_equal(np.frombuffer(survey.alike, np.int64))
    near = np.where(exact < 0, alike, -1).astype(np.int32)
    alone = np.flatnonzero((exact < 0) & (near < 0))
    index = BandIndex()
    for start in progress(range(0, len(alone), _BATCH)):
        numbers = alone[start : start + _BATCH]
        whole = [np.concatenate([part for parts in survey.shingles[int(n)] for part in parts]) for n in numbers]
        chosen, bands = survey.commonness.sketches(whole)
        index.add(numbers[chosen], bands)
    roots: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for earlier, later in index.pairs():
        root = roots.get(earlier, earlier)
        if later in roots or root == later or (root, later) in seen:
            continue
        seen.add((root, later))
        if _nearly_same(survey, root, later):
            roots[later] = root
            near[later] = root
    return Duplicates(exact, near)


def _nearly_same(survey: Survey, one: int, other: int) -> bool:
    """两段对话只差一点：问题、回答都像，里面的数一样。"""
    (asked, said), (asked_too, said_too) = survey.shingles[one], survey.shingles[other]
    if len(asked) != len(asked_too) or len(said) != len(said_too):
        return False
    like = survey.commonness.likeness
    question, question_too = np.concatenate(asked), np.concatenate(asked_too)
    answer, answer_too = np.concatenate(said), np.concatenate(said_too)
    if like(np.concatenate([question, answer]), np.concatenate([question_too, answer_too])) < _ALIKE:
        return False
    before, after = survey.rows[one].conversation, survey.rows[other].conversation
    texts, texts_too = (_asked(before), _said(before)), (_asked(after), _said(after))
    if system_of(before) != system_of(after) or _differ_when_short(texts[0], texts_too[0]):
        return False
    if sorted(_DIGITS.findall(" ".join(texts))) != sorted(_DIGITS.findall(" ".join(texts_too))):
        return False
    if texts[1] != texts_too[1] and like(answer, answer_too) < _ANSWER_ALIKE:
        return False
    if len(texts[1]) <= _SHORT_ANSWER:
        return _changes(question, question_too) <= _FEW_CHANGES
    return len(texts[0]) < _FEW_LETTERS or like(question, question_too) >= _QUESTION_ALIKE


def _changes(one: np.ndarray, other: np.ndarray) -> int:
    """不同的片段，两边里多的那一边有几个。"""
    return max(len(np.setdiff1d(one, other)), len(np.setdiff1d(other, one)))


def _said(conversation: Conversation) -> str:
    """各个回答，归一化以后接在一起。"""
    return "".join(
        normalized("\n".join(texts_of(message))) for message in conversation if message["role"] == "assistant"
    )


# ----------------------------------------------------------------------------------------------------------------------
# 同一个问题的几种回答


def find_conflicts(survey: Survey) -> Conflicts:
    """同一个问题（连同前面的话、系统提示）有几种回答的；都很短、又只有两三种的，算矛盾。"""
    prompts = np.frombuffer(survey.prompt_keys, np.int64)
    answers = np.frombuffer(survey.answer_keys, np.int64)
    short = np.frombuffer(survey.answer_short, np.int8)
    order = np.lexsort((answers, prompts))
    if not len(order):
        return Conflicts([], 0, 0, 0)
    prompts, answers = prompts[order], answers[order]
    starts = np.flatnonzero(np.r_[True, prompts[1:] != prompts[:-1]])
    ends = np.r_[starts[1:], len(order)]
    differs = np.r_[True, (prompts[1:] != prompts[:-1]) | (answers[1:] != answers[:-1])]
    distinct = np.add.reduceat(differs.astype(np.int64), starts)
    all_short = np.minimum.reduceat(short[order], starts)
    found: list[Conflict] = []
    contradicting: list[np.ndarray] = []
    several: list[np.ndarray] = []
    for group in np.flatnonzero(distinct > 1):
        members = order[starts[group] : ends[group]]
        firsts = members[differs[starts[group] : ends[group]]]
        places = sorted((survey.answer_rows[int(n)], survey.answer_places[int(n)]) for n in firsts)
        if all_short[group] and len(places) <= _MOST_ANSWERS and _contradict(survey, places):
            found.append(Conflict(places))
            contradicting.append(members)
        else:
            several.append(members)
    found.sort(key=lambda conflict: conflict.answers)
    rows = np.frombuffer(survey.answer_rows, np.int32)

    def num_rows(groups: list[np.ndarray]) -> int:
        return len(np.unique(rows[np.concatenate(groups)])) if groups else 0

    return Conflicts(found, num_rows(contradicting), len(several), num_rows(several))


def _contradict(survey: Survey, places: Sequence[tuple[int, int]]) -> bool:
    """几个回答里至少有两个说的不是一回事：一个包含另一个、又没有多出否定的（“17”和“一半是17”），是一回事。"""
    texts = [normalized(answer_at(survey.rows[row].conversation, place)) for row, place in places]
    for index, one in enumerate(texts):
        for other in texts[index + 1 :]:
            shorter, longer = sorted((one, other), key=len)
            rest = longer.replace(shorter, "", 1)
            if shorter not in longer or _NEGATION.search(rest) or (shorter.isdigit() and rest[:1].isdigit()):
                return True
    return False


# ----------------------------------------------------------------------------------------------------------------------
# 检验数据


class Leaks(NamedTuple):
    """训练数据里有、检验数据里也有的问题。"""

    exact: np.ndarray  # 每段训练对话，与第几段检验的问题相同，没有是 -1
    near: np.ndarray  # 只差一点的
    places: list[str]  # 各段检验的对话在哪里


class _Question(NamedTuple):
    """检验数据的一个问题。"""

    place: str
    system: str
    text: str  # 问的各句话，归一化以后接在一起
    answer: int  # 回答的指纹


class TestQuestions:
    """检验数据的各个问题。

    问题相同，是各句话（不算系统提示）都相同；系统提示不同的，回答也要相同：换了身份、换了要求，同一句话问的就是另一件事。
    """

    __test__ = False  # pytest 不要把它当作测试

    def __init__(self, rows: Iterable[Row]):
        self._questions: list[_Question] = []
        self._keys: dict[int, list[int]] = {}
        for row in rows:
            key = 0
            for message in row.conversation[:-1]:
                if message["role"] != "system":
                    key = hash((key, message["role"], normalized("\n".join(texts_of(message)))))
            self._keys.setdefault(key, []).append(len(self))
            answer = hash(normalized("\n".join(texts_of(row.conversation[-1]))))
            system, text = system_of(row.conversation), _asked(row.conversation)
            self._questions.append(_Question(row.place, system, text, answer))

    def __len__(self) -> int:
        return len(self._questions)

    def leaks(self, survey: Survey, progress: Callable[[Iterable[int]], Iterable[int]]) -> Leaks:
        """哪几段训练的对话问了同样的问题。"""
        exact = np.full(len(survey), -1, np.int32)
        near = np.full(len(survey), -1, np.int32)
        keys = np.frombuffer(survey.asked_keys, np.int64)
        for n in np.flatnonzero(np.isin(keys, np.array(sorted(self._keys), np.int64))).tolist():
            for number in self._keys[int(keys[n])]:
                question = self._questions[number]
                if survey.asked_systems[n] == hash(question.system) or survey.asked_answers[n] == question.answer:
                    exact[survey.asked_rows[n]] = number
        shingles = shingles_of([question.text for question in self._questions])
        lookup = Lookup(*survey.commonness.sketches(shingles))
        for start in progress(range(0, len(survey), _BATCH)):
            rows = [n for n in range(start, min(start + _BATCH, len(survey))) if exact[n] < 0]
            pieces = [(n, turn, piece) for n in rows for turn, piece in enumerate(_openings(survey.shingles[n][0]))]
            chosen, bands = survey.commonness.sketches([piece for *_, piece in pieces])
            for asked, number in lookup.ask(bands):
                row, turn, piece = pieces[int(chosen[asked])]
                if near[row] >= 0 or survey.commonness.likeness(piece, shingles[number]) < _LEAK_ALIKE:
                    continue
                if self._is_near(survey.rows[row].conversation, turn, self._questions[number]):
                    near[row] = number
        return Leaks(exact, near, [question.place for question in self._questions])

    def _is_near(self, conversation: Conversation, turn: int, question: _Question) -> bool:
        """片段已经够像：里面的数也要一样；很短的，再逐字比；系统提示不同的，回答也要相同。"""
        places = [place for place, message in enumerate(conversation) if message["role"] in ("user", "tool")]
        text = _asked(conversation[: places[turn] + 1])
        if sorted(_DIGITS.findall(text)) != sorted(_DIGITS.findall(question.text)) or _differ_when_short(
            text, question.text
        ):
            return False
        answer = conversation[min(places[turn] + 1, len(conversation) - 1)]
        same_answer = hash(normalized("\n".join(texts_of(answer)))) == question.answer
        return system_of(conversation) == question.system or same_answer


def _openings(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """第一句，前两句，前三句……的片段。"""
    for turn in range(len(parts)):
        yield parts[0] if turn == 0 else np.concatenate(parts[: turn + 1])


def _asked(conversation: Conversation) -> str:
    """问的各句话（和工具的结果），归一化以后接在一起。"""
    return "".join(
        normalized("\n".join(texts_of(message))) for message in conversation if message["role"] in ("user", "tool")
    )


def _differ_when_short(one: str, other: str) -> bool:
    """很短的两句，改一两个字就是另一个意思：逐字比。"""
    if min(len(one), len(other)) >= _FEW_LETTERS:
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() < _LETTERS_ALIKE
