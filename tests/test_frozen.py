"""冻结的权重在训练期间用 bf16 存放：学到的一位不差，结束后原样恢复；换不得的不换。"""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from toy_models import toy_model, toy_tokenizer
from transformers import set_seed

from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PackedCollator
from finetuning.data import Splits
from finetuning.shortcuts.frozen import (
    FrozenWeightsInBf16,
    all_in_bf16,
    frozen_in_bf16,
    lossless_linears,
    output_to_copy,
)
from finetuning.shortcuts.packing import enable_packing
from finetuning.training import build_trainer

EXAMPLES = [
    {"input_ids": [(7 * number + step) % 40 for step in range(size)], "labels": [-100] * 2 + [5] * (size - 2)}
    for number, size in enumerate((6, 30, 9, 14, 3, 22, 8, 11))
]


def adapted(rounded=True, **options):
    """套了 LoRA 的小模型；``rounded``：权重都是 bf16 能表示的数，与公开的检查点一样。"""
    set_seed(0)
    base = toy_model(**options.pop("shape", {}))
    if rounded:
        base = base.to(torch.bfloat16).float()
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def trained(model, tmp_path, hold):
    args = SFTArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_train_epochs=3, learning_rate=1e-2, use_cpu=True,
        logging_steps=1, save_strategy="no", disable_tqdm=True, bf16=True, seed=1,
    )  # fmt: skip
    trainer = build_trainer(model, toy_tokenizer(), Splits(EXAMPLES, EXAMPLES, [], []), args, padding_free=False)
    trainer.data_collator = PackedCollator()
    if not hold:
        assert trainer.pop_callback(FrozenWeightsInBf16) is not None
    seen = []
    trainer.add_callback(watch(model, seen))
    trainer.train()
    losses = [entry.get("loss", entry.get("eval_loss")) for entry in trainer.state.log_history]
    return losses, seen, {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def watch(model, seen):
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            seen.append({parameter.dtype for parameter in model.parameters() if not parameter.requires_grad})

    return Watch()


def test_training_is_bit_for_bit_the_same(tmp_path):
    losses, seen, weights = trained(adapted(), tmp_path / "held", hold=True)
    expected_losses, plain, expected = trained(adapted(), tmp_path / "plain", hold=False)
    assert all(dtypes == {torch.bfloat16, torch.float32} for dtypes in seen), "训练期间确实换了"
    assert all(dtypes == {torch.float32} for dtypes in plain)
    assert losses == expected_losses
    assert all(torch.equal(weights[name], expected[name]) for name in expected), "包括恢复后的基座"
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: adapted(rounded=False), id="weights that bf16 cannot hold"),
        pytest.param(lambda: adapted(use_dora=True), id="DoRA"),
        pytest.param(lambda: toy_model().to(torch.bfloat16).float(), id="nothing is frozen"),
    ],
)
def test_left_alone(model):
    assert lossless_linears(model()) == []


def test_the_tied_output_layer_has_a_copy_of_its_own():
    """查表仍用 fp32 的：这里的嵌入不是 bf16 能表示的数。"""
    model = adapted(rounded=False)
    output, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    own = output.weight
    assert own is embeddings.weight
    with frozen_in_bf16(model):
        assert torch.equal(output.weight, own.to(torch.bfloat16))
        assert embeddings.weight is own
        assert own.dtype == torch.float32
    assert output.weight is embeddings.weight is own


@pytest.mark.parametrize("tied", [True, False])
def test_an_output_layer_that_bf16_cannot_hold_computes_the_same(tied):
    """autocast 每次转出来的，与一直拿着的一份，一位不差。"""
    model = adapted(rounded=False, shape={"tie_word_embeddings": tied})
    batch = PackedCollator()(EXAMPLES)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(**batch).logits
        with frozen_in_bf16(model):
            assert model.get_output_embeddings().weight.dtype == torch.bfloat16
            assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: adapted(), id="LoRA"),
        pytest.param(lambda: adapted(rounded=False), id="LoRA on weights that bf16 cannot hold"),
        pytest.param(lambda: adapted(use_dora=True), id="DoRA"),
        pytest.param(lambda: toy_model(), id="full"),
    ],
)
def test_weights_prepared_for_evaluation_compute_the_same(model):
    model = model().eval()
    batch = PackedCollator()(EXAMPLES)
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model(**batch).logits
        with all_in_bf16(model):
            assert torch.equal(model(**batch).logits, expected)
    assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize(
    ("model", "context"), [(adapted, frozen_in_bf16), (adapted, all_in_bf16), (toy_model, all_in_bf16)]
)
def test_an_error_half_way_leaves_nothing_changed(monkeypatch, model, context):
    """例如内存不够；诊断用的一段损失算不成，训练照旧。"""
    model = model()
    before = {name: (parameter, parameter.requires_grad) for name, parameter in model.named_parameters()}
    to, calls = torch.Tensor.to, []

    def fails_late(tensor, *args, **kwargs):
        if torch.bfloat16 in args:
            calls.append(tensor.shape)
            if len(calls) == most:
                raise RuntimeError("not enough memory")
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", fails_late)
    most = 0
    with context(model):
        most = len(calls)  # 一共转几次
    calls.clear()
    with pytest.raises(RuntimeError, match="not enough memory"), context(model):
        pass
    for name, parameter in model.named_parameters():
        assert (parameter, parameter.requires_grad) == before[name], name
        assert parameter.dtype == torch.float32, name


def test_a_trained_output_layer_is_left_alone():
    model = adapted(modules_to_save=["lm_head"], shape={"tie_word_embeddings": False})
    assert output_to_copy(model) is None


def test_the_trial_of_packing_holds_them_too():
    """试能不能首尾相接时，也不给每个冻结的权重留一份 bf16 的副本；试完恢复原样。"""
    model = adapted()
    seen = []
    for module in lossless_linears(model):
        module.register_forward_hook(lambda module, *_: seen.append((torch.is_grad_enabled(), module.weight.dtype)))
    assert enable_packing(model, torch.bfloat16, hold_frozen=True) is None
    assert {dtype for with_graph, dtype in seen if with_graph} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
