"""训练：谁动谁不动，累积、接着训练与一次到底相同；最后是真正的命令行，从头到尾。"""

import hashlib
import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from child_processes import run_command, without_notices
from peft import LoraConfig, get_peft_model
from toy_models import save_toy, toy_tokenizer
from transformers import AutoModelForCausalLM, set_seed

from clinic.doctor import diagnose
from clinic.symptoms import from_json
from data_solution import SFTDataset
from finetuning.adapter import embedding_rows
from finetuning.arguments import DataArguments, parse_arguments
from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.data import load_splits
from finetuning.errors import UserError
from finetuning.model import load_model
from finetuning.output.directory import OutputDir
from finetuning.training import build_trainer, train

ROOT = Path(__file__).parents[1]


def conversation(number: int) -> dict:
    """长短不一；三分之一有系统提示，三分之一是两轮。"""
    turns = [{"role": "user", "content": f"今天天气怎么样？{'请回答。' * (number % 4)}{number}"}]
    turns += [{"role": "assistant", "content": "今天天气晴朗。" * (number % 3 + 1)}]
    if number % 3 == 0:
        turns.insert(0, {"role": "system", "content": "你是小助手。"})
    if number % 3 == 1:
        turns += [{"role": "user", "content": "猫喜欢什么？"}, {"role": "assistant", "content": "猫喜欢鱼。"}]
    return {"conversations": turns, "skill": "天气"}


def write(path: Path, numbers: range) -> str:
    lines = [json.dumps(conversation(number), ensure_ascii=False) for number in numbers]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def make_workplace(path: Path) -> Path:
    """训练脚本在里面运行的目录：一个小模型，40 段训练的、4 段检验的对话。"""
    save_toy(path / "base")
    write(path / "train.jsonl", range(40))
    write(path / "test.jsonl", range(100, 104))
    return path


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """一个小模型和 40 行数据。"""
    path = tmp_path_factory.mktemp("work")
    save_toy(path / "base")
    save_toy(path / "no_chatml", "llama", chatml=False)
    write(path / "train.jsonl", range(40))
    write(path / "test.jsonl", range(100, 112))
    return path


@contextmanager
def trainer_for(workplace, output_dir, *flags, lora=False, base="base"):
    argv = ["--model_name_or_path", str(workplace / base), "--train_file", str(workplace / "train.jsonl")]
    argv += ["--test_file", str(workplace / "test.jsonl"), "--output_dir", str(output_dir)]
    argv += ["--learning_rate", "1e-2", "--bf16", "false", "--disable_tqdm", "true", *flags]
    model_args, data_args, args = parse_arguments("", {}, argv=argv)
    set_seed(args.seed)
    with OutputDir("lora" if lora else "full", model_args, data_args, args) as output:
        model, tokenizer, new = load_model(model_args.model_name_or_path)
        data = load_splits(data_args, SFTDataset, tokenizer, output.unfinished)
        if lora:
            rows = embedding_rows(model, new)
            config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=rows)
            model = get_peft_model(model, config)
        yield build_trainer(model, tokenizer, data, args, model_args.padding_free, output)


def trained(*arguments, **options):
    """训练完的参数。"""
    with trainer_for(*arguments, **options) as trainer:
        train(trainer)
        return snapshot(trainer)


def snapshot(trainer):
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize(("lora", "base"), [(False, "base"), (True, "base"), (True, "no_chatml")])
def test_every_trainable_parameter_moves_and_no_frozen_one(workplace, tmp_path, lora, base):
    with trainer_for(workplace, tmp_path / "out", "--max_steps", "4", lora=lora, base=base) as trainer:
        before = snapshot(trainer)
        train(trainer)
        after = snapshot(trainer)
        trainable = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == trainable
    if lora:
        assert all("lora_" in name or "trainable_tokens" in name for name in trainable)
    else:
        assert trainable == set(before)


