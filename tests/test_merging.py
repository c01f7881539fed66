"""合并：得到的就是适配器那个模型；存成基座的精度；不对的不存。变体（PiSSA、LoRA+、rsLoRA）存下来的是普通的 LoRA。"""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from child_processes import Finished, finish_script, run_script
from dying_processes import die_in
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from test_nothing_lost import FULL, LORA, flags
from test_training_run import write
from test_unsound_training import run as run_training
from toy_models import save_toy, toy_model, toy_tokenizer
from transformers import AutoModelForCausalLM

from finetuning.adapter import load_for_chat, new_adapter
from finetuning.errors import UserError
from finetuning.merging import merge
from finetuning.model import load_model

IDS = torch.arange(20)[None]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work")
    for name, dtype in (("base", torch.float32), ("bf16", torch.bfloat16)):
        tokenizer = toy_tokenizer()
        toy_model(vocab_size=len(tokenizer)).to(dtype).save_pretrained(path / name)
        tokenizer.save_pretrained(path / name)
    write(path / "train.jsonl", range(60))
    write(path / "test.jsonl", range(100, 104))
    return path


def run(workplace: Path, script: str, output_dir: Path, *more: str, code: int = 0) -> str:
    return run_training(workplace, script, output_dir, "--max_steps", "4", *more, code=code)


def run_merge(workplace: Path, *arguments: str) -> Finished:
    return finish_script("merge", list(arguments), workplace)


