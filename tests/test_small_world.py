"""小世界：表写得对，预训练文本里没有答案，三个划分互不泄漏，仓库里的数据就是代码生成的。"""

import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from small_world import corpus, retelling
from small_world.build import write_split
from small_world.instructions import SPLIT_SIZES, make_splits
from small_world.skill import check_relation
from small_world.world import IN_CONTEXT_SKILLS, RELATIONS

ROOT = Path(__file__).parents[1]
SPLITS = tuple(SPLIT_SIZES)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    return {
        split: [
            json.loads(line) for line in (ROOT / "data" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for split in SPLITS
    }


def prompt(row: dict) -> str:
    return json.dumps(row["conversations"][:-1], ensure_ascii=False)


def test_the_world_is_rich_enough():
    assert len(RELATIONS) + len(IN_CONTEXT_SKILLS) >= 30
    assert sum(len(relation.rows) for relation in RELATIONS) >= 1500


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_relation_is_well_written(relation):
    assert check_relation(relation) == []


def test_every_question_has_one_answer_and_one_group():
    known: dict[str, tuple[str, str]] = {}
    for skill in (*RELATIONS, *IN_CONTEXT_SKILLS):
        for exchanges in skill.exchanges():
            for exchange in exchanges:
                found = known.setdefault(exchange.question, (exchange.answer, exchange.group))
                assert found == (exchange.answer, exchange.group), exchange.question


def test_pretraining_text_never_answers_a_question():
    """问题只出现在没有答案的问题串里：那里的每一句都是问题或指令，不是陈述的事实。"""
    rng = random.Random(0)
    facts = {template.format_map(relation.values(entity)) for relation in RELATIONS for entity in relation.entities
             for template in relation.statements}  # fmt: skip
    for _ in range(3000):
        text = corpus.statement_document(rng)
        assert "？" not in text
    for _ in range(1000):
        text = corpus.unanswered(rng)
        assert not any(sentence + "。" in facts for sentence in text.split("。"))


def test_retellings_leave_out_what_dev_and_test_ask(rows):
    """转述里有问有答，所以只能问训练集的事：dev、test 里单轮的问题一句也不出现；只有转述没有问号。"""
    held_out = {
        row["conversations"][0]["content"].rstrip("？。")
        for split in ("dev", "test")
        for row in rows[split]
        if len(row["conversations"]) == 2
    }
    train = {row["conversations"][0]["content"].rstrip("？。") for row in rows["train"]}
    rng = random.Random(0)
    texts = [retelling.retelling(rng, hard) for _ in range(10_000) for hard in (False, True)]
    found = Counter(question for text in texts for question in re.split("[：，。]|题目是：|问", text))
    assert len(train & set(found)) > 1000  # 确实认得出问题
    hits = {(question, text) for question in held_out for text in texts if question in text}
    # “14的一半是几”里的“4的一半是几”不算。
    assert [hit for hit in hits if re.search(rf"(?<!\d){re.escape(hit[0])}", hit[1])] == []
    assert not any("？" in text for text in texts)


def test_prompts_and_facts_of_the_splits_are_disjoint(rows):
    for name, value_of in (("prompts", lambda row: [prompt(row)]), ("facts", lambda row: row["facts"])):
        owners: dict[str, set[str]] = defaultdict(set)
        for split in SPLITS:
            for row in rows[split]:
                for value in value_of(row):
                    owners[value].add(split)
        shared = [value for value, splits in owners.items() if len(splits) > 1]
        assert shared == [], name


def test_both_directions_of_a_pair_stay_together(rows):
    """不看数据里写的 ``facts``，只看回答里说了什么：同一对词，不论从哪个方向问，只在一个划分里出现。"""
    quoted = ("反义词", "近义词", "英语单词", "诗句接龙")
    plain = ("首都", "省会")
    answers = {split: [row["conversations"][-1]["content"] for row in rows[split]] for split in SPLITS}
    checked = 0
    for relation in RELATIONS:
        for first, second, *_ in relation.rows if relation.name in (*quoted, *plain) else ():
            said = {first, second}

            def states(text: str, said=said, name=relation.name) -> bool:
                if name in quoted:
                    return said <= set(re.findall("“(.+?)”", text))
                return all(word in re.split("的|是|。", text) for word in said)

            owners = {split for split in SPLITS if any(map(states, answers[split]))}
            checked += bool(owners)
            assert len(owners) <= 1, (first, second, owners)
    assert checked > 200


def test_additions_in_either_order_and_subtractions_stay_together(rows):
    owners: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for split in SPLITS:
        for row in rows[split]:
            if row["skill"] == "加减":
                question, result = row["conversations"][-1]["content"].removesuffix("。").split("等于")
                first, second = map(int, question.replace("减", "加").split("加"))
                smaller, larger = (int(result), second) if "减" in question else (first, second)
                owners[tuple(sorted((smaller, larger)))].add(split)
    assert owners
    assert all(len(splits) == 1 for splits in owners.values())


def test_todays_weather_is_told_or_unknown(rows):
    """上文里说了今天的天气，回答就是那一句；没有说，回答就是不知道。两种都不少。"""
    told = unknown = 0
    for row in rows["train"]:
        *context, _, answer = row["conversations"]
        if row["skill"] != "今天的天气":
            assert "今天天气" not in answer["content"] or "今天天气" in str(row["conversations"][:-1])
        elif answer["content"] == "对不起，我不知道今天的天气。":
            unknown += 1
            assert not any("今天" in message["content"] for message in context)
        else:
            told += 1
            assert any(message["content"].endswith(answer["content"]) for message in context)
    assert unknown > 80
    assert told > 300


def test_committed_data_is_what_the_code_generates(tmp_path):
    for split, conversations in make_splits().items():
        write_split(tmp_path / f"{split}.jsonl", conversations)
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (ROOT / "data" / f"{split}.jsonl").read_bytes()


def test_every_character_of_the_data_is_one_token(rows):
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "base_model")
    for split in SPLITS:
        for row in rows[split]:
            for message in row["conversations"]:
                token_ids = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
                assert len(token_ids) == len(message["content"])
                assert tokenizer.decode(token_ids) == message["content"]


@pytest.mark.parametrize("text", ["🙂 emoji", "𠮷野家", "héllo\tworld\r\n", "龘<|im_end|>"])
def test_any_text_can_be_encoded_and_restored(text):
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "base_model")
    token_ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(token_ids) == text
    assert not set(token_ids) & set(tokenizer.all_special_ids)
