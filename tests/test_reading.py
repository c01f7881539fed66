"""文件或 hub → 对话列表：真的文件、真的进程。"""

import csv
import gzip
import itertools
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import datasets
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from toy_models import toy_tokenizer

from data_solution import SFTDataset
from finetuning import reading
from finetuning.arguments import DataArguments
from finetuning.data import load_splits
from finetuning.errors import UserError
from finetuning.reading import iterate_conversations, load_conversations

ROOT = Path(__file__).parents[1]

ROWS = [
    {"conversations": [{"role": "user", "content": "问一"}, {"role": "assistant", "content": "答一\u2028\x85。"}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "问二"}]},
            {"role": "assistant", "content": "答二"},
        ]
    },
    {"conversations": [{"from": "human", "value": "问三"}, {"from": "gpt", "value": "😀"}], "id": 3},
    {"instruction": "问四", "input": "", "output": "答四"},
]
EXPECTED = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in [("问一", "答一\u2028\x85。"), ("问二", "答二"), ("问三", "😀"), ("问四", "答四")]
]

LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
BAD = json.dumps({"messages": [{"role": "user", "content": "没有回答"}]}, ensure_ascii=False)
NO_ANSWER = "最后一条消息应该是 assistant 的回答，实际是 user；多出来的，去掉就可以"
BOM = "\ufeff"
PARQUET_SCHEMA = pyarrow.schema(
    {"instruction": pyarrow.string(), "output": pyarrow.string(), "date": pyarrow.timestamp("us")}
)

GOOD_FILES = {
    "lines.jsonl": "\n".join(LINES).encode(),
    "final_newline.jsonl": ("\n".join(LINES) + "\n").encode(),
    "crlf.jsonl": ("\r\n".join(LINES) + "\r\n").encode(),
    "bom.jsonl": (BOM + "\n".join(LINES)).encode(),
    "two_boms.jsonl": (BOM + LINES[0] + "\n" + BOM + "\n".join(LINES[1:])).encode(),  # 两个文件接起来
    "blank_lines.jsonl": ("\n \n" + "\n\n\t\r\n".join(LINES) + "\n\n").encode(),
    "ascii.jsonl": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "lines_named.json": "\n".join(LINES).encode(),
    "lines.ndjson": "\n".join(LINES).encode(),
    "array.json": json.dumps(ROWS, ensure_ascii=False).encode(),
    "array_indented.json": json.dumps(ROWS, ensure_ascii=False, indent=2).encode(),
    "array_bom_crlf.json": (BOM + "\r\n" + json.dumps(ROWS, indent=2).replace("\n", "\r\n") + "\r\n").encode(),
    "array_named.jsonl": json.dumps(ROWS).encode(),
    "array_of_lists.json": json.dumps(EXPECTED).encode(),
    "UPPER.JSONL": "\n".join(LINES).encode(),
    "lines.jsonl.gz": gzip.compress("\n".join(LINES).encode()),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "名字 带空格.jsonl": "\n".join(LINES).encode(),
}


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def message_of(source, **options) -> str:
    with pytest.raises(UserError) as caught:
        load_conversations(source, **options)
    return str(caught.value)


@pytest.mark.parametrize(("name", "content"), GOOD_FILES.items(), ids=GOOD_FILES)
def test_json_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert load_conversations(path) == load_conversations(str(path)) == EXPECTED