def test_padding_free_is_the_same_optimisation(workplace, tmp_path):
    losses = []
    for number, flag in enumerate(("true", "false")):
        flags = ["--padding_free", flag, "--max_steps", "6", "--logging_steps", "1", "--learning_rate", "1e-3"]
        with trainer_for(workplace, tmp_path / str(number), *flags) as trainer:
            assert isinstance(trainer.data_collator, PackedCollator if flag == "true" else PaddedCollator)
            train(trainer)
            losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 6


def test_accumulation_equals_the_big_batch(workplace, tmp_path):
    """各小批要学的 token 数不同；按 token 平均，所以累积与大批完全一样。"""
    results = []
    for number, (batch, accumulation) in enumerate(((8, 1), (2, 4))):
        flags = ["--per_device_train_batch_size", str(batch), "--gradient_accumulation_steps", str(accumulation)]
        flags += ["--max_steps", "3", "--optim", "sgd", "--max_grad_norm", "0"]
        results.append(trained(workplace, tmp_path / str(number), *flags))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("lora", "base"), [(False, "base"), (True, "no_chatml")])
def test_resuming_equals_not_stopping(workplace, tmp_path, lora, base):
    flags = ["--num_train_epochs", "2", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "5"]
    out = tmp_path / "out"
    expected = trained(workplace, out, *flags, lora=lora, base=base)
    shutil.rmtree(out / "checkpoint-6")
    shutil.rmtree(out / "checkpoint-4")
    flags += ["--resume_from_checkpoint", "true"]
    with trainer_for(workplace, out, *flags, lora=lora, base=base) as resumed:
        assert Path(resumed.args.resume_from_checkpoint).name == "checkpoint-2"
        train(resumed)
        for name, value in snapshot(resumed).items():
            assert torch.equal(value, expected[name]), name
    if lora:  # 检查点里也没有整个嵌入矩阵
        assert (out / "checkpoint-2" / "adapter_model.safetensors").stat().st_size < 60_000


def test_same_seed_same_result(workplace, tmp_path):
    runs = []
    for number, seed in enumerate(("1", "1", "2")):
        runs.append(trained(workplace, tmp_path / str(number), "--max_steps", "3", "--seed", seed, lora=True))
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())
    assert any(not torch.equal(value, runs[2][name]) for name, value in runs[0].items())


