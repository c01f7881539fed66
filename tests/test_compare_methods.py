"""compare_methods.py：真正的进程，两种方法各训练一次；再运行就沿用；表里只有测过的列。"""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from child_processes import finish_script, fork_trainings
from test_training_run import write
from toy_models import save_toy
from transformers import AutoModelForCausalLM, AutoTokenizer

import compare_methods
import train_lora_solution
import train_sft_solution
from finetuning.compare.table import Row, plot, to_markdown
from finetuning.errors import run_main

ROOT = Path(__file__).parents[1]
TEXTS = ["猫喜欢鱼。", "法国的首都是巴黎。\n今天天气晴朗。"]
FLAGS = ["--methods", "full", "prefix", "--seeds", "7", "--model_name_or_path", "base", "--output_dir", "cmp"]
FLAGS += ["--forget_file", "texts.txt", "--", "--train_file", "train.jsonl", "--test_file", "test.jsonl"]
FLAGS += ["--max_steps", "3", "--exact_match", "false"]


def compare(workplace, *flags):
    return finish_script("compare_methods", list(flags), workplace, fork_trainings)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare")
    save_toy(path / "base")
    write(path / "train.jsonl", range(20))
    write(path / "test.jsonl", range(100, 106))
    (path / "texts.txt").write_text("\n\n\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def naive_text_loss(path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    losses = []
    for text in TEXTS:
        ids = torch.tensor([[0, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            predicted = model(ids).logits[0, :-1].log_softmax(-1)
        losses += (-predicted.gather(1, ids[0, 1:, None])).flatten().tolist()
    return sum(losses) / len(losses)


def test_two_methods_end_to_end_then_reused(workplace):
    result = finish_script("compare_methods", FLAGS, workplace)  # 训练也各从头启动一个真的进程
    assert result.returncode == 0, result.said
    out = workplace / "cmp"
    methods = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["methods"]
    assert list(methods) == ["base", "full", "prefix"]
    for name in ("full", "prefix"):
        metrics = json.loads((out / f"runs/{name}_7/metrics.json").read_text(encoding="utf-8"))
        assert metrics["seed"] == 7
        assert methods[name]["loss"] == [metrics["after"]["loss"]]
        assert methods[name]["trainable_parameters"] == [metrics["trainable_parameters"]]
    assert methods["full"]["trainable_share"] == [1.0]
    weights = out / "runs/full_7/model.safetensors"
    assert methods["full"]["disk_mb"] == [weights.stat().st_size / 1e6]
    assert methods["base"]["loss"][0] > methods["full"]["loss"][0]
    # 没有测逐字匹配，就没有这一列；全参数微调没有可以关掉的适配器
    table = (out / "comparison.md").read_text(encoding="utf-8")
    assert "逐字匹配" not in table
    assert "关掉适配器" in table
    assert "text_loss_adapter_off" not in methods["full"]
    assert f"--learning_rate {compare_methods.METHODS['full'].learning_rate:g} " in table
    assert "--method prefix" in table
    assert "内存峰值（MB）" in (out / "comparison.svg").read_text(encoding="utf-8")
    # 遗忘，与最直接的算法对照
    assert methods["base"]["text_loss"] == pytest.approx([naive_text_loss(workplace / "base")], rel=1e-4)
    assert methods["full"]["text_loss"] == pytest.approx([naive_text_loss(out / "runs/full_7")], rel=1e-4)
    assert methods["prefix"]["text_loss_adapter_off"] == methods["base"]["text_loss"] != methods["prefix"]["text_loss"]

    # 一次没有做完（没有 metrics.json），只重做这一次
    before = weights.stat().st_mtime_ns
    (out / "runs/prefix_7/metrics.json").unlink()
    again = compare(workplace, *FLAGS)
    assert again.returncode == 0, again.said
    assert "full 学习率 0.0004 种子 7（沿用做完的）" in again.said
    assert "prefix 学习率 0.2 种子 7（新训练的）" in again.said
    assert weights.stat().st_mtime_ns == before
    assert json.loads((out / "comparison.json").read_text(encoding="utf-8"))["methods"]["full"] == methods["full"]


def test_only_numbers_of_a_method_are_compared(tmp_path):
    """每项技能的数留在各次训练的结果里，不进比较的表。"""
    metrics = {"trainable_parameters": 1, "total_parameters": 2, "peak_memory_mb": 3.0, "train_seconds": 4.0}
    metrics["before"] = {"loss": 2.0, "exact_match": 0.0}
    metrics["after"] = {"loss": 1.0, "exact_match": 0.5, "skills": {"加法": {"right": 1, "asked": 2}}}
    rows = compare_methods.collect([compare_methods.Run("lora", 1, [], tmp_path)], [metrics])
    assert all(
        isinstance(value, int | float) for row in rows.values() for each in row.values.values() for value in each
    )
    assert rows["lora"].values["exact_match"] == [0.5]


def main_says(monkeypatch, capsys, *flags):
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", *flags])
    with pytest.raises(SystemExit) as stop:
        run_main(compare_methods.main)
    output = capsys.readouterr()
    assert output.err.strip().count("\n") == 0
    return stop.value.code, output.err


def test_mistakes_are_one_sentence(workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    out = ["--output_dir", str(tmp_path)]
    code, said = main_says(monkeypatch, capsys, "--methods", "lore", *out)
    assert (code, "lora_qv" in said) == (2, True)
    code, said = main_says(monkeypatch, capsys, "--learning_rates", "1e-3", *out)
    assert (code, "lora=2e-4" in said) == (2, True)
    code, said = main_says(monkeypatch, capsys, "--forget_file", "missing.txt", *out)
    assert (code, "missing.txt" in said) == (1, True)


def test_a_failed_training_is_named(workplace):
    """训练脚本说的那一句话，原样转告。"""
    result = compare(workplace, "--methods", "full", "--seeds", "1", "--output_dir", "bad", "--max_lenght", "9")
    assert result.returncode == 1
    said = result.said[result.said.index("错误：") :]
    assert said.count("\n") == 1
    for words in ("train_sft_solution.py", "--max_lenght", "是不是 --max_length", "full_1.log", "--methods"):
        assert words in said


def test_qlora_is_left_out_without_bitsandbytes(monkeypatch, capsys):
    monkeypatch.setattr(compare_methods, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", "--methods", "qlora"])
    with pytest.raises(SystemExit):
        run_main(compare_methods.main)
    assert "uv run 后面加上 --extra qlora" in capsys.readouterr().out


def test_the_table_agrees_with_the_scripts():
    """表里的学习率就是训练脚本的默认值，只有 q、v 的另选。"""
    rates = {name: method.learning_rate for name, method in compare_methods.METHODS.items()}
    assert rates.pop("full") == train_sft_solution.DEFAULTS["learning_rate"]
    rates.pop("lora_qv")
    assert rates == train_lora_solution.LEARNING_RATES


def test_table_and_picture_by_hand(tmp_path):
    rows = [
        Row("base", "基座", {"loss": [2.0]}),
        Row("lora", "LoRA", {"loss": [0.5, 0.7], "exact_match": [0.8, 0.9], "disk_mb": [0.4, 0.4]}),
    ]
    assert to_markdown(rows).splitlines() == [
        "| 方法 | 存盘（MB） | 检验损失（nat） | 逐字匹配 |",
        "|---|---|---|---|",
        "| 基座 |  | 2.000 |  |",
        "| LoRA | 0.40 | 0.600（0.500–0.700） | 85.0%（80.0%–90.0%） |",
    ]
    plot(rows, tmp_path / "a.svg")
    texts = re.findall("<text[^>]*>([^<]*)</text>", (tmp_path / "a.svg").read_text(encoding="utf-8"))
    # 名字只写一次；一格一个量，一行一种方法，没有测的是“—”
    assert sorted(texts) == sorted(
        ["基座", "LoRA", "存盘（MB）", "—", "0.40", "检验损失（nat）", "2.000", "0.600", "逐字匹配", "—", "85.0%"]
    )


def test_changed_data_is_trained_on_again(workplace, tmp_path):
    """命令一字不差，数据变了：不能沿用以前的结果，也不能沿用以前量的遗忘。"""
    data = tmp_path / "train.jsonl"
    write(data, range(20))
    flags = ["--methods", "full", "--seeds", "1", "--model_name_or_path", "base", "--output_dir", str(tmp_path / "cmp")]
    flags += ["--forget_file", "texts.txt", "--", "--train_file", str(data), "--test_file", "test.jsonl"]
    flags += ["--max_steps", "2", "--exact_match", "false"]
    losses = []
    for rows, origin in ((range(20), "新训练的"), (range(20), "沿用做完的"), (range(30, 50), "新训练的")):
        write(data, rows)
        result = compare(workplace, *flags)
        assert result.returncode == 0, result.said
        assert f"full 学习率 0.0004 种子 1（{origin}）" in result.said
        results = json.loads((tmp_path / "cmp" / "comparison.json").read_text(encoding="utf-8"))
        losses.append((results["methods"]["full"]["loss"], results["methods"]["full"]["text_loss"]))
    assert losses[0] == losses[1]
    assert losses[1][0] != losses[2][0]
    assert losses[1][1] != losses[2][1]


def test_a_failed_retraining_does_not_lend_its_command_to_the_old_result(workplace, tmp_path):
    """换了学习率，训练没有做完：旧的结果不能算成新的命令的。"""
    flags = ["--methods", "full", "--seeds", "1", "--model_name_or_path", "base", "--output_dir", str(tmp_path / "cmp")]
    more = [
        "--",
        "--train_file",
        "train.jsonl",
        "--test_file",
        "test.jsonl",
        "--max_steps",
        "2",
        "--exact_match",
        "false",
    ]
    assert compare(workplace, *flags, *more).returncode == 0
    broken = [*flags, "--learning_rates", "full=1e38", *more]
    for _ in range(2):
        result = compare(workplace, *broken)
        assert result.returncode == 1
        assert "沿用" not in result.said
    again = compare(workplace, *flags, *more)
    assert "full 学习率 0.0004 种子 1（沿用做完的）" in again.said


def test_an_adapter_that_changed_is_continued_again(workplace, tmp_path):
    def lora(seed):
        flags = ["--model_name_or_path", "base", "--max_steps", "2", "--output_dir", str(tmp_path / "one")]
        flags += ["--train_file", "train.jsonl", "--test_file", "test.jsonl", "--seed", seed]
        assert finish_script("train_lora_solution", flags, workplace).returncode == 0

    flags = ["--methods", "lora", "--seeds", "1", "--model_name_or_path", str(tmp_path / "one")]
    flags += ["--output_dir", str(tmp_path / "cmp"), "--", "--train_file", "train.jsonl", "--test_file", "test.jsonl"]
    flags += ["--max_steps", "2", "--exact_match", "false"]
    for seed in ("1", "2"):
        lora(seed)
        result = compare(workplace, *flags)
        assert "lora 学习率 0.004 种子 1（新训练的）" in result.said


def test_a_training_result_is_not_a_comparison(workplace, tmp_path):
    out = tmp_path / "sft"
    flags = ["--model_name_or_path", "base", "--max_steps", "2", "--output_dir", str(out)]
    flags += ["--train_file", "train.jsonl", "--test_file", "test.jsonl"]
    assert finish_script("train_sft_solution", flags, workplace).returncode == 0
    names = sorted(path.name for path in out.iterdir())
    result = compare(workplace, *FLAGS[:7], "--output_dir", str(out))
    assert result.returncode == 1
    assert "不是比较的" in result.said
    assert sorted(path.name for path in out.iterdir()) == names
