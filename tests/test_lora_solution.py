"""TODO 2 的参考答案：以 PEFT 自己的 LoRA 和矩阵公式为准。"""

import copy
import re

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from toy_models import toy_model

from lora_solution import LoRALinear, apply_lora, load_lora_state_dict, lora_state_dict, merge

ATTENTION = ["q_proj", "v_proj"]


def randomize_lora(model: nn.Module) -> None:
    """B 不再是零，LoRA 支路才有作用。"""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith(("lora_A", "lora_B")):
            nn.init.normal_(parameter, std=0.1)


def lora_layer(bias: bool = True, dtype: torch.dtype = torch.float32, **options: float) -> LoRALinear:
    layer = LoRALinear(nn.Linear(7, 5, bias=bias, dtype=dtype), **{"r": 3, "alpha": 12} | options)
    randomize_lora(layer)
    return layer


@pytest.fixture
def model():
    return toy_model()


@pytest.fixture
def ids():
    return torch.randint(0, 400, (2, 9), generator=torch.Generator().manual_seed(0))


def test_worked_example_of_the_docstring():
    original = nn.Linear(3, 2)
    with torch.no_grad():
        original.weight.copy_(torch.tensor([[1.0, 0.0, 3.0], [2.0, 3.0, 4.0]]))
        original.bias.zero_()
        layer = LoRALinear(original, r=1, alpha=4)
        layer.lora_A.copy_(torch.tensor([[1.0], [0.0], [1.0]]))
        layer.lora_B.copy_(torch.tensor([[0.5, -1.0]]))
    x = torch.tensor([1.0, 2.0, 3.0])
    assert original(x).tolist() == [10, 20]
    assert (x @ layer.lora_A).tolist() == [4]
    assert layer(x).tolist() == [18, 4]


def test_parameter_counts_of_the_docstring():
    layer = LoRALinear(nn.Linear(4096, 4096, bias=False, device="meta"))
    assert layer.original.weight.numel() == 16_777_216
    assert sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad) == 65_536


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("r", "alpha"), [(3, 12), (4, 2), (1, 16)])
def test_output_equals_pefts_lora_with_the_same_factors(bias, r, alpha):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(7, 5, bias=bias)

        def forward(self, x):
            return self.proj(x)

    base = Model()
    peft_model = get_peft_model(copy.deepcopy(base), LoraConfig(r=r, lora_alpha=alpha, target_modules=["proj"]))
    ours = apply_lora(base, ["proj"], r=r, alpha=alpha)
    randomize_lora(ours)
    peft_layer = peft_model.base_model.model.proj
    with torch.no_grad():
        peft_layer.lora_A["default"].weight.copy_(ours.proj.lora_A.T)
        peft_layer.lora_B["default"].weight.copy_(ours.proj.lora_B.T)
    for shape in ((4, 7), (2, 3, 7)):
        x = torch.randn(shape)
        torch.testing.assert_close(ours(x), peft_model(x))
    merged = peft_model.merge_and_unload().proj.weight
    torch.testing.assert_close(ours.proj.merge().weight, merged)


def test_a_is_gaussian_and_its_scale_does_not_depend_on_the_width():
    narrow, wide = (LoRALinear(nn.Linear(width, 4), r=64).lora_A.detach() for width in (256, 1024))
    torch.testing.assert_close(narrow.std().item(), 1 / 16, rtol=0.05, atol=0)
    torch.testing.assert_close(wide.std().item(), 1 / 32, rtol=0.05, atol=0)
    assert ((wide.abs() < wide.std()).float().mean() - 0.683).abs() < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dtype_follows_the_wrapped_layer(dtype):
    layer = lora_layer(dtype=dtype)
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    x = torch.randn(2, 3, 7, dtype=dtype)
    assert layer(x).dtype == dtype
    exact = copy.deepcopy(layer).double()
    torch.testing.assert_close(layer(x).double(), exact(x.double()), rtol=2e-2, atol=2e-2)


def test_device_follows_the_wrapped_layer():
    layer = LoRALinear(nn.Linear(7, 5, device="meta"))
    assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_merged_layer_equals_the_formula_and_the_unmerged_layer(bias, dtype, tolerance):
    layer = lora_layer(bias, dtype)
    before = copy.deepcopy(layer.original)
    merged = layer.merge()
    assert type(merged) is nn.Linear
    weight = layer.original.weight + 12 / 3 * (layer.lora_A @ layer.lora_B).T
    torch.testing.assert_close(merged.weight, weight, rtol=tolerance, atol=tolerance)
    x = torch.randn(2, 3, 7, dtype=dtype)
    torch.testing.assert_close(merged(x), layer(x), rtol=tolerance, atol=tolerance)
    assert all(map(torch.equal, layer.original.parameters(), before.parameters()))


