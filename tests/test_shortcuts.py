"""捷径：训练和内存的预测选的是同样的几样；选的时候不运行模型，也不动它。"""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from toy_models import toy_model, toy_tokenizer
from transformers import AutoModelForCausalLM, GPTJConfig, Qwen3NextConfig

from benchmarks.models import PlainConfig
from finetuning import shortcuts
from finetuning.adapter import base_of
from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PackedCollator
from finetuning.data import Splits
from finetuning.plan.memory import plan
from finetuning.shortcuts import Setting, Shortcuts, choose
from finetuning.shortcuts.frozen import FrozenWeightsInBf16
from finetuning.shortcuts.loss import chunked_causal_lm_loss
from finetuning.training import build_trainer

EXAMPLE = {"input_ids": [3, 9, 4, 7], "labels": [-100, 9, 4, 7]}
SMALL = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "tie_word_embeddings": True, "dtype": "bfloat16",
}  # fmt: skip
HYBRID = SMALL | {
    "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "num_experts": 0, "mlp_only_layers": [0, 1], "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
CONFIGS = {
    "packable": toy_model(dtype="bfloat16").config,
    "no logits_to_keep": PlainConfig(**SMALL),
    "hybrid": Qwen3NextConfig(**HYBRID),
    "no attention interface": GPTJConfig(
        vocab_size=400,
        n_embd=32,
        n_layer=1,
        n_head=2,
        rotary_dim=8,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        dtype="bfloat16",
    ),
}


@pytest.fixture(autouse=True)
def cores(set_cores):
    set_cores(2)


def used_in_training(tmp_path, monkeypatch, config, method, batch_size, bf16):
    """真的组装一次训练，看用上了哪几样。"""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).float()
    adapters = {
        "lora": LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"),
        "dora": LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", use_dora=True),
        "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    }
    if method != "full":
        model = get_peft_model(model, adapters[method])
    used = []
    original = shortcuts.apply
    monkeypatch.setattr(shortcuts, "apply", lambda *args: used.append(original(*args)) or used[-1])
    args = SFTArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=batch_size, use_cpu=True, bf16=bf16, report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    data = [EXAMPLE] * batch_size
    trainer = build_trainer(model, toy_tokenizer(), Splits(data, None, data, []), args, padding_free=True)
    assert installed(model, trainer, used[0].why_not) == used[0], "说用上了的，真的装上了"
    return used[0]


def installed(model, trainer, why_not) -> Shortcuts:
    """不看说了什么，只看模型和 Trainer 现在的样子。"""
    embeddings = model.get_input_embeddings()
    looked_up = embeddings(torch.tensor([[3]]))
    return Shortcuts(
        packed=isinstance(trainer.data_collator, PackedCollator),
        why_not=why_not,
        micro_batches=trainer.micro_batches,
        chunked_loss=base_of(model).loss_function is chunked_causal_lm_loss,
        frozen_in_bf16=any(isinstance(each, FrozenWeightsInBf16) for each in trainer.callback_handler.callbacks),
        one_embedding_gradient=embeddings.weight.requires_grad and looked_up.is_leaf,
    )


@pytest.mark.parametrize(
    ("kind", "method", "batch_size", "bf16", "expected"),
    [
        ("packable", "full", 1, False, {"packed": True, "micro_batches": 1, "one_embedding_gradient": True}),
        ("packable", "full", 4, True, {"packed": True, "micro_batches": 2, "one_embedding_gradient": False}),
        ("packable", "lora", 4, True, {"packed": True, "micro_batches": 2, "frozen_in_bf16": True}),
        ("packable", "dora", 4, True, {"packed": True, "frozen_in_bf16": False}),
        ("packable", "prefix", 4, True, {"packed": False, "micro_batches": 1, "frozen_in_bf16": True}),
        (
            "no logits_to_keep",
            "full",
            4,
            True,
            {"packed": False, "chunked_loss": False, "one_embedding_gradient": True},
        ),
        ("no logits_to_keep", "lora", 4, True, {"packed": False, "frozen_in_bf16": True}),
        ("hybrid", "full", 4, True, {"packed": False, "one_embedding_gradient": True}),
        ("no attention interface", "full", 4, True, {}),
        ("no attention interface", "lora", 4, True, {}),
        ("hybrid", "lora", 4, False, {"packed": False, "frozen_in_bf16": False}),
    ],
)
def test_the_plan_assumes_what_training_does(tmp_path, monkeypatch, kind, method, batch_size, bf16, expected):
    config = CONFIGS[kind]
    used = used_in_training(tmp_path, monkeypatch, config, method, batch_size, bf16)
    planned = plan(config, method, batch_size=batch_size, max_length=16, bf16=bf16, device="cpu", num_virtual_tokens=5)
    assert planned.shortcuts == used
    assert {name: getattr(used, name) for name in expected} == expected


def test_what_only_an_execution_can_tell(tmp_path, monkeypatch):
    """看上去能首尾相接、试了才知道不能的：其余几样照不能的来选。"""
    monkeypatch.setattr(shortcuts, "enable_packing", lambda *args: "试了不行")
    used = used_in_training(tmp_path, monkeypatch, CONFIGS["packable"], "full", 4, True)
    assert (used.packed, used.why_not, used.micro_batches, used.chunked_loss) == (False, "试了不行", 1, False)
    assert used.one_embedding_gradient


def test_choosing_needs_no_weights_and_changes_nothing():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS["packable"])
    attention, loss = model.config._attn_implementation, model.loss_function
    setting = Setting("cpu", 4, torch.bfloat16)
    assert choose(model, setting) == choose(toy_model(), setting)
    assert (model.config._attn_implementation, model.loss_function) == (attention, loss)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"neftune": True}, {"packed": False, "micro_batches": 1}),
        ({"padding_free": False}, {"packed": False, "why_not": None}),
        ({"world_size": 2}, {"packed": True, "micro_batches": 1, "one_embedding_gradient": False}),
        ({"device": "cuda"}, {"packed": True, "micro_batches": 1, "one_embedding_gradient": False}),
        ({"batch_size": 1}, {"micro_batches": 1, "one_embedding_gradient": True}),
        ({"batch_size": 1, "sharded": True}, {"one_embedding_gradient": False}),
    ],
)
def test_where_and_how_decide(changes, expected):
    chosen = choose(toy_model(), replace(Setting("cpu", 4, None), **changes))
    assert {name: getattr(chosen, name) for name in expected} == expected


@pytest.mark.parametrize(
    "changes", [{"autocast": None}, {"autocast": torch.float16}, {"autocast": torch.bfloat16, "sharded": True}]
)
def test_frozen_weights_stay_fp32_without_bf16_autocast(changes):
    model = get_peft_model(toy_model(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    assert choose(model, Setting("cpu", 4, torch.bfloat16)).frozen_in_bf16
    assert not choose(model, replace(Setting("cpu", 4, None), **changes)).frozen_in_bf16
