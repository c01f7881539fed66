"""诊所：量过的病例都说得对，健康的不说话；症状从真的训练、别人的记录里读得出来；坏了的记录说一句话。"""

import json
import math
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from child_processes import run_command
from test_training_run import make_workplace, trainer_for, write
from test_unsound_training import FULL, metrics_of, run
from toy_models import toy_model, toy_tokenizer
from transformers import Trainer, TrainingArguments

from clinic import faults, measure
from clinic.cases import BROKEN, CASES, HEALTHY
from clinic.doctor import diagnose, exploded
from clinic.reading import read_symptoms
from clinic.runs import Record, read, run_all
from clinic.runs import write as write_records
from clinic.symptoms import Symptoms, answer_symptoms, finite_log, from_json, is_repetitive
from data_solution import IGNORE_INDEX, SFTDataset
from finetuning.arguments import DataArguments
from finetuning.chatml import ChatML
from finetuning.collator import PackedCollator
from finetuning.data import load_splits
from finetuning.errors import UserError
from finetuning.observing import data_symptoms, first_batch_symptoms
from notebook_helpers import patients

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return make_workplace(tmp_path_factory.mktemp("work"))


def names(symptoms):
    return {finding.name for finding in diagnose(symptoms)}


# ----------------------------------------------------------------------------------------------------------------------
# 量过的训练


def stored(name):
    return read(ROOT / "results" / f"{name}.jsonl")


@pytest.mark.parametrize("record", stored("clinic"), ids=lambda record: f"{record.case}-{record.seed}")
def test_a_measured_case_is_named(record):
    wanted = set(CASES[record.case].findings)
    found = names(record.symptoms)
    assert found & wanted if wanted else not found, found


def test_unseen_seeds_are_named():
    """界限是在种子 1、2、3 上定的；换了种子，九成以上说得对。"""
    records = stored("clinic_broken")
    assert {record.case for record in records} == {case.name for case in BROKEN}
    assert not {record.seed for record in records} & set(measure.SEEDS)
    right = [measure.is_right(record) for record in records]
    assert sum(right) >= 0.9 * len(right)


def test_healthy_runs_are_left_alone():
    records = stored("clinic_healthy")
    wanted = {(case.name, seed) for case in HEALTHY for seed in measure.HEALTHY_SEEDS}
    assert {(record.case, record.seed) for record in records} == wanted
    assert len(measure.HEALTHY_SEEDS) == 10
    assert [record.case for record in records if diagnose(record.symptoms)] == []


@pytest.mark.parametrize("installed", [True, False])
def test_qlora_is_examined_where_it_can_be(monkeypatch, capsys, tmp_path, installed):
    asked = []
    monkeypatch.setattr(measure, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(measure, "run_all", lambda names, *_: asked.append(names))
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["measure", "--examine"])
    measure.main()
    assert ("qlora" in asked[1]) == installed
    assert ("uv run 后面加上 --extra qlora" in capsys.readouterr().out) != installed


def test_the_tables_are_of_the_records():
    for name, table in (
        ("clinic", measure.cases_table(stored("clinic"))),
        ("clinic_examination", measure.examination(stored("clinic_broken"), stored("clinic_healthy"))),
    ):
        assert (ROOT / "results" / f"{name}.md").read_text(encoding="utf-8") == table


def test_every_finding_is_explained_in_the_readme():
    text = (ROOT / "clinic/README.md").read_text(encoding="utf-8")
    for name in {name for case in BROKEN for name in case.findings}:
        assert f"`{name}`" in text, name


# ----------------------------------------------------------------------------------------------------------------------
# 规则：只有曲线时


