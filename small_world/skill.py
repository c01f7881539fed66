"""小世界的基本词汇：一项技能 (skill) 由事实、说法和问法组成。

预训练文本用“说法”（陈述句）和没有答案的问题，第二段起另有转述的问答（:mod:`small_world.retelling`）；
指令数据把“问法”和答案放在一起。
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Exchange:
    """一问一答。

    Attributes:
        group: 划分数据集的单位，如 ``"国家:法国"``；同一个 group 的问答只会落在同一个划分里。
        question: 用户的问题。
        answer: 唯一正确的回答（完整的句子）。
        short: 只说答案时的回答；没有短说法的为 ``None``。
        topic: 问题所问的东西，名词短语，如“法国的首都”；没有的为 ``None``。
        follow_up: 接着同类问题追问时的省略说法，如“那法国呢？”；没有的为 ``None``。
        pronoun_question: 已经谈到这个主体以后的说法，如“它吃什么？”；没有的为 ``None``。
        form: 同一种问法的记号：两个问答的 ``form`` 相同，才能用省略的说法从一个追问到另一个。
    """

    group: str
    question: str
    answer: str
    short: str | None = None
    topic: str | None = None
    follow_up: str | None = None
    pronoun_question: str | None = None
    form: str | None = None


class Skill(Protocol):
    """每项技能都会这四件事。"""

    @property
    def name(self) -> str:
        """技能名，如 ``"首都"``。"""
        ...

    def exchanges(self) -> Iterator[list[Exchange]]:
        """每次给出一组说法不同、意思相同的问答（同一个事实、同一个答案）。"""
        ...

    def document(self, rng: random.Random) -> str:
        """一篇预训练文本，里面没有“问题后面跟着答案”。"""
        ...

    def questions(self, rng: random.Random) -> list[str]:
        """几句没有答案的问题，它们问的是同一件事或同一类事。"""
        ...

    def probes(self) -> Iterator[tuple[str, str]]:
        """知识探针 (probe)：（陈述句的开头，应当接上的词）。"""
        ...


@dataclass(frozen=True)
class Ask:
    """一件可以问的事：几种问法，一个答案。

    所有字符串都是模板，``{列名}`` 会换成那一行的值。

    Attributes:
        questions: 完整的问法，至少三种。
        answer: 完整的回答，一句话。
        short: 只说答案的回答，通常就是 ``"{列名}"``。
        topic: 所问的东西，名词短语，如 ``"{country}的首都"``。
        follow_up: 省略的追问，如 ``"那{country}呢？"``。
        pronoun_question: 用代词的问法，如 ``"它的首都是哪里？"``；不通顺就不写。
        probe: ``"陈述句的开头|应当接上的词"``，如 ``"{country}的首都是|{capital}"``。
    """

    questions: tuple[str, ...]
    answer: str
    short: str
    topic: str
    follow_up: str | None = None
    pronoun_question: str | None = None
    probe: str | None = None


@dataclass(frozen=True)
class Relation:
    """一张事实表，以及怎样用中文说它、问它。

    Attributes:
        name: 技能名，如 ``"首都"``。
        kind: 主体的种类，如 ``"国家"``；同种类的几张表按主体一起划分。
        columns: 列名，第一列是主体。
        rows: 事实，一行一条。
        statements: 陈述句模板，至少八种，主体在前在后的都要有；每一句单独看都成立。
        asks: 可以问的事。
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    statements: tuple[str, ...]
    asks: tuple[Ask, ...]
    _by_entity: dict[str, dict[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_entity", {row[0]: dict(zip(self.columns, row, strict=True)) for row in self.rows})
        assert len(self._by_entity) == len(self.rows), f"{self.name}：主体有重复"

    @property
    def entities(self) -> tuple[str, ...]:
        return tuple(self._by_entity)

    def values(self, entity: str) -> dict[str, str]:
        """主体 ``entity`` 那一行，列名 → 值。"""
        return self._by_entity[entity]

    def exchanges(self) -> Iterator[list[Exchange]]:
        for entity in self.entities:
            values = self.values(entity)
            for ask in self.asks:
                yield [self._exchange(ask, question, values) for question in ask.questions]

    def _exchange(self, ask: Ask, question: str, values: dict[str, str]) -> Exchange:
        def fill(template: str | None) -> str | None:
            return None if template is None else template.format_map(values)

        return Exchange(
            group=f"{self.kind}:{values[self.columns[0]]}",
            question=question.format_map(values),
            answer=ask.answer.format_map(values),
            short=ask.short.format_map(values),
            topic=ask.topic.format_map(values),
            follow_up=fill(ask.follow_up),
            pronoun_question=fill(ask.pronoun_question),
            form=f"{self.name}:{ask.topic}",
        )

    def document(self, rng: random.Random) -> str:
        """换着说法列举几条事实，或用同一句式数一遍。"""
        count = rng.randint(3, 8)
        chosen = rng.sample(self.entities, min(count, len(self.entities)))
        if rng.random() < 0.5:
            template = rng.choice(self.statements)
            return "".join(template.format_map(self.values(entity)) for entity in chosen)
        return "".join(rng.choice(self.statements).format_map(self.values(entity)) for entity in chosen)

    def questions(self, rng: random.Random) -> list[str]:
        ask = rng.choice(self.asks)
        if rng.random() < 0.5:
            values = self.values(rng.choice(self.entities))
            return [question.format_map(values) for question in rng.sample(ask.questions, min(3, len(ask.questions)))]
        question = rng.choice(ask.questions)
        chosen = rng.sample(self.entities, min(rng.randint(2, 5), len(self.entities)))
        return [question.format_map(self.values(entity)) for entity in chosen]

    def probes(self) -> Iterator[tuple[str, str]]:
        for ask in self.asks:
            if ask.probe is not None:
                for entity in self.entities:
                    start, completion = ask.probe.format_map(self.values(entity)).split("|")
                    yield start, completion


def rows_by_value(entities_of: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """把“值 → 用空格隔开的主体”展开成（主体，值）的行。"""
    return tuple((entity, value) for value, entities in entities_of.items() for entity in entities.split())


def check_relation(relation: Relation) -> list[str]:
    """一张表在写法上的毛病，空列表表示没有；测试会对每张表运行它。"""
    problems = []
    if len(relation.statements) < 8:
        problems.append(f"{relation.name}：陈述句不足八种")
    answers: dict[str, str] = {}
    for exchanges in relation.exchanges():
        if len(exchanges) < 3:
            problems.append(f"{relation.name}：{exchanges[0].question} 的问法不足三种")
        for exchange in exchanges:
            if answers.setdefault(exchange.question, exchange.answer) != exchange.answer:
                problems.append(f"{relation.name}：同一问题有两个答案：{exchange.question}")
            if exchange.short is not None and exchange.short not in exchange.answer:
                problems.append(f"{relation.name}：短答案不在完整回答里：{exchange.answer}")
    for values in map(relation.values, relation.entities):
        for template in relation.statements:
            sentence = template.format_map(values)
            if not re.search(r"[。！]$", sentence):
                problems.append(f"{relation.name}：陈述句没有句号：{sentence}")
            if "？" in sentence:
                problems.append(f"{relation.name}：陈述句里有问题：{sentence}")
    return problems
