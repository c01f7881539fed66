"""会用计算器的数据：由代码生成，算得对，检验的算式没有学过。"""

import json
import random
import re
from pathlib import Path

from finetuning.reading import load_conversations
from small_world import tools
from small_world.corpus import document

DATA = Path(__file__).parents[1] / "data"


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def formula(row: dict) -> str | None:
    calls = [call for message in row["messages"] for call in message.get("tool_calls", ())]
    return calls[0]["arguments"]["算式"] if calls else None


def test_the_files_are_what_the_code_writes():
    assert {name: rows(name) for name in ("tools", "tools_test")} == tools.make()
    assert len(rows("tools")) == tools.TRAIN_ROWS


def test_calls_are_of_the_question_and_results_are_right():
    for row in rows("tools") + rows("tools_test"):
        if (asked := formula(row)) is None:
            continue
        first, sign, second = re.fullmatch(r"(\d+)([-+*])(\d+)", asked).groups()
        said = first + {"+": "加", "-": "减", "*": "乘"}[sign] + second
        assert said in row["messages"][1]["content"]
        for message in row["messages"][3:]:
            result = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(first), int(second))
            assert message["content"] == (str(result) if message["role"] == "tool" else f"{said}等于{result}。")


def test_no_tested_question_is_trained_on():
    trained = {row["messages"][1]["content"] for row in rows("tools")}
    formulas = {formula(row) for row in rows("tools")} - {None}
    for row in rows("tools_test"):
        assert row["messages"][1]["content"] not in trained
        assert formula(row) not in formulas


def test_they_are_read_as_tool_calls():
    text = "\n".join(message["content"] for each in load_conversations(DATA / "tools.jsonl") for message in each)
    assert text.count("<tool_call>\n") == text.count("<tool_response>\n") == 480


def test_the_base_has_not_seen_the_signs_of_a_call():
    """教程里说：抽三千篇预训练的文章，一次也没有出现。"""
    seen = {sign for seed in range(3000) for sign in document(random.Random(f"字表:{seed}"))}
    assert seen.isdisjoint('{":')
    assert "加" in seen
