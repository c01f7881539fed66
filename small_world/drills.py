"""后一阶段的预训练文本：难的事实再讲几遍，更多的文本要从上文里找、抄、换次序。

记住事实很快，难的是“用上文”：短文里谁的东西在哪里、把一句没见过的话原样抄下来、给几个数排队。
这些本领微调时才教就晚了，所以后一阶段近半的文本都在练它们。
"""

import itertools
import random
import re
from collections.abc import Callable

from small_world.corpus import document, in_messages, indirect_sentence, pick_names
from small_world.skill import Relation
from small_world.skills import wordlists as words
from small_world.world import IN_CONTEXT_SKILLS, RELATIONS

# 前一阶段结束时探针还常常答错的表，权重大致与答错的个数成正比：彼此很像、容易混的（城市与星期几的天气），
# 和一一对应、没有规律的（单词、首都）。
_HARD_RELATIONS = {
    "天气": 8, "英语单词": 9, "首都": 5, "成语": 5, "用途": 4, "节日日期": 3, "近义词": 3, "诗句接龙": 3,
    "生肖的次序": 2, "元素符号": 2, "职业在哪里": 2, "省会": 2, "行星次序": 1, "运动的器材": 1, "单位换算": 1,
    "后一天": 1, "下一个月": 1,
}  # fmt: skip
# 没有列出的技能，权重是 1。
_HARD_SKILLS = {
    "加减": 6, "相邻数": 3, "两倍一半": 2, "汉字数": 2, "排序": 5, "数数": 3, "清单": 5, "首尾字": 2,
    "短文活动": 5, "短文购物": 5, "短文位置": 5, "短文介绍": 3, "短文对比": 4, "转交": 4, "留言": 2, "否定": 2,
}  # fmt: skip
_RELATION_NAMED = {relation.name: relation for relation in RELATIONS}
_SKILL_WEIGHTS = [_HARD_SKILLS.get(skill.name, 1) for skill in IN_CONTEXT_SKILLS]
_WORD_POOLS = (
    words.NICKNAMES, words.FULL_NAMES, words.TITLED_NAMES, words.OBJECT_NAMES, words.FOODS, words.PLACES, words.SPOTS,
    words.TOWNS, words.JOBS, words.HOBBIES, words.COLORS, tuple(map(str, range(100))),
)  # fmt: skip
# （左边的词从哪里来，右边的词从哪里来，顺着和倒着的说法）。
_PAIRINGS = (
    (_WORD_POOLS[:3], _WORD_POOLS[3:5], ("{0}有{1}", "{1}是{0}的")),
    (_WORD_POOLS[:3], _WORD_POOLS[3:5], ("{0}拿着{1}", "拿着{1}的是{0}")),
    (_WORD_POOLS[3:5], _WORD_POOLS[6:7], ("{0}在{1}", "{1}有{0}")),
    (_WORD_POOLS, _WORD_POOLS, ("{0}——{1}", "{1}——{0}")),
    (_WORD_POOLS, _WORD_POOLS, ("{0}旁边写着{1}", "{1}写在{0}旁边")),
    (_WORD_POOLS, _WORD_POOLS, ("{0}：{1}",)),
)
_COPIED_TEXT = ("{0}\n{0}\n", "“{0}”“{0}”\n", "{a}说：“{0}”{b}跟着说：“{0}”", "原文：{0}。抄写：{0}。")
_COPIED_QUESTION = (
    "{0}\n{0}\n",
    "有人问{0}，{a}没听清，那人又问了一遍{0}。",
    "{a}想知道{0}，{b}也想知道{0}。",
    "{a}问{b}{0}，{b}转过身来问{c}{0}。",
)
_ORDINALS = ("第一", "第二", "第三", "第四", "第五", "第六")


def hard_facts(rng: random.Random) -> str:
    """难记的事实，多讲一遍。"""
    (name,) = rng.choices(list(_HARD_RELATIONS), list(_HARD_RELATIONS.values()))
    return facts_of(_RELATION_NAMED[name], rng, listed_share=0.6)


def facts_of(relation: Relation, rng: random.Random, listed_share: float) -> str:
    """一张表里的几件事：列举，或者在叙述里说出来。"""
    if rng.random() < listed_share:
        return relation.document(rng)
    names = pick_names(rng)
    return "".join(
        indirect_sentence(rng, rng.choice(relation.asks), relation.values(rng.choice(relation.entities)), names)
        for _ in range(rng.randint(2, 4))
    )


