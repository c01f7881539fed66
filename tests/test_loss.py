"""一次只展开几行 logits 的交叉熵：与 torch 自带的损失、梯度相同。"""

import pytest
import torch
from torch.nn.functional import cross_entropy
from toy_models import toy_model, toy_tokenizer

from finetuning.arguments.trainer import SFTArguments
from finetuning.data import Splits
from finetuning.shortcuts import loss as loss_module
from finetuning.shortcuts.loss import chunked_causal_lm_loss
from finetuning.training import build_trainer

VOCAB = 37


@pytest.fixture(params=[VOCAB, 4 * VOCAB + 5, 1], ids=["one row at a time", "four rows", "less than a row"])
def small_chunks(request, monkeypatch):
    """logits 再少也分块来算；测试完，看 softmax 一次真的只有那么几行。"""
    monkeypatch.setattr(loss_module, "chunk_size", lambda device: request.param)
    rows = []
    softmax = torch.Tensor.softmax

    def counted(self, *args):
        rows.append(len(self))
        return softmax(self, *args)

    monkeypatch.setattr(torch.Tensor, "softmax", counted)
    yield
    assert max(rows) == max(1, request.param // VOCAB)


def example(dtype=torch.float32):
    torch.manual_seed(0)
    logits = (5 * torch.randn(1, 11, VOCAB)).to(dtype).requires_grad_()
    labels = torch.randint(VOCAB, (1, 11))
    labels[0, [0, 4, 10]] = -100
    return logits, labels


@pytest.mark.parametrize("count", [None, 20, torch.tensor(20)], ids=["mean", "int", "tensor"])
def test_same_loss_and_gradient(small_chunks, count):
    logits, labels = example()
    loss = chunked_causal_lm_loss(logits.clone(), labels, VOCAB, count, shift_labels=labels)
    (3 * loss).backward()  # 上游的梯度不是 1 时也对
    other = logits.detach().clone().requires_grad_()
    expected = cross_entropy(other[0], labels[0], reduction="sum") / (8 if count is None else 20)
    (3 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits.grad, other.grad, rtol=1e-5, atol=1e-7)
    assert not logits.grad[0, [0, 4, 10]].any(), "不学的位置没有梯度"


def test_bf16_logits_are_summed_in_fp32(small_chunks):
    logits, labels = example(torch.bfloat16)
    loss = chunked_causal_lm_loss(logits.clone(), labels, VOCAB, shift_labels=labels)
    loss.backward()
    other = logits.detach().float().requires_grad_()
    expected = cross_entropy(other[0], labels[0])
    expected.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits.grad.float(), other.grad, rtol=2e-2, atol=1e-4)


def test_nothing_to_learn_is_zero(small_chunks):
    logits, labels = example()
    labels.fill_(-100)
    loss = chunked_causal_lm_loss(logits.clone(), labels, VOCAB, 5, shift_labels=labels)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_logits_needed_again_are_an_error_not_a_wrong_gradient(small_chunks):
    """exp 的反向传播要用自己的输出，而它已经被梯度盖掉。"""
    logits, labels = example()
    loss = chunked_causal_lm_loss(logits.exp(), labels, VOCAB, shift_labels=labels)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
def test_training_uses_it(monkeypatch, tmp_path, family):
    """装上以后，真的训练时，每一步走的是这里。"""
    calls = []
    original = loss_module._ChunkedCrossEntropy.apply
    monkeypatch.setattr(loss_module._ChunkedCrossEntropy, "apply", lambda *args: calls.append(1) or original(*args))
    monkeypatch.setattr(loss_module, "chunk_size", lambda device: 1)
    args = SFTArguments(
        output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=1, use_cpu=True, save_strategy="no",
        eval_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    examples = [{"input_ids": [1, 2, 3, 4], "labels": [-100, 2, 3, 4]}] * 3
    trainer = build_trainer(
        toy_model(family), toy_tokenizer(), Splits(examples, None, examples, []), args, padding_free=True
    )
    calls.clear()
    trainer.train()
    assert len(calls) == 3