def assert_goes_on_bit_by_bit(workplace: Path, tmp_path: Path, *more: str) -> None:
    """训练到一半、检验之前被终止，接着做完：与没有断过的一个比特不差。"""
    more = (*more, "--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "9")
    run(workplace, LORA, tmp_path / "straight", *more)
    expected = load_file(tmp_path / "straight" / "adapter_model.safetensors")
    for phase in ("training", "evaluation"):
        out = tmp_path / phase
        command = flags(str(out), "--max_steps", "4", *more)
        assert run_script(LORA, command, workplace, workplace / "log", partial(die_in, phase, 2)) < 0
        run(workplace, LORA, out, *more, "--resume_from_checkpoint", "true")
        actual = load_file(out / "adapter_model.safetensors")
        assert all(torch.equal(value, actual[name]) for name, value in expected.items())
        load_for_chat(str(out))


def logits(directory: Path | str) -> torch.Tensor:
    with torch.no_grad():
        return load_for_chat(str(directory)).model.eval()(input_ids=IDS).logits


def dtypes(directory: Path) -> set[torch.dtype]:
    return {tensor.dtype for tensor in load_file(directory / "model.safetensors").values()}


# ----------------------------------------------------------------------------------------------------------------------
# merge.py


def test_the_merged_model_is_the_adapted_one(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    run(workplace, LORA, tmp_path / "lora")
    before = {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir() if path.is_file()}
    result = run_merge(workplace, str(tmp_path / "lora"))
    assert result.returncode == 0, result.said
    merged = tmp_path / "lora_merged"
    assert f"chat.py {merged}" in result.said
    torch.testing.assert_close(logits(merged), logits(tmp_path / "lora"), rtol=1e-4, atol=1e-4)
    assert (logits(merged) - logits("base")).abs().max() > 1e-2
    assert {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir() if path.is_file()} == before
    AutoModelForCausalLM.from_pretrained(merged)  # 不经我们的代码也读得了
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "没有留下写到一半的"
    again = run_merge(workplace, str(tmp_path / "lora"))
    assert (again.returncode, again.said.count("\n")) == (1, 1)
    assert "已经存在" in again.said


@pytest.mark.parametrize(
    ("arguments", "says"),
    {
        "not_an_adapter": (["base", "--output_dir", "new"], "base 不是适配器的目录"),
        "nothing_there": (["no/such", "--output_dir", "new"], "no/such 不是适配器的目录"),
        "precision": (["base", "--save_dtype", "int8"], "--save_dtype 的值只能是"),
    }.values(),
)
def test_a_mistake_is_one_sentence(workplace, arguments, says):
    result = run_merge(workplace, *arguments)
    assert result.returncode != 0
    assert says in result.said
    assert "Traceback" not in result.said
    assert not (workplace / "new").exists()


def test_a_prefix_cannot_be_merged(workplace, tmp_path):
    run(workplace, LORA, tmp_path / "prefix", "--method", "prefix")
    result = run_merge(workplace, str(tmp_path / "prefix"))
    assert result.returncode == 1
    assert "不能合并" in result.said
    assert not (tmp_path / "prefix_merged").exists()


BAD_PLACES = {
    "inside_a_file": "base/config.json/x",
    "too_long": "很长" * 100,
    "the_current_directory": ".",
    "not_writable": "/proc/x",
}


@pytest.mark.parametrize("place", BAD_PLACES.values(), ids=BAD_PLACES)
def test_a_place_that_cannot_be_written(workplace, tmp_path, place):
    if not (workplace / "one").exists():
        run(workplace, LORA, workplace / "one", "--model_name_or_path", str(workplace / "base"))
    (tmp_path / "empty").mkdir()
    where = tmp_path / "empty" if place == "." else workplace
    result = run_merge(where, str(workplace / "one"), "--output_dir", place)
    assert result.returncode == 1, result.said
    assert result.said.strip().splitlines()[-1].startswith("错误：")
    assert "Traceback" not in result.said
    assert not list((tmp_path / "empty").iterdir())


def test_the_adapter_is_the_current_directory(workplace, tmp_path):
    adapter = tmp_path / "lora"
    run(workplace, LORA, adapter, "--model_name_or_path", str(workplace / "base"))
    result = run_merge(adapter, ".")
    assert result.returncode == 0, result.said
    assert (tmp_path / "lora_merged" / "model.safetensors").exists()


def test_a_merged_checkpoint_is_left_alone(workplace, tmp_path):
    out = tmp_path / "lora"
    run(workplace, LORA, out, "--save_strategy", "steps", "--save_steps", "4")
    assert run_merge(workplace, str(out / "checkpoint-4")).returncode == 0
    run(workplace, LORA, out, "--seed", "7")
    assert (out / "checkpoint-4_merged" / "model.safetensors").exists()


# ----------------------------------------------------------------------------------------------------------------------
# 不对的不存


def test_a_shared_matrix_takes_no_lora():
    for name in ("lm_head", "embed_tokens"):
        config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", name])
        with pytest.raises(UserError, match=f"不能给 {name} 加 LoRA.*共用一个嵌入矩阵"):
            new_adapter(toy_model(), config)
        new_adapter(toy_model("llama"), config)  # 不共用的，可以


def test_another_model_is_not_called_merged():
    """别的工具训练的适配器，改动了共用的矩阵：合并前后不同，不收。"""
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["lm_head"], init_lora_weights=False)
    with pytest.raises(UserError, match="合并出来的是另一个模型"):
        merge(get_peft_model(toy_model(), config))
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    merge(get_peft_model(toy_model(), config))


def test_not_a_number_is_not_merged():
    model = get_peft_model(toy_model(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    next(each for name, each in model.named_parameters() if "lora_B" in name).data[0] = float("nan")
    with pytest.raises(UserError):
        merge(model)


# ----------------------------------------------------------------------------------------------------------------------
# 存成哪种精度


@pytest.mark.parametrize(
    ("base", "more", "expected"),
    [
        ("base", [], torch.float32),
        ("bf16", [], torch.bfloat16),
        ("bf16", ["--save_dtype", "fp32"], torch.float32),
        ("base", ["--save_dtype", "bf16"], torch.bfloat16),
        ("base", ["--save_dtype", "fp16"], torch.float16),
    ],
)
def test_the_precision_of_the_whole_model(workplace, tmp_path, monkeypatch, base, more, expected):
    monkeypatch.chdir(workplace)
    start = ["--model_name_or_path", base, *more]
    run(workplace, FULL, tmp_path / "full", *start)
    assert dtypes(tmp_path / "full") == {expected}
    config = json.loads((tmp_path / "full" / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == str(expected).removeprefix("torch.")
    run(workplace, LORA, tmp_path / "lora", *start, "--merge_and_save")
    assert dtypes(tmp_path / "lora" / "merged") == {expected}
    weights = load_file(tmp_path / "lora" / "adapter_model.safetensors").values()
    assert {tensor.dtype for tensor in weights} == {torch.float32}, "适配器很小，不舍入"


def test_the_score_is_that_of_the_saved_model(workplace, tmp_path):
    """检验的是舍入以后、真正存下来的那一个：再读一遍从它出发，损失相同。"""
    out, two = tmp_path / "full", tmp_path / "two"
    run(workplace, FULL, out, "--save_dtype", "bf16", "--learning_rate", "1e-2")
    run(workplace, FULL, two, "--model_name_or_path", str(out))
    one, again = (json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in (out, two))
    assert again["before"]["loss"] == pytest.approx(one["after"]["loss"], rel=1e-6)


def test_checkpoints_are_not_rounded(workplace, tmp_path):
    out = tmp_path / "full"
    run(workplace, FULL, out, "--save_dtype", "bf16", "--save_strategy", "steps", "--save_steps", "4")
    assert dtypes(out / "checkpoint-4") == {torch.float32}


def test_weights_beyond_fp16(workplace, tmp_path):
    """训练完了才知道存不成 fp16：改存 fp32，训练不能白做。合并的不存：适配器还在。"""
    model, tokenizer, _ = load_model(str(workplace / "base"))
    model.model.embed_tokens.weight.data[-1] = 1e5
    model.save_pretrained(tmp_path / "large")
    tokenizer.save_pretrained(tmp_path / "large")
    start = ["--model_name_or_path", str(tmp_path / "large")]
    assert "改存 fp32" in run(workplace, FULL, tmp_path / "full", *start, "--save_dtype", "fp16")
    assert dtypes(tmp_path / "full") == {torch.float32}
    run(workplace, LORA, tmp_path / "lora", *start)
    result = run_merge(workplace, str(tmp_path / "lora"), "--save_dtype", "fp16")
    assert result.returncode == 1
    assert "请改用 --save_dtype fp32" in result.said
    assert not (tmp_path / "lora_merged").exists()


# ----------------------------------------------------------------------------------------------------------------------
# 先合并，再添新的适配器


def test_merge_first(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    run(workplace, LORA, one, "--lora_r", "4")
    start = ["--model_name_or_path", str(one)]
    said = run(workplace, LORA, two, *start, "--merge_first", "--lora_r", "2", "--merge_and_save")
    assert "merged/ 是合并好的整个模型；base/ 是这一轮的基座" in said
    assert "检验数据（这一轮没有学过，前几轮可能学过）" in said
    config = json.loads((two / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["r"]) == (str(two / "base"), 2)
    torch.testing.assert_close(logits(two / "base"), logits(one), rtol=1e-4, atol=1e-4)
    assert (logits(two) - logits(one)).abs().max() > 1e-3
    metrics = [json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in (one, two)]
    assert metrics[1]["before"]["loss"] == pytest.approx(metrics[0]["after"]["loss"], rel=1e-4)

    # 第三轮接着训练：记录里看得出一轮一轮是怎样来的
    run(workplace, LORA, three, "--model_name_or_path", str(two))
    record = json.loads((three / "arguments.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in record["ancestry"]] == [str(two), str(one)]
    assert [each["run"] for each in record["ancestry"]] == [
        json.loads((path / "arguments.json").read_text(encoding="utf-8"))["run"] for path in (two, one)
    ]
    assert "--merge_first 要从一个适配器开始" in run(workplace, LORA, three, "--merge_first", code=1)


def test_another_precision_is_another_base(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    run(workplace, LORA, tmp_path / "one")
    more = ["--model_name_or_path", str(tmp_path / "one"), "--merge_first", "--save_strategy", "steps"]
    more += ["--save_steps", "1", "--max_steps", "4", "--save_dtype", "bf16"]
    out = tmp_path / "two"
    assert run_script(LORA, flags(str(out), *more), workplace, workplace / "log", partial(die_in, "training", 2)) < 0
    said = run(workplace, LORA, out, *more, "--save_dtype", "fp32", "--resume_from_checkpoint", "true", code=1)
    assert "--save_dtype 当时是 bf16，这次是 fp32" in said


def test_a_killed_run_that_merged_first_goes_on_the_same(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    run(workplace, LORA, tmp_path / "one")
    assert_goes_on_bit_by_bit(workplace, tmp_path, "--model_name_or_path", str(tmp_path / "one"), "--merge_first")


# ----------------------------------------------------------------------------------------------------------------------
# 变体


def adapter_config(directory: Path) -> dict:
    return json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("more", [[], ["--use_rslora"]], ids=["plain", "rslora"])
def test_pissa_is_saved_as_a_plain_lora(workplace, tmp_path, monkeypatch, more):
    monkeypatch.chdir(workplace)
    out = tmp_path / "pissa"
    run(workplace, LORA, out, "--init_lora_weights", "pissa", "--lora_r", "3", "--merge_and_save", *more)
    config = adapter_config(out)
    assert (config["r"], config["init_lora_weights"]) == (6, True)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    run(workplace, LORA, tmp_path / "lora", *more)
    plain = json.loads((tmp_path / "lora" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["before"]["loss"] == pytest.approx(plain["before"]["loss"], rel=1e-4), "出发的是同一个基座"
    assert metrics["after"]["loss"] != plain["after"]["loss"]
    torch.testing.assert_close(logits(out), logits(out / "merged"), rtol=1e-3, atol=1e-3)
    model = load_for_chat(str(out)).model.eval()
    with torch.no_grad(), model.disable_adapter():
        assert torch.equal(model(input_ids=IDS).logits, logits("base")), "关掉适配器，基座分毫不差"
    # 接着训练：从存下来的那个模型出发
    run(workplace, LORA, tmp_path / "two", "--model_name_or_path", str(out))
    two = json.loads((tmp_path / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert two["before"]["loss"] == pytest.approx(metrics["after"]["loss"], rel=1e-3)


@pytest.mark.parametrize(
    "more",
    [["--init_lora_weights", "pissa"], ["--loraplus_lr_ratio", "8", "--use_rslora"]],
    ids=["pissa", "loraplus_and_rslora"],
)
def test_a_killed_variant_goes_on_bit_by_bit(workplace, tmp_path, monkeypatch, more):
    monkeypatch.chdir(workplace)
    assert_goes_on_bit_by_bit(workplace, tmp_path, *more)


def test_loraplus_moves_b_further(workplace, tmp_path):
    """一步：A 的梯度是零（B 从零开始），只有 B 动；Adam 的第一步与学习率成正比。"""
    moved = []
    for ratio in ([], ["--loraplus_lr_ratio", "4"]):
        out = tmp_path / str(len(ratio))
        run(workplace, LORA, out, "--max_steps", "1", "--learning_rate", "1e-4", *ratio)
        weights = load_file(out / "adapter_model.safetensors")
        moved.append(max(value.abs().max().item() for name, value in weights.items() if "lora_B" in name))
    assert moved[1] == pytest.approx(4 * moved[0], rel=1e-3)


def test_rslora_scales_by_the_root(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    run(workplace, LORA, tmp_path / "out", "--use_rslora", "--lora_r", "16", "--lora_alpha", "8")
    model = load_for_chat(str(tmp_path / "out")).model
    scales = {module.scaling["default"] for module in model.modules() if hasattr(module, "lora_A")}
    assert scales == {8 / 4}


@pytest.mark.parametrize(
    ("base", "more", "says"),
    [
        ("base", ["--lora_r", "33"], "PiSSA 的秩不能超过矩阵窄的一边"),
        ("untied", ["--target_modules", "q_proj", "embed_tokens"], "PiSSA 不能用在嵌入层 embed_tokens 上"),
    ],
)
def test_what_pissa_cannot_decompose_is_refused_before_training(workplace, tmp_path, base, more, says):
    save_toy(workplace / "untied", "llama")
    command = ["--model_name_or_path", base, "--init_lora_weights", "pissa", *more]
    assert says in run(workplace, LORA, tmp_path / "out", *command, code=1)


def test_new_markers_are_named_for_other_programs(workplace, tmp_path):
    save_toy(tmp_path / "no_chatml", chatml=False)
    said = run(workplace, LORA, tmp_path / "out", "--model_name_or_path", str(tmp_path / "no_chatml"))
    assert "vLLM" in said
    assert "vLLM" not in run(workplace, LORA, tmp_path / "plain")
    pissa = ["--model_name_or_path", str(tmp_path / "no_chatml"), "--init_lora_weights", "pissa"]
    assert "请去掉 --init_lora_weights" in run(workplace, LORA, tmp_path / "pissa", *pissa, code=1)
