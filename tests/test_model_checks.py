"""读不了、存不了的基座：训练之前就说，说的是真正的原因和怎么办；看图的模型、混合专家的模型也能只用文字来训练。"""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig
from safetensors.torch import load_file
from test_nothing_lost import FULL, LORA
from test_training_run import write
from test_unsound_training import run as run_training
from toy_models import save_toy, toy_model, toy_tokenizer
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from finetuning.adapter import adapted_layers, new_adapter
from finetuning.errors import UserError
from finetuning.model import load_model
from finetuning.model_checks import refuse_quantized, saved_dtype
from finetuning.targets import lora_layer_names

RESUME = ["--resume_from_checkpoint", "true"]
TEXT = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": 0,
    "pad_token_id": 0,
}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def gemma3_with_vision() -> PreTrainedModel:
    torch.manual_seed(0)
    vision = {**VISION, "image_size": 28, "patch_size": 14}
    tokens = {"mm_tokens_per_image": 4, "image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config={**TEXT, "sliding_window": 8}, vision_config=vision, **tokens)
    )


def mixture_of_experts() -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**TEXT, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2))


UNUSUAL = {"vision": gemma3_with_vision, "experts": mixture_of_experts}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work")
    save_toy(path / "base")
    for name, build in UNUSUAL.items():
        build().save_pretrained(path / name)
        toy_tokenizer().save_pretrained(path / name)
    write(path / "train.jsonl", range(40))
    write(path / "test.jsonl", range(100, 104))
    return path


def run(workplace: Path, script: str, output_dir: Path, *more: str, code: int = 0) -> str:
    return run_training(workplace, script, output_dir, "--max_steps", "4", *more, code=code)


def edited(workplace: Path, directory: Path, file: str, **changes: object) -> str:
    """改过 ``file`` 的基座。"""
    save_toy(directory)
    content = json.loads((directory / file).read_text(encoding="utf-8")) | changes
    (directory / file).write_text(json.dumps(content), encoding="utf-8")
    return str(directory)


# ----------------------------------------------------------------------------------------------------------------------
# generation_config 自相矛盾

INVALID = {
    "sampling_without_sampling": {"temperature": 0.9, "top_p": 0.6},
    "beams_without_beams": {"num_beams": 1, "length_penalty": 2.0},
    "both": {"top_k": 20, "length_penalty": 2.0, "repetition_penalty": 1.05},
}


@pytest.mark.parametrize("script", [FULL, LORA])
@pytest.mark.parametrize("settings", INVALID.values(), ids=INVALID)
def test_an_invalid_generation_config(workplace, tmp_path, script, settings):
    base = edited(workplace, tmp_path / "base", "generation_config.json", **settings)
    more = ["--save_strategy", "steps", "--save_steps", "2", *(["--merge_and_save"] if script == LORA else [])]
    said = run(workplace, script, tmp_path / "out", "--model_name_or_path", base, *more)
    assert "generation_config.json 自相矛盾" in said
    whole = tmp_path / "out" if script == FULL else tmp_path / "out" / "merged"
    saved = GenerationConfig.from_pretrained(whole)
    saved.validate(strict=True)
    assert load_model(str(whole)).tokenizer.convert_tokens_to_ids("<|im_end|>") in saved.eos_token_id


def test_a_valid_generation_config_is_kept(workplace, tmp_path):
    settings = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.1}
    base = edited(workplace, tmp_path / "base", "generation_config.json", **settings)
    assert "自相矛盾" not in run(workplace, FULL, tmp_path / "out", "--model_name_or_path", base)
    saved = GenerationConfig.from_pretrained(tmp_path / "out").to_dict()
    assert {name: saved[name] for name in settings} == settings


def test_what_cannot_be_saved_is_said_before_training(workplace, tmp_path, monkeypatch):
    """配置里有写不成 JSON 的东西：读得进来，存不了。"""
    from finetuning import training

    model, tokenizer, _ = load_model(str(workplace / "base"))
    model.config.broken = object()
    with pytest.raises(UserError, match=r"读得进来，却存不了.*训练完也得不到结果"):
        training._check_savable(model, tokenizer)


# ----------------------------------------------------------------------------------------------------------------------
# 看图的模型、混合专家的模型


