"""指令数据：把问答编成单轮、多轮、带系统提示的对话，并划分成 train、dev、test。

划分的单位是主体（如“国家:法国”）或题目内容（如“加减:3+5”）：一个主体的任何事实，只会在同一个划分里被问到。
"""

import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from small_world.corpus import CITIES, CLOSINGS, OPENINGS, PLACES_OF_WORK, TITLES, introduction
from small_world.skill import Exchange
from small_world.skills.people import WEEKDAYS
from small_world.skills.talk import (
    SMALL_TALK,
    TODAY_QUESTIONS,
    TODAY_UNKNOWN,
    TODAY_WEATHERS,
    UNKNOWN_ANSWER,
    UNKNOWN_ATTRIBUTES,
    UNKNOWN_CLOSED,
    UNKNOWN_TOPICS,
    invented_names,
)
from small_world.skills.wordlists import FULL_NAMES
from small_world.world import IN_CONTEXT_SKILLS, RELATIONS, Subject, subjects

SEED = 20_2611
SPLIT_SIZES = {"train": 9_000, "dev": 400, "test": 800}
_HELD_OUT_SHARES = {"test": 0.13, "dev": 0.07}
_KNOWLEDGE = {*(relation.name for relation in RELATIONS), "介绍", "不知道"}
_IN_CONTEXT = {*(skill.name for skill in IN_CONTEXT_SKILLS), "今天的天气"}


@dataclass(frozen=True)
class Conversation:
    """一段对话。

    Attributes:
        skill: 最后一轮考的技能。
        groups: 对话里问到的所有主体或题目。
        turns: （用户的话，助手的话）。
        system: 系统提示，没有为 ``None``。
    """

    skill: str
    groups: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]
    system: str | None = None

    def messages(self) -> list[dict[str, str]]:
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        for question, answer in self.turns:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return messages

    @property
    def kind(self) -> str:
        """考的是哪一类：预训练里的知识、上文里的话、系统提示，还是多轮。"""
        if self.skill.startswith("系统："):
            return "系统提示"
        if self.skill in _IN_CONTEXT:
            return "上文"
        return "知识" if self.skill in _KNOWLEDGE else "闲谈" if self.skill == "闲谈" else "多轮"

    def prompt(self) -> tuple[str | None, ...]:
        """模型在最后一次回答之前看到的全部内容。"""
        texts = [text for turn in self.turns for text in turn]
        return (self.system, *texts[:-1])