OBJECTS = {
    "one_object.json": (json.dumps(ROWS[3], ensure_ascii=False, indent=2), [0], [1]),
    "several_objects.json": ("\n".join(json.dumps(row, indent=2) for row in ROWS), [0, 1, 2, 3], None),
    "wrapped.json": (json.dumps({"version": 1, "data": ROWS}, indent=1), [0, 1, 2, 3], None),
    "wrapped_in_a_line.json": (json.dumps({"data": ROWS}), [0, 1, 2, 3], [1, 1, 1, 1]),
    "wrapped.jsonl": (json.dumps({"rows": ROWS, "count": 4}, indent=4), [0, 1, 2, 3], None),
    "the_name_of_the_key_inside": (json.dumps({"info": '"data": [', "data": ROWS}, indent=1), [0, 1, 2, 3], None),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_over_several_lines(tmp_path, name):
    content, expected, lines = OBJECTS[name]
    path = tmp_path / (name if "." in name else f"{name}.json")
    path.write_text(content, encoding="utf-8")
    rows = list(reading.iterate_rows(path))
    assert [row.conversation for row in rows] == [EXPECTED[index] for index in [3] * (len(expected) == 1) or expected]
    if lines is not None:
        assert [row.line for row in rows] == lines


@pytest.mark.parametrize(
    ("beside", "named"),
    [({"test": ROWS}, "test"), ({"validation": ROWS[:1], "count": 4}, "validation"), ({"system": "设定"}, "system")],
)
def test_what_stands_beside_the_rows_is_not_dropped(tmp_path, beside, named):
    path = write(tmp_path / "rows.json", json.dumps({"train": ROWS, **beside}))
    assert f"train 是各行数据，旁边还有 {named}" in message_of(path)


def test_a_row_that_looks_like_a_wrapper(tmp_path):
    row = {"question": "问一", "answer": "答一", "records": [{"instruction": "别的", "output": "别的"}]}
    path = write(tmp_path / "rows.jsonl", json.dumps(row, ensure_ascii=False))
    assert load_conversations(path)[0][0]["content"] == "问一"


@pytest.mark.parametrize("count", [1, 2])
def test_lines_that_are_lists_of_messages(tmp_path, count):
    path = write(tmp_path / "rows.jsonl", *[json.dumps(each, ensure_ascii=False) for each in EXPECTED[:count]])
    assert load_conversations(path) == EXPECTED[:count]


def test_nulls_that_a_table_fills_in_are_not_taught(tmp_path):
    """Arrow 给两行的参数补成同样的键；补上的 null 不是参数。"""

    def row(name: str, **arguments: str) -> dict:
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        return {"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "tool_calls": [call]}]}

    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row("a", city="x"), row("b", code="y")]), path)
    calls = [message["tool_calls"] for each in reading.iterate_rows(path) for message in each.conversation[1:]]
    assert calls == [[{"name": "a", "arguments": {"city": "x"}}], [{"name": "b", "arguments": {"code": "y"}}]]


def test_a_column_that_no_row_has(tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"题目": "问", "讲解": "答"}')
    columns = {"question": "题目", "answer": "讲解", "system": "人没"}
    with pytest.raises(UserError, match="没有一行有 --columns 里说的 人没"):
        list(reading.iterate_rows(path, columns=columns))


def test_cells_of_excel_that_went_wrong(tmp_path):
    book = openpyxl.Workbook()
    for row in (["question", "answer"], ["问", "第一行_x000D_\n第二行"]):
        book.active.append(row)
    book.save(tmp_path / "rows.xlsx")
    assert load_conversations(tmp_path / "rows.xlsx")[0][1]["content"] == "第一行\r\n第二行"
    book.active.append(["问", "#N/A"])
    book.active["B3"].data_type = "e"
    book.save(tmp_path / "rows.xlsx")
    assert "第 3 行有算错的格子（#N/A）" in message_of(tmp_path / "rows.xlsx")


