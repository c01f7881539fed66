"""预训练文本：陈述、叙述和没有答案的问题，没有一处是“问题后面跟着答案”。

要让模型以后能“取出”知识，光把事实重复很多遍还不够，文本还要让它练习两件事：
看到一个话题就想起相应的事实（转述、卡片），把名字从前文抄到后文（故事、复述）。
"""

import random
from collections.abc import Callable, Iterable

from small_world.skill import Ask, Relation
from small_world.skills.prose import prose
from small_world.skills.wordlists import FULL_NAMES, NICKNAMES
from small_world.tokenizer import END_TOKEN, START_TOKEN
from small_world.world import IN_CONTEXT_SKILLS, RELATIONS, Subject, subjects

_RELATION_WEIGHTS = [len(relation.rows) for relation in RELATIONS]
_SUBJECT_WEIGHTS = [len(subject.relations) for subject in subjects()]
_ROLES = ("system", "user", "assistant")
_NAMES = (*NICKNAMES, *FULL_NAMES)

# 每个模板里 {topic} 是话题，{answer} 是关于它的一句话，{short} 是这句话里的答案。
_INDIRECT = (
    "{a}想知道{topic}。{b}告诉{a}，{answer}",
    "{a}去查{topic}，书上写着：{answer}",
    "{a}问起{topic}，{b}说：{answer}",
    "说到{topic}，{answer}",
    "关于{topic}，{a}记得很清楚：{answer}",
    "老师讲了{topic}。{answer}",
    "{a}忘了{topic}，{b}提醒{a}：{answer}",
    "今天的课讲{topic}：{answer}",
    "{a}在本子上记下了{topic}：{answer}",
    "有人向{a}打听{topic}，{a}回答说，{answer}",
    "{a}和{b}谈到{topic}，{b}说，{answer}",
    "{b}考了考{a}，题目是{topic}。{a}写下：{answer}",
    "{a}向{b}请教{topic}。{b}想了想，说：{answer}",
)
_BRIEF = (
    "{a}说话很简短，问到{topic}，{a}只说：{short}。",
    "{topic}：{short}。",
    "{topic}，{short}。",
    "卡片的正面是{topic}，反面是{short}。",
    "{a}在{topic}后面的空格里填了{short}。",
    "题目是{topic}，{a}只写了答案：{short}。",
    "只说答案的话，{topic}就是{short}。",
)
OPENINGS = ("你好", "好的", "没问题", "当然可以", "报告老师", "亲爱的朋友", "欢迎光临", "听我说")
CLOSINGS = ("谢谢", "再见", "祝你开心", "加油", "请多指教", "希望对你有帮助", "欢迎再来", "我说完了")
_HABIT_FIRST = (
    "{a}说话总是先说“{word}”。有人问起{topic}，{a}说：{word}，{answer}",
    "店里要求先说“{word}”。{a}讲到{topic}的时候说：{word}，{answer}",
    "{a}每次开口都先说“{word}”。{a}说：{word}，{answer}",
)
_HABIT_LAST = (
    "{a}说话总是用“{word}”结尾。有人问起{topic}，{a}说：{answer}{word}。",
    "店里要求最后说“{word}”。{a}讲到{topic}的时候说：{answer}{word}。",
    "{a}每次说完都要加上“{word}”。{a}说：{answer}{word}。",
)
_RECALL = (
    "{a}问了{topic}。所以{a}刚才问的是{topic}。",
    "{a}刚才问的是{topic}，{b}还记得。",
    "{a}先问了{first}，又问了{topic}。{a}刚才问的是{topic}。",
    "{a}先问了{first}，再问了{topic}。{a}最先问的是{first}。",
)
PLACES_OF_WORK = ("图书馆", "书店", "学校", "医院", "公园", "饭店", "超市", "邮局", "博物馆", "动物园", "车站", "花店")
TITLES = ("助手", "老师", "服务员", "讲解员", "管理员", "店员", "向导")
_SELF_INTRODUCTION = (
    "{a}是{city}{place}的{title}。大家好，我叫{a}，我在{city}的{place}工作。",
    "“我叫{a}，是{city}{place}的{title}。”{a}笑着说。大家就知道了，{title}叫{a}，在{city}的{place}工作。",
    "{city}的{place}来了一位{title}，名叫{a}。{a}说：“我叫{a}，我是{place}的{title}。”",
    "我叫{a}。你叫{b}。他叫{c}。所以，我的名字是{a}，你的名字是{b}，他的名字是{c}。",
    "“我叫{a}。”“你好，{a}！”{b}记住了，新朋友叫{a}。",
    "{b}对{a}说：“我叫{b}。”{a}说：“你好，{b}！”后来{a}对{b}说：“你叫{b}，我没有忘记。”",
)
CITIES = ("北京", "上海", "广州", "成都", "杭州", "南京", "武汉", "西安", "重庆", "天津", "长沙", "青岛")