def split_groups(groups: list[str]) -> dict[str, str]:
    """每个 group 属于哪个划分。

    同一种类（冒号以前的部分）之内按散列值排序，再按比例切开：与次序无关，每个种类在各划分里都有份。
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    for group in sorted(set(groups)):
        by_kind[group.split(":")[0]].append(group)
    split_of = {}
    for members in by_kind.values():
        members.sort(key=lambda group: hashlib.sha256(group.encode()).digest())
        test = math.ceil(_HELD_OUT_SHARES["test"] * len(members))
        dev = math.ceil(_HELD_OUT_SHARES["dev"] * len(members))
        for index, group in enumerate(members):
            split_of[group] = "test" if index < test else "dev" if index < test + dev else "train"
    return split_of


@dataclass
class Pool:
    """一个划分里可以问的东西。"""

    known: dict[str, list[list[Exchange]]] = field(default_factory=lambda: defaultdict(list))
    in_context: dict[str, list[list[Exchange]]] = field(default_factory=lambda: defaultdict(list))
    subjects: list[Subject] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    weathers: list[str] = field(default_factory=list)

    def pick_known(self, rng: random.Random) -> tuple[str, list[Exchange]]:
        """先按表挑（大表多些，小表也有份），再挑一件事。"""
        names = list(self.known)
        name = rng.choices(names, [math.sqrt(len(self.known[name])) for name in names])[0]
        return name, rng.choice(self.known[name])

    def pick_in_context(self, rng: random.Random) -> tuple[str, list[Exchange]]:
        """挑一项在上下文里完成的技能，再挑一件事。"""
        name = rng.choice(list(self.in_context))
        return name, rng.choice(self.in_context[name])

    def groups(self) -> set[str]:
        """这一份里所有主体和题目。"""
        exchanges = (one[0] for table in (self.known, self.in_context) for asked in table.values() for one in asked)
        return {exchange.group for exchange in exchanges} | {group for group, _ in self.unknown}


def make_pools() -> dict[str, Pool]:
    """把世界分成三份。"""
    known = [(relation.name, exchanges) for relation in RELATIONS for exchanges in relation.exchanges()]
    in_context = [(skill.name, exchanges) for skill in IN_CONTEXT_SKILLS for exchanges in skill.exchanges()]
    unknown = [(f"未知:{topic}", topic) for topic in UNKNOWN_TOPICS]
    for name in invented_names(random.Random(SEED)):
        unknown += [(f"编造:{name}", template.format(name)) for template in UNKNOWN_CLOSED[name[-1]]]
    unknown += [
        (subject.group, template.format(subject.entity))
        for subject in subjects()
        for template in UNKNOWN_ATTRIBUTES.get(subject.kind, ())
    ]
    groups = [exchanges[0].group for _, exchanges in known + in_context] + [group for group, _ in unknown]
    groups += [f"名字:{name}" for name in FULL_NAMES] + [f"今天:{weather}" for weather in TODAY_WEATHERS]
    split_of = split_groups(groups)

    pools = {split: Pool() for split in SPLIT_SIZES}
    for name, exchanges in known:
        pools[split_of[exchanges[0].group]].known[name].append(exchanges)
    for name, exchanges in in_context:
        pools[split_of[exchanges[0].group]].in_context[name].append(exchanges)
    for subject in subjects():
        pools[split_of[subject.group]].subjects.append(subject)
    for group, question in unknown:
        pools[split_of[group]].unknown.append((group, question))
    for name in FULL_NAMES:
        pools[split_of[f"名字:{name}"]].names.append(name)
    for weather in TODAY_WEATHERS:
        pools[split_of[f"今天:{weather}"]].weathers.append(weather)
    return pools


# ---------------------------------------------------------------------------
# 单轮


def single(pool: Pool, rng: random.Random) -> Conversation:
    name, exchanges = pool.pick_known(rng)
    exchange = rng.choice(exchanges)
    return Conversation(name, (exchange.group,), ((exchange.question, exchange.answer),))


def from_context(pool: Pool, rng: random.Random) -> Conversation:
    name, exchanges = pool.pick_in_context(rng)
    exchange = rng.choice(exchanges)
    return Conversation(name, (exchange.group,), ((exchange.question, exchange.answer),))


def introduce(pool: Pool, rng: random.Random) -> Conversation:
    """恰好两句：说几句若不固定，题目就没有唯一的答案。"""
    subject = rng.choice([subject for subject in pool.subjects if len(subject.relations) > 1])
    question = rng.choice(("介绍一下{}。", "说说{}。", "请介绍{}。", "给我讲讲{}。", "你了解{}吗？请说一说。"))
    return Conversation("介绍", (subject.group,), ((question.format(subject.entity), introduction(subject, 2)),))


def unknown(pool: Pool, rng: random.Random) -> Conversation:
    group, question = rng.choice(pool.unknown)
    return Conversation("不知道", (group,), ((question + "？", UNKNOWN_ANSWER.format(question)),))


# ---------------------------------------------------------------------------
# 多轮


def follow_up(pool: Pool, rng: random.Random) -> Conversation:
    """省略：“法国的首都是哪里？……那德国呢？”"""
    while True:
        name, exchanges = pool.pick_known(rng)
        first = rng.choice(exchanges)
        others = [
            other[0]
            for other in pool.known[name]
            if other[0].group != first.group and other[0].form == first.form and other[0].follow_up is not None
        ]
        if others:
            chosen = rng.sample(others, min(len(others), rng.choice((1, 1, 2))))
            turns = ((first.question, first.answer), *((_say(other.follow_up), other.answer) for other in chosen))
            return Conversation("省略追问", (first.group, *(other.group for other in chosen)), turns)


def _say(text: str | None) -> str:
    assert text is not None
    return text


def pronoun(pool: Pool, rng: random.Random) -> Conversation:
    """指代：“猫是哪一类动物？……它吃什么？”"""
    while True:
        subject = rng.choice([subject for subject in pool.subjects if len(subject.relations) > 1])
        asks = [
            (relation, exchanges)
            for relation in rng.sample(subject.relations, len(subject.relations))
            for exchanges in pool.known[relation.name]
            if exchanges[0].group == subject.group
        ]
        first_relation, first_exchanges = asks[0]
        later = [
            exchanges[0]
            for relation, exchanges in asks
            if relation is not first_relation and exchanges[0].pronoun_question is not None
        ]
        if later:
            first, second = rng.choice(first_exchanges), rng.choice(later)
            turns = ((first.question, first.answer), (_say(second.pronoun_question), second.answer))
            return Conversation("指代追问", (subject.group,), turns)


def recall(pool: Pool, rng: random.Random) -> Conversation:
    """记得前文：“我刚才问了什么？”"""
    chosen = [rng.choice(pool.pick_known(rng)[1]) for _ in range(rng.randint(1, 2))]
    turns = tuple((exchange.question, exchange.answer) for exchange in chosen)
    question, exchange, start = rng.choice(
        (
            ("我刚才问了什么？", chosen[-1], "你刚才问的是"),
            ("你还记得我刚才问的是什么吗？", chosen[-1], "你刚才问的是"),
            ("我最先问的是什么？", chosen[0], "你最先问的是"),
        )
    )
    groups = tuple(exchange.group for exchange in chosen)
    return Conversation("记得前文", groups, (*turns, (question, f"{start}{exchange.topic}。")))


def remember_name(pool: Pool, rng: random.Random) -> Conversation:
    """记得名字：“我叫王小雨。……我叫什么？”"""
    name = rng.choice(pool.names)
    turns = [(rng.choice(("我叫{}。", "你好，我叫{}。", "我的名字是{}。")).format(name), f"你好，{name}！")]
    groups = [f"名字:{name}"]
    if rng.random() < 0.5:
        exchange = rng.choice(pool.pick_known(rng)[1])
        turns.append((exchange.question, exchange.answer))
        groups.append(exchange.group)
    if rng.random() < 0.8:
        turns.append((rng.choice(("我叫什么名字？", "你还记得我的名字吗？", "我叫什么？")), f"你叫{name}。"))
    return Conversation("记得名字", tuple(groups), tuple(turns))


def change_subject(pool: Pool, rng: random.Random) -> Conversation:
    """换话题：前后两问无关。"""
    first, second = single(pool, rng), rng.choice((single, from_context))(pool, rng)
    return Conversation("换话题", first.groups + second.groups, first.turns + second.turns)


# ---------------------------------------------------------------------------
# 系统提示


PLAIN_SYSTEMS = ("你是一个乐于助人的助手。", "你是小世界里的中文助手。", "请认真回答每一个问题。")


def with_plain_system(pool: Pool, rng: random.Random) -> Conversation:
    base = rng.choice((single, single, from_context, follow_up))(pool, rng)
    system = rng.choice(PLAIN_SYSTEMS)
    return Conversation("系统：普通", base.groups, base.turns, system)


def with_brief_system(pool: Pool, rng: random.Random) -> Conversation:
    """只说答案。"""
    system = rng.choice(
        ("请只说答案，不要说完整的句子。", "回答要尽量简短，只说答案。", "你说话很简短，只说答案。", "只说答案。")
    )
    name, exchanges = pool.pick_known(rng)
    exchange = rng.choice(exchanges)
    turns = [(exchange.question, _say(exchange.short))]
    groups = [exchange.group]
    others = [
        other[0]
        for other in pool.known[name]
        if other[0].group != exchange.group and other[0].form == exchange.form and other[0].follow_up is not None
    ]
    if others and rng.random() < 0.3:
        other = rng.choice(others)
        turns.append((_say(other.follow_up), _say(other.short)))
        groups.append(other.group)
    return Conversation("系统：简短", tuple(groups), tuple(turns), system)


def with_habit_system(pool: Pool, rng: random.Random) -> Conversation:
    """回答以某个词开头或结尾。"""
    base = rng.choice((single, single, single, follow_up))(pool, rng)
    if rng.random() < 0.5:
        word = rng.choice(OPENINGS)
        system = rng.choice(("回答之前先说“{}”。", "每次回答都先说“{}”。", "你说话总是先说“{}”。"))
        turns = tuple((question, f"{word}，{answer}") for question, answer in base.turns)
    else:
        word = rng.choice(CLOSINGS)
        system = rng.choice(("回答的最后要说“{}”。", "每次回答都用“{}”结尾。", "你说话总是用“{}”结尾。"))
        turns = tuple((question, f"{answer}{word}。") for question, answer in base.turns)
    return Conversation("系统：习惯用语", base.groups, turns, system.format(word))


def with_persona(pool: Pool, rng: random.Random) -> Conversation:
    """系统提示规定了名字、地点和身份。"""
    name, city = rng.choice(pool.names), rng.choice(CITIES)
    place, title = rng.choice(PLACES_OF_WORK), rng.choice(TITLES)
    system = rng.choice(("你叫{0}，是{1}{2}的{3}。", "你是{1}{2}的{3}，名叫{0}。", "你的名字是{0}，你是{1}{2}的{3}。"))
    question, answer = rng.choice(
        (
            ("你叫什么名字？", "我叫{0}。"),
            ("请问怎么称呼你？", "我叫{0}。"),
            ("你在哪里工作？", "我在{1}的{2}工作。"),
            ("你是做什么的？", "我是{1}{2}的{3}。"),
            ("请介绍一下你自己。", "我叫{0}，是{1}{2}的{3}。"),
        )
    )
    details = (name, city, place, title)
    turns = ((question, answer.format(*details)),)
    return Conversation("系统：角色", (f"名字:{name}",), turns, system.format(*details))


SCOPES = ("国家", "动物", "职业", "天气", "反义词", "古诗")


def with_scope(pool: Pool, rng: random.Random) -> Conversation:
    """只回答某一类问题，别的礼貌地谢绝。"""
    scope = rng.choice(SCOPES)
    inside = [relation.name for relation in RELATIONS if relation.kind == scope]
    refusal = f"对不起，我只回答关于{scope}的问题。"
    system = rng.choice(("你只回答关于{}的问题。", "除了关于{}的问题，别的都不要回答。")).format(scope)
    outside = [name for name in pool.known if name not in inside]
    name = rng.choice(inside if rng.random() < 0.6 else outside)
    exchange = rng.choice(rng.choice(pool.known[name]))
    answer = exchange.answer if name in inside else refusal
    return Conversation("系统：范围", (exchange.group,), ((exchange.question, answer),), system)


# ---------------------------------------------------------------------------
# 闲谈：身份、问候、道谢，只在训练集里


def small_talk() -> Iterator[Conversation]:
    """每种问法单独一次。"""
    for questions, answer in SMALL_TALK:
        for question in questions:
            yield Conversation("闲谈", (f"闲谈:{answer}",), ((question, answer),))


def with_small_talk(pool: Pool, rng: random.Random) -> Conversation:
    """同样的闲谈，有系统提示，或接在别的问答前后。"""
    questions, answer = rng.choice(SMALL_TALK)
    talk = ((rng.choice(questions), answer),)
    system = rng.choice((None, *PLAIN_SYSTEMS))
    other = rng.choice((single, from_context))(pool, rng)
    turns = rng.choice((talk, other.turns + talk, talk + other.turns))
    groups = (f"闲谈:{answer}", *(other.groups if turns != talk else ()))
    return Conversation("闲谈", groups, turns, system)


def weather_today(pool: Pool, rng: random.Random) -> Conversation:
    """今天的天气，只在训练集里：上文（系统提示或前面的话）说了，就照着说；没有说，就是不知道。

    说法要多：只有二十来种天气时，模型学会的是挑一种来说，而不是到上文里去找。
    """
    first, second = rng.sample(pool.weathers, 2)
    degrees = rng.randint(1, 36)
    kinds = ("{0}", "{0}", "{0}，最高{2}度", "{0}，最低{2}度", "上午{0}，下午{1}", "白天{0}，晚上{1}")
    weather = rng.choice(kinds).format(first, second, degrees)
    told = rng.choice(
        ("今天{}。", "今天是{day}，今天{}。", "我在{city}，今天{}。", "天气预报说，今天{}。", "外面今天{}。")
    )
    told = told.format(weather, day=rng.choice(WEEKDAYS), city=rng.choice(CITIES))
    other = rng.choice((single, from_context))(pool, rng)
    question = rng.choice(TODAY_QUESTIONS)
    if rng.random() < 0.25:
        system, before = rng.choice((None, None, None, *PLAIN_SYSTEMS)), rng.choice(((), (), other.turns))
        groups = other.groups if before else ()
        return Conversation("今天的天气", groups, (*before, (question, TODAY_UNKNOWN)), system)
    noted = ((f"请记住：{told}", "好的，我记住了。"),)
    system, before = rng.choice(
        (
            (told, ()),
            (rng.choice(PLAIN_SYSTEMS) + told, ()),
            (told, other.turns),
            (None, noted),
            (None, (*noted, *other.turns)),
            (None, (*other.turns, *noted)),
        )
    )
    groups = (f"今天:{first}", f"今天:{second}", *(other.groups if other.turns[-1] in before else ()))
    return Conversation("今天的天气", groups, (*before, (question, f"今天{weather}。")), system)


# ---------------------------------------------------------------------------
# 汇总

# 每种对话在检验（dev、test）和训练里的权重：难的在训练里多练一些。
_MAKERS: tuple[tuple[Callable[[Pool, random.Random], Conversation], float, float], ...] = (
    (single, 36, 22),
    (from_context, 22, 30),
    (introduce, 4, 6),
    (unknown, 4, 6),
    (follow_up, 6, 6),
    (pronoun, 4, 3),
    (recall, 2.5, 3),
    (remember_name, 2.5, 2),
    (change_subject, 2, 2),
    (with_plain_system, 3, 2),
    (with_brief_system, 4.5, 12),
    (with_habit_system, 4.5, 7),
    (with_persona, 3, 2),
    (with_scope, 2, 4),
    (with_small_talk, 0, 3),
    (weather_today, 0, 12),
)


def make_splits() -> dict[str, list[Conversation]]:
    """三个划分的全部对话，提示互不相同。"""
    makers, held_out_weights, train_weights = zip(*_MAKERS, strict=True)
    seen: set[tuple[str | None, ...]] = set()
    splits: dict[str, list[Conversation]] = {}
    for split, pool in make_pools().items():
        rng = random.Random(f"{SEED}:{split}")
        weights = train_weights if split == "train" else held_out_weights
        chosen = list(small_talk()) if split == "train" else []
        seen.update(conversation.prompt() for conversation in chosen)
        while len(chosen) < SPLIT_SIZES[split]:
            conversation = rng.choices(makers, weights)[0](pool, rng)
            if conversation.prompt() not in seen:
                seen.add(conversation.prompt())
                chosen.append(conversation)
        rng.shuffle(chosen)
        splits[split] = chosen
    return splits
