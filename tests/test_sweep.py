"""``compare_methods.py --sweep``：走过的学习率，哪个最好，哪几个换种子再做；从头到尾做一次。"""

import json
import math

import pytest
from child_processes import finish_script

import compare_methods
from finetuning.compare.sweep import FACTOR, best_rate, sweep, to_markdown

SEEDS = [1, 2, 3]


def valley(best, luck=lambda rate, seed: 0.0):
    """损失在 ``best`` 最低的“训练”，和走过的（学习率, 种子）。"""
    tried = []

    def run(method, rate, seed):
        tried.append((rate, seed))
        return {"loss": abs(math.log2(rate / best)) + luck(rate, seed), "exact_match": None}

    return run, tried


@pytest.mark.parametrize("steps", range(-5, 6))
def test_the_best_has_a_neighbour_on_either_side_and_every_seed(steps):
    """最好的离出发点几步远都找得到；它和左右两个，每个种子都做过；别的只做一个种子，没有一次是重复的。"""
    best = 1e-3 * FACTOR**steps
    run, tried = valley(best)
    trials = sweep("lora", 1e-3, SEEDS, run)
    assert best_rate(trials) == pytest.approx(best)
    assert len(set(tried)) == len(tried) == len(trials)
    seeds = {rate: sorted(seed for each, seed in tried if each == rate) for rate, _ in tried}
    assert len(seeds) >= 5
    near = [best / FACTOR, best, best * FACTOR]
    assert [rate for rate, done in sorted(seeds.items()) if done == SEEDS] == pytest.approx(near)
    assert all(done == [1] for rate, done in seeds.items() if all(rate != pytest.approx(each) for each in near))


def test_one_lucky_seed_does_not_decide():
    """第一个种子碰巧最好的学习率，别的种子不好：看平均；换成的那一个，两边也都做过每个种子。"""
    run, tried = valley(1e-3, luck=lambda rate, seed: -1.5 if rate == 2e-3 and seed == 1 else 0.0)
    assert best_rate(sweep("lora", 1e-3, SEEDS, run)) == 1e-3
    assert {(5e-4, seed) for seed in SEEDS} <= set(tried)
    assert len(set(tried)) == len(tried)


def test_a_loss_that_only_falls_ends():
    run, tried = valley(1e9)
    sweep("lora", 1e-3, [1], run)
    assert len(tried) == 9


def test_the_table_says_mean_and_range():
    run, _ = valley(1e-3, luck=lambda rate, seed: seed / 10)
    table = to_markdown(sweep("lora", 1e-3, SEEDS, run), {"lora": "LoRA"})
    assert "| LoRA | **0.001** | 3 | 0.200（0.100–0.300） |" in table


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    """训练换成算得出结果的：每次的命令用的是验证数据、那个学习率和种子；写下的表与 json 就是这些训练的结果。"""
    commands = []

    def train(script, command, directory):
        commands.append((script.name, command, directory))
        rate, seed = (float(command[command.index(flag) + 1]) for flag in ("--learning_rate", "--seed"))
        return {"after": {"loss": abs(math.log2(rate / 8e-4)) + seed / 100, "exact_match": 0.5, "skills": {}}}

    monkeypatch.setattr("finetuning.compare.runs.train_in_process", train)
    monkeypatch.chdir(tmp_path)
    flags = ["--sweep", "--methods", "full", "--seeds", "1", "2", "--train_file", "my.jsonl", "--dev_file", "dev.jsonl"]
    monkeypatch.setattr(
        "sys.argv", ["compare_methods.py", *flags, "--model_name_or_path", "base", "--output_dir", "out"]
    )
    compare_methods.main()
    assert len({str(directory) for *_, directory in commands}) == len(commands)
    for script, command, _ in commands:
        assert script == "train_sft_solution.py"
        assert command[command.index("--test_file") + 1] == "dev.jsonl"
        assert command[command.index("--train_file") + 1] == "my.jsonl"
    content = json.loads((tmp_path / "out/sweep.json").read_text("utf-8"))
    assert content["best"] == {"full": 8e-4}
    assert len(content["trials"]) == len(commands)
    assert content["trials"][0]["measured"].keys() == {"loss", "exact_match"}
    assert "**0.0008**" in (tmp_path / "out/sweep.md").read_text("utf-8")
    assert "--learning_rates full=0.0008" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sweep", "--test_file", "test.jsonl"], "选学习率不能用检验数据"),
        (["--sweep", "--train_file", "my.jsonl"], "--dev_file"),
        (["--dev_file", "dev.jsonl"], "--dev_file 是 --sweep 用的"),
    ],
)
def test_choosing_on_the_wrong_data_is_refused(tmp_path, flags, said):
    result = finish_script("compare_methods", flags, tmp_path)
    assert result.returncode == 2
    assert said in result.said