def log(losses, validation=()):
    entries = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    every = max(1, len(losses) // max(1, len(validation)))
    return entries + [{"step": (n + 1) * every, "eval_loss": loss} for n, loss in enumerate(validation)]


def falling(steps, start=2.0, end=0.05, speed=15.0):
    return [end + (start - end) * math.exp(-step / speed) for step in range(steps)]


def noisy(function, steps=100, noise=0.08):
    """训练的样子由 ``function``（走了几成 → 损失）定，每个点上下起伏。"""
    chance = random.Random(0)
    return [function(step / steps) * math.exp(chance.gauss(0, noise)) for step in range(steps)]


def staircase(x, levels):
    """看几遍：每遍开头降一级。"""
    return levels[min(len(levels) - 1, int(x * len(levels)))] + 0.7 * math.exp(-x * 40)


def llm(x):
    """大模型的微调：头几步降得快，后面几乎不动。"""
    return 1.1 + 0.8 * math.exp(-x * 40)


CURVES = {
    "llm_one_epoch": (Symptoms(log(noisy(llm), [1.12]), epochs=1), set()),
    "llm_three_epochs": (
        Symptoms(log(noisy(lambda x: staircase(x, (1.15, 0.95, 0.8))), [1.12, 1.1, 1.13]), epochs=3),
        set(),
    ),
    "llm_three_epochs_memorized": (
        Symptoms(log(noisy(lambda x: staircase(x, (1.1, 0.6, 0.25))), [1.12, 1.2, 1.5]), epochs=3),
        {"overfit"},
    ),
    "slow_domain": (
        Symptoms(log(noisy(lambda x: 1.5 - 0.3 * x, noise=0.1), [1.45, 1.38, 1.3, 1.25, 1.2]), epochs=1),
        set(),
    ),
    "hardly_moves": (Symptoms(log(noisy(lambda x: 0.9, noise=0.1), [0.9]), epochs=1), {"nothing_trains"}),  # 把握低
    "very_noisy": (Symptoms(log(noisy(llm, 400, noise=0.2)), epochs=1), set()),
    "not_a_cross_entropy": (Symptoms(log(noisy(lambda x: -1.5 - x))), set()),
    "five_epochs": (
        Symptoms(log([1.9 - 1.6 * n / 100 for n in range(100)], [1.5, 1.3, 1.4, 1.6, 1.9]), epochs=5),
        {"overfit"},
    ),
    "zero_for_nan": (Symptoms([{"step": n, "loss": 0.0, "grad_norm": math.nan} for n in range(30)]), {"not_finite"}),
    "dropout": (Symptoms(log(noisy(lambda x: 0.3 + 1.5 * math.exp(-x * 30)), [0.12, 0.1]), epochs=2), set()),
    "one_spike": (Symptoms(log([llm(x / 200) + 3 * (x == 90) for x in range(200)])), set()),
    "diverges_halfway": (Symptoms(log(noisy(lambda x: llm(x) if x < 0.5 else 7.0))), {"rate_too_high"}),
    "all_masked": (Symptoms(log([0.0] * 50)), {"nothing_to_learn"}),
    "healthy": (Symptoms(log(falling(150))), set()),
    "noisy_but_healthy": (
        Symptoms(log([loss * random.Random(n).uniform(0.6, 1.5) for n, loss in enumerate(falling(200, end=1.0))])),
        set(),
    ),
    "too_slow": (Symptoms(log(falling(150, speed=80.0))), {"rate_too_low"}),
    "explodes": (Symptoms(log([*falling(40), *(0.1 + 0.2 * n for n in range(40))])), {"rate_too_high"}),
    "nan": (Symptoms(log([*falling(20), math.nan])), {"not_finite"}),
    "flat": (Symptoms(log([2.0] * 100)), {"nothing_trains"}),
    "memorized": (Symptoms(log(falling(150, end=0.001), [0.3, 0.2, 0.2, 0.21, 0.22]), epochs=9), {"overfit"}),
    "a_few_points": (Symptoms(log([2.0, 1.0, 3.0])), set()),
    "empty": (Symptoms([]), set()),
}


@pytest.mark.parametrize(("symptoms", "expected"), CURVES.values(), ids=CURVES)
def test_what_the_curve_alone_tells(symptoms, expected):
    assert names(symptoms) == expected


def test_halfway_through_only_an_explosion_is_said():
    assert exploded(log(falling(30))) is None
    assert exploded(log(falling(150, speed=80.0)[:60])) is None
    assert exploded(log([*falling(20), *(0.3 + 0.2 * n for n in range(15))])) is not None


def test_a_finding_explained_by_another_is_not_repeated():
    """学习率太大的，回答自然不停、千篇一律。"""
    broken = Symptoms(log([*falling(40), *(0.1 + 0.2 * n for n in range(40))]), ended=0.0, asked=9, opening="。。。",
                      opening_share=1.0, references_opening_share=0.0)  # fmt: skip
    assert names(broken) == {"rate_too_high"}


def test_answers():
    told = answer_symptoms(["好。", "对。"], [("好。", True), ("对对对对对对对对对", False)])
    assert (told["asked"], told["ended"], told["repetitive"]) == (2, 0.5, 0.5)
    assert answer_symptoms([], []) == {}
    assert is_repetitive("一是一是一是一是一是")
    assert not is_repetitive("今天天气晴朗，明天也晴朗。")


# ----------------------------------------------------------------------------------------------------------------------
# 从真的训练里读


def test_the_report_ends_with_the_diagnosis(workplace, tmp_path):
    """学习率大得离谱（还是有限的数）：中途说一次，报告、metrics.json 里都有；symptoms.json 读回来，诊断相同。"""
    more = ["--model_name_or_path", str(ROOT / "base_model"), "--max_steps", "60", "--learning_rate", "0.03"]
    said = run(workplace, FULL, tmp_path / "out", *more)
    assert said.count("步：学习率太大") == 1
    assert "\n诊断\n" in said
    found = [each["name"] for each in metrics_of(tmp_path / "out")["diagnosis"]]
    assert "rate_too_high" in found
    assert [each.name for each in diagnose(read_symptoms(str(tmp_path / "out")))] == found


def test_nothing_trains_is_said_at_once(workplace, tmp_path):
    said = run(workplace, FULL, tmp_path / "out", "--max_steps", "300", "--learning_rate", "1e-30", code=1)
    assert "训练了 35 步，模型没有变" in said.splitlines()[-1]  # 预热 15 步，再等 20 步


def test_data_findings_come_before_training(workplace, tmp_path):
    rows = [*range(20), *range(20)]
    write(tmp_path / "twice.jsonl", rows)
    said = run(workplace, FULL, tmp_path / "out", "--train_file", str(tmp_path / "twice.jsonl"), "--max_steps", "2")
    assert "训练数据里有很多重复" in said.split("同样的问题")[0]


@pytest.fixture
def tokenizer():
    return toy_tokenizer()


def splits(tmp_path, tokenizer, dataset_class=SFTDataset, rows=range(30)):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", rows)
    arguments = DataArguments(train_file=str(tmp_path / "train.jsonl"), test_file=str(tmp_path / "test.jsonl"))
    return load_splits(arguments, dataset_class, tokenizer, tmp_path)


def test_data_symptoms(tmp_path, tokenizer):
    found = data_symptoms(splits(tmp_path, tokenizer, rows=[*range(20), *range(5)]), tokenizer)
    assert (found["train_rows"], found["duplicate_rows"], found["test_seen"]) == (25, 5, 1.0)
    assert (found["answers_learnt"], found["ends_learnt"]) == (1.0, 1.0)
    everything = data_symptoms(splits(tmp_path, tokenizer, faults.EverythingLearnt), tokenizer)
    assert everything["learnt_share"] > 0.9 > found["learnt_share"]
    assert data_symptoms(splits(tmp_path, tokenizer, faults.OnlyUserLearnt), tokenizer)["answers_learnt"] < 0.5
    assert data_symptoms(splits(tmp_path, tokenizer, faults.EndNotLearnt), tokenizer)["ends_learnt"] == 0.0


def test_a_leak_shows_in_the_first_batch(tmp_path, workplace):
    with trainer_for(workplace, tmp_path, base=ROOT / "base_model") as trainer:
        assert isinstance(trainer.data_collator, PackedCollator)
        found = first_batch_symptoms(trainer)
        assert found["packed_loss"] == pytest.approx(found["alone_loss"], rel=1e-3)
        trainer.data_collator = faults.LeakingCollator()
        leaking = first_batch_symptoms(trainer)
    assert "leak" in names(Symptoms([], **leaking))
    assert "leak" not in names(Symptoms([], **found))


def test_label_faults_break_one_thing(tokenizer):
    rows = [[{"role": "user", "content": "你好"}, {"role": "assistant", "content": "好。"}]]
    right = SFTDataset(rows, tokenizer)[0]
    end = ChatML(tokenizer).end_id
    of = {fault: fault(rows, tokenizer)[0] for fault in (faults.EndNotLearnt, faults.PadIsEnd, faults.ShiftedTwice,
          faults.ZeroIsIgnored, faults.EverythingLearnt)}  # fmt: skip
    assert all(each["input_ids"] == right["input_ids"] for each in of.values())
    assert of[faults.EndNotLearnt]["labels"] == of[faults.PadIsEnd]["labels"]
    assert end not in of[faults.EndNotLearnt]["labels"]
    assert of[faults.ShiftedTwice]["labels"] == [*right["labels"][1:], IGNORE_INDEX]
    assert of[faults.ZeroIsIgnored]["labels"] == [max(0, label) for label in right["labels"]]
    assert of[faults.EverythingLearnt]["labels"] == right["input_ids"]


# ----------------------------------------------------------------------------------------------------------------------
# 别人的记录


def diagnose_by_command(*paths):
    result = run_command("clinic", *paths)
    assert "Traceback" not in result.stderr
    return result


def test_a_plain_trainers_record(tmp_path):
    """没有用过本项目的训练：transformers 自己的 Trainer 存下的检查点，学习率大得离谱。"""
    model = toy_model()
    rows = [{"input_ids": torch.randint(0, 400, (12,)), "attention_mask": torch.ones(12, dtype=torch.long)}] * 60
    rows = [{**row, "labels": row["input_ids"]} for row in rows]
    args = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=5.0, max_steps=40, per_device_train_batch_size=4, logging_steps=1,
        save_strategy="steps", save_steps=40, report_to="none", disable_tqdm=True, use_cpu=True, max_grad_norm=0.0,
    )  # fmt: skip
    Trainer(model=model, args=args, train_dataset=rows).train()
    result = diagnose_by_command(tmp_path / "checkpoint-40", "--json")
    assert result.returncode == 0
    found = json.loads(result.stdout)["findings"]
    assert {each["name"] for each in found} & {"rate_too_high", "not_finite"}
    assert "只看了曲线" in diagnose_by_command(tmp_path / "checkpoint-40").stdout


