"""嵌入只训练几行：花的也只是几行的时间和内存。

新添的对话标记要训练嵌入的两行（PEFT 的 ``trainable_token_indices``）。PEFT 的做法是每次前向都把整个嵌入矩阵抄一份，
换掉那两行，再去查表、算 logits；反向传播又为整份抄本求梯度。词表有二十六万、宽 640、fp32 时，一次就抄 670 MB；输入与
输出共用矩阵的，一步要抄两次，生成时每个 token 也抄两次。

这里矩阵原样不动。W′ 与 W 只差几行，设那几行的号码是 i、训练后是 R：

- 查表：先照 W 查，号码是 i 的位置换成 R 里的那一行；
- 输出层：xW′ᵀ 与 xWᵀ 只差几列，第 i 列差 x(R − W[i])ᵀ，加上去就是。

算出的、学到的都与 PEFT 的相同，只有舍入的差别；参数仍是 PEFT 的那几个，存下来的适配器也一样，PEFT 照旧能读。
（一处不同：输出层有偏置的，PEFT 会漏掉它，这里不漏。）
"""

from typing import Any, cast

import torch
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch import nn
from torch.nn.functional import embedding, linear


class TokenRows(TrainableTokensLayer):
    """PEFT 的层，只换了前向的算法。"""

    def forward_adapters(self, x: torch.Tensor, active_adapters: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """见 :class:`peft.tuners.trainable_tokens.TrainableTokensLayer`。"""
        if self.disable_adapters or not active_adapters or self.merged:
            return super().forward_adapters(x, active_adapters, *args, **kwargs)
        self._check_overlapping_tokens(active_adapters)
        layer: Any = self.base_layer
        result = layer(x, *args, **kwargs)
        for name in active_adapters:
            token_ids, rows = self.token_indices[name], self.trainable_tokens_delta[name]
            if isinstance(layer, nn.Embedding):
                result = self._replace_rows(x, result, token_ids, rows)
            else:
                changes = (rows - layer.weight[token_ids]).to(x.dtype)  # (k, hidden)
                # 前面没有哪一步留着 logits 的值，可以就地加：不必另占一份 (位置数, 词表) 的内存
                result.index_add_(-1, torch.tensor(token_ids, device=x.device), linear(x, changes))
        return result

    def _replace_rows(
        self, token_ids: torch.Tensor, vectors: torch.Tensor, trained_ids: list[int], rows: torch.Tensor
    ) -> torch.Tensor:
        """``token_ids`` 是 ``trained_ids`` 的位置，向量换成 ``rows`` 里的那一行。

        Args:
            token_ids: ``(…,)``。
            vectors: ``(…, hidden)``，照原来的矩阵查得的。
            rows: ``(k, hidden)``。
        """
        matches = token_ids[..., None] == torch.tensor(trained_ids, device=token_ids.device)  # (…, k)
        padding = cast(nn.Embedding, self.base_layer).padding_idx  # nn.Embedding 不给它梯度
        own = embedding(matches.int().argmax(-1), rows, trained_ids.index(padding) if padding in trained_ids else None)
        if (scale := self._get_embed_scale()) is not None:  # Gemma 的嵌入要乘一个系数
            own = own * scale.to(own.dtype)
        return torch.where(matches.any(-1, keepdim=True), own.to(vectors.dtype), vectors)


def train_few_rows(model: nn.Module) -> None:
    """模型里 PEFT 训练几行嵌入的层，都换成这里的算法；没有这样的层就什么也不做。"""
    for layer in model.modules():
        if type(layer) is TrainableTokensLayer:
            layer.__class__ = TokenRows  # 参数、钩子、共用的关系都原样不动，只换前向
