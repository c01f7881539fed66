"""免填充的批次：与填充的批次同样的损失和梯度，各段对话互不相见。"""

import inspect

import pytest
import torch
from peft import LoraConfig, get_peft_model
from toy_models import toy_model
from transformers import GPTNeoConfig, GPTNeoForCausalLM
from transformers.loss.loss_utils import ForCausalLMLoss

from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.shortcuts import attention as attention_module
from finetuning.shortcuts.attention import PER_DOCUMENT
from finetuning.shortcuts.packing import enable_packing

# 长短不一；开头不学；中间断开（多轮）；最后一个 token 学或不学；第一个 token 带标签（错位后不该有人预测它）。
EXAMPLES = [
    {"input_ids": [5, 9, 7, 30, 31, 2], "labels": [-100, -100, -100, 30, 31, 2]},
    {"input_ids": [8, 6, 40, 2, 9, 11, 50, 51, 2, 7], "labels": [-100, -100, 40, 2, -100, -100, 50, 51, 2, -100]},
    {"input_ids": [17, 18, 19], "labels": [17, -100, 19]},
]
FAMILIES = ["qwen3", "llama", "gemma3"]


def gradients(model, batch):
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    return output.loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", [PER_DOCUMENT, "sdpa", "eager"])
def test_packed_equals_padded(family, attention):
    """gemma3 的滑动窗口只有 4，比对话短，走的是自带的 SDPA。"""
    model = toy_model(family)
    model.set_attn_implementation("eager")
    expected_loss, expected = gradients(model, PaddedCollator(0)(EXAMPLES))
    model.set_attn_implementation(attention)
    loss, actual = gradients(model, PackedCollator()(EXAMPLES))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item(), msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_do_not_see_each_other(family):
    """换掉第一段，第二段的 logits 一点不变。"""
    model = toy_model(family).eval()
    assert enable_packing(model) is None
    other = {"input_ids": [200, 201, 202, 203, 204, 205], "labels": EXAMPLES[0]["labels"]}
    count = sum(label != -100 for label in EXAMPLES[1]["labels"][1:])

    def logits(*examples):
        batch = PackedCollator()(examples)
        with torch.no_grad():
            return model(**batch).logits[batch["labels"] != -100][-count:]

    first, second, alone = logits(EXAMPLES[0], EXAMPLES[1]), logits(other, EXAMPLES[1]), logits(EXAMPLES[1])
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone, rtol=1e-5, atol=1e-5)


def test_isolation_test_would_notice_a_leak():
    """反例：去掉边界、又打开 KV 缓存，各段就会互相看见；上面的测试不是空话。"""
    model = toy_model().eval()
    model.set_attn_implementation(PER_DOCUMENT)
    other = {**EXAMPLES[0], "input_ids": [200, 201, 202, 203, 204, 205]}

    def logits(first):
        batch = PackedCollator(multiple=1)([first, EXAMPLES[1]]) | {"use_cache": True, "cu_seq_lens_q": None}
        with torch.no_grad():
            return model(**batch).logits[0, -5:]

    assert (logits(EXAMPLES[0]) - logits(other)).abs().max() > 0.01


def test_collator_by_hand():
    batch = PackedCollator(multiple=1)([{"input_ids": [10, 11, 12], "labels": [-100, 11, 12]}, EXAMPLES[2]])
    assert batch["input_ids"].tolist() == [[10, 11, 12, 17, 18, 19]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]
    assert batch["logits_to_keep"].tolist() == [0, 1, 4]  # 第二段的开头 17 有标签，但没有位置预测它
    assert batch["shift_labels"].tolist() == batch["labels"].tolist() == [[11, 12, 19]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 6]


def test_filler_is_a_document_of_its_own_and_never_learnt():
    batch = PackedCollator(multiple=4)([{"input_ids": [10, 11, 12], "labels": [-100, 11, 12]}, EXAMPLES[2]])
    assert batch["input_ids"].tolist() == [[10, 11, 12, 17, 18, 19, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 0, 1]]
    assert batch["shift_labels"].tolist() == [[11, 12, 19, -100]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 6, 8]


def test_padded_collator_keeps_a_real_token_equal_to_the_padding():
    """填充 token 就是结束标记时，真正的结束标记照样要看、要学。"""
    batch = PaddedCollator(2)(EXAMPLES[:2])
    assert batch["attention_mask"].tolist() == [[1] * 6 + [0] * 4, [1] * 10]
    assert batch["labels"][0].tolist() == EXAMPLES[0]["labels"] + [-100] * 4