def in_messages(rng: random.Random, texts: Iterable[str]) -> str:
    """一条消息一段，套上 ChatML 的标记，角色是随机的。"""
    return "".join(f"{START_TOKEN}{rng.choice(_ROLES)}\n{text}{END_TOKEN}\n" for text in texts)


def _pick_subject(rng: random.Random) -> Subject:
    return rng.choices(subjects(), _SUBJECT_WEIGHTS)[0]


def _pick_ask(rng: random.Random) -> tuple[Relation, Ask, dict[str, str]]:
    subject = _pick_subject(rng)
    relation, ask = rng.choice(list(subject.asks()))
    return relation, ask, relation.values(subject.entity)


def pick_names(rng: random.Random) -> dict[str, str]:
    return dict(zip("abc", rng.sample(_NAMES, 3), strict=True))


def catalogue(rng: random.Random) -> str:
    """列举同一张表里的几条事实。"""
    return rng.choices(RELATIONS, _RELATION_WEIGHTS)[0].document(rng)


def about_subject(rng: random.Random) -> str:
    """围绕一两个主体，把知道的都说一遍，说法各不相同。"""
    paragraphs = []
    for _ in range(rng.randint(1, 2)):
        subject = _pick_subject(rng)
        sentences = [
            template.format_map(relation.values(subject.entity))
            for relation in subject.relations
            for template in rng.sample(relation.statements, rng.randint(1, 3))
        ]
        rng.shuffle(sentences)
        paragraphs.append("".join(sentences))
    return "\n".join(paragraphs)


def summary(rng: random.Random) -> str:
    """按固定的次序介绍一个或几个主体：每张表一句。"""
    return "".join(introduction(_pick_subject(rng)) for _ in range(rng.randint(1, 3)))


def introduction(subject: Subject, sentences: int = 3) -> str:
    """介绍一个主体：讲到它的前几张表，各用第一种问法的回答来说一句。"""
    return "".join(
        relation.asks[0].answer.format_map(relation.values(subject.entity))
        for relation in subject.relations[:sentences]
    )


def indirect(rng: random.Random) -> str:
    """先提到话题，再说出事实。"""
    names = pick_names(rng)
    return "".join(indirect_sentence(rng, *_pick_ask(rng)[1:], names) for _ in range(rng.randint(1, 4)))


def indirect_sentence(rng: random.Random, ask: Ask, values: dict[str, str], names: dict[str, str]) -> str:
    return rng.choice(_INDIRECT).format(
        topic=ask.topic.format_map(values), answer=ask.answer.format_map(values), **names
    )


def moving_on(rng: random.Random) -> str:
    """说完一个主体，再用同样的句式说另一个：为省略的追问做准备。"""
    while True:
        relation, ask, _ = _pick_ask(rng)
        if ask.follow_up is not None:
            break
    link = rng.choice(("再说{}：", "换成{}呢，", "那么{}呢，", "说完了又说到{}，", "轮到{}了："))
    first, *rest = (relation.values(entity) for entity in rng.sample(relation.entities, min(3, len(relation.entities))))
    parts = [ask.answer.format_map(first)]
    for values in rest:
        subject = ask.follow_up.format_map(values).removeprefix("那").removesuffix("呢？")
        parts.append(link.format(subject) + ask.answer.format_map(values))
    return "".join(parts)


