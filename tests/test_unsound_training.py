"""坏了的、什么也没学到的、不是它说的那样的训练，不能当作做完了；每个碰到损失的参数，免填充与填充的结果相同。"""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from child_processes import run_command, run_script
from safetensors.torch import load_file, save_file
from test_nothing_lost import FULL, LORA, flags, log_of
from test_training_run import conversation, make_workplace, trainer_for, write
from toy_models import toy_model, toy_tokenizer
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, TrainingArguments

from finetuning.arguments import parse_arguments
from finetuning.arguments.flags import CHANGES_TRAINING, REFUSED
from finetuning.training import planned_steps, train

ROOT = Path(__file__).parents[1]
RESUME = ["--resume_from_checkpoint", "true"]
SAVE = ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "9"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workplace(tmp_path_factory.mktemp("work"))


def run(workplace: Path, script: str, output_dir: Path, *more: str, code: int = 0) -> str:
    status = run_script(script, flags(str(output_dir), *more), workplace, workplace / "log")
    said = log_of(workplace)
    assert status == code, said
    assert "Traceback" not in said
    if code == 1:
        assert said.splitlines()[-1].startswith("错误："), said
    return said


def metrics_of(directory: Path) -> dict:
    return json.loads((directory / "metrics.json").read_text(encoding="utf-8"))


# ----------------------------------------------------------------------------------------------------------------------
# 不是有限的数


@pytest.mark.parametrize("script", [FULL, LORA])
@pytest.mark.parametrize("more", [["--max_steps", "20"], ["--max_steps", "1"], ["--max_steps", "2", *SAVE[2:]]])
def test_nan_stops_and_keeps_the_earlier_result(workplace, tmp_path, script, more):
    """发散了：说出在第几步，改什么；只有一步的，走完才坏，也不能存。"""
    out = tmp_path / "out"
    run(workplace, script, out, "--max_steps", "2")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    rate = "1e30" if len(more) > 2 or more[1] == "20" else "1e38"
    said = run(workplace, script, out, *more, "--learning_rate", rate, code=1)
    assert "--learning_rate" in said.splitlines()[-1]
    assert "不是有限的数" in said.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_broken_base_is_said_before_training(workplace, tmp_path):
    shutil.copytree(workplace / "base", tmp_path / "nan_base")
    file = tmp_path / "nan_base" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    said = run(workplace, FULL, tmp_path / "out", "--model_name_or_path", str(tmp_path / "nan_base"), code=1)
    assert "训练前的检验损失不是有限的数" in said
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_no_checkpoint_of_a_broken_model_is_complete(workplace, tmp_path):
    out = tmp_path / "out"
    run(workplace, FULL, out, *SAVE[:4], "--save_steps", "1", "--learning_rate", "1e38", code=1)
    assert not list(out.glob("checkpoint-*/complete.json"))


# ----------------------------------------------------------------------------------------------------------------------
# 什么也没学到

FEW = {
    "one_step": (6, []),
    "three_steps": (11, []),
    "asked_for_warmup": (11, ["--warmup_steps", "0.5"]),
    "asked_for_one_step": (40, ["--max_steps", "1"]),
}


@pytest.mark.parametrize(("rows", "more"), FEW.values(), ids=FEW)
def test_a_few_rows_are_learnt_from(workplace, tmp_path, rows, more):
    """只有几步的训练：第一步的学习率不是 0，LoRA 的 B 动了；并且说步数太少，改哪个参数。"""
    write(tmp_path / "few.jsonl", range(rows))
    said = run(workplace, LORA, tmp_path / "out", "--train_file", str(tmp_path / "few.jsonl"), *more)
    assert "步，多半学不到多少" in said
    assert "--per_device_train_batch_size" in said
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert max(value.abs().max() for name, value in weights.items() if "lora_B" in name) > 0


def test_enough_steps_are_not_complained_about(workplace, tmp_path):
    assert "多半学不到多少" not in run(workplace, LORA, tmp_path / "out", "--num_train_epochs", "3")


def test_the_main_job_warms_up_as_the_library_does(tmp_path):
    *_, args = parse_arguments("", {}, argv=["--output_dir", str(tmp_path)])
    for steps in (20, 30, 282, 1000):
        assert args.get_warmup_steps(steps) == TrainingArguments.get_warmup_steps(args, steps)
    assert [args.get_warmup_steps(steps) for steps in (1, 5, 19)] == [0, 0, 0]