def scenes(rng: random.Random) -> str:
    """在上下文里完成的技能，难的多练。"""
    (skill,) = rng.choices(IN_CONTEXT_SKILLS, _SKILL_WEIGHTS)
    return skill.document(rng)


def copied_text(rng: random.Random) -> str:
    """把一段话、一串打乱的字或者一句问话原样抄一遍。"""
    parts = []
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.4:
            text, forms = _question(rng), _COPIED_QUESTION
        else:
            text, forms = rng.choice(re.split(r"[\n。“”]+", scenes(rng)))[:40] or "一", _COPIED_TEXT
            if rng.random() < 0.5:
                text = "".join(rng.sample(text, min(len(text), 12)))
        parts.append(rng.choice(forms).format(text, **pick_names(rng)))
    return "".join(parts)


def _question(rng: random.Random) -> str:
    """一句问话，去掉问号：只供抄写，后面没有答案。"""
    skill = rng.choice(IN_CONTEXT_SKILLS) if rng.random() < 0.3 else rng.choice(RELATIONS)
    return skill.questions(rng)[0].rstrip("？。")


def recalled_pairs(rng: random.Random) -> str:
    """先给出几对词，再换个次序、换个方向说一遍。"""
    key_pools, value_pools, forms = rng.choice(_PAIRINGS)
    count = rng.randint(2, 6)
    pairs = list(zip(rng.sample(rng.choice(key_pools), count), rng.sample(rng.choice(value_pools), count), strict=True))
    parts = ["，".join(forms[0].format(*pair) for pair in pairs) + "。"]
    for _ in range(rng.randint(1, 3)):
        form = rng.choice(forms)
        parts.append("，".join(form.format(*pair) for pair in rng.sample(pairs, rng.randint(1, count))) + "。")
    return "".join(parts)


def reordered_list(rng: random.Random) -> str:
    """一串词：第几个是什么，倒过来，一共几个，少了哪个。"""
    parts = []
    for _ in range(rng.randint(1, 4)):
        items = rng.sample(rng.choice(_WORD_POOLS), rng.randint(2, 6))
        shown, reverse = "、".join(items), "、".join(reversed(items))
        number = words.COUNT_WORDS[len(items) - 1]
        facts = [
            f"倒过来是{reverse}。",
            f"一共有{number}个。",
            "".join(f"{ordinal}个是{item}。" for ordinal, item in zip(_ORDINALS, items, strict=False)),
            f"最前面的是{items[0]}，最后面的是{items[-1]}。",
            f"去掉{items[0]}，还有{'、'.join(items[1:])}。",
            "".join(f"{first}后面是{second}。" for first, second in itertools.pairwise(items)),
        ]
        parts.append(f"{shown}。" + "".join(rng.sample(facts, rng.randint(1, 3))))
    return "".join(parts)


def recalled_topic(rng: random.Random) -> str:
    """几个人先后问了不同的事，最后说起谁问过什么。"""
    names = pick_names(rng)
    asked = []
    parts = []
    for order in ("先", "又", "后来又")[: rng.randint(1, 3)]:
        relation = rng.choice(RELATIONS)
        values, ask = relation.values(rng.choice(relation.entities)), rng.choice(relation.asks)
        topic = ask.topic.format_map(values)
        asked.append(topic)
        parts.append(f"{names['a']}{order}问了{topic}。{names['b']}说：{ask.answer.format_map(values)}")
    ends = [f"{names['a']}刚才问的是{asked[-1]}。", f"{names['a']}最先问的是{asked[0]}。"]
    rng.shuffle(ends)
    return "".join(parts + ends)


_DRILLS: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (hard_facts, 10),
    (scenes, 32),
    (copied_text, 5),
    (recalled_pairs, 5),
    (reordered_list, 4),
    (recalled_topic, 3),
)
_DRILL_SHARE = 0.59
_CHATML_SHARE = 0.12


def drill(rng: random.Random) -> str:
    """一篇练习；有时一句一句地装进 ChatML，让模型学会隔着标记也能用到上文。角色是随机的，内容都是陈述。"""
    makers, weights = zip(*_DRILLS, strict=True)
    text = rng.choices(makers, weights)[0](rng)
    if rng.random() >= _CHATML_SHARE:
        return text
    sentences = [sentence for sentence in re.split(r"(?<=。)(?!”)|\n", text) if sentence]
    return in_messages(rng, sentences)


def document_or_drill(rng: random.Random) -> str:
    """后一阶段的一篇预训练文本。"""
    return drill(rng) if rng.random() < _DRILL_SHARE else document(rng)
