"""留出检验数据：同样的问题不会一边学、一边考；训练和检验有多少重叠，说得准。"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuning.errors import UserError
from finetuning.holdout import SeenPrompts, hold_out, prompts
from finetuning.reading import Row


def row(number: int, *texts: str) -> Row:
    """一段对话：问、答、问、答……"""
    roles = ("user", "assistant")
    return Row("a.jsonl", number, [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)])


def questions_of(conversation) -> list[tuple[str, ...]]:
    """对照：每个回答之前的话，原文。"""
    texts = [message["content"] for message in conversation]
    return [tuple(texts[:index]) for index in range(1, len(texts), 2)]


def always(conversation) -> bool:
    return True


def assert_apart(train: list[Row], parts: list[list[Row]]) -> None:
    """每一份最后的问题，在别处一次也没有。"""
    for index, part in enumerate(parts):
        elsewhere = {question for each in train for question in questions_of(each.conversation)}
        elsewhere |= {questions_of(each.conversation)[-1] for other in parts[index + 1 :] for each in other}
        assert not any(questions_of(each.conversation)[-1] in elsewhere for each in part)


conversations = st.lists(
    st.lists(st.sampled_from("甲乙丙丁"), min_size=2, max_size=6).map(lambda texts: texts[: len(texts) // 2 * 2]),
    min_size=3,
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(conversations, st.integers(1, 2))
def test_a_held_out_question_is_nowhere_in_training(texts, num_parts):
    rows = [row(number, *each) for number, each in enumerate(texts, 1)]
    try:
        held = hold_out(rows, num_parts, always)
    except UserError:  # 问题太少，分不出这么多边
        questions = {questions_of(each.conversation)[0] for each in rows}
        assert len(questions) <= 3
        return
    train = list(held.train)
    assert_apart(train, held.parts)
    assert train
    assert all(held.parts)
    lines = [each.line for part in (train, *held.parts) for each in part]
    assert sorted(lines) == list(range(1, len(rows) + 1)), "一段不多，一段不少"


@pytest.mark.parametrize("total", [2, 10, 100, 10_000])
def test_a_twentieth_is_held_out(total):
    rows = [row(number, f"第{number}问", "答") for number in range(total)]
    held = hold_out(rows, 1, always)
    assert len(held.parts[0]) == min(max(1, round(total / 20)), 200)
    assert held.num_equal == 0
    again = hold_out(rows, 1, always)
    assert [each.line for each in again.parts[0]] == [each.line for each in held.parts[0]]
    chosen = [each.line for each in held.parts[0]]
    assert total < 100 or max(chosen) - min(chosen) > total / 2, "到处都有，不是只取开头或末尾"


def test_duplicates_go_to_one_side_and_are_counted():
    rows = [row(number, f"第{number // 2}问", f"第{number}答") for number in range(400)]
    held = hold_out(rows, 1, always)
    assert_apart(list(held.train), held.parts)
    assert len(held.parts[0]) == 20
    assert held.num_equal == 10


def test_a_longer_conversation_with_the_same_question_is_held_out_too():
    """留出了“甲”，就不能再学“甲、答、乙、答”：里面有“甲”的答案。"""
    rows = [row(0, "甲", "答"), row(1, "甲", "答", "乙", "答"), row(2, "丙", "答")]
    held = hold_out(rows, 1, lambda conversation: len(conversation) == 2 and conversation[0]["content"] == "甲")
    assert [each.line for each in held.parts[0]] == [0, 1]


@pytest.mark.parametrize(
    ("texts", "words"),
    {
        "one": ([("问", "答")], "1 段对话留不出"),
        "all_equal": ([("问", "答")] * 200, "200 段对话留不出没有学过的检验数据，问题全都一样"),
    }.values(),
)
def test_nothing_to_hold_out(texts, words):
    rows = [row(number, *each) for number, each in enumerate(texts, 1)]
    with pytest.raises(UserError, match=words):
        hold_out(rows, 1, always)


def test_only_usable_rows_are_held_out():
    rows = [row(number, f"第{number}问", "答") for number in range(40)]
    held = hold_out(rows, 1, lambda conversation: conversation[0]["content"] == "第7问")
    assert [each.line for each in held.parts[0]] == [7]
    with pytest.raises(UserError, match="长得一个回答也放不下"):
        hold_out(rows, 1, lambda conversation: False)


def test_overlap_is_counted_exactly():
    randomness = random.Random(0)
    train = [row(n, randomness.choice("甲乙丙丁"), "答", randomness.choice("子丑寅卯"), "答") for n in range(30)]
    test = [row(n, randomness.choice("甲乙戊己"), "答") for n in range(50)]
    seen = SeenPrompts()
    assert list(seen.watch("test", test)) == test
    assert list(seen.compare(train)) == train
    learnt = {question for each in train for question in questions_of(each.conversation)}
    assert seen.count("test") == sum(questions_of(each.conversation)[-1] in learnt for each in test) > 0
    assert seen.count("validation") == 0


def test_prompts_differ_by_role_and_by_where_a_message_ends():
    first = prompts([{"role": "system", "content": "甲"}, {"role": "assistant", "content": "答"}])
    second = prompts([{"role": "user", "content": "甲"}, {"role": "assistant", "content": "答"}])
    third = prompts([{"role": "user", "content": "甲答"}, {"role": "assistant", "content": ""}])
    assert len({*first, *second, *third}) == 3


def test_many_rows_take_little_memory():
    """每段对话只留指纹，原文在磁盘上。"""
    import tracemalloc

    rows = (row(number, f"第{number}问", "答" * 200) for number in range(50_000))
    tracemalloc.start()
    held = hold_out(rows, 1, always)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(held.parts[0]) == 200
    assert peak < 50_000 * 150
