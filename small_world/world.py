"""把各领域的表和技能合成一个世界：有哪些技能，每个主体有哪些事实。"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from small_world.skill import Ask, Relation
from small_world.skills import animals, countries, culture, life, nature, numbers, people, reading, words

RELATIONS: tuple[Relation, ...] = tuple(
    relation for module in (countries, animals, nature, words, culture, life, people) for relation in module.RELATIONS
)
IN_CONTEXT_SKILLS: tuple[reading.SceneSkill, ...] = (*reading.SKILLS, *numbers.SKILLS)


@dataclass(frozen=True)
class Subject:
    """一个主体，如“法国”，以及所有讲到它的表。"""

    kind: str
    entity: str
    relations: tuple[Relation, ...]

    @property
    def group(self) -> str:
        """划分数据集的单位，同 :attr:`small_world.skill.Exchange.group`。"""
        return f"{self.kind}:{self.entity}"

    def asks(self) -> Iterator[tuple[Relation, Ask]]:
        for relation in self.relations:
            for ask in relation.asks:
                yield relation, ask


@cache
def subjects() -> tuple[Subject, ...]:
    """世界里的所有主体。"""
    found: dict[tuple[str, str], list[Relation]] = defaultdict(list)
    for relation in RELATIONS:
        for entity in relation.entities:
            found[relation.kind, entity].append(relation)
    return tuple(Subject(kind, entity, tuple(relations)) for (kind, entity), relations in found.items())