def test_held_out_rows_are_never_trained_on(workplace, tmp_path):
    arguments = DataArguments(train_file=str(workplace / "train.jsonl"))
    splits = load_splits(arguments, SFTDataset, toy_tokenizer(), tmp_path)
    assert (len(splits.train), len(splits.test), splits.held_out) == (38, 2, ("test",))
    trained = {tuple(splits.train[index]["input_ids"]) for index in range(38)}
    assert all(tuple(splits.test[index]["input_ids"]) not in trained for index in range(2))
    one = write(tmp_path / "one.jsonl", range(1))
    with pytest.raises(UserError, match="--test_file"):
        load_splits(DataArguments(train_file=one), SFTDataset, toy_tokenizer(), tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# 命令行


def run(workplace, script, *flags):
    data = ("--train_file", "train.jsonl", "--test_file", "test.jsonl")
    return run_command(script, "--model_name_or_path", "base", *data, *flags, cwd=workplace)


@pytest.mark.parametrize(
    ("script", "flags", "weights"),
    [
        ("train_sft_solution.py", [], "model.safetensors"),
        (
            "train_lora_solution.py",
            ["--model_name_or_path", "no_chatml", "--gradient_checkpointing", "--lora_r", "4", "--merge_and_save"],
            "adapter_model.safetensors",
        ),
    ],
)
def test_the_command_line_end_to_end(workplace, tmp_path, script, flags, weights):
    result = run(workplace, script, "--validation_file", "test.jsonl", "--output_dir", str(tmp_path / "out"), *flags)
    assert result.returncode == 0, result.stderr
    for words in ("模型", "设备", "40 段", "12 段", "训练前", "训练后", "损失", "逐字匹配", "秒", "MB"):
        assert words in result.stdout
    assert f"uv run python chat.py {tmp_path / 'out'}" in result.stdout
    assert "arn" not in result.stderr, result.stderr  # Warning、warn
    progress = without_notices(result.stderr.replace("\r", "\n"))
    assert set(progress.strip()) <= set("0123456789%|/[]<:,=.?-it/s loss█▉▊▋▌▍▎▏#\n"), result.stderr

    out = tmp_path / "out"
    for name in (weights, "tokenizer.json", "chat_template.jinja", "loss_curve.png"):
        assert (out / name).stat().st_size > 0
    assert not (out / "training_args.bin").exists()
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    lora = "lora" in script
    assert metrics["method"] == ("lora" if lora else "full")
    assert metrics["model"] == ("no_chatml" if lora else "base")
    assert metrics["seed"] == 42
    assert (metrics["trainable_parameters"] < metrics["total_parameters"]) == lora
    assert metrics["train_seconds"] > 0
    assert metrics["peak_memory_mb"] > 50
    for moment in ("before", "after"):
        assert metrics[moment].keys() - {"skills"} == {"loss", "exact_match"}
        assert 0 <= metrics[moment]["exact_match"] <= 1
    assert metrics["after"]["loss"] < metrics["before"]["loss"]
    assert len(metrics) == 11
    symptoms = json.loads((out / "symptoms.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in metrics["diagnosis"]] == [each.name for each in diagnose(from_json(symptoms))]
    check_answers(out, workplace / "test.jsonl", metrics)
    shown = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()][::2][:5]
    assert result.stdout.count("    训练后  ") == len(shown)
    wrong = [each["reference"] for each in shown if not each["right"]]
    assert re.findall("^    应是    (.*)$", result.stdout, re.MULTILINE) == wrong  # 答错的，旁边写着该怎样答
    record = json.loads((out / "arguments.json").read_text(encoding="utf-8"))
    assert record["data"]["train"][0]["sha256"] == hashlib.sha256((workplace / "train.jsonl").read_bytes()).hexdigest()
    assert record["arguments"]["learning_rate"] == (4e-3 if lora else 4e-4)
    assert record["arguments"]["max_length"] == 512
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    if lora:
        merged = AutoModelForCausalLM.from_pretrained(out / "merged")
        assert merged.generation_config.eos_token_id[0] == merged.config.eos_token_id


def check_answers(out, test_file, metrics):
    """``answers.jsonl`` 一行一个检验的问题，次序相同；重新数一遍，就是 ``metrics.json`` 里的数。"""
    rows = [json.loads(line) for line in test_file.read_text(encoding="utf-8").splitlines()]
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == len(rows)
    for number, (answer, row) in enumerate(zip(answers, rows, strict=True), 1):
        assert (answer["file"], answer["line"], answer["skill"]) == (test_file.name, number, row["skill"])
        assert [*answer["question"], {"role": "assistant", "content": answer["reference"]}] == row["conversations"]
        assert answer["right"] == (answer["ended"] and answer["answer"] == answer["reference"])
    right = sum(answer["right"] for answer in answers)
    assert metrics["after"]["exact_match"] == right / len(rows)
    assert metrics["before"]["exact_match"] == sum(answer["right_before"] for answer in answers) / len(rows)
    assert metrics["after"]["skills"] == {"天气": {"right": right, "asked": len(rows)}}


def test_a_mistake_ends_in_one_sentence(workplace, tmp_path):
    result = run(
        workplace, "train_lora_solution.py", "--output_dir", str(tmp_path / "out"), "--target_modules", "q_prj"
    )
    said = without_notices(result.stderr)
    assert result.returncode == 1
    assert said.startswith("错误：")
    assert said.count("\n") == 1, said
    assert "q_prj" in said
    assert "q_proj" in said
