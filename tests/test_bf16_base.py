"""冻结的基座一直是 bf16 的：与读成 fp32、训练和检验都用 bf16 自动混合精度的，学到的一位不差；不能这样的照旧。

没有显卡时，把 CPU 当作检验也用 bf16 自动混合精度的设备，走的是同样的代码。
"""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from child_processes import run_script
from dying_processes import die_in
from peft import IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from test_model_checks import UNUSUAL
from test_nothing_lost import LORA, assert_same_weights, flags, log_of, weights_of
from test_training_run import write
from toy_models import toy_model, toy_tokenizer
from transformers import AutoModelForCausalLM

from finetuning import device, evaluate, model_checks
from finetuning.adapter import add_adapter, embedding_rows, new_adapter
from finetuning.arguments.trainer import SFTArguments
from finetuning.bf16_base import bf16_linears, can_stay_bf16
from finetuning.merging import merge
from finetuning.model import load_model
from finetuning.plan.memory import load_config, plan
from finetuning.training import CheckedTrainer

BF16 = torch.bfloat16
BASES = {"qwen3": ("qwen3", True), "llama": ("llama", True), "gemma3": ("gemma3", True), "no_chatml": ("llama", False)}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """几个 bf16 的小模型：嵌入共用的（qwen3、gemma3）、不共用的（llama）、没有对话标记的，和少见的几种。"""
    path = tmp_path_factory.mktemp("work")
    for name, (family, chatml) in BASES.items():
        tokenizer = toy_tokenizer(chatml)
        toy_model(family, vocab_size=len(tokenizer)).to(BF16).save_pretrained(path / name)
        tokenizer.save_pretrained(path / name)
    for name, build in UNUSUAL.items():
        torch.manual_seed(0)
        build().to(BF16).save_pretrained(path / name)
        toy_tokenizer().save_pretrained(path / name)
    write(path / "train.jsonl", range(60))
    write(path / "test.jsonl", range(100, 104))
    return path


def evaluated_in_bf16(keeps: bool, phase: str | None = None) -> None:
    """在训练的进程里：检验用 bf16 自动混合精度；``keeps``：也说是这样的设备，基座就不读成 fp32。

    一路看着；``phase``：在这个阶段终止。
    """
    evaluate.evaluation_dtype = lambda device, large=False: BF16
    device.evaluation_dtype = lambda device, large=False: BF16 if keeps else None
    step = CheckedTrainer.training_step

    def watched(self, model, *args, **kwargs):
        types = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
        assert types == {torch.float32}, "要训练的总是 fp32"
        return step(self, model, *args, **kwargs)

    CheckedTrainer.training_step = watched
    evaluation = evaluate.mean_loss

    def watched_evaluation(model, *args, **kwargs):
        assert bool(bf16_linears(model)) == keeps, "检验时也是"
        return evaluation(model, *args, **kwargs)

    from finetuning import report

    report.mean_loss = watched_evaluation
    if phase:
        die_in(phase, 2)


def run(workplace: Path, out: Path, keeps: bool, *more: str, phase: str | None = None) -> None:
    command = flags(str(out), "--bf16", "true", "--max_steps", "20", *more)
    command += [] if "--save_steps" in more else ["--save_strategy", "steps", "--save_steps", "20"]
    status = run_script(LORA, command, workplace, workplace / "log", partial(evaluated_in_bf16, keeps, phase))
    assert (status == 0) == (phase is None), log_of(workplace)


