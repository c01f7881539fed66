"""显卡上的前向，没有显卡也走一遍：假的张量（fake tensor）没有数，只有形状、类型和设备。"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from toy_models import toy_model

from finetuning.collator import PackedCollator
from finetuning.shortcuts import attention
from finetuning.shortcuts.attention import PER_DOCUMENT
from finetuning.shortcuts.loss import chunked_causal_lm_loss

EXAMPLES = [{"input_ids": list(range(size)), "labels": [-100, *range(1, size)]} for size in (5, 9, 4)]


def on_the_card(monkeypatch, capability, dtype):
    """``dtype`` 的小模型在计算能力为 ``capability`` 的显卡上走一行；返回输出，和 varlen_attn 调用了几次。"""
    calls = []
    original = getattr(attention, "varlen_attn", None)

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return original(*args, **kwargs)

    monkeypatch.setattr(attention, "varlen_attn", counted, raising=False)
    batch = PackedCollator()(EXAMPLES)
    model = toy_model()
    model.set_attn_implementation(PER_DOCUMENT)
    model.loss_function = chunked_causal_lm_loss
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, torch.nn.Parameter(torch.empty_like(parameter, dtype=dtype, device="cuda")))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty_like(buffer, device="cuda"))
        # 各段的边界要读出数来，所以是真的；别的是假的。
        moved = {
            name: torch.empty_like(value, device="cuda") if torch.is_tensor(value) and "cu_seq" not in name else value
            for name, value in batch.items()
        }
        # 造好假的张量以后才装作有显卡：FakeTensorMode 看见没有，才不去问驱动。
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: None)
        return model(**moved), calls


@pytest.mark.skipif("window_size" not in attention._VARLEN_OPTIONS, reason="torch 2.10 以前，假的张量也要问驱动")
def test_a_t4_computes_document_by_document(monkeypatch):
    output, calls = on_the_card(monkeypatch, (7, 5), torch.float16)
    assert output.logits.shape == (1, 32, 400)
    assert output.logits.device.type == output.loss.device.type == "cuda"
    assert not calls


@pytest.mark.skipif("window_size" not in attention._VARLEN_OPTIONS, reason="torch 2.10 以前的没有")
def test_an_a100_uses_variable_length_attention(monkeypatch):
    output, calls = on_the_card(monkeypatch, (8, 0), torch.bfloat16)
    assert output.logits.shape == (1, 32, 400)
    assert calls == [(32, 4, 12)] * 2
