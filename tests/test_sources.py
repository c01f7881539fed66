"""几个来源：文件、目录、份额；各用了多少。"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetuning.errors import UserError
from finetuning.reading import Row, iterate_rows
from finetuning.sources import Source, iterate_sources, parse_sources


def write(path: Path, numbers: range) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"instruction": f"第{number}问", "output": "答"}, ensure_ascii=False) for number in numbers]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def read(name: str, source: str) -> Iterator[Row]:
    return iterate_rows(source)


def questions(sources: list[Source]) -> Counter[str]:
    rows = iterate_sources(sources, read)
    return Counter(row.conversation[0]["content"] for row in rows)


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "one": (["a.jsonl"], [("a.jsonl", 1)]),
        "half": (["a.jsonl", "b.jsonl:0.5"], [("a.jsonl", 1), ("b.jsonl", 0.5)]),
        "twice": (["a.jsonl:2"], [("a.jsonl", 2)]),
        "windows": ([r"C:\数据\a.jsonl:0.25"], [(r"C:\数据\a.jsonl", 0.25)]),
        "windows_whole": ([r"C:\数据\a.jsonl"], [(r"C:\数据\a.jsonl", 1)]),
        "hub": (["owner/name:train", "owner/name/zh:test:0.1"], [("owner/name:train", 1), ("owner/name/zh:test", 0.1)]),
        "hub_slice": (["owner/name:train[:1000]"], [("owner/name:train[:1000]", 1)]),
    }.values(),
)
def test_shares_are_read_off_the_end(words, expected):
    assert [(source.name, source.share) for source in parse_sources(words)] == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.jsonl:0"], "份额是 0"),
        (["a.jsonl:99999999999999999999"], "份额太大"),
        ([f"{__file__}:50%"], "份额 50% 读不懂"),
        ([f"{__file__}:.5"], r"份额 \.5 读不懂"),
        ([f"{__file__}:-1"], "份额 -1 读不懂"),
        (["a.jsonl", "b/../a.jsonl"], "写了两次"),
        (["a.jsonl", "a.jsonl"], "a.jsonl 写了两次；要用两遍，请写成 a.jsonl:2"),
        ([], "没有数据文件"),
    ],
)
def test_a_mistake_is_one_sentence(words, says):
    with pytest.raises(UserError, match=says):
        parse_sources(words)


def test_a_file_whose_name_ends_like_a_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a:2").touch()
    assert parse_sources(["a:2"]) == [Source("a:2")]


def test_a_directory_is_its_data_files(tmp_path):
    names = [write(tmp_path / name, range(3)) for name in ("b.jsonl", "a.jsonl", "c.txt", "._b.jsonl")]
    sources = parse_sources([f"{tmp_path}:0.5"])
    assert [(source.name, source.share) for source in sources] == [(names[1], 0.5), (names[0], 0.5)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="里没有数据文件"):
        parse_sources([str(tmp_path / "empty")])


@pytest.mark.parametrize("share", [0.1, 0.5, 1, 1.25, 2, 3.5])
def test_how_often_a_row_is_used(tmp_path, share):
    sources = [Source(write(tmp_path / "a.jsonl", range(40)), share)]
    used = questions(sources)
    assert used.total() == sources[0].used == round(40 * share)
    assert sources[0].read == 40
    assert set(used.values()) <= {int(share), int(share) + 1}
    assert questions([Source(sources[0].name, share)]) == used, "取哪些，每次相同"


def test_rows_are_a_random_part_not_the_first(tmp_path):
    used = questions([Source(write(tmp_path / "a.jsonl", range(1000)), 0.5)])
    numbers = [int(question[1:-1]) for question in used]
    assert 350 < sum(numbers) / len(numbers) < 650


def test_nothing_left_of_a_source(tmp_path):
    with pytest.raises(UserError, match=r"只有 3 段对话，取 0\.1 份是 0 段"):
        questions([Source(write(tmp_path / "a.jsonl", range(3)), 0.1)])


def test_bad_rows_of_each_source_are_kept(tmp_path):
    files = [Path(write(tmp_path / name, range(3))) for name in ("a.jsonl", "b.jsonl")]
    for file in files:
        file.write_text(file.read_text(encoding="utf-8") + "{oops\n", encoding="utf-8")

    def skipping(name: str, source: str) -> Iterator[Row]:
        return iterate_rows(source, on_bad_rows="skip", bad_rows_path=tmp_path / f"bad_rows_{name}.jsonl")

    list(iterate_sources([Source(str(file)) for file in files], skipping))
    for name, file in zip(("bad_rows_train.jsonl", "bad_rows_train_2.jsonl"), files, strict=True):
        (bad,) = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        assert (json.loads(bad)["file"], json.loads(bad)["line"]) == (str(file), 4)


def test_a_row_says_where_it_is_and_what_it_tests(tmp_path):
    """技能跟着自己的那一段，取一半、用两遍、先放在磁盘上，都不会错位；不是文字的、空的，等于没有写。"""
    skills = ["加法", None, 3, "  ", ["加法"], "半个表情\ud83d", "减法"]
    rows = [{"instruction": f"第{n}问", "output": "答"} | ({"skill": s} if s else {}) for n, s in enumerate(skills)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    for share, times in ((1.0, 1), (2.0, 2)):
        found = list(iterate_sources([Source(str(path), share)], read))
        assert len(found) == len(skills) * times
        for row in found:
            number = int(row.conversation[0]["content"][1])
            assert (row.source, row.line) == (str(path), number + 1)
            assert row.skill == (skills[number] if number in (0, 6) else None)
