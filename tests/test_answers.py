"""检验时的回答：``answers.jsonl`` 的内容，按技能分开数，报告说出最弱的。"""

import json
import random
from collections import Counter
from fractions import Fraction

import pytest

from finetuning.answers import AnsweredQuestion, by_skill, read_answers, write_answers
from finetuning.report import _say_mistakes


def question(number: int, skill: str | None, right: bool | None, **changes: object) -> AnsweredQuestion:
    made = {
        "file": "test.jsonl",
        "line": number + 1,
        "skill": skill,
        "question": [{"role": "user", "content": f"第{number}问"}],
        "reference": f"第{number}答",
        "answer": f"第{number}答" if right else f"错{number}",
        "ended": True,
        "right": right,
        "answer_before": "……",
        "right_before": False,
    }
    return {**made, **changes}  # type: ignore[typeddict-item]


def test_skills_are_counted_and_the_weakest_comes_first():
    """对照：最直接的数法。"""
    randomness = random.Random(0)
    marks = [(randomness.choice(["加法", "减法", "比较", None]), randomness.random() < 0.6) for _ in range(200)]
    tallies = by_skill(question(number, *mark) for number, mark in enumerate(marks))
    asked = Counter(skill for skill, _ in marks if skill)
    assert {name: tally.asked for name, tally in tallies.items()} == asked
    for name, tally in tallies.items():
        assert tally.right == marks.count((name, True))
        assert tally.share == pytest.approx(float(Fraction(tally.right, tally.asked)))
    assert len(tallies) == 3
    assert [tally.share for tally in tallies.values()] == sorted(tally.share for tally in tallies.values())
    equal = [question(0, "少", False), question(1, "多", False), question(2, "多", False)]
    assert list(by_skill(equal)) == ["多", "少"]
    assert by_skill([question(0, "加法", None), question(1, None, True)]) == {}


def test_any_text_survives(tmp_path):
    """一行一个问题：换行、行分隔符、控制字符、不是 UTF-8 的文件名都不会让它断开。"""
    strange = "一\n二\r\u2028三\x1b[2J“”😀\t\x00"
    questions = [
        question(0, "加法", True),
        question(1, None, None, file="数据\udcff.jsonl", answer=strange, answer_before=strange),
    ]
    write_answers(tmp_path, questions)
    assert read_answers(tmp_path) == questions
    raw = (tmp_path / "answers.jsonl").read_bytes()
    assert raw.count(b"\n") == len(questions)
    assert "第0答".encode() in raw, "中文就是中文，不是转义"
    assert [json.loads(line) for line in raw.splitlines()] == questions


def said(capsys: pytest.CaptureFixture[str], questions: list[AnsweredQuestion]) -> list[str]:
    _say_mistakes(questions)
    return capsys.readouterr().out.splitlines()


def test_the_report_names_the_three_weakest_skills(capsys):
    marks = {"全对": "11111", "四成": "00110", "零": "00000", "八成": "11011", "六成": "010110111", "太少": "0000"}
    questions = []
    for skill, rights in marks.items():
        questions += [question(len(questions) + n, skill, right == "1") for n, right in enumerate(rights)]
    lines = said(capsys, questions)
    assert len(lines) == 7
    assert "5 题" in lines[0]
    assert "answers.jsonl" in lines[0]
    for line, words in zip(lines[1::2], ["零  0%（5 题答对 0 题）", "四成  40%（5 题", "六成  67%（9 题"], strict=True):
        assert line.strip().startswith(words)
    # 每项举一个它自己的、答错的
    for line, skill in zip(lines[2::2], ["零", "四成", "六成"], strict=True):
        (number,) = (n for n, each in enumerate(questions) if f"问：第{n}问 →" in line)
        assert (questions[number]["skill"], questions[number]["right"]) == (skill, False)
        assert line.endswith(f"→ 错{number}  应是：第{number}答")


def test_without_enough_of_any_skill_it_shows_mistakes(capsys):
    questions = [question(n, skill, n < 2, ended=n != 3) for n, skill in enumerate(["加法"] * 4 + [None] * 4)]
    lines = said(capsys, questions)
    assert len(lines) == 4
    assert "answers.jsonl" in lines[0]
    assert [line.strip() for line in lines[1:]] == [
        "问：第2问 → 错2  应是：第2答",
        "问：第3问 → 错3……（没有停下）  应是：第3答",
        "问：第4问 → 错4  应是：第4答",
    ]


@pytest.mark.parametrize("right", [True, None], ids=["all right", "not checked"])
def test_nothing_wrong_nothing_said(capsys, right):
    assert said(capsys, [question(number, "加法", right) for number in range(9)]) == []


def test_strange_text_stays_on_its_line(capsys):
    """技能的名字、回答是别人写的：换行、清屏的转义序列、几千字，都不能弄乱报告。"""
    questions = [question(n, "名\n字\x1b[2J" * 999, False, answer="\x1b[2J\n" * 999) for n in range(5)]
    lines = said(capsys, questions)
    assert len(lines) == 3
    assert not any("\x1b" in line for line in lines)
    assert max(map(len, lines)) < 250
