"""真实的模型那一课：数据、衡量、记录；用自带的基座走几步，走的是同样的代码。"""

import json
from collections import Counter
from pathlib import Path

import pytest
from child_processes import ROOT, run_command

from benchmarks import real_data, real_readings
from benchmarks.gemma import convert
from benchmarks.real_model import RECORD, VARIATIONS, table
from finetuning.errors import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    real_data.write(directory)
    return directory


def test_the_data_is_ours_and_nothing_tested_was_learnt(data):
    rows = {path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in data.iterdir()}
    assert {name: len(own) for name, own in rows.items()} == {
        "train_600": 600, "train_150": 150, "dev": 60, "test": 96,
    }  # fmt: skip
    library = [real_data.is_library(row["skill"]) for row in rows["train_600"]]
    assert (library.count(True), library.count(False)) == (270, 330)
    assert rows["train_600"][:150] == rows["train_150"]
    written = {
        json.dumps(json.loads(line)["conversations"], ensure_ascii=False)
        for name in ("data/example/library", "data/example/library_test", "data/train", "data/dev", "data/test")
        for line in (ROOT / f"{name}.jsonl").read_text("utf-8").splitlines()
    }
    asked = {
        name: {json.dumps(row["conversations"][:-1], ensure_ascii=False) for row in own} for name, own in rows.items()
    }
    assert all(json.dumps(row["conversations"], ensure_ascii=False) in written for own in rows.values() for row in own)
    assert not asked["test"] & asked["train_600"]
    assert not asked["dev"] & asked["train_600"]


def test_the_references_keep_the_style(data):
    """规则若连参考答案都说不合口吻，量的就不是口吻；明显不合的，也要看得出来。"""
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text("utf-8").splitlines()]
    library = [row["conversations"][-1]["content"] for row in rows if real_data.is_library(row["skill"])]
    assert len(library) == 40
    assert all(map(real_data.keeps_style, library))
    long_enough = "带上身份证，到一层服务台就能办，开馆时都有人。"
    assert real_data.keeps_style(long_enough)
    for wrong in ("能办，带上身份证。", f"你{long_enough}", f"亲，{long_enough}", f"{long_enough}！", "说" * 81):
        assert not real_data.keeps_style(wrong)


def test_it_runs_and_goes_on_where_it_stopped(tmp_path):
    record = tmp_path / "record.json"
    command = ["--steps", "2", "--output_dir", tmp_path / "out", "--record", record, "--names"]
    first = run_command("benchmarks/real_model.py", "base_model", *command, "普通")
    assert first.returncode == 0, first.stderr
    once = json.loads(record.read_text("utf-8"))
    assert len(once["base"]["few_shot"]["answers"]) == len(once["questions"]) == 96
    assert list(once["runs"]) == ["普通"]
    run = once["runs"]["普通"]
    assert [entry["step"] for entry in run["log"] if "eval_loss" in entry] == [1, 2]
    assert len(run["measured"]["losses"]) == len(run["measured"]["answers"]) == 96
    assert run["measured"]["text_loss_adapter_off"] == pytest.approx(once["base"]["chat"]["text_loss"], rel=1e-5)
    again = run_command("benchmarks/real_model.py", "base_model", *command, "普通")
    assert again.returncode == 0, again.stderr
    assert "train_lora_solution" not in again.stdout
    assert json.loads(record.read_text("utf-8")) == once
    command[1] = "3"  # 同样的名字，别的步数：不能拿上一次的当结果
    other = run_command("benchmarks/real_model.py", "base_model", *command, "普通")
    assert other.returncode == 0, other.stderr
    redone = json.loads(record.read_text("utf-8"))["runs"]["普通"]
    assert redone["settings"]["steps"] == max(entry["step"] for entry in redone["log"]) == 3
    older = once | {"versions": once["versions"] | {"torch": "2.0"}}  # 做过的照样写成表，没有做过的不接着做
    record.write_text(json.dumps(older, ensure_ascii=False), encoding="utf-8")
    command[1] = "2"
    assert run_command("benchmarks/real_model.py", "base_model", *command, "普通").returncode == 0
    refused = run_command("benchmarks/real_model.py", "base_model", *command, "6 轮")
    assert (refused.returncode, "用 torch 2.0" in refused.stderr) == (1, True), refused.stderr
    assert json.loads(record.read_text("utf-8")) == older


def test_the_record_of_another_model_is_not_written_over(tmp_path):
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"model": "另一个", "questions": []}), encoding="utf-8")
    result = run_command("benchmarks/real_model.py", "base_model", "--output_dir", tmp_path / "out", "--record", record)
    assert result.returncode == 1
    assert "另一个模型" in result.stderr
    assert json.loads(record.read_text("utf-8"))["model"] == "另一个"


def test_the_stored_record_is_whole():
    record = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    assert set(record["runs"]) == set(VARIATIONS)
    kinds = Counter(question["skill"] for question in record["questions"] if question["library"])
    assert set(kinds.values()) == {5}, "教程里说每种 5 题"
    for name, run in record["runs"].items():
        changed = {key for key, value in run["settings"].items() if value != record["runs"]["普通"]["settings"][key]}
        assert changed == set(VARIATIONS[name]), name
        assert run["settings"]["steps"] == max(entry["step"] for entry in run["log"]), name


def test_the_table_is_of_the_record():
    record = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    assert (ROOT / RECORD).with_suffix(".md").read_text(encoding="utf-8") == table(record)


def test_gemma_needs_its_packages(tmp_path):
    with pytest.raises(UserError, match="uv run --with gguf"):
        convert(tmp_path / "gemma")


# ----------------------------------------------------------------------------------------------------------------------
# 读回答


def test_kappa_is_cohens():
    """手算：20 个里相同 15 个；各说“是” 12、11 个，碰巧相同的是 0.6 × 0.55 + 0.4 × 0.45 = 0.51。"""
    first = [1] * 9 + [0] * 6 + [1] * 3 + [0] * 2
    second = [1] * 9 + [0] * 6 + [0] * 3 + [1] * 2
    same, kappa = real_readings.agreement(first, second)
    assert same == pytest.approx(0.75)
    assert kappa == pytest.approx((0.75 - 0.51) / 0.49)
    assert real_readings.agreement(first, first) == (1.0, 1.0)


def test_the_sheet_hides_which_is_which():
    record = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    sheet, items = real_readings.sheet(record), real_readings.chosen(record)
    assert len(sheet) == len(items) == 100
    assert {key for row in sheet for key in row} == {"问", "参考答案", "回答"}
    polite = {
        moment: sum("您" in row["回答"] for row, (when, _) in zip(sheet, items, strict=True) if when == moment)
        for moment in ("before", "after")
    }  # 教程里说的：猜得出
    assert polite["before"] < 5 < 25 < polite["after"]
    moments = [moment for moment, _ in items]
    assert moments.count("before") == 50
    assert moments != sorted(moments)
    stored = json.loads((ROOT / "results/real_readings.json").read_text(encoding="utf-8"))
    assert [tuple(item) for item in stored["items"]] == items, "读的就是存着的记录里的回答"


def test_wrong_scores_are_refused(tmp_path):
    short, odd = tmp_path / "short.json", tmp_path / "odd.json"
    short.write_text("[[1, 1, 1]]", encoding="utf-8")
    odd.write_text(json.dumps([[1, 1, 2]] * 100), encoding="utf-8")
    for paths, words in (([short, short], "应是 100 项"), ([odd, odd], "三个 0 或 1"), ([short], "两个读者")):
        result = run_command("benchmarks/real_readings.py", *paths)
        assert result.returncode == 1
        assert words in result.stderr
