"""命令行：帮助、写错的参数、默认值。"""

import subprocess
import sys
from pathlib import Path

import pytest

from finetuning.arguments import parse_arguments
from finetuning.arguments.options import TrainingDefaults

ROOT = Path(__file__).parents[1]
SCRIPTS = ["train_sft_solution.py", "train_lora_solution.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_one_chinese_screen_without_torch(script):
    command = f"import runpy, sys; sys.argv = ['x', '--help']\ntry: runpy.run_path({script!r}, run_name='__main__')\n"
    command += "except SystemExit: print('TORCH', 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert result.returncode == 0
    assert result.stderr == ""
    assert "TORCH False" in result.stdout
    assert len(result.stdout.splitlines()) <= 50
    for name in ("model_name_or_path", "train_file", "output_dir", "learning_rate", "max_length", "help_all"):
        assert f"--{name} " in result.stdout
    assert ("--lora_r " in result.stdout) == ("lora" in script)
    assert f"uv run python {script}" in result.stdout


def parse(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        parse_arguments("", {}, argv=argv)
    return stop.value.code, capsys.readouterr()


def test_help_all_lists_the_trainer_flags(capsys):
    code, output = parse(capsys, "--help_all")
    assert code == 0
    assert "--weight_decay" in output.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--lr", "1e-3"], ["--lr"]),
        (["--learning_rat", "1e-3"], ["--learning_rat", "是不是 --learning_rate"]),
        (["--learning_rate", "fast"], ["--learning_rate", "数字", "fast"]),
        (["--learning_rate"], ["--learning_rate", "缺少值"]),
        (["--learning_rate", "-1"], ["--learning_rate", "负数"]),
        (["--per_device_train_batch_size", "0"], ["--per_device_train_batch_size", "至少是 1"]),
        (["--max_length", "1"], ["--max_length"]),
        (["--on_bad_rows", "ignore"], ["--on_bad_rows", "stop", "skip", "ignore"]),
        (["--padding_free", "perhaps"], ["--padding_free", "true", "perhaps"]),
        (["--learning_rate", "0"], ["--learning_rate", "大于 0"]),
        (["--output_dir", "a\x1bb"], ["--output_dir", "不能显示"]),
        (["--train_file", "a\udcff"], ["UTF-8"]),
        (["stray"], ["stray"]),
    ],
)
def test_mistakes_are_one_sentence(capsys, argv, words):
    code, output = parse(capsys, *argv)
    assert code == 2
    assert output.out == ""
    assert output.err.startswith("参数有误：")
    assert output.err.count("\n") == 1
    for word in words:
        assert word in output.err


def test_switches_and_defaults(tmp_path):
    argv = ["--bf16", "false", "--gradient_checkpointing", "--output_dir", str(tmp_path), "--weight_decay", "0.1"]
    _, data, args = parse_arguments("", {"learning_rate": 7e-3}, argv=argv)
    assert not args.bf16
    # 新的 transformers 里，它换了个名字。
    assert getattr(args, "activation_checkpointing", args.gradient_checkpointing)
    assert args.learning_rate == 7e-3
    assert args.weight_decay == 0.1
    assert args.lr_scheduler_type == TrainingDefaults().lr_scheduler_type == "cosine"
    assert (data.validation_file, data.test_file) == ("data/dev.jsonl", "data/test.jsonl")
    _, own, _ = parse_arguments("", {}, argv=["--train_file", "my.jsonl", "--output_dir", str(tmp_path)])
    assert (own.validation_file, own.test_file) == (None, None)
