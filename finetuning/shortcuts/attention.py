"""逐段的注意力（per-document attention）：首尾相接的一行里，每段对话只看自己。

一行里有三段对话（长 2、3、1）时，允许看见的位置（■）是三个小三角::

    ■ · · · · ·
    ■ ■ · · · ·
    · · ■ · · ·
    · · ■ ■ · ·
    · · ■ ■ ■ ·
    · · · · · ■

整行带掩码算，要算 6×6 个分数再扔掉大半；逐段算，只算三个小三角。登记在 transformers 公开的 ``AttentionInterface`` 里，
由 ``model.set_attn_implementation(PER_DOCUMENT)`` 启用，不改模型的代码。
"""

import inspect
from itertools import pairwise
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finetuning.device import is_ampere_or_newer

try:
    from torch.nn.attention.varlen import varlen_attn

    _VARLEN_OPTIONS = set(inspect.signature(varlen_attn).parameters)
except ImportError:
    _VARLEN_OPTIONS = set()

PER_DOCUMENT = "sdpa_per_document"
HALF = (torch.float16, torch.bfloat16)

# CPU 上，一段至少有这么多 token，bf16 的注意力才比 fp32 快；六十几个 token 时要三倍的时间（benchmarks/README.md）。
_BF16_PAYS_FROM = 1024


def per_document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """按 ``cu_seq_lens_q`` 给出的边界，一段一段地算因果注意力。

    没有边界时（普通的填充批次、带 KV 缓存的生成），或滑动窗口（sliding window）比最长的一段还短时，交给 transformers
    自带的 SDPA。它用的 ``attention_mask`` 由 transformers 从 ``position_ids`` 得出，同样分开各段：慢一些，但一样对。

    Args:
        query: ``(1, heads, T, head_dim)``。
        key, value: ``(1, kv_heads, T, head_dim)``；heads 是 kv_heads 的整数倍（分组查询注意力，GQA）。
        attention_mask: 只在交给自带的 SDPA 时用到。
        cu_seq_lens_q: ``(段数 + 1,)``，各段在这一行里的边界，从 0 到 T。
        max_length_q: 最长的一段有几个 token。

    Returns:
        ``(1, T, heads, head_dim)`` 的输出，和 None（不返回注意力权重）。
    """
    if cu_seq_lens_q is None or (sliding_window is not None and cast(int, max_length_q) > sliding_window):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )

    assert max_length_q is not None
    device_type = query.device.type
    # autocast 管不到自定义的算子，而 q、k 乘过 fp32 的旋转位置编码以后是 fp32，所以精度由这里来定。
    autocast = torch.is_autocast_enabled(device_type)
    dtype = torch.get_autocast_dtype(device_type) if autocast else query.dtype
    if device_type == "cpu" and max_length_q < _BF16_PAYS_FROM:
        dtype = torch.float32
    query, key, value = (states.to(dtype) for states in (query, key, value))
    if (
        "window_size" in _VARLEN_OPTIONS
        and device_type == "cuda"
        and dtype in HALF
        and dropout == 0
        and is_ampere_or_newer()
    ):
        query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))  # (T, heads, head_dim)
        options: dict[str, Any] = {}
        if (groups := query.shape[1] // key.shape[1]) > 1:
            if "enable_gqa" in _VARLEN_OPTIONS:
                options["enable_gqa"] = True
            else:  # torch 2.11 的要一样多的头
                key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
        output = varlen_attn(
            query, key, value, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
            scale=scaling, window_size=(-1, 0), **options,
        )  # fmt: skip
        return cast(torch.Tensor, output)[None], None

    boundaries = cu_seq_lens_q.tolist()
    sizes = [end - start for start, end in pairwise(boundaries)]
    documents = zip(query.split(sizes, dim=2), key.split(sizes, dim=2), value.split(sizes, dim=2), strict=True)
    with torch.autocast(device_type, enabled=False):
        outputs = [
            scaled_dot_product_attention(
                *states, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=query.shape[1] != key.shape[1]
            )
            for states in documents
        ]
    return torch.cat([output.transpose(1, 2) for output in outputs], dim=1), None


AttentionInterface.register(PER_DOCUMENT, per_document_attention)
AttentionMaskInterface.register(PER_DOCUMENT, sdpa_mask)