BAD = {
    "missing": None,
    "not_json": "[1,",
    "a_list": "[]",
    "no_history": "{}",
    "no_steps": '{"log_history": [{"loss": 1}]}',
    "not_entries": '{"log_history": [3]}',
    "a_list_for_a_number": '{"log": [], "before": [1]}',
    "too_deep": "[" * 100_000,
    "a_step_that_is_no_number": '{"log_history": [{"step": NaN, "loss": 1}]}',
    "a_word_for_a_number": '{"log": [], "before": "many"}',
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_record_is_one_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "trainer_state.json").write_text(content, encoding="utf-8")
    result = diagnose_by_command(tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("错误：")
    assert result.stderr.count("\n") == 1


def test_a_gap_in_fp16_is_no_finding():
    """fp16 的头几步溢出跳过，梯度的长度是 inf：不是病。"""
    entries = [entry | {"grad_norm": math.inf if entry["step"] < 3 else 1.0} for entry in log(falling(150))]
    assert names(Symptoms(entries)) == set()
    assert json.dumps(finite_log(entries), allow_nan=False)


# ----------------------------------------------------------------------------------------------------------------------
# 病历，和教程里的


def test_records_survive_writing(tmp_path):
    symptoms = Symptoms([{"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 1.5}], before=1.23456, opening="好的，")
    write_records(tmp_path / "r.jsonl", [Record("full", 1, symptoms)])
    (record,) = read(tmp_path / "r.jsonl")
    assert record == Record("full", 1, replace(symptoms, before=1.235))
    assert from_json(asdict(symptoms)) == symptoms


def test_what_is_done_is_not_done_again(tmp_path):
    path = tmp_path / "r.jsonl"
    done = [Record("full", seed, Symptoms([])) for seed in (1, 2)]
    write_records(path, done)
    assert run_all(["full"], [1, 2], path, workers=1) == done  # 一次也不训练


def test_the_hidden_cases_each_have_an_answer():
    shown = patients.patients(records=ROOT / "results/clinic.jsonl")
    assert len(shown) == 9
    assert diagnose(shown.pop(patients.HEALTHY)) == []
    for name, symptoms in shown.items():
        replies = patients.replies(name)
        assert len(replies) == 4
        (right,) = [option for option, reply in replies.items() if reply.startswith("对：")]
        assert diagnose(symptoms), right


def test_a_trained_case_is_like_its_record():
    """真的训练一个病例（与病历同样的种子），说出同样的病；损失不必一个比特不差，线程数不同。"""
    from clinic.training import Clinic

    symptoms = Clinic().treat(CASES["ten_epochs"], 1)
    (record,) = [each for each in stored("clinic") if (each.case, each.seed) == ("ten_epochs", 1)]
    assert names(symptoms) == names(record.symptoms)
    assert symptoms.exact_after == pytest.approx(record.symptoms.exact_after, abs=0.1)


def test_an_unknown_kind_of_error_is_not_hidden(tmp_path):
    with pytest.raises(UserError, match="没有可以诊断的"):
        read_symptoms(str(tmp_path))