@pytest.mark.parametrize("script", [FULL, LORA])
@pytest.mark.parametrize(("base", "bf16"), [("vision", "true"), ("vision", "false"), ("experts", "false")])
def test_unusual_models_are_trained_and_resumed(workplace, tmp_path, base, script, bf16):
    """存下来的名字与内存里的不同：从中间接着训练，与没有断过的一个比特不差。"""
    more = ["--model_name_or_path", base, "--bf16", bf16, "--save_strategy", "steps", "--save_steps", "2"]
    more += ["--save_total_limit", "9"]
    straight, out = tmp_path / "straight", tmp_path / "out"
    run(workplace, script, straight, *more)
    run(workplace, script, out, *more)
    name = "model.safetensors" if script == FULL else "adapter_model.safetensors"
    expected = load_file(straight / name)
    run(workplace, script, out, *more, "--resume_from_checkpoint", str(out / "checkpoint-2"))
    actual = load_file(out / name)
    assert all(torch.equal(value, actual[key]) for key, value in expected.items())
    # 从最后一步接着做：权重要读得回来，不是“参数一个也没有变”
    run(workplace, script, out, *more, *RESUME)
    assert all(torch.equal(value, load_file(out / name)[key]) for key, value in expected.items())
    base_weights = load_file(workplace / base / "model.safetensors")
    if script == FULL:
        changed = {key for key, value in expected.items() if not torch.equal(value, base_weights[key])}
        assert changed
        assert not [key for key in changed if "vision" in key or "multi_modal" in key], "文字用不到看图的部分"
    else:
        assert not [key for key in expected if "vision" in key]


