"""词表很大时的交叉熵（cross-entropy）：一次只展开几行 logits。"""

from typing import Any

import torch
from transformers.loss.loss_utils import ForCausalLMLoss

from finetuning.collator import IGNORE_INDEX


def chunk_size(device: str) -> int:
    """一次展开多少个分数，``device`` 是 ``cpu``、``cuda`` 等。

    CPU 上 fp32 是 4 MB，大致放得进缓存；显卡上启动一个算子要几微秒，块太小了时间都花在启动上，所以是 64 MB。
    H200 上，词表 151,936、4,352 个位置，16 MB 一块要 19.0 毫秒，64 MB 是 12.6，整张一起是 9.8，而后者要多占 4 GB
    （`benchmarks.gpu` 的 `loss_chunks` 部分）。
    """
    return 2**20 if device == "cpu" else 2**24


class _ChunkedCrossEntropy(torch.autograd.Function):
    """各行交叉熵之和；``(N, V)`` 的 fp32 中间结果一次只有几行。

    对 logits 的梯度是 softmax 减去标签的一位有效向量（one-hot）。前向时每一行的 softmax 正好在手边，所以当场算好，
    写在 logits 原来的地方，不另占内存；Liger Kernel（arXiv 2410.10989）也这样做。反向传播若还用得着 logits 的值，
    autograd 会报错，不会悄悄算错。
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
        """``(N, V)`` 的 logits 和 ``(N,)`` 的标签 → 标量；标签是 -100 的行不算。logits 的值从此没有了。"""
        rows = max(1, chunk // logits.shape[1])
        kept = targets != IGNORE_INDEX
        labels = targets.clamp(min=0)[:, None]
        losses = []
        for part, label in zip(logits.split(rows), labels.split(rows), strict=True):
            scores = part.float()
            probs = scores.softmax(-1)
            # log Σexp(x) = max(x) - log(max(p))：最大的概率是 1 / Σexp(x - max(x))，不小于 1 / V。
            losses.append(scores.amax(-1) - probs.amax(-1).log() - scores.gather(1, label).squeeze(1))
            probs.scatter_add_(1, label, probs.new_full(label.shape, -1.0))
            part.copy_(probs)
        ctx.save_for_backward(logits.detach(), kept)
        return torch.cat(losses).masked_fill(~kept, 0).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """梯度前向时已经算好，只差上游的梯度；不学的行乘以 0。"""
        gradient, kept = ctx.saved_tensors
        return gradient.mul_((grad_outputs[0] * kept).to(gradient.dtype)[:, None]), None, None


def chunked_causal_lm_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    vocab_size: int,
    num_items_in_batch: Any = None,
    shift_labels: torch.Tensor | None = None,
    chunk: int | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """与 transformers 自带的因果语言模型损失相同，只是中间结果少占几倍内存；不求梯度或 logits 不多时就用自带的。

    要求梯度而 logits 又多时，logits 的值会被它的梯度盖掉：训练时只用得着损失。

    用 ``model.loss_function = chunked_causal_lm_loss`` 来启用（transformers 公开的属性）。

    Args:
        logits: ``(1, N, V)``。
        shift_labels: ``(1, N)``，已经错位的标签，见 :class:`finetuning.collator.PackedCollator`。
        num_items_in_batch: 损失之和除以它；None 是除以要学的 token 数。
        chunk: 一次展开多少个分数；None 是按 logits 所在的设备，见 :func:`chunk_size`。
    """
    chunk = chunk or chunk_size(logits.device.type)
    if shift_labels is None or not logits.requires_grad or logits.numel() <= chunk:
        return ForCausalLMLoss(logits, labels, vocab_size, num_items_in_batch, shift_labels=shift_labels, **kwargs)
    targets = shift_labels.flatten().to(logits.device)
    count = (targets != IGNORE_INDEX).sum() if num_items_in_batch is None else num_items_in_batch
    return _ChunkedCrossEntropy.apply(logits.flatten(0, -2), targets, chunk) / count
