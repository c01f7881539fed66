"""例子的数据：读得进来，没有相近的问题，口吻一致，回答里的数都照规章、用在该用的地方。"""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from finetuning.holdout import SeenPrompts
from finetuning.reading import iterate_rows, load_conversations

FOLDER = Path(__file__).parents[1] / "data" / "example"
FILES = {"train": FOLDER / "library.jsonl", "test": FOLDER / "library_test.jsonl"}
ROWS = {
    split: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for split, path in FILES.items()
}
EVERY_ROW = [*ROWS["train"], *ROWS["test"]]
README = (FOLDER / "README.md").read_text(encoding="utf-8")
RULES = README.split("## 规章")[1].split("\n## ")[0]

NEAR = 0.7
CLICHES = "亲，|亲～|希望|祝您|感谢您|如有|欢迎|温馨|放心|随时|帮到|竭诚"
PARTICLES = "[吧呀哦喔噢呢哈啦嘛哟～~…！!]"
NUMBER = r"\d[\d.:-]*\d|\d"  # 9:00、0.1、5550-0186、30
UNITS = "册|天|元|岁|年|个工作日|个孩子|个座|位|次|小时|分钟|张|台|间|人|号|路|日"

# 一个数用在哪里才对：同一段对话里要说到其中一个词。与规章分开写的，规章抄错、用错地方，都看得出来。
ABOUT = {
    "9:00": "开|自习室|童书区",
    "20:30": "开|关|自习室",
    "10:00": "节假日|故事会",
    "17:00": "节假日",
    "18:30": "童书区",
    "12:00": "记录|还书箱|更新|故事会|报名",
    "14:30": "讲座",
    "5550-0186": "电话|打5550-0186",
    "12345": "不归|管不了",
    "120": "晕|砸|病|讲座厅",
    "110": "偷|不见了",
    "119": "冒烟",
    "18号": "槐荫路",
    "7路": "公交|坐",
    "14岁": "证",
    "3年": "有效期|能用|延",
    "10元": "补办|补证|一册最多",
    "10册": "成人证",
    "8册": "少儿证",
    "30天": "借期",
    "1次": "续|没签到",
    "15天": "续",
    "3册": "预约",
    "5天": "预约",
    "24小时": "还书箱",
    "14天": "红标签|新书",
    "2张": "光盘",
    "7天": "光盘|停约|讨论间",
    "0.1元": "逾期|晚|每天",
    "5元": "欠费",
    "60天": "赔款|保管",
    "96个座": "自习室",
    "30分钟": "签到",
    "3次": "签到",
    "60分钟": "暂离",
    "2间": "讨论间",
    "6人": "讨论间|讨论室",
    "2小时": "讨论间|电脑|登录",
    "0.2元": "黑白",
    "1元": "彩色",
    "8台": "电脑",
    "120个座": "讲座",
    "10分钟": "空座",
    "25日": "讲座|下个月",
    "3到8岁": "故事会",
    "30个孩子": "故事会",
    "1位": "家长",
    "12岁": "陪|自己来",
    "3个工作日": "意见|反映|催|投诉|白了我|撞倒|题目|馆长",
}


def questions(row: dict) -> list[str]:
    return [message["content"] for message in row["conversations"] if message["role"] == "user"]


def answers(row: dict) -> list[str]:
    return [message["content"] for message in row["conversations"] if message["role"] == "assistant"]


EVERY_ANSWER = [answer for row in EVERY_ROW for answer in answers(row)]


def grams(text: str) -> set[str]:
    """字符 5 元组；标点、空格不算，比五个字短的是它自己。"""
    text = re.sub(r"[\W_]", "", text)
    return {text[start : start + 5] for start in range(max(1, len(text) - 4))}


def near_pairs(texts: list[str]) -> list[tuple[str, str]]:
    """Jaccard 相似度不小于 ``NEAR`` 的每一对。"""
    known = [(text, grams(text)) for text in texts]
    return [(a, b) for (a, x), (b, y) in combinations(known, 2) if len(x & y) >= NEAR * len(x | y)]


def numbers(text: str) -> list[str]:
    """一段文字里的数，连同单位；“3到8岁”是一个，“9:00到20:30”是两个。"""
    return re.findall(rf"\d+到\d+岁|(?:{NUMBER})(?:{UNITS})?", re.sub(r"A\d", "", text))


def misused(row: dict) -> list[str]:
    """回答里哪些数不在规章里，或说的不是那件事。"""
    about, known = " ".join(message["content"] for message in row["conversations"]), set(numbers(RULES))
    used = [number for answer in answers(row) for number in numbers(answer)]
    return [number for number in used if number not in known or not re.search(ABOUT.get(number, "$^"), about)]