def test_a_bad_row_of_a_wrapped_file_is_told_by_its_line(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": [ROWS[0], json.loads(BAD)]}, indent=2), encoding="utf-8")
    number = int(message_of(path).splitlines()[1].split()[2])
    assert path.read_text(encoding="utf-8").splitlines()[number - 1].strip() == "{"
    assert number > 10


def test_a_first_line_that_is_cut_off_is_a_bad_row(tmp_path):
    path = write(tmp_path / "train.jsonl", LINES[0][:-8], LINES[1])
    assert f"  {path} 第 1 行：不是合法的 JSON" in message_of(path)


TABLE = [
    ["question", "answer", "skill", "编号"],
    ["问\n一", "007", "数,字", "1"],
    ["", "", "", ""],
    ['他说"好"', "答，二", "", "2"],
]
FROM_TABLE = [
    [{"role": "user", "content": "问\n一"}, {"role": "assistant", "content": "007"}],
    [{"role": "user", "content": '他说"好"'}, {"role": "assistant", "content": "答，二"}],
]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "xlsx"])
def test_tables(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    if suffix == "xlsx":
        book = openpyxl.Workbook()
        for row in TABLE:
            book.active.append(row)
        book.save(path)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter="," if suffix == "csv" else "\t").writerows(TABLE)
    rows = list(reading.iterate_rows(path))
    assert [row.conversation for row in rows] == FROM_TABLE
    assert [row.skill for row in rows] == ["数,字", None]
    assert [row.unused for row in rows] == [("编号",), ("编号",)]
    assert [row.line for row in rows] == ([2, 4] if suffix == "xlsx" else [2, 5])  # 第一行的问题占两行


def test_cells_of_excel_are_read_as_people_see_them(tmp_path):
    book = openpyxl.Workbook()
    for row in (
        ["question", "answer"],
        ["几", 12],
        ["小数", 1.5],
        ["整", 3.0],
        ["哪天", datetime(2026, 5, 1)],
        ["对", True],
    ):
        book.active.append(row)
    book.create_sheet("别的").append(["没有读"])
    book.save(tmp_path / "rows.xlsx")
    answers = [each[1]["content"] for each in load_conversations(tmp_path / "rows.xlsx")]
    assert answers == ["12", "1.5", "3", "2026-05-01", "TRUE"]


def test_a_row_with_too_many_cells(tmp_path):
    path = write(tmp_path / "rows.csv", "question,answer", "问,答", "问,答,又一个")
    assert f"  {path} 第 3 行：这一行有格子不在任何一列的名字下面" in message_of(path)


def test_lists_in_a_table(tmp_path):
    """表格里的一格放不下列表，常写成 JSON 的文字。"""
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["messages"], [json.dumps(EXPECTED[0], ensure_ascii=False)]])
    assert load_conversations(path) == EXPECTED[:1]


def test_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROWS[0], ROWS[2]]), path)
    assert load_conversations(path) == [EXPECTED[0], EXPECTED[2]]


def test_a_changed_parquet_file_is_read_anew(tmp_path):
    path = tmp_path / "rows.parquet"
    for answer in ("旧", "新"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"instruction": "问", "output": answer}]), path)
        os.utime(path, ns=(0, 0))
        assert load_conversations(path)[0][1]["content"] == answer


def test_rows_in_memory():
    assert load_conversations(EXPECTED) == load_conversations(iter(ROWS)) == EXPECTED
    assert load_conversations([]) == []
    assert message_of([EXPECTED[0], [EXPECTED[1][0]]]).splitlines()[1] == f"  （内存中的数据） 第 2 行：{NO_ANSWER}"


def test_rows_are_read_one_by_one():
    """永远读不完的数据，也能马上给出第一条。"""
    assert next(iterate_conversations(itertools.cycle(ROWS))) == EXPECTED[0]


def test_nothing_comes_after_a_bad_row_that_stops():
    """反正要停下，不必为后面的再花时间；但后面的坏行也要查出来。"""
    rows = iterate_conversations([ROWS[0], 1, ROWS[1], 2])
    assert next(rows) == EXPECTED[0]
    with pytest.raises(UserError, match="4 行中有 2 行不能用于训练"):
        next(rows)


def test_bad_rows_stop_with_file_line_and_reason(tmp_path):
    path = write(tmp_path / "train.jsonl", LINES[0], "", BAD, "{oops", LINES[1], "3")
    assert message_of(path).splitlines() == [
        f"{path} 的 5 行中有 3 行不能用于训练；请改正它们，或加上 --on_bad_rows skip，跳过它们而用其余的行训练：",
        f"  {path} 第 3 行：{NO_ANSWER}",
        f"  {path} 第 4 行：不是合法的 JSON（第 2 个字符：Expecting property name enclosed in double quotes）",
        f"  {path} 第 6 行：应该是一个 JSON 对象，实际是数字",
    ]