@torch.no_grad()
def test_applied_model_starts_unchanged_and_merged_model_equals_unmerged(model, ids):
    base_logits = model(ids).logits
    names = [name for name, _ in model.named_modules()]
    assert apply_lora(model, ATTENTION, r=4, alpha=8) is model
    assert torch.equal(model(ids).logits, base_logits)

    randomize_lora(model)
    logits = model(ids).logits
    assert not torch.allclose(logits, base_logits, atol=1e-2)
    assert merge(model) is model
    torch.testing.assert_close(model(ids).logits, logits, rtol=1e-4, atol=1e-4)
    assert [name for name, _ in model.named_modules()] == names


def test_merge_accepts_a_single_layer():
    layer = lora_layer()
    assert torch.equal(merge(layer).weight, layer.merge().weight)


def test_only_the_named_layers_are_replaced_and_only_their_factors_train(model):
    apply_lora(model, ["q_proj", "mlp.down_proj"], r=4)
    replaced = {name for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    expected = {f"model.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.q_proj", "mlp.down_proj")}
    assert replaced == expected
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {f"{name}.lora_{factor}" for name in expected for factor in "AB"}


def test_a_name_matches_whole_words_only():
    model = nn.ModuleDict({"q": nn.Linear(3, 2), "seq": nn.Linear(3, 2)})
    apply_lora(model, ["q"])
    assert [name for name, module in model.named_children() if isinstance(module, LoRALinear)] == ["q"]


def test_applying_twice_keeps_the_first_factors_trainable(model):
    apply_lora(apply_lora(model, ["q_proj"]), "v_proj")
    assert len(lora_state_dict(model)) == 8
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == set(lora_state_dict(model))


def test_the_same_seed_gives_the_same_factors():
    states = []
    for _ in range(2):
        model = toy_model()
        torch.manual_seed(3)
        states.append(lora_state_dict(apply_lora(model, ["v_proj", "q_proj"])))
    assert all(map(torch.equal, states[0].values(), states[1].values()))


def test_a_training_step_moves_every_trainable_parameter_and_no_other(model, ids):
    apply_lora(model, ATTENTION)
    randomize_lora(model)  # B 是零的第一步，A 的梯度是零
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_first_step_from_zero_moves_b_and_the_loss_falls(model, ids):
    apply_lora(model, ATTENTION)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(ids, labels=ids).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(tensor.any() for tensor in lora_state_dict(model).values())


@torch.no_grad()
def test_saved_factors_load_into_the_same_base(model, ids, tmp_path):
    base = copy.deepcopy(model)
    apply_lora(model, ATTENTION, r=4)
    randomize_lora(model)
    state = lora_state_dict(model)
    assert len(state) == 2 * 2 * 2
    assert sum(tensor.numel() for tensor in state.values()) == 2 * 4 * ((32 + 48) + (32 + 24))

    save_file(state, tmp_path / "lora.safetensors")
    apply_lora(base, ATTENTION, r=4)
    load_lora_state_dict(base, load_file(tmp_path / "lora.safetensors"))
    assert torch.equal(base(ids).logits, model(ids).logits)


def one_sentence(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message.endswith("。")
    assert message.count("。") == 1
    assert "\n" not in message
    return message


@pytest.mark.parametrize("targets", [["q_prj"], ["q_proj", "w_qkv"], [], "attention", ["self_attn"], ["embed_tokens"]])
def test_unknown_layer_names_end_in_one_sentence_and_change_nothing(model, targets):
    before = [(name, parameter.requires_grad) for name, parameter in model.named_parameters()]
    with pytest.raises(ValueError, match=re.escape("target_modules")) as error:
        apply_lora(model, targets)
    assert "q_proj" in one_sentence(error)
    assert [(name, parameter.requires_grad) for name, parameter in model.named_parameters()] == before


@pytest.mark.parametrize(("targets", "r"), [(ATTENTION, 8), (["q_proj"], 4), (["q_proj", "v_proj", "k_proj"], 4)])
def test_factors_of_another_configuration_are_refused(model, targets, r):
    state = lora_state_dict(apply_lora(toy_model(), ATTENTION, r=4))
    apply_lora(model, targets, r=r)
    before = copy.deepcopy(lora_state_dict(model))
    with pytest.raises(ValueError, match="对不上") as error:
        load_lora_state_dict(model, state)
    one_sentence(error)
    assert all(map(torch.equal, lora_state_dict(model).values(), before.values()))