def numbers(out: Path) -> tuple:
    """每一步的损失，训练前后的检验。"""
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    history = json.loads((out / "checkpoint-20" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == 20
    return losses, metrics["before"], metrics["after"]


# ----------------------------------------------------------------------------------------------------------------------
# 学到的一位不差


CASES = {
    "tied": ["--model_name_or_path", "qwen3", "--merge_and_save"],
    "checkpointing": ["--model_name_or_path", "llama", "--gradient_checkpointing", "--lora_dropout", "0.1"],
    "padded": ["--model_name_or_path", "gemma3", "--padding_free", "false"],
    "new_markers": ["--model_name_or_path", "no_chatml", "--merge_and_save"],
    "output_layer": ["--model_name_or_path", "llama", "--target_modules", "all-linear", "lm_head", "--use_rslora"],
    "experts": ["--model_name_or_path", "experts", "--target_modules", "q_proj", "v_proj"],
    "vision": ["--model_name_or_path", "vision"],
    "prefix": ["--model_name_or_path", "llama", "--method", "prefix"],
}


@pytest.mark.parametrize("more", CASES.values(), ids=CASES)
def test_bit_for_bit_the_same(workplace, tmp_path, more):
    run(workplace, tmp_path / "kept", True, *more)
    run(workplace, tmp_path / "fp32", False, *more)
    assert_same_weights(tmp_path / "kept", tmp_path / "fp32")
    assert numbers(tmp_path / "kept") == numbers(tmp_path / "fp32")
    weights = weights_of(tmp_path / "kept")
    assert {value.dtype for name, value in weights.items() if not name.startswith("merged/")} == {torch.float32}
    if "--merge_and_save" in more:
        assert {value.dtype for name, value in weights.items() if name.startswith("merged/")} == {BF16}


@pytest.mark.parametrize("more", [[], ["--merge_first", "--lora_r", "4"]], ids=["continued", "merged first"])
@pytest.mark.parametrize("base", ["llama", "no_chatml"])
def test_a_second_round_is_the_same(workplace, tmp_path, base, more):
    run(workplace, tmp_path / "one", True, "--model_name_or_path", base)
    for keeps in (True, False):
        run(workplace, tmp_path / str(keeps), keeps, "--model_name_or_path", str(tmp_path / "one"), *more)
    assert_same_weights(tmp_path / "True", tmp_path / "False")
    assert numbers(tmp_path / "True") == numbers(tmp_path / "False")


@pytest.mark.parametrize("phase", ["training", "merging"])
def test_a_killed_run_goes_on_bit_by_bit(workplace, tmp_path, phase):
    more = ["--model_name_or_path", "llama", "--merge_and_save", "--save_strategy", "steps", "--save_steps", "1"]
    run(workplace, tmp_path / "straight", True, *more)
    run(workplace, tmp_path / "killed", True, *more, phase=phase)
    run(workplace, tmp_path / "killed", True, *more, "--resume_from_checkpoint", "true")
    assert_same_weights(tmp_path / "straight", tmp_path / "killed")


@pytest.mark.parametrize(
    "more", [["--init_lora_weights", "pissa", "--lora_r", "4"], ["--method", "dora"]], ids=["pissa", "dora"]
)
def test_what_needs_the_weights_themselves_is_read_in_fp32(workplace, tmp_path, more):
    """设备说可以，也不留 bf16：``evaluated_in_bf16`` 里看得见。"""
    command = flags(str(tmp_path / "out"), "--model_name_or_path", "llama", "--bf16", "true", "--max_steps", "2", *more)
    status = run_script(LORA, command, workplace, workplace / "log", evaluated_in_bf16_but_read_in_fp32)
    assert status == 0, log_of(workplace)


def evaluated_in_bf16_but_read_in_fp32() -> None:
    evaluated_in_bf16(False)
    device.evaluation_dtype = lambda device, large=False: BF16


# ----------------------------------------------------------------------------------------------------------------------
# 读入


@pytest.mark.parametrize("base", BASES)
def test_only_the_linear_layers_are_read_in_bf16(workplace, base):
    kept, plain = load_model(str(workplace / base), keep_bf16=True), load_model(str(workplace / base))
    inputs, outputs = kept.model.get_input_embeddings(), kept.model.get_output_embeddings()
    in_fp32 = {inputs.weight, outputs.weight} if base == "no_chatml" else {inputs.weight}
    for layer in kept.model.modules():
        for parameter in layer.parameters(recurse=False):
            linear = isinstance(layer, torch.nn.Linear) and not any(parameter is each for each in in_fp32)
            assert parameter.dtype == (BF16 if linear else torch.float32)
    assert (inputs.weight is outputs.weight) == (base in ("qwen3", "gemma3"))
    assert kept.new_token_ids == plain.new_token_ids
    expected = dict(plain.model.named_buffers()) | dict(plain.model.named_parameters())
    actual = dict(kept.model.named_buffers()) | dict(kept.model.named_parameters())
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name].float(), expected[name].float()) for name in expected)
    assert not bf16_linears(plain.model)