def test_equal_reasons_are_said_once(tmp_path):
    path = write(tmp_path / "train.jsonl", LINES[0], *[BAD] * 25, "3", "3")
    assert message_of(path).splitlines()[1:] == [
        f"  {path} 第 2、3、4、5、6 等 25 行：{NO_ANSWER}",
        f"  {path} 第 27、28 行：应该是一个 JSON 对象，实际是数字",
    ]


def test_ten_kinds_of_reasons_are_listed_and_all_rows_are_counted(tmp_path):
    roles = [json.dumps({"messages": [{"role": f"r{number}", "content": "问"}]}) for number in range(12)]
    message = message_of(write(tmp_path / "train.jsonl", LINES[0], *roles, roles[0])).splitlines()
    assert "14 行中有 13 行" in message[0]
    assert [line.split("：")[0] for line in message[1:]] == [
        f"  {tmp_path / 'train.jsonl'} 第 2、14 行",
        *(f"  {tmp_path / 'train.jsonl'} 第 {line} 行" for line in range(3, 12)),
        "  ……还有 2 行",
    ]


def test_line_numbers_in_an_indented_array(tmp_path):
    path = tmp_path / "train.json"
    path.write_text("\n" + json.dumps([ROWS[0], json.loads(BAD), ROWS[1], 5], indent=2), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    reported = [int(line.split()[2]) for line in message_of(path).splitlines()[1:]]
    assert [lines[number - 1].strip() for number in reported] == ["{", "5"]
    assert "没有回答" in json.loads('"' + lines[reported[0] + 3].split('"')[3] + '"')


def test_line_numbers_in_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = [{"instruction": "问", "output": "答"}, {"instruction": "问", "output": None, "date": datetime(2020, 1, 2)}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=PARQUET_SCHEMA), path)
    assert f"  {path} 第 2 行：output 应该是文字，实际是空值" in message_of(path)

    left_out = tmp_path / "left_out.jsonl"
    assert len(load_conversations(path, on_bad_rows="skip", bad_rows_path=left_out)) == 1
    assert json.loads(left_out.read_text(encoding="utf-8"))["row"]["date"] == "2020-01-02 00:00:00"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("你好".encode("gbk"), "不是合法的 UTF-8（第 1 个字节；若是 GBK 编码，请另存为 UTF-8）"),
        (b'{"a": \xff}', "不是合法的 UTF-8（第 7 个字节"),
        (LINES[0].encode() + LINES[1].encode(), "不是合法的 JSON（第"),
        (LINES[0].encode()[:-3], "不是合法的 JSON（第"),
        (b"[" * 100_000, "JSON 无法解析"),
        (b'{"n": ' + b"9" * 5000 + b"}", "JSON 无法解析"),
        (b"{'role': 'user'}", "不是合法的 JSON（第 2 个字符"),
    ],
    ids=["gbk", "broken_utf8", "two_rows_in_a_line", "cut_off", "deep", "huge_number", "single_quotes"],
)
def test_a_line_that_cannot_be_parsed_does_not_spoil_the_others(tmp_path, line, reason):
    path, left_out = tmp_path / "train.jsonl", tmp_path / "left_out.jsonl"
    path.write_bytes(LINES[0].encode() + b"\r\n" + line + b"\r\n" + LINES[1].encode())
    assert f"  {path} 第 2 行：{reason}" in message_of(path)
    assert load_conversations(path, on_bad_rows="skip", bad_rows_path=left_out) == EXPECTED[:2]
    row = json.loads(left_out.read_text(encoding="utf-8"))["row"]
    assert row == line.decode("utf-8", errors="backslashreplace")


