"""第二段起的预训练文本：转述别人的问话和回答（“小明问小红法国的首都是哪里，小红说：……”）。

答案在上文里，也要看懂问的是哪一样（东西“原来”在谁那里，还是“现在”），才知道抄哪一个。真实的书和网页里到处是这样的转述，
基座因此懂得问话的意思，却没有学会回答：转述是叙述，没有问号；单独的问题后面，仍然是别的问题。

转述里问到的只有训练集的主体和题目，以及新编的题目；dev 和 test 的，一次也不问。
"""

import random
import re
from collections.abc import Callable
from functools import cache, partial

from small_world import instructions as talk
from small_world.corpus import brief, in_messages, pick_names, question_list, unanswered
from small_world.drills import document_or_drill, facts_of
from small_world.instructions import Conversation, Pool, make_pools
from small_world.skill import Exchange
from small_world.skills.reading import SceneSkill
from small_world.skills.talk import UNKNOWN_CLOSED, all_invented_names
from small_world.world import IN_CONTEXT_SKILLS, RELATIONS

# 一句话的问题可以转述成“谁问谁什么”；带着短文的、吩咐做事的，当作一道题目。
_TO_EACH_OTHER = (("{a}问{b}，{question}。", "{b}说：{answer}"), ("{a}问，{question}。", "{b}答道：{answer}"))
_ASKED = (
    ("{a}问{b}{question}。", "{b}说：{answer}"),
    ("{a}想知道{question}。", "{b}告诉{a}：{answer}"),
    ("有人问{question}。", "{b}回答说：{answer}"),
    ("{b}听见有人问{question}。", "{b}说，{answer}"),
)
_SET = (
    ("题目：{question}。", "答案：{answer}"),
    ("{a}出的题目是：{question}。", "{b}的回答是：{answer}"),
    ("{a}给{b}的题目：{question}。", "{b}写道：{answer}"),
)
# 每种对话的权重：难的多练；闲谈没有什么可转述的。
_MAKERS: tuple[tuple[Callable[[Pool, random.Random], Conversation], float], ...] = (
    (talk.single, 18),
    (talk.from_context, 38),
    (talk.introduce, 5),
    (talk.unknown, 5),
    (talk.follow_up, 6),
    (talk.pronoun, 5),
    (talk.recall, 5),
    (talk.remember_name, 3),
    (talk.change_subject, 3),
    (talk.with_plain_system, 2),
    (talk.with_brief_system, 9),
    (talk.with_habit_system, 6),
    (talk.with_persona, 3),
    (talk.with_scope, 5),
)
# 没有列出的技能，权重是 1。
_HARD_SKILLS = {
    "短文位置": 9, "短文对比": 5, "比较": 5, "排序": 4, "数数": 4, "短文购物": 2, "短文活动": 2, "清单": 2, "加减": 2,
}  # fmt: skip
_RETELLING_SHARE = 0.5
_QUESTIONS_SHARE = 0.06
_MORE_QUESTIONS_SHARE = 0.06
_CHATML_SHARE = 0.3


class _Askable(Pool):
    """训练集里可以问的，加上新编的题目；不碰 ``held_out`` 里的。"""

    def __init__(self, train: Pool, held_out: set[str]) -> None:
        super().__init__(train.known, train.in_context, train.subjects, list(train.unknown), train.names)
        self._held_out = held_out
        for name in all_invented_names():
            if f"编造:{name}" not in held_out:
                self.unknown += [(f"编造:{name}", template.format(name)) for template in UNKNOWN_CLOSED[name[-1]]]

    def pick_in_context(self, rng: random.Random) -> tuple[str, list[Exchange]]:
        skill = self.pick_skill(rng)
        while True:
            exchanges = rng.choice(skill.exchanges_about(skill.draw(rng)))
            if exchanges[0].group not in self._held_out:
                return skill.name, exchanges

    def pick_skill(self, rng: random.Random) -> SceneSkill:
        """从哪一项技能里出题。"""
        return rng.choice(IN_CONTEXT_SKILLS)


class _Hard(_Askable):
    """同上，前一阶段以后还常常做错的技能多出几题。"""

    def pick_skill(self, rng: random.Random) -> SceneSkill:
        (skill,) = rng.choices(IN_CONTEXT_SKILLS, [_HARD_SKILLS.get(skill.name, 1) for skill in IN_CONTEXT_SKILLS])
        return skill


@cache
def _askable(hard: bool) -> _Askable:
    pools = make_pools()
    return (_Hard if hard else _Askable)(pools["train"], pools["dev"].groups() | pools["test"].groups())


