"""把几段对话拼成一个批次（batch）：免填充的一行，或填充成矩形。"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

IGNORE_INDEX = -100

Example = dict[str, list[int]]


class PackedCollator:
    """免填充（padding-free）：几段对话首尾相接成 ``(1, T)`` 的一行，只在要学的位置算 logits。

    两段对话，长 3 和 2，要学的 token 加了星号::

        input_ids       a   b*  c*  d   e*
        position_ids    0   1   2   0   1      从 0 重新数起，就是新的一段
        logits_to_keep  ^   ^       ^          预测 b、c、e 的位置：它们前面的一个
        shift_labels    b   c       e

    标签的错位（shift）在每段之内完成，所以一段的开头绝不会由前一段来预测；模型见到 ``shift_labels`` 就不再错位。
    ``labels`` 与它相同：有了 ``labels``，模型和 Trainer 才知道要算损失。

    两个长度（T 和要学的位置数）各补到 ``multiple`` 的整数倍：补的 token 自成一段，补的标签是 -100，都不影响结果。
    CPU 的矩阵库（oneDNN）为每种形状编译并缓存一份代码，每步的长度都不同时，内存因此要多用一倍，也慢一些。
    """

    def __init__(self, multiple: int = 32):
        self.multiple = multiple

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """一批样本 → 模型 forward 的参数。"""
        input_ids: list[int] = []
        position_ids: list[int] = []
        kept: list[int] = []
        targets: list[int] = []
        boundaries = [0]
        rest = -sum(len(example["input_ids"]) for example in examples) % self.multiple
        filler = [{"input_ids": [0] * rest, "labels": [IGNORE_INDEX] * rest}] if rest else []
        for example in [*examples, *filler]:
            start, length = boundaries[-1], len(example["input_ids"])
            input_ids += example["input_ids"]
            position_ids += range(length)
            for position, target in enumerate(example["labels"][1:]):
                if target != IGNORE_INDEX:
                    kept.append(start + position)
                    targets.append(target)
            boundaries.append(start + length)
        rest = -len(kept) % self.multiple
        kept += [0] * rest
        targets += [IGNORE_INDEX] * rest
        cu_seq_lens = torch.tensor(boundaries, dtype=torch.int32)
        max_length = max(end - start for start, end in pairwise(boundaries))
        labels = torch.tensor([targets])
        return {
            "input_ids": torch.tensor([input_ids]),
            "position_ids": torch.tensor([position_ids]),
            "logits_to_keep": torch.tensor(kept),
            "labels": labels,
            "shift_labels": labels,
            # 与 FlashAttention 约定的名字相同，transformers 把它们原样交给注意力函数。
            "cu_seq_lens_q": cu_seq_lens,
            "cu_seq_lens_k": cu_seq_lens,
            "max_length_q": max_length,
            "max_length_k": max_length,
            # 开着 KV 缓存时，transformers 认不出这是几段拼成的一行，各段会互相看见，而且没有任何提示。
            "use_cache": False,
        }


class PaddedCollator:
    """普通的批次：在右边填充到最长的一段，``(B, L)``；填充处的标签是 -100，不计入损失。"""

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """一批样本 → 模型 forward 的参数。"""
        length = max(len(example["input_ids"]) for example in examples)
        padded = {"input_ids": self.pad_token_id, "attention_mask": 0, "labels": IGNORE_INDEX}
        rows: dict[str, list[list[int]]] = {name: [] for name in padded}
        for example in examples:
            # 掩码按真实长度来写，而不是看哪里等于填充 token：填充 token 可能就是结束标记。
            columns = {**example, "attention_mask": [1] * len(example["input_ids"])}
            for name, filler in padded.items():
                rows[name].append(columns[name] + [filler] * (length - len(columns[name])))
        return {name: torch.tensor(values) for name, values in rows.items()} | {"use_cache": False}
