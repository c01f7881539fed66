"""这个模型能不能用免填充的批次：看得出来的先看，其余的不查名单，当场用两段很短的对话试一次。"""

import inspect
import math
from contextlib import nullcontext
from functools import partial

import torch
from transformers import PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss

from finetuning.adapter import base_of, has_prefix
from finetuning.bf16_base import autocast_of, bf16_linears
from finetuning.collator import IGNORE_INDEX, PackedCollator, PaddedCollator
from finetuning.shortcuts.attention import PER_DOCUMENT
from finetuning.shortcuts.frozen import frozen_in_bf16
from finetuning.shortcuts.loss import chunked_causal_lm_loss

# 只看自己前面的层：全部，或一个窗口。其余的（线性注意力、分块注意力……）会把前一段的状态带进后一段。
_ATTENTION_LAYERS = {"full_attention", "sliding_attention"}


def visible_problem(model: PreTrainedModel) -> str | None:
    """不必运行就看得出来的、不能免填充的原因；没有是 None。"""
    base = base_of(model)
    if "logits_to_keep" not in inspect.signature(base.forward).parameters:
        return "它的 forward 没有 logits_to_keep"
    positions = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    if any(buffer.shape[-2:] == (positions, positions) for buffer in base.buffers()):
        return "它的因果掩码只有那么大，放不下首尾相接的一行"
    layer_types = set(getattr(base.config.get_text_config(), "layer_types", None) or ())
    if layer_types - _ATTENTION_LAYERS:
        return f"它有 {'、'.join(sorted(layer_types - _ATTENTION_LAYERS))} 层"
    if has_prefix(model):
        return "前缀放在 KV 缓存里，而首尾相接的一行不能有缓存"
    return None


def takes_chunked_loss(model: PreTrainedModel) -> bool:
    """损失是 transformers 自带的那一个，才能换成分块的。"""
    return base_of(model).loss_function is ForCausalLMLoss


def enable_packing(
    model: PreTrainedModel, autocast: torch.dtype | None = None, hold_frozen: bool = False
) -> str | None:
    """让模型改用逐段的注意力和省内存的损失；不行就保持原样。

    试的办法：同样的两段对话，免填充的一行与填充的批次必须给出同样的 logits 和损失，用 fp32 和训练用的精度各算一次
    （显卡上两者用的注意力的算子不同）；再走一遍反向传播。线性层从读入起就是 bf16 的，检验也用 bf16，只算一次。

    Args:
        model: 基座模型，或套了 PEFT 适配器的模型。
        autocast: 训练用的自动混合精度的类型；None 是不用。
        hold_frozen: 训练时冻结的权重存成 bf16；试的时候也这样，不然反向传播要给每个权重留一份 bf16 的副本，
            大模型的内存峰值就在这里了。

    Returns:
        None 表示可以；否则是不可以的原因。
    """
    if problem := visible_problem(model):
        return problem
    base, chunked = base_of(model), takes_chunked_loss(model)
    original, original_loss = base.config._attn_implementation, base.loss_function
    if chunked:
        base.loss_function = partial(chunked_causal_lm_loss, chunk=1)  # 这么小的批次也要用它来试
    was_training = model.training
    model.eval()
    try:
        problem = _try_packing(model, base, autocast, hold_frozen)
    except (TypeError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
    model.train(was_training)
    if problem:
        base.set_attn_implementation(original)
        base.loss_function = original_loss
    elif chunked:
        base.loss_function = chunked_causal_lm_loss
    return problem


def _try_packing(
    model: PreTrainedModel, base: PreTrainedModel, autocast: torch.dtype | None, hold_frozen: bool
) -> str | None:
    device = next(base.parameters()).device
    numbers = torch.randint(base.config.get_text_config().vocab_size, (12,), generator=torch.Generator().manual_seed(0))
    examples = [{"input_ids": ids, "labels": ids} for ids in (numbers[:5].tolist(), numbers[5:].tolist())]
    packed_batch, padded_batch = (
        {name: value.to(device) if torch.is_tensor(value) else value for name, value in collator(examples).items()}
        for collator in (PackedCollator(), PaddedCollator(0))
    )
    with torch.no_grad(), autocast_of(base):
        padded = model(**padded_batch)
    base.set_attn_implementation(PER_DOCUMENT)
    expected = padded.logits[:, :-1][padded_batch["labels"][:, 1:] != IGNORE_INDEX]
    # fp32 的 CPU 只有舍入误差；TF32、半精度或量化的权重粗得多，但看见别的段时的差别比这大。
    exact = device.type == "cpu" and base.dtype == torch.float32 and not getattr(base, "is_quantized", False)
    scale = expected.abs().max().item()
    for dtype in [autocast] if bf16_linears(base) else dict.fromkeys((None, autocast)):
        tolerance = (1e-4 if exact and dtype is None else 5e-2) * scale
        precision = torch.autocast(device.type, dtype, enabled=dtype is not None)
        with frozen_in_bf16(model) if dtype is not None and hold_frozen else nullcontext():
            with torch.no_grad(), precision:
                packed = model(**packed_batch)
            if not math.isfinite(packed.loss.item()):
                return f"用 {str(dtype or base.dtype).removeprefix('torch.')} 算出的损失不是有限的数"
            if (packed.logits[packed_batch["labels"] != IGNORE_INDEX] - expected).abs().max().item() > tolerance:
                return "免填充的一行与填充的批次算出的 logits 不同"
            if abs(packed.loss.item() - padded.loss.item()) > tolerance:
                return "免填充的一行与填充的批次算出的损失不同"
            if dtype == autocast:
                with precision:
                    loss = model(**packed_batch).loss
                # 离输出最远的一个参数：反向传播走完所有的层，又不必为每个参数留一份梯度。
                torch.autograd.grad(loss, next(p for p in model.parameters() if p.requires_grad))
    return None