def retelling(rng: random.Random, hard: bool = False) -> str:
    """转述一段对话；有时一句一句装进 ChatML，角色是随机的，模型由此学会隔着标记也能找到答案。"""
    makers, weights = zip(*_MAKERS, strict=True)
    conversation = rng.choices(makers, weights)[0](_askable(hard), rng)
    names = pick_names(rng)
    wrapped = rng.random() < _CHATML_SHARE
    bare_answers = wrapped and rng.random() < 0.7
    sentences = []
    if conversation.system is not None:
        sentences.append(("" if wrapped else "{a}吩咐{b}：".format(**names)) + conversation.system)
    form: tuple[str, str] | None = None
    for question, answer in conversation.turns:
        question, forms = _in_indirect_speech(question)
        if form not in forms:
            form = rng.choice(forms)
        asking, telling = ("{answer}" if bare_answers and part is form[1] else part for part in form)
        if not wrapped:
            asking = asking.removesuffix("。") + ("。" if forms is _SET else "，")
            answer = answer if answer.endswith(("。", "！")) else answer + "。"
        sentences += [part.format(question=question, answer=answer, **names) for part in (asking, telling)]
    return in_messages(rng, sentences) if wrapped else "".join(sentences)


def _in_indirect_speech(question: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """问话去掉问号以后的样子，和它适用的句式。"""
    text = question.replace("？", "").rstrip("。！")
    if not question.endswith("？") or set("。：“，") & set(text):
        return text, _SET
    text = re.sub("^请问", "", re.sub("^你知道(.+?)吗$", r"知不知道\1", text))
    return text, _TO_EACH_OTHER if re.search("[你我它]|^那", text) else _ASKED


def bare_questions(rng: random.Random) -> str:
    """一串没有答案的问题，一句一条消息。"""
    return in_messages(rng, question_list(rng))


def document_or_retelling(rng: random.Random) -> str:
    """第二段的一篇预训练文本：约一半是转述。"""
    draw = rng.random()
    if draw < _RETELLING_SHARE:
        return retelling(rng)
    if draw < _RETELLING_SHARE + _QUESTIONS_SHARE:
        return bare_questions(rng)
    return document_or_drill(rng)


def with_more_questions(rng: random.Random) -> str:
    """同上，没有答案的问题多一些：不然只剩转述，基座看见“介绍一下……”这样的吩咐就开始照办。"""
    draw = rng.random()
    if draw < _MORE_QUESTIONS_SHARE:
        return bare_questions(rng)
    if draw < 2 * _MORE_QUESTIONS_SHARE:
        return unanswered(rng)
    return document_or_retelling(rng)


def facts_of_one_table(rng: random.Random) -> str:
    """一张表里的几件事，各表机会均等：前面几步大表讲得多，小表会忘。"""
    return facts_of(rng.choice(RELATIONS), rng, listed_share=0.5)


def worksheet(rng: random.Random) -> str:
    """一串各不相同、没有答案的题目：基座看完一题就去看别的，不把它换个说法再说一遍（有的答案就写在题目里）。"""
    skills = rng.sample(IN_CONTEXT_SKILLS, rng.randint(2, 6))
    questions = [rng.choice(skill.questions(rng)) for skill in skills]
    return in_messages(rng, questions) if rng.random() < _CHATML_SHARE else rng.choice(("", "\n")).join(questions)


def review(rng: random.Random) -> str:
    """复习：第三段的一篇预训练文本。"""
    return _one_of(_REVIEW, rng)


def review_with_worksheets(rng: random.Random) -> str:
    """同上，添上没有答案的题目：最后一段的一篇预训练文本。"""
    return _one_of(_REVIEW_WITH_WORKSHEETS, rng)


_Mixture = tuple[tuple[Callable[[random.Random], str], float], ...]


def _one_of(mixture: _Mixture, rng: random.Random) -> str:
    makers, weights = zip(*mixture, strict=True)
    return rng.choices(makers, weights)[0](rng)


_KNOWN: _Mixture = ((partial(retelling, hard=True), 42), (facts_of_one_table, 18), (brief, 10))
_REVIEW: _Mixture = (*_KNOWN, (bare_questions, 5), (unanswered, 5), (document_or_drill, 20))
_REVIEW_WITH_WORKSHEETS: _Mixture = (
    *_KNOWN,
    (bare_questions, 4),
    (unanswered, 4),
    (worksheet, 3),
    (document_or_drill, 19),
)