def test_skip_writes_what_it_left_out(tmp_path):
    path = write(
        tmp_path / "train.jsonl", LINES[0], BAD, LINES[1], '{"instruction": "\\ud800", "output": "答"}', "{oops"
    )
    left_out = tmp_path / "new" / "folder" / "bad.jsonl"
    assert load_conversations(path, on_bad_rows="skip", bad_rows_path=left_out) == EXPECTED[:2]
    text = left_out.read_text(encoding="utf-8")
    assert "没有回答" in text, "中文照原样写，不转义"
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["line"] for record in records] == [2, 4, 5]
    assert {record["file"] for record in records} == {str(path)}
    assert [record["row"] for record in records] == [
        json.loads(BAD),
        {"instruction": "\ud800", "output": "答"},
        "{oops",
    ]
    assert records[0]["reason"] == NO_ANSWER


def test_skip_leaves_no_old_list_behind(tmp_path):
    path, left_out = write(tmp_path / "train.jsonl", LINES[0]), write(tmp_path / "bad.jsonl", "上一次的坏行")
    load_conversations(path, on_bad_rows="skip", bad_rows_path=left_out)
    assert left_out.read_text(encoding="utf-8") == ""


def test_skip_with_nothing_left(tmp_path):
    path, left_out = write(tmp_path / "train.jsonl", BAD), tmp_path / "bad.jsonl"
    message = message_of(path, on_bad_rows="skip", bad_rows_path=left_out)
    assert message == f"{path} 里没有可用的对话：1 行全是坏行，原因见 {left_out}。"
    assert left_out.exists()


def test_left_out_rows_that_cannot_be_written(tmp_path):
    path = write(tmp_path / "train.jsonl", BAD)
    assert f"坏行写不进 {tmp_path}" in message_of(path, on_bad_rows="skip", bad_rows_path=tmp_path)