@pytest.mark.parametrize(("split", "count"), [("train", 300), ("test", 40)])
def test_reads_cleanly(split, count):
    assert load_conversations(FILES[split]) == [row["conversations"] for row in ROWS[split]]
    assert len(ROWS[split]) == count
    written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS[split])
    assert FILES[split].read_bytes() == written.encode(), "UTF-8，一行一段，不转义，换行是 \\n"
    assert all(list(row) == ["conversations", "skill"] for row in ROWS[split])
    assert {message["role"] for row in ROWS[split] for message in row["conversations"]} == {"user", "assistant"}


def test_readme_counts_the_skills():
    table = re.findall(r"^\| (\w+) \|.*\| (\d+) \| (\d+) \|$", README, re.MULTILINE)
    train, test = (Counter(row["skill"] for row in ROWS[split]) for split in ("train", "test"))
    assert {skill: (int(a), int(b)) for skill, a, b in table} == {skill: (train[skill], test[skill]) for skill in train}
    assert set(test) == set(train)
    assert min(test.values()) >= 5, "少于 5 题的技能，训练后的报告不说它强弱"


def test_readme_counts_the_long_conversations():
    several = {split: sum(len(questions(row)) > 1 for row in ROWS[split]) for split in ROWS}
    assert f"{several['train']} 段和 {several['test']} 段有两三轮" in README
    assert max(len(questions(row)) for row in EVERY_ROW) == 3


def test_no_two_questions_are_alike():
    assert near_pairs([question for row in EVERY_ROW for question in questions(row)]) == []
    assert near_pairs(["".join(questions(row)) for row in EVERY_ROW]) == []


def test_no_two_answers_are_alike():
    assert near_pairs(EVERY_ANSWER) == []


def test_alike_is_seen():
    assert near_pairs(["请问办证要带什么证件？", "请问办证要带什么证件呀", "补办一张要多少钱"]) == [
        ("请问办证要带什么证件？", "请问办证要带什么证件呀")
    ]
    assert near_pairs(["多少钱", "多少钱？"]) == [("多少钱", "多少钱？")]


def test_nothing_tested_was_learnt():
    seen = SeenPrompts()
    list(seen.watch("test", iterate_rows(FILES["test"])))
    list(seen.compare(iterate_rows(FILES["train"])))
    assert seen.count("test") == 0


def test_voice():
    for answer in EVERY_ANSWER:
        assert 20 <= len(answer) <= 80, answer
        assert 1 <= len(re.findall("[。？]", answer)) <= 2, answer
        assert answer[-1] in "。？", answer
        assert "你" not in answer, answer
        assert not re.search(CLICHES, answer), answer
        assert not re.search(PARTICLES, answer), answer
        assert not re.search(r"[,;?()\"\s*#]|(?<!\d):|:(?!\d)", answer), f"中文标点，不分行，不用 Markdown：{answer}"


def test_readers_are_addressed():
    addressed = sum("您" in answer for answer in EVERY_ANSWER)
    assert addressed > len(EVERY_ANSWER) / 2


def test_only_vague_questions_are_asked_back():
    for row in EVERY_ROW:
        assert (row["skill"] == "反问") == answers(row)[-1].endswith("？"), row


def test_numbers_are_those_of_the_rules():
    assert [(wrong, row) for row in EVERY_ROW if (wrong := misused(row))] == []


def test_every_number_is_taught():
    taught = {number for row in ROWS["train"] for answer in answers(row) for number in numbers(answer)}
    tested = {number for row in ROWS["test"] for answer in answers(row) for number in numbers(answer)}
    assert tested <= taught
    assert taught == set(ABOUT)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("讲座借期30天。", []),
        ("新书借期15天。", ["15天"]),
        ("少儿证最多借12册，借期30天。", ["12册"]),
        ("童书区开到20:00。", ["20:00"]),
        ("自习室约了过60分钟没签到就放。", ["60分钟"]),
        ("故事会给4到8岁的孩子。", ["4到8岁"]),
    ],
)
def test_a_wrong_number_is_seen(answer, wrong):
    assert misused({"conversations": [{"role": "assistant", "content": answer}]}) == wrong


def test_places_are_on_their_floors():
    floors = dict(re.findall(r"([一二三]层)有([^；。]+)", RULES))
    assert set(floors) == {"一层", "二层", "三层"}
    floor_of = {place: floor for floor, places in floors.items() for place in places.split("、")}
    places = "|".join(floor_of)
    said = [
        (place_before or place_after, floor_after or floor_before)
        for answer in EVERY_ANSWER
        for place_before, floor_after, floor_before, place_after in re.findall(
            rf"({places})就?在([一二三]层)|([一二三]层)的?(?:有(?:\d间)?)?({places})", answer
        )
    ]
    assert len(said) > 50
    assert {place for place, _ in said} >= {"服务台", "童书区", "自习室", "讨论间", "讲座厅", "打印机", "查询机"}
    assert [pair for pair in said if floor_of[pair[0]] != pair[1]] == []