NOTHING = {
    "only_warmup": ["--max_steps", "1", "--warmup_steps", "1"],
    "tiny_rate": ["--max_steps", "2", "--learning_rate", "1e-30"],
}


@pytest.mark.parametrize("script", [FULL, LORA])
@pytest.mark.parametrize("more", NOTHING.values(), ids=NOTHING)
def test_a_model_that_did_not_change_is_no_result(workplace, tmp_path, script, more):
    """LoRA 的 B 从零开始，再小的一步也不会舍入掉：参数变了，模型没有变。"""
    out, unsaved = tmp_path / "out", ["--save_strategy", "no"]
    said = run(workplace, script, out, *more, *unsaved, code=1)
    assert "什么也没有学到" in said
    assert not (out / "metrics.json").exists()
    run(workplace, script, out, "--max_steps", "2", *unsaved)  # 改好了，同一个目录照样用
    assert (out / "metrics.json").exists()


def test_a_warmup_longer_than_the_training_is_said(workplace, tmp_path):
    said = run(workplace, FULL, tmp_path / "out", "--max_steps", "3", "--warmup_steps", "50")
    assert "预热要 50 步，一共却只有 3 步" in said


def test_drop_last_with_a_large_batch(workplace, tmp_path):
    more = ["--dataloader_drop_last", "--per_device_train_batch_size", "64"]
    assert "一步也走不了" in run(workplace, FULL, tmp_path / "out", *more, code=1)


def test_worse_than_before_is_said(workplace, tmp_path):
    said = run(workplace, FULL, tmp_path / "out", "--max_steps", "3", "--learning_rate", "3")
    assert "检验损失没有下降" in said


def test_planned_steps_are_the_trainers(workplace, tmp_path):
    for number, more in enumerate(
        (["--num_train_epochs", "1.5"], ["--gradient_accumulation_steps", "3"], ["--max_steps", "2"])
    ):
        more += ["--per_device_train_batch_size", "3"]
        with trainer_for(workplace, tmp_path / str(number), *more) as trainer:
            planned = planned_steps(trainer)
            train(trainer)
            assert trainer.state.max_steps == trainer.state.global_step == planned


# ----------------------------------------------------------------------------------------------------------------------
# Trainer 的参数，一个不漏


# 不改变学到的东西，接着训练时可以变的。
FREE = {
    "output_dir", "resume_from_checkpoint", "use_cpu", "local_rank", "do_train", "do_eval", "do_predict", "debug",
    # 一步几段对话由三者的积决定（记录里的 examples_per_step），积不变就不影响结果
    "per_device_train_batch_size", "gradient_accumulation_steps",
    # 同样的计算，用时间换内存
    "activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "torch_empty_cache_steps", "use_cache",
    "logging_strategy", "logging_steps", "logging_first_step", "log_on_each_node", "logging_nan_inf_filter",
    "include_num_input_tokens_seen", "log_level", "log_level_replica", "disable_tqdm", "report_to", "run_name",
    "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "skip_memory_metrics",
    "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "per_device_eval_batch_size",
    "prediction_loss_only", "eval_do_concat_batches", "eval_use_gather_object", "eval_accumulation_steps",
    "include_for_metrics", "batch_eval_metrics",
    "save_strategy", "save_steps", "save_on_each_node", "save_total_limit",
    "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push", "hub_revision",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
    "dataloader_multiprocessing_context", "dataloader_in_order", "remove_unused_columns",
    "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend",
    "ddp_timeout",
}  # fmt: skip


def test_every_flag_of_the_trainer_is_classified():
    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    classes = [CHANGES_TRAINING, FREE, set(REFUSED)]
    classified = set().union(*classes)
    assert names <= classified
    # 没有了的参数也要去掉；下面两个是新版的 transformers 才有的
    assert classified - names <= {"activation_checkpointing", "activation_checkpointing_kwargs"}
    assert sum(map(len, classes)) == len(classified), "有的参数归在两类里"


