"""输入与输出共用一个嵌入矩阵（tied embeddings）时，省下一份与它一样大的梯度。"""

from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel


def is_tied_and_trained(model: PreTrainedModel) -> bool:
    """输入与输出共用一个嵌入矩阵，它要训练，查表又没有别的计算：才有一份梯度可省。"""
    embeddings: Any = model.get_input_embeddings()
    if type(embeddings) is not torch.nn.Embedding or embeddings.scale_grad_by_freq:
        return False
    is_tied = embeddings.weight is getattr(model.get_output_embeddings(), "weight", None)
    return is_tied and embeddings.weight.requires_grad


def add_embedding_gradient_in_place(model: PreTrainedModel) -> None:
    """查表得来的梯度直接加到矩阵的 ``grad`` 上。

    反向传播先到输出层，给整个矩阵一份梯度；最后到查表，PyTorch 又为它造一个同样大的矩阵，填满零，写上这一批的几百行，
    再把两个矩阵相加。词表有十五万时，这要多占几百 MB。这里只把那几百行加到已有的梯度上，结果相同，只有舍入的差别。

    只用于单个进程：多卡的 DDP 在输出层的梯度算出时就开始汇总，等不到查表的这一份。

    Args:
        model: :func:`is_tied_and_trained` 的模型。
    """
    embeddings: Any = model.get_input_embeddings()
    embeddings.register_forward_hook(_detach_lookup)


def _detach_lookup(
    embeddings: torch.nn.Embedding, inputs: tuple[torch.Tensor], output: torch.Tensor
) -> torch.Tensor | None:
    if not torch.is_grad_enabled():
        return None
    vectors = output.detach().requires_grad_()
    vectors.register_post_accumulate_grad_hook(partial(_add_rows, embeddings, inputs[0]))
    return vectors


def _add_rows(embeddings: torch.nn.Embedding, input_ids: torch.Tensor, vectors: torch.Tensor) -> None:
    gradient, vectors.grad = vectors.grad, None
    assert gradient is not None
    if embeddings.padding_idx is not None:  # nn.Embedding 不给填充 token 的那一行梯度
        gradient.masked_fill_((input_ids == embeddings.padding_idx)[..., None], 0)
    if embeddings.weight.grad is None:
        embeddings.weight.grad = torch.zeros_like(embeddings.weight)
    embeddings.weight.grad.index_add_(0, input_ids.flatten(), gradient.flatten(0, -2).to(embeddings.weight.dtype))