def test_a_checkpoint_of_another_precision_is_read_in_fp32(workplace, tmp_path):
    """config.json 说是 bf16，里面有 fp32 的矩阵：读成 bf16 就舍入了。"""
    model, tokenizer, _ = load_model(str(workplace / "llama"))
    model.to(BF16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert bf16_linears(load_model(str(tmp_path), keep_bf16=True).model)
    weights = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = torch.randn(weights[name].shape)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    model = load_model(str(tmp_path), keep_bf16=True).model
    assert not bf16_linears(model)
    assert torch.equal(model.get_parameter(name), weights[name])


def test_a_norm_in_fp32_does_not_matter(workplace, tmp_path):
    model, tokenizer, _ = load_model(str(workplace / "llama"))
    model.to(BF16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"] = torch.randn(weights["model.norm.weight"].shape)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    model = load_model(str(tmp_path), keep_bf16=True).model
    assert bf16_linears(model)
    assert torch.equal(model.model.norm.weight, weights["model.norm.weight"])


def test_the_weights_of_a_hub_model_are_looked_at_too(workplace, monkeypatch):
    """下载的地方换成本地的目录。"""
    monkeypatch.setattr(model_checks, "snapshot_download", lambda name, allow_patterns: str(workplace / name))
    monkeypatch.chdir(workplace.parent)
    assert model_checks.matrices_are_bf16("llama")
    toy_model().save_pretrained(workplace / "in_fp32")
    assert not model_checks.matrices_are_bf16("in_fp32")


def test_nothing_else_built_afterwards_is_bf16(workplace):
    load_model(str(workplace / "llama"), keep_bf16=True)
    with torch.device("meta"):
        assert torch.nn.Linear(2, 3).weight.dtype == torch.float32


# ----------------------------------------------------------------------------------------------------------------------
# 什么时候


PLAIN = LoraConfig(task_type="CAUSAL_LM")


@pytest.mark.parametrize(
    ("adapter", "training", "evaluation", "sharded", "expected"),
    [
        (PLAIN, BF16, BF16, False, True),
        (PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), BF16, BF16, False, True),
        (LoraConfig(use_rslora=True, init_lora_weights="gaussian"), BF16, BF16, False, True),
        (PLAIN, BF16, None, False, False),  # CPU；不支持 bf16 的显卡硬要用 bf16
        (PLAIN, torch.float16, None, False, False),
        (PLAIN, None, BF16, False, False),  # --bf16 false
        (PLAIN, BF16, BF16, True, False),
        (LoraConfig(use_dora=True), BF16, BF16, False, False),
        (LoraConfig(init_lora_weights="pissa"), BF16, BF16, False, False),
        (LoraConfig(init_lora_weights="olora"), BF16, BF16, False, False),
        (LoraConfig(modules_to_save=["lm_head"]), BF16, BF16, False, False),
        (IA3Config(), BF16, BF16, False, False),
    ],
)
def test_when_the_base_stays_bf16(adapter, training, evaluation, sharded, expected):
    assert can_stay_bf16(adapter, training, evaluation, sharded) == expected


def test_sharded_by_the_launcher(tmp_path, monkeypatch):
    assert not SFTArguments(output_dir=str(tmp_path), use_cpu=True).sharded
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert SFTArguments(output_dir=str(tmp_path), use_cpu=True).sharded


def test_rows_of_the_output_layer_that_are_trained_are_fp32(workplace, tmp_path):
    """别的工具训练的适配器，可能训练已有的标记的嵌入。"""
    rows = {"embed_tokens": [1, 2], "lm_head": [1, 2]}
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=rows)
    other = get_peft_model(load_model(str(workplace / "llama")).model, config)
    for name, parameter in other.named_parameters():
        if "trainable_tokens_delta" in name:
            torch.nn.init.normal_(parameter)
    other.save_pretrained(tmp_path)
    tokens = torch.arange(10)[None]
    models = [
        add_adapter(load_model(str(workplace / "llama"), keep_bf16=keeps).model, str(tmp_path), trainable=True)
        for keeps in (True, False)
    ]
    assert bf16_linears(models[0])
    with torch.no_grad(), torch.autocast("cpu", BF16):
        kept, plain = (model.eval()(input_ids=tokens).logits for model in models)
    assert torch.equal(kept, plain)


# ----------------------------------------------------------------------------------------------------------------------
# 合并、内存


def test_merging_is_computed_in_fp32(workplace):
    """改动比 bf16 的一格还小：在 bf16 里加就没有了。"""
    merged = []
    for keeps in (True, False):
        base = load_model(str(workplace / "llama"), keep_bf16=keeps).model
        torch.manual_seed(0)
        model = new_adapter(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=1e-4)
        merged.append(merge(model))
    base = AutoModelForCausalLM.from_pretrained(workplace / "llama", dtype=torch.float32)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(merged[0].get_parameter(name), base.get_parameter(name))
    assert all(map(torch.equal, merged[0].parameters(), merged[1].parameters()))


@pytest.mark.parametrize("base", ["qwen3", "llama"])
def test_the_plan_counts_the_bytes_that_are_there(workplace, base):
    """对照：真的读入，真的添上适配器，数每一个张量。"""
    model = load_model(str(workplace / base), keep_bf16=True).model
    model = new_adapter(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=8))
    expected = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    config = AutoModelForCausalLM.from_pretrained(workplace / base).config
    assert plan(config, "lora", batch_size=1, max_length=16).weights == expected


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_the_plan_counts_the_bytes_of_new_tokens_too(tmp_path, family):
    """有新的行的嵌入和输出层是 fp32 的。"""
    toy_model(family, vocab_size=400).to(BF16).save_pretrained(tmp_path)
    toy_tokenizer(chatml=False).save_pretrained(tmp_path)
    base, _, new = load_model(str(tmp_path), keep_bf16=True)
    assert base.config.vocab_size == 400
    rows = embedding_rows(base, new)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=8, trainable_token_indices=rows)
    model = new_adapter(base, config)
    expected = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    assert plan(load_config(str(tmp_path)), "lora", batch_size=1, max_length=16, new_tokens=2).weights == expected