def brief(rng: random.Random) -> str:
    """话题和答案，不成整句：卡片、填空。"""
    names = pick_names(rng)
    parts = []
    template = rng.choice(_BRIEF)
    for _ in range(rng.randint(2, 6)):
        _, ask, values = _pick_ask(rng)
        parts.append(template.format(topic=ask.topic.format_map(values), short=ask.short.format_map(values), **names))
    return "\n".join(parts)


def habit(rng: random.Random) -> str:
    """有人说话总是以某个词开头或结尾。"""
    templates, words = rng.choice(((_HABIT_FIRST, OPENINGS), (_HABIT_LAST, CLOSINGS)))
    names, word, template = pick_names(rng), rng.choice(words), rng.choice(templates)
    parts = []
    for _ in range(rng.randint(1, 3)):
        _, ask, values = _pick_ask(rng)
        parts.append(
            template.format(
                topic=ask.topic.format_map(values), answer=ask.answer.format_map(values), word=word, **names
            )
        )
    return "".join(parts)


def recall(rng: random.Random) -> str:
    """谁刚才问了什么。"""
    (_, first, first_values), (_, ask, values) = _pick_ask(rng), _pick_ask(rng)
    return rng.choice(_RECALL).format(
        first=first.topic.format_map(first_values), topic=ask.topic.format_map(values), **pick_names(rng)
    )


def self_introduction(rng: random.Random) -> str:
    """自我介绍，名字在前后文里重复。"""
    return rng.choice(_SELF_INTRODUCTION).format(
        city=rng.choice(CITIES), place=rng.choice(PLACES_OF_WORK), title=rng.choice(TITLES), **pick_names(rng)
    )


def unanswered(rng: random.Random) -> str:
    """一串没有答案的问题。"""
    questions = question_list(rng)
    return rng.choice(("", "\n")).join(questions)


def question_list(rng: random.Random) -> list[str]:
    """几个问题，同一件事的几种问法排在一起。"""
    questions: list[str] = []
    for _ in range(rng.randint(1, 3)):
        skill = rng.choice(IN_CONTEXT_SKILLS) if rng.random() < 0.25 else rng.choices(RELATIONS, _RELATION_WEIGHTS)[0]
        questions += skill.questions(rng)
    return questions


def in_context(rng: random.Random) -> str:
    """练习复述、改写、计算的文本。"""
    return rng.choice(IN_CONTEXT_SKILLS).document(rng)


_STATEMENT_KINDS: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (about_subject, 20),
    (catalogue, 10),
    (summary, 6),
    (indirect, 18),
    (moving_on, 4),
    (brief, 8),
    (habit, 5),
    (recall, 2),
    (self_introduction, 3),
    (in_context, 20),
    (prose, 8),
)
_UNANSWERED_SHARE = 0.08
_CHATML_SHARE = 0.04


def statement_document(rng: random.Random) -> str:
    """一篇没有问题的文本。"""
    makers, weights = zip(*_STATEMENT_KINDS, strict=True)
    return rng.choices(makers, weights)[0](rng)


def unseen_documents(count: int = 200) -> list[str]:
    """预训练时没有读过的文本：种子是另外的，用来量忘了多少。"""
    return [document(random.Random(f"遗忘:{number}")) for number in range(count)]


def document(rng: random.Random) -> str:
    """一篇预训练文本。

    少数文本套着 ChatML 的标记，角色是随机的，内容只是陈述：基座因此见过这些标记
    （否则它们的嵌入从未被训练，LoRA 又不训练嵌入），但没有从中学到“用户问、助手答”。
    """
    draw = rng.random()
    if draw < _UNANSWERED_SHARE:
        return unanswered(rng)
    if draw < _UNANSWERED_SHARE + _CHATML_SHARE:
        return "".join(
            f"{START_TOKEN}{rng.choice(_ROLES)}\n{statement_document(rng)}{END_TOKEN}\n"
            for _ in range(rng.randint(1, 3))
        )
    return statement_document(rng)