VALUES = {
    "fsdp": "full_shard",
    "fsdp_config": '{"fsdp_version": 2}',
    "deepspeed": "zero.json",
    "label_names": "answers",
    "parallelism_config": '{"tp_size": 2}',
    "accelerator_config": '{"split_batches": true}',
    "optim_target_modules": "all-linear",
    "torch_compile_backend": "inductor",
    "torch_compile_mode": "default",
    "liger_kernel_config": '{"rope": true}',
    "average_tokens_across_devices": "false",
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_flag_is_one_sentence(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        parse_arguments("", {}, argv=[f"--{name}", VALUES.get(name, "true")])
    said = capsys.readouterr()
    assert (stop.value.code, said.err.count("\n"), said.out) == (2, 1, "")
    if name not in ("liger_kernel_config", "parallelism_config"):  # 这两个在命令行里本来就写不出来
        assert f"不支持 --{name}" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("optimizer", ["lomo", "adalomo", "galore_adamw", "apollo_adamw", "schedule_free_adamw"])
def test_optimizers_that_would_not_learn_are_refused(capsys, optimizer):
    with pytest.raises(SystemExit):
        parse_arguments("", {}, argv=["--optim", optimizer])
    assert f"不支持 --optim {optimizer}" in capsys.readouterr().err


# 改变学到的东西的参数：各取一个不是默认的值。免填充的一行、两个线程的两行、普通的填充批次，每一步的损失都相同。
SAME = {
    "label_smoothing": ["--label_smoothing_factor", "0.1"],
    "label_smoothing_accumulated": ["--label_smoothing_factor", "0.2", "--gradient_accumulation_steps", "2"],
    "neftune": ["--neftune_noise_alpha", "5"],
    "schedule": ["--lr_scheduler_type", "cosine_with_min_lr", "--lr_scheduler_kwargs", '{"min_lr": 1e-4}'],
    "weight_decay": ["--weight_decay", "0.1", "--adam_beta1", "0.8", "--adam_epsilon", "1e-6"],
    "adafactor": ["--optim", "adafactor"],
    "rmsprop": ["--optim", "rmsprop"],
    "adagrad": ["--optim", "adagrad"],
    "no_clipping": ["--max_grad_norm", "0"],
    "drop_last": ["--dataloader_drop_last"],
    "by_length": ["--train_sampling_strategy", "group_by_length"],
    "in_order": ["--train_sampling_strategy", "sequential"],
    "data_seed": ["--data_seed", "7"],
    "deterministic": ["--full_determinism"],
    "columns": ["--remove_unused_columns", "true"],
    "counting": ["--include_num_input_tokens_seen", "true"],
    "workers": ["--dataloader_num_workers", "1"],
}


@pytest.mark.parametrize("more", SAME.values(), ids=SAME)
def test_packed_equals_padded(workplace, tmp_path, more):
    losses = []
    for number, padding_free in enumerate(("true", "false")):
        argv = ["--padding_free", padding_free, "--max_steps", "5", "--logging_steps", "1", "--learning_rate", "1e-3"]
        argv += ["--per_device_train_batch_size", "6", *more]
        with trainer_for(workplace, tmp_path / str(number), *argv) as trainer:
            train(trainer)
            losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    torch.use_deterministic_algorithms(False)
    assert len(losses[0]) == 5
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_label_smoothing_by_hand(workplace, tmp_path):
    """第一步的损失，照定义来算：(1 - ε)·(-log p) + ε·(全词表的 -log p 的平均)，按要学的 token 平均。"""
    epsilon, rate = 0.3, ["--label_smoothing_factor", "0.3"]
    argv = ["--max_steps", "1", "--logging_steps", "1", "--per_device_train_batch_size", "40", *rate]
    with trainer_for(workplace, tmp_path / "out", *argv) as trainer:
        total, count = 0.0, 0
        for index in range(len(trainer.train_dataset)):
            example = trainer.train_dataset[index]
            targets = torch.tensor(example["labels"][1:])
            with torch.no_grad():
                logits = toy_base(workplace)(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1]
            logs = -logits[targets != -100].log_softmax(-1)
            kept = targets[targets != -100]
            total += float((1 - epsilon) * logs.gather(1, kept[:, None]).sum() + epsilon * logs.mean(-1).sum())
            count += len(kept)
        train(trainer)
        assert trainer.state.log_history[0]["loss"] == pytest.approx(total / count, rel=1e-4)


def toy_base(workplace: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(workplace / "base").eval()


NONSENSE = {
    "smoothing": ["--label_smoothing_factor", "1.5"],
    "negative_smoothing": ["--label_smoothing_factor", "-0.5"],
    "decay": ["--weight_decay", "nan"],
    "beta": ["--adam_beta1", "2"],
    "negative_beta": ["--adam_beta2", "-1"],
    "epsilon": ["--adam_epsilon", "0"],
    "norm": ["--max_grad_norm", "nan"],
    "noise": ["--neftune_noise_alpha", "nan"],
    "save_steps": ["--save_steps", "0"],
    "eval_steps": ["--eval_steps", "-1"],
    "logging_steps": ["--logging_steps", "-3"],
    "accumulation": ["--eval_accumulation_steps", "0"],
    "workers": ["--dataloader_num_workers", "-1"],
    "persistent": ["--dataloader_persistent_workers"],
    "data_seed": ["--data_seed", "99999999999999999999"],
    "metric": ["--metric_for_best_model", "foo"],
    "report": ["--report_to", "nosuch"],
}


@pytest.mark.parametrize("argv", NONSENSE.values(), ids=NONSENSE)
def test_numbers_without_meaning_are_one_sentence(tmp_path, monkeypatch, capsys, argv):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        parse_arguments("", {}, argv=argv)
    said = capsys.readouterr()
    assert (stop.value.code, said.err.count("\n"), said.out) == (2, 1, "")
    assert argv[0] in said.err


BAD_COMBINATIONS = {
    "min_lr_missing": (["--lr_scheduler_type", "cosine_with_min_lr"], "lr_scheduler_kwargs"),
    "unknown_scheduler_option": (["--lr_scheduler_kwargs", '{"bogus": 1}'], "lr_scheduler_kwargs"),
    "unknown_optimizer_option": (["--optim", "adafactor", "--optim_args", "bogus"], "optim"),
}


@pytest.mark.parametrize(("more", "words"), BAD_COMBINATIONS.values(), ids=BAD_COMBINATIONS)
def test_settings_that_do_not_fit_are_one_sentence(workplace, tmp_path, more, words):
    assert words in run(workplace, FULL, tmp_path / "out", *more, code=1)
    assert not list(tmp_path.glob("out/checkpoint-*"))


# ----------------------------------------------------------------------------------------------------------------------
# 接着训练：改了什么，说什么


@pytest.fixture(scope="module")
def half_way(workplace, tmp_path_factory) -> dict[str, Path]:
    """两种方法，各停在第 4 步（没有做完：检验时被终止）。"""
    from dying_processes import die_in

    made = {}
    for script in (FULL, LORA):
        made[script] = tmp_path_factory.mktemp("half") / "out"
        command = flags(str(made[script]), *SAVE)
        assert run_script(script, command, workplace, workplace / "log", partial(die_in, "training", 3)) < 0
    return made


CHANGED = {
    "learning_rate": (LORA, ["--learning_rate", "1e-9"], "--learning_rate 当时是 0.004，这次是 1e-09"),
    "batch": (FULL, ["--per_device_train_batch_size", "2"], "当时每步 4 段对话，这次 2 段"),
    "accumulation": (FULL, ["--gradient_accumulation_steps", "2"], "当时每步 4 段对话，这次 8 段"),
    "seed": (FULL, ["--seed", "7"], "--seed 当时是 默认值，这次是 7"),
    "scheduler": (FULL, ["--lr_scheduler_type", "linear"], "--lr_scheduler_type"),
    "steps": (FULL, ["--max_steps", "40"], "--max_steps 当时是 4，这次是 40"),
    "optimizer": (FULL, ["--optim", "sgd"], "--optim"),
    "data": (FULL, ["--train_file", "other.jsonl"], "--train_file 当时是 train.jsonl，这次是 other.jsonl"),
    "length": (FULL, ["--max_length", "20"], "--max_length 当时是 512，这次是 20"),
    "base": (LORA, ["--model_name_or_path", "other"], "--model_name_or_path 当时是 base，这次是 other"),
    "rank": (LORA, ["--lora_r", "4"], "--lora_r 当时是 8，这次是 4"),
    "alpha": (LORA, ["--lora_alpha", "32"], "--lora_alpha 当时是 16，这次是 32"),
    "dropout": (LORA, ["--lora_dropout", "0.1"], "--lora_dropout"),
    "modules": (LORA, ["--target_modules", "q_proj"], "--target_modules 当时是 all-linear，这次是 q_proj"),
    "method": (LORA, ["--method", "dora"], "另一种方法（lora）"),
    "padding": (FULL, ["--padding_free", "false"], "--padding_free"),
}


@pytest.mark.parametrize(("script", "more", "words"), CHANGED.values(), ids=CHANGED)
def test_a_change_that_matters_is_named(workplace, half_way, tmp_path, script, more, words):
    out = tmp_path / "out"
    shutil.copytree(half_way[script], out)
    write(workplace / "other.jsonl", range(200, 240))
    if not (workplace / "other").exists():
        toy_model(initializer_range=0.2).save_pretrained(workplace / "other")
        toy_tokenizer().save_pretrained(workplace / "other")
    said = run(workplace, script, out, *SAVE, *RESUME, *more, code=1)
    assert words in said
    assert said.count("\n") == 1
    assert (out / "checkpoint-2" / "complete.json").exists()


@pytest.mark.parametrize("script", [FULL, LORA])
def test_changes_that_do_not_matter_are_honoured(workplace, half_way, tmp_path, script):
    """同样的数据改了名字，一步拆成两小步，换了保存和检验的办法：结果一个比特不差。"""
    straight, out = tmp_path / "straight", tmp_path / "out"
    run(workplace, script, straight, *SAVE)
    shutil.copytree(half_way[script], out)
    shutil.copy(workplace / "train.jsonl", workplace / "renamed.jsonl")
    more = ["--train_file", "renamed.jsonl", "--validation_file", "test.jsonl", "--save_total_limit", "1"]
    more += ["--save_steps", "4", "--logging_steps", "2", "--max_test_prompts", "3"]
    run(workplace, script, out, *SAVE, *RESUME, *more)
    name = "model.safetensors" if script == FULL else "adapter_model.safetensors"
    expected, actual = load_file(straight / name), load_file(out / name)
    assert all(torch.equal(value, actual[key]) for key, value in expected.items())


BEST = ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "steps"]
BEST += ["--eval_steps", "1", "--validation_file", "test.jsonl", "--load_best_model_at_end", "--save_total_limit", "9"]


@pytest.mark.parametrize("script", [FULL, LORA])
def test_resuming_at_the_last_step_takes_the_best_model(workplace, tmp_path, script):
    """学习率太大，最好的是第一个检查点；从最后一步接着做，也要换成它。"""
    out, more = tmp_path / "out", [*BEST, "--learning_rate", "3" if script == FULL else "100"]
    run(workplace, script, out, *more)
    name = "model.safetensors" if script == FULL else "adapter_model.safetensors"
    best = load_file(out / name)
    last = load_file(out / "checkpoint-4" / name)
    assert any(not torch.equal(value, last[key]) for key, value in best.items())
    run(workplace, script, out, *more, *RESUME)
    assert all(torch.equal(value, best[key]) for key, value in load_file(out / name).items())


def test_a_validation_that_steers_cannot_change(workplace, tmp_path):
    from dying_processes import die_in

    out = tmp_path / "out"
    command = flags(str(out), *BEST)
    assert run_script(FULL, command, workplace, workplace / "log", partial(die_in, "training", 2)) < 0
    write(workplace / "other_test.jsonl", range(300, 304))
    for wrong in (["--validation_file", "other_test.jsonl"], ["--eval_steps", "2", "--save_steps", "2"]):
        assert wrong[0] in run(workplace, FULL, out, *BEST, *RESUME, *wrong, code=1)


def test_new_saving_intervals_are_honoured(workplace, half_way, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(half_way[FULL], out)
    run(workplace, FULL, out, *SAVE, *RESUME, "--save_steps", "1", "--save_total_limit", "9")
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3", "checkpoint-4"}


def test_data_changed_in_place_is_named(workplace, tmp_path):
    out, data = tmp_path / "out", tmp_path / "train.jsonl"
    write(data, range(40))
    more = [*SAVE, "--train_file", str(data)]
    run(workplace, FULL, out, *more)
    shutil.rmtree(out / "checkpoint-4")
    write(data, range(1, 41))
    assert "的内容变了" in run(workplace, FULL, out, *more, *RESUME, code=1)


def test_a_checkpoint_of_another_program(workplace, half_way, tmp_path):
    other = tmp_path / "checkpoint-2"
    shutil.copytree(half_way[FULL] / "checkpoint-2", other)
    (other / "arguments.json").unlink()
    said = run(workplace, FULL, tmp_path / "out", *SAVE, "--resume_from_checkpoint", str(other), code=1)
    assert "不完整或已损坏" in said


def test_stopping_half_way_is_not_finished(workplace, tmp_path):
    """别的回调叫停了训练：不能把停在半路的当作做完。"""
    said = run_script(FULL, flags(str(tmp_path / "out"), *SAVE), workplace, workplace / "log", stop_at_two)
    assert said == 1
    assert "训练在第 2 步就停下了，本来要走 4 步" in log_of(workplace)
    assert not (tmp_path / "out" / "metrics.json").exists()


def stop_at_two() -> None:
    from finetuning.training import StopBeforeExtraStep

    def stop(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= 2

    StopBeforeExtraStep.on_step_end = stop


# ----------------------------------------------------------------------------------------------------------------------
# 很长的对话


@pytest.mark.parametrize("where", ["test", "train", "held_out"])
def test_one_very_long_row_does_not_cost_the_run(workplace, tmp_path, where):
    """一行两万个字：提示词也有上限，不再花几分钟、几个 GB；略去的说出来。"""
    long = {"instruction": "今天天气怎么样？" * 2500, "output": "好"}
    data = tmp_path / "long.jsonl"
    write(data, range(30))
    row = json.dumps(long, ensure_ascii=False)
    data.write_text(
        (row + "\n") * (30 if where == "held_out" else 1) + data.read_text(encoding="utf-8"), encoding="utf-8"
    )
    flags = ["--model_name_or_path", "base", "--max_steps", "1"]
    flags += ["--output_dir", tmp_path / "out", "--bf16", "false", "--exact_match", "true"]
    flags += ["--train_file", data if where != "test" else "train.jsonl"]
    flags += [] if where == "held_out" else ["--test_file", data if where == "test" else "test.jsonl"]
    result = run_command("train_lora_solution.py", *flags, cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert "略去" in result.stdout
    if where == "test":
        assert "检验数据略去 1 段，问题太长，--max_length 之内放不下回答：" in result.stdout
        assert "long.jsonl 第 1 行" in result.stdout
    assert metrics_of(tmp_path / "out")["peak_memory_mb"] < 1500


@pytest.fixture(scope="module")
def learned_positions(tmp_path_factory) -> Path:
    """像 GPT-2：位置向量是学来的，一共 64 个。"""
    path = tmp_path_factory.mktemp("gpt2") / "gpt2"
    torch.manual_seed(0)
    tokenizer = toy_tokenizer()
    shape = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_more_tokens_than_positions(workplace, tmp_path, learned_positions):
    said = run(workplace, FULL, tmp_path / "out", "--model_name_or_path", str(learned_positions), "--max_steps", "2")
    assert "模型最多能看 64 个 token，--max_length 从 512 改为 64" in said
    result = run_command("chat.py", tmp_path / "out", "--message", "今天天气怎么样？")
    assert result.returncode == 0, result.stderr
    result = run_command("chat.py", tmp_path / "out", "--message", "天" * 90)
    assert "模型最多能看 64 个" in result.stdout
    assert result.returncode == 0


def test_prefix_takes_positions_too(workplace, tmp_path, learned_positions):
    more = ["--model_name_or_path", str(learned_positions), "--method", "prefix", "--max_steps", "2"]
    said = run(workplace, LORA, tmp_path / "out", *more, "--num_virtual_tokens", "8")
    assert "模型最多能看 56 个 token" in said
    said = run(workplace, LORA, tmp_path / "full", *more, "--num_virtual_tokens", "64", code=1)
    assert "占满了模型能看的位置" in said


def test_conversation_lengths_differ():
    """上面的比较不是空的：对话有长有短。"""
    tokenizer: AutoTokenizer = toy_tokenizer()
    lengths = {len(tokenizer(json.dumps(conversation(number)))["input_ids"]) for number in range(12)}
    assert len(lengths) > 5