@pytest.mark.parametrize("content", ["", "\n \r\n", "[]", "[\n]\n"])
def test_empty_file(tmp_path, content):
    path = write(tmp_path / "train.json", content)
    assert message_of(path) == f"{path} 里没有可用的对话：是空的。"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("array.json", b'[{"a": 1},\n {"a": 2\n', "第 3 行不是合法的 JSON"),
        ("array.json", b'[{"a": 1},\n\n {oops}]', "第 3 行不是合法的 JSON"),
        ("array.json", b"[" * 100_000, "第 1 行不是合法的 JSON"),
        ("array.json", b'[{"a": 1},\n{"a": 2}\n', "第 2 行以后，JSON 数组没有正常结束"),
        ("array.json", b'[{"a": 1}]\n{"a": 2}\n', "第 1 行以后，JSON 数组没有正常结束"),
        ("array.json", b'[\n"' + "你".encode("gbk") + b'"]', "第 2 行不是合法的 UTF-8；若是 GBK 编码"),
        ("utf16.jsonl", LINES[0].encode("utf-16"), "是 UTF-16 编码的，请用编辑器另存为 UTF-8"),
        ("plain.jsonl.gz", LINES[0].encode(), "读不出来：Not a gzipped file"),
        ("cut.jsonl.gz", gzip.compress(LINES[0].encode(), mtime=0)[:-9], "读不出来：Compressed file ended"),
        ("broken.parquet", b"PAR1", "读不出来：Parquet"),
        ("empty.parquet", b"", "读不出来："),
        ("rows.xlsx", b"PK", "读不出来（"),
        ("rows.docx", b"PK", "不认识"),
        ("gbk.csv", "question,answer\n问,答".encode("gbk"), "不是 UTF-8 编码的"),
        ("quotes.csv", b'question,answer\n"a" b,c\n', "第 2 行读不出来"),
        ("same.csv", b"answer,answer\na,b\n", "有两列都叫 answer"),
        ("semicolons.csv", b"question;answer\na;b\n", "分开只有一列"),
        ("empty.csv", b"", "没有表头"),
        ("noname", b"{}", "支持的有 .jsonl、.json、"),
    ],
    ids=[
        "unclosed object",
        "not JSON",
        "endless nesting",
        "unclosed array",
        "text after the array",
        "GBK",
        "UTF-16",
        "not gzipped",
        "truncated gzip",
        "truncated Parquet",
        "empty Parquet",
        "Excel",
        "Word",
        "GBK table",
        "quotes in a table",
        "columns of one name",
        "another separator",
        "empty table",
        "no suffix",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    sentence = message_of(path)
    assert message in sentence
    assert str(path) in sentence
    assert "\n" not in sentence


def test_a_directory(tmp_path):
    assert f"目录 {tmp_path} 里没有数据文件（.jsonl、" in message_of(tmp_path)
    write(tmp_path / "readme.md")
    path = write(tmp_path / "train.jsonl", LINES[0])
    assert message_of(tmp_path) == f"{tmp_path} 是一个目录，请写出其中的数据文件，例如 {path}。"


@pytest.mark.parametrize(
    "source", ["train.jsonl", "data/train.json", "./data/train", "a/b/c", "C:\\data\\train", "data"]
)
def test_a_missing_file(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message_of(source).startswith(f"找不到数据文件 {source}（当前目录是 ")


def test_a_huge_row(tmp_path):
    answer = "长" * 3_000_000
    path = write(tmp_path / "train.jsonl", json.dumps({"instruction": "问", "output": answer}, ensure_ascii=False))
    assert load_conversations(path)[0][1]["content"] == answer


@pytest.mark.parametrize(
    "problem",
    [
        "Config name is missing.\nPlease pick one among the available configs: ['en', 'zh']\nExample of usage:\n\t`x`",
        "BuilderConfig 'fr' not found. Available: ['en', 'zh']",
    ],
    ids=["missing", "unknown"],
)
def test_the_subsets_of_a_hub_dataset_are_listed(problem, monkeypatch):
    """``datasets`` 自己的两种说法；有哪些可选，不能只剩第一行。"""

    def load_dataset(path, subset, *, split):
        raise ValueError(problem)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = message_of("owner/name")
    assert "有几个子集（subset）：'en', 'zh'；" in message
    assert "写成 owner/name/子集:train" in message


def test_on_bad_rows_is_checked():
    with pytest.raises(ValueError, match="on_bad_rows"):
        load_conversations([], on_bad_rows="ignore")


@pytest.mark.parametrize(
    ("source", "name", "subset", "split"),
    [
        ("owner/name", "owner/name", None, "train"),
        ("owner/name:test", "owner/name", None, "test"),
        ("owner/na-me_1.0:train[:2]", "owner/na-me_1.0", None, "train[:2]"),
        ("owner/name/zh-CN:train", "owner/name", "zh-CN", "train"),
        ("owner/name/v1.1_a:train[:2]", "owner/name", "v1.1_a", "train[:2]"),
    ],
)
def test_hub_dataset_and_split(source, name, subset, split, monkeypatch):
    def load_dataset(path, subset, *, split):
        asked.append((path, subset, split))
        return datasets.Dataset.from_list(ROWS[3:])

    asked: list[tuple[str, str | None, str]] = []
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_conversations(source) == EXPECTED[3:]
    assert asked == [(name, subset, split)]


@pytest.mark.parametrize("source", ["owner/name", "owner/name:test[:10]"])
def test_an_unreachable_hub_is_one_sentence_with_ways_out(source):
    code = (
        "import sys; from finetuning.errors import run_main; from finetuning.reading import load_conversations\n"
        "run_main(lambda: load_conversations(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("错误：读不到 hub 上的数据集 owner/name，")
    assert "HF_ENDPOINT" in sentence
    assert "本地文件" in sentence


# ----------------------------------------------------------------------------------------------------------------------
# 读的就是那个文件，不多读，不乱猜


def parquet_file(path: Path, question: str, **columns: object) -> None:
    table = pyarrow.table({"instruction": [question], "output": ["答"], **columns})
    pyarrow.parquet.write_table(table, path)


@pytest.mark.parametrize(
    "name", ["data_[ab].parquet", "data_*.parquet", "data_?.parquet", "{a,b}.parquet", "a**b.parquet"]
)
@pytest.mark.skipif(os.name == "nt", reason="Windows 的文件名里不能有这些字符")
def test_a_parquet_name_is_not_a_pattern(tmp_path, name):
    parquet_file(tmp_path / "data_a.parquet", "别的文件")
    parquet_file(tmp_path / name, "这个文件")
    (conversation,) = load_conversations(tmp_path / name)
    assert conversation[0]["content"] == "这个文件"


def test_columns_that_are_not_used_are_not_decoded(tmp_path):
    """多模态数据集里常有图像、声音列；这里用不到，坏的、在网上的都不去碰。"""
    features = datasets.Features(
        {
            "instruction": datasets.Value("string"),
            "output": datasets.Value("string"),
            "voice": datasets.Audio(),
            "cover": datasets.Image(),
        }
    )
    remote = {"bytes": None, "path": "http://127.0.0.1:9/a.wav"}
    columns = {"instruction": ["问"], "output": ["答"], "voice": [remote], "cover": [{"bytes": b"bad", "path": None}]}
    table = pyarrow.table(columns, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, tmp_path / "media.parquet")
    assert load_conversations(tmp_path / "media.parquet") == [
        [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]
    ]


def test_media_columns_of_a_hub_dataset_are_not_decoded(monkeypatch):
    rows = {"instruction": ["问"], "output": ["答"], "cover": [{"bytes": b"bad", "path": None}]}
    features = datasets.Features(
        {"instruction": datasets.Value("string"), "output": datasets.Value("string"), "cover": datasets.Image()}
    )
    table = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda path, subset, *, split: table)
    assert load_conversations("owner/name")[0][1]["content"] == "答"


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("blank", [" " * 9000, "\n" * 70_000, " \t\r\n" * 30_000])
def test_an_array_after_much_white_space(tmp_path, bom, zipped, blank):
    text = (bom + blank + "[" + ",".join(LINES) + "]").encode()
    path = tmp_path / ("a.json.gz" if zipped else "a.json")
    path.write_bytes(gzip.compress(text) if zipped else text)
    assert load_conversations(path) == EXPECTED
    lines = (bom + blank + "\n" + "\n".join(LINES)).encode()
    path.write_bytes(gzip.compress(lines) if zipped else lines)
    assert load_conversations(path) == EXPECTED


def test_many_keys_are_checked_in_linear_time(tmp_path):
    """六万个键里有两个相同的：以前要几十秒。"""
    pairs = ",".join(f'"{number}": 0' for number in range(60_000))
    path = write(tmp_path / "a.jsonl", "{" + pairs + ',"59999": 1}')
    code = "import sys, resource; from finetuning.reading import load_conversations\n"
    code += "resource.setrlimit(resource.RLIMIT_CPU, (8, 8))\ntry: load_conversations(sys.argv[1])\n"
    code += "except Exception as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert "同一个对象里有两个 '59999'" in done.stdout, done.stderr


def test_bad_rows_are_not_kept_in_memory(tmp_path):
    """停下来列出坏行时，只留要列出的几行，不把整个文件留在内存里。"""
    path = tmp_path / "a.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(300):
            file.write(json.dumps({"text": "坏" * 100_000}, ensure_ascii=False) + "\n")
    code = "import sys, tracemalloc; from finetuning.reading import load_conversations\ntracemalloc.start()\n"
    code += "try: load_conversations(sys.argv[1])\n"
    code += "except Exception as error: print(str(error).splitlines()[0], tracemalloc.get_traced_memory()[1])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, encoding="utf-8")
    sentence, peak = done.stdout.rsplit(" ", 1)
    assert "300 行中有 300 行不能用于训练" in sentence
    assert int(peak) < path.stat().st_size / 20


def test_each_conversation_is_checked_once(monkeypatch):
    """读的时候检查过了，变成数据集时不再检查一遍。"""
    monkeypatch.chdir(ROOT)
    checked = []
    original = reading.parse_row
    monkeypatch.setattr(reading, "parse_row", lambda *row: checked.append(1) or original(*row))
    load_splits(DataArguments(), SFTDataset, toy_tokenizer(), Path("unused"))
    lines = sum(len(Path(f"data/{split}.jsonl").read_text("utf-8").splitlines()) for split in ("train", "dev", "test"))
    assert len(checked) == lines
