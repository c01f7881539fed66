"""检验时的回答：``answers.jsonl`` 一行一个问题，参考答案、训练前后各怎么答、对不对；按技能分开数。"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypedDict

from finetuning.conversations import Conversation
from finetuning.output.claim import ANSWERS_FILE


class AnsweredQuestion(TypedDict):
    """``answers.jsonl`` 的一行。"""

    file: str
    line: int  # 在 file 的第几行
    skill: str | None  # 考的是什么，数据里没有写是 null
    question: Conversation  # 系统提示、前面各轮和要回答的问题
    reference: str  # 参考答案
    answer: str  # 训练后的回答；比参考答案还长的，不一定写完
    ended: bool  # 是不是自己停下的；不是，就没有写完
    right: bool | None  # 与参考答案一字不差，并且自己停下；没有逐字核对是 null
    answer_before: str  # 训练前的回答
    right_before: bool | None


class Tally(NamedTuple):
    """答对了几题。"""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """答对的比例，0 到 1。"""
        return self.right / self.asked


def by_skill(questions: Iterable[AnsweredQuestion]) -> dict[str, Tally]:
    """每项技能答对了几题，从最弱的到最强的；一样弱的，问得多的在前。没有写技能、没有核对的不算。"""
    tallies: dict[str, Tally] = {}
    for each in questions:
        skill, right = each["skill"], each["right"]
        if skill is not None and right is not None:
            before = tallies.get(skill, Tally(0, 0))
            tallies[skill] = Tally(before.right + right, before.asked + 1)
    return dict(sorted(tallies.items(), key=lambda item: (item[1].share, -item[1].asked)))


def write_answers(directory: Path, questions: Iterable[AnsweredQuestion]) -> None:
    """写成 ``directory`` 里的 ``answers.jsonl``。"""
    # 文件名可以不是 UTF-8（里面有单独的代理项）；backslashreplace 把它写成 \udXXX，这恰好就是 JSON 的转义。
    with (directory / ANSWERS_FILE).open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for each in questions:
            file.write(json.dumps(each, ensure_ascii=False) + "\n")


def read_answers(directory: str | os.PathLike[str]) -> list[AnsweredQuestion]:
    """读出一次训练的 ``answers.jsonl``，次序与检验数据相同。"""
    with Path(directory, ANSWERS_FILE).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
