"""共用的嵌入矩阵：查表的梯度直接加上去，与自动求导算的相同；不该动的模型不动。"""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from toy_models import toy_model

from finetuning.collator import PackedCollator
from finetuning.shortcuts.embedding import add_embedding_gradient_in_place, is_tied_and_trained

EXAMPLES = [
    {"input_ids": [3, 9, 3, 7, 5], "labels": [-100, -100, 3, 7, 5]},
    {"input_ids": [9, 9, 2, 4, 6, 8, 1], "labels": [-100, 9, 2, 4, 6, 8, 1]},
]


def gradients(in_place, batches=1, checkpointing=False, **shape):
    """两个完全相同的小模型，一个装了，一个没有；反向传播 ``batches`` 次，梯度累积。"""
    model = toy_model(**shape).train()
    if in_place:
        add_embedding_gradient_in_place(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for number in range(batches):
        model(**PackedCollator()(EXAMPLES[number:] + EXAMPLES)).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batches": 2},
        {"checkpointing": True},
        {"pad_token_id": 9},
        {"family": "llama", "tie_word_embeddings": True, "pad_token_id": 0},
    ],
    ids=["once", "accumulated", "checkpointing", "padding token in the text", "llama"],
)
def test_the_same_gradients(options):
    expected, ours = gradients(False, **options), gradients(True, **options)
    assert expected.keys() == ours.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_the_lookup_really_counts():
    """反例：丢掉查表的梯度，就只剩输出层的那一份，差得出来；上面的测试不是空话。"""
    alone = toy_model()
    alone.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.detach())
    alone(**PackedCollator()(EXAMPLES)).loss.backward()
    ours, output_only = gradients(True), alone.get_input_embeddings().weight.grad
    assert not torch.allclose(ours["model.embed_tokens.weight"], output_only, atol=1e-4)


def test_no_second_matrix():
    """反向传播中，与嵌入矩阵一样大的张量少造一些。"""
    vocab_size, bytes_each = 50_000, 50_000 * 32 * 4

    def count(in_place):
        model = toy_model(vocab_size=vocab_size)
        if in_place:
            add_embedding_gradient_in_place(model)
        loss = model(**PackedCollator()(EXAMPLES)).loss
        with torch.profiler.profile(profile_memory=True) as profile:
            loss.backward()
        return sum(event.cpu_memory_usage == bytes_each for event in profile.events() if event.name == "aten::empty")

    assert count(False) > count(True)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: toy_model("llama"), id="not tied"),
        pytest.param(lambda: get_peft_model(toy_model(), LoraConfig(task_type="CAUSAL_LM")), id="frozen"),
        pytest.param(lambda: toy_model("gemma3"), id="scaled lookup"),
    ],
)
def test_left_alone(model):
    assert not is_tied_and_trained(model())


def test_the_others_are_not():
    assert is_tied_and_trained(toy_model())


def test_inference_is_untouched():
    model = toy_model().eval()
    add_embedding_gradient_in_place(model)
    ids = torch.tensor([[3, 9, 4]])
    with torch.no_grad():
        logits = model(ids).logits
    torch.testing.assert_close(logits, toy_model().eval()(ids).logits)