@pytest.mark.parametrize("base", UNUSUAL)
def test_the_best_checkpoint_of_an_unusual_model(workplace, tmp_path, base):
    """学习率太大，最好的是第一个检查点。"""
    more = ["--model_name_or_path", base, "--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "steps"]
    more += ["--eval_steps", "1", "--validation_file", "test.jsonl", "--load_best_model_at_end"]
    more += ["--learning_rate", "3", "--save_total_limit", "9"]
    run(workplace, FULL, tmp_path / "out", *more)
    state = json.loads((tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
    best = Path(state["best_model_checkpoint"])
    assert best.name != "checkpoint-4"
    expected = load_file(best / "model.safetensors")
    actual = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(value, actual[key]) for key, value in expected.items())


def test_all_linear_leaves_out_what_takes_no_lora():
    """Mamba 的 out_proj、conv1d，PEFT 不给加；它自己的 all-linear 遇到就整个失败。"""
    config = MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=4)
    model = MambaForCausalLM(config)
    names = lora_layer_names(model)
    assert names == ["dt_proj", "in_proj", "x_proj"]
    adapted = new_adapter(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    assert {name.rsplit(".", 1)[-1] for name in adapted.targeted_module_names} == set(names)


# ----------------------------------------------------------------------------------------------------------------------
# --target_modules


@pytest.mark.parametrize(
    ("names", "says"),
    {
        "typo": (["q_proj", "v_porj"], "不能给 v_porj 加 LoRA.*是不是 v_proj"),
        "nothing": (["q_proj", "nothing"], "不能给 nothing 加 LoRA.*可选的层有 down_proj"),
        "not_linear": (["q_proj", "norm"], "不能给 norm 加 LoRA"),
        "a_part_of_a_name": (["proj"], "不能给 proj 加 LoRA"),
        "all_and_a_typo": (["all-linear", "lm_heads"], "不能给 lm_heads 加 LoRA"),
    }.values(),
)
def test_every_name_must_match(names, says):
    with pytest.raises(UserError, match=says):
        new_adapter(toy_model("llama"), LoraConfig(task_type="CAUSAL_LM", target_modules=names))


def test_all_linear_and_one_more():
    model = new_adapter(toy_model("llama"), LoraConfig(task_type="CAUSAL_LM", target_modules=["all-linear", "lm_head"]))
    expected = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"}
    assert {name.rsplit(".", 1)[-1] for name in model.targeted_module_names} == expected


@pytest.mark.parametrize(
    "model",
    [
        FalconForCausalLM(FalconConfig(vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)),
        Lfm2ForCausalLM(Lfm2Config(**{**TEXT, "layer_types": ["conv", "full_attention"]})),
    ],
    ids=["falcon", "convolutions"],
)
def test_a_prefix_that_the_model_cannot_take_is_refused(model):
    with pytest.raises(UserError, match=r"前缀微调用不了这种模型.*请用 --method lora"):
        new_adapter(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    new_adapter(toy_model(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))


def test_experts_are_not_dropped_silently():
    """PEFT 的 all-linear 还包括各个专家；与别的名字写在一起时，它们就没有了。"""
    model = new_adapter(mixture_of_experts(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    assert "base_layer" not in adapted_layers(model)
    assert sum(number for _, number in adapted_layers(model).values()) == model.get_nb_trainable_parameters()[0]
    with pytest.raises(UserError, match="all-linear 不能与别的层写在一起"):
        new_adapter(mixture_of_experts(), LoraConfig(task_type="CAUSAL_LM", target_modules=["all-linear", "q_proj"]))


def test_the_vision_tower_takes_no_lora():
    for names in (["q_proj", "v_proj"], ["all-linear"], ["all-linear", "lm_head"]):
        model = gemma3_with_vision()
        model.config.get_text_config().tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        adapted = new_adapter(model, LoraConfig(task_type="CAUSAL_LM", target_modules=names))
        assert adapted.targeted_module_names
        assert not [name for name in adapted.targeted_module_names if "vision" in name]
    with pytest.raises(UserError, match="不能给 patch_embedding 加 LoRA"):
        new_adapter(gemma3_with_vision(), LoraConfig(task_type="CAUSAL_LM", target_modules=["patch_embedding"]))


def test_a_name_of_a_whole_block_is_not_a_layer():
    config = Lfm2Config(**{**TEXT, "layer_types": ["conv", "full_attention"]})
    with pytest.raises(UserError, match="不能给 conv 加 LoRA"):
        new_adapter(Lfm2ForCausalLM(config), LoraConfig(task_type="CAUSAL_LM", target_modules=["conv"]))


def test_the_announcement_counts_each_layer(workplace, tmp_path):
    said = run(workplace, LORA, tmp_path / "out", "--target_modules", "q_proj", "self_attn.v_proj", "--lora_r", "2")
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for name in ("q_proj", "v_proj"):
        number = sum(value.numel() for key, value in weights.items() if name in key)
        assert f"{name} 2 层 {number:,} 个" in said


# ----------------------------------------------------------------------------------------------------------------------
# 读不了的，真正的原因

UNREADABLE = {
    "remote_code": ({"model_type": "mine", "auto_map": {"AutoConfig": "x.C"}}, "从不执行别人的代码"),
    "gptq": ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "用 gptq 量化过的.*没有量化的原版"),
    "awq": ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "用 awq 量化过的"),
    "fp8": ({"quantization_config": {"quant_method": "fp8"}}, "用 fp8 量化过的"),
    "vision": ({"model_type": "qwen2_vl"}, "qwen2_vl，看图或听声音的模型"),
    "encoder_decoder": ({"model_type": "t5"}, "t5，不是因果语言模型"),
}


@pytest.mark.parametrize(("changes", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_base_is_told_why(workplace, tmp_path, changes, says):
    base = edited(workplace, tmp_path / "base", "config.json", **changes)
    with pytest.raises(UserError, match=says) as error:
        load_model(base)
    assert "重新下载" not in str(error.value)
    assert "\n" not in str(error.value)


def test_only_a_sentencepiece_tokenizer(workplace, tmp_path):
    save_toy(tmp_path / "base", "llama")
    (tmp_path / "base" / "tokenizer.json").unlink()
    (tmp_path / "base" / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    config = {"tokenizer_class": "LlamaTokenizer"}
    (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=r"只有 tokenizer\.model（SentencePiece 格式）"):
        load_model(str(tmp_path / "base"))


def test_no_tokenizer_at_all(workplace, tmp_path):
    save_toy(tmp_path / "base", "llama")
    (tmp_path / "base" / "tokenizer.json").unlink()
    (tmp_path / "base" / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"里面?没有分词器"):
        load_model(str(tmp_path / "base"))


def test_unread_weights_are_said(workplace, tmp_path, capsys):
    load_model(edited(workplace, tmp_path / "base", "config.json", num_hidden_layers=1, layer_types=["full_attention"]))
    assert "个矩阵，config.json 说的结构用不到（model.layers.1." in capsys.readouterr().out


def test_the_stored_precision_is_that_of_the_file(workplace, tmp_path):
    """config.json 里写的不一定对。"""
    base = edited(workplace, tmp_path / "base", "config.json", dtype="bfloat16")
    assert saved_dtype(base, "auto") == torch.float32
    assert saved_dtype(base, "fp16") == torch.float16


def test_a_quantized_base_is_refused_before_reading(workplace, tmp_path, monkeypatch):
    from finetuning import model_checks

    monkeypatch.setattr(model_checks, "find_spec", lambda name: True)
    quantization = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    base = edited(workplace, tmp_path / "base", "config.json", quantization_config=quantization)
    with pytest.raises(UserError, match="已经量化成 4 bit，不能做全参数微调"):
        refuse_quantized(base, "做全参数微调")
    refuse_quantized(str(workplace / "base"), "做全参数微调")