@pytest.mark.parametrize(
    ("longest", "dtype"), [(10, torch.float32), (1100, torch.bfloat16)], ids=["short", "long enough for bf16 attention"]
)
def test_bf16_autocast_stays_close(monkeypatch, longest, dtype):
    seen = set()
    original = attention_module.scaled_dot_product_attention
    monkeypatch.setattr(
        attention_module,
        "scaled_dot_product_attention",
        lambda query, *args, **options: seen.add(query.dtype) or original(query, *args, **options),
    )
    model = toy_model(max_position_embeddings=2048)
    model.set_attn_implementation(PER_DOCUMENT)
    ids = [number % 300 for number in range(longest)]
    batch = PackedCollator()([*EXAMPLES, {"input_ids": ids, "labels": ids}])
    exact, gradient = gradients(model, batch)
    assert seen == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, rounded_gradient = gradients(model, batch)
    assert seen == {dtype}
    assert rounded == pytest.approx(exact, rel=2e-2)
    assert rounded != exact
    for name, expected in gradient.items():
        similarity = torch.cosine_similarity(rounded_gradient[name].flatten(), expected.flatten(), dim=0)
        assert similarity > 0.95, name


def test_gradient_checkpointing_and_lora_give_the_same_gradients():
    model = get_peft_model(toy_model(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    expected_loss, expected = gradients(model, PaddedCollator(0)(EXAMPLES))
    assert enable_packing(model) is None
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # 旧名
    enable({"use_reentrant": False})
    model.train()
    loss, actual = gradients(model, PackedCollator()(EXAMPLES))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item(), msg=name)


@pytest.mark.parametrize("attention", ["sdpa", PER_DOCUMENT])
def test_generation_falls_back_to_stock_attention(attention):
    """带 KV 缓存、左边填充的成批生成，与用自带的注意力一个一个生成相同。"""
    model = toy_model().eval()
    prompts = [[5, 9, 7, 30], [8, 6]]
    options = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None, "pad_token_id": 0}
    model.set_attn_implementation("eager")
    expected = [model.generate(torch.tensor([p]), **options)[0, len(p) :].tolist() for p in prompts]
    model.set_attn_implementation(attention)
    ids = torch.tensor([prompts[0], [0, 0, *prompts[1]]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    assert model.generate(ids, attention_mask=mask, **options)[:, 4:].tolist() == expected


def test_models_that_cannot_be_packed_say_so_and_stay_as_they_were():
    model = toy_model()
    model.config.layer_types = ["full_attention", "linear_attention"]
    assert "linear_attention" in enable_packing(model)
    assert model.config._attn_implementation == "sdpa"

    model = toy_model()
    forward = model.forward

    def leaky(**batch):  # 一个不理会边界和位置的模型
        return forward(**{k: v for k, v in batch.items() if k not in ("position_ids", "cu_seq_lens_q")})

    leaky.__signature__ = inspect.signature(forward)
    model.forward = leaky
    assert "logits" in enable_packing(model)
    assert model.config._attn_implementation == "sdpa"

    model = toy_model()

    class Exp(torch.nn.Linear):  # 反向传播还要用 logits 的值，而省内存的损失会盖掉它
        def forward(self, hidden):
            return super().forward(hidden).exp()

    model.lm_head.__class__ = Exp
    original = model.loss_function
    assert "inplace" in enable_packing(model)
    assert model.loss_function is original
    assert model.config._attn_implementation == "sdpa"

    model = toy_model()
    # 一个自己又错位一次的损失：logits 相同，损失不同
    model.loss_function = lambda logits, labels, vocab_size, **kwargs: ForCausalLMLoss(logits, labels, vocab_size)
    original = model.loss_function
    assert "损失" in enable_packing(model)
    assert model.loss_function is original

    model = toy_model()
    with torch.no_grad():
        model.lm_head.weight.mul_(1e5)  # fp16 最大只到 65504
    assert "float16 算出的损失不是有限的数" in enable_packing(model, torch.float16)

    shape = {"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 32}
    model = GPTNeoForCausalLM(GPTNeoConfig(**shape, attention_types=[[["global", "local"], 1]]))
    assert "掩码" in enable_packing(model)
