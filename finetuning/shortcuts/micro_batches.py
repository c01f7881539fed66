"""CPU 上的小模型：一批分成两个微批次（micro-batch），两个线程各算一个（见 :mod:`finetuning.threads`）。"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer

from finetuning.collator import Example
from finetuning.threads import worker_threads

# 每个线程另有一份梯度。大模型的运算本来就够大，不必为此多占内存。
_MOST_GRADIENT_BYTES = 64 * 2**20


def is_small_and_repeatable(model: PreTrainedModel) -> bool:
    """训练的参数不多，又没有 dropout：它的随机数由两个线程抢着取，先后每次不同，同样的种子就得不到同样的结果。

    有的模型（OPT）的 dropout 不是一层，只写在配置里，所以两处都看。
    """
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    dropout = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    settings = model.config.get_text_config().to_dict().items()
    dropout |= any("drop" in name and isinstance(value, float) and value > 0 for name, value in settings)
    return 4 * trained <= _MOST_GRADIENT_BYTES and not dropout


class MicroBatchCollator:
    """一批样本 → ``micro_batches``：几个微批次，token 数相近，各由 :class:`finetuning.collator.PackedCollator` 拼成。

    其余几项是各个微批次的合在一起，给 Trainer 数一共多少个 token、其中要学的有多少个。
    """

    def __init__(self, collate: Any, count: int):
        self.collate = collate
        self.count = count

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """一批样本 → :meth:`MicroBatchTrainer.training_step` 的 ``inputs``。"""
        shares: list[list[Example]] = [[] for _ in range(self.count)]
        lengths = [0] * self.count
        # 从长到短，每次放进眼下最短的一份。
        for example in sorted(examples, key=lambda example: len(example["input_ids"]), reverse=True):
            shortest = lengths.index(min(lengths))
            shares[shortest].append(example)
            lengths[shortest] += len(example["input_ids"])
        batches = [self.collate(share) for share in shares if share]
        joined = {name: torch.cat([batch[name] for batch in batches], dim=1) for name in ("input_ids", "shift_labels")}
        return {"micro_batches": batches, "labels": joined["shift_labels"], **joined}


class MicroBatchTrainer(Trainer):
    """``micro_batches`` 大于 1 时，一步的几个微批次各由一个线程算损失和梯度，再把梯度加起来；其余都是 Trainer 的。

    损失除以整批要学的 token 数，所以与拼成一行来算结果相同，只有舍入的差别（``tests/test_micro_batches.py``）。
    """

    micro_batches = 1
    _pool: ThreadPoolExecutor

    def get_train_dataloader(self) -> DataLoader:
        """训练的批次分成微批次；检验的不分。"""
        collate = self.data_collator
        if self.micro_batches > 1:
            self.data_collator = MicroBatchCollator(collate, self.micro_batches)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collate

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """见 :class:`transformers.Trainer`。"""
        with self.threads():
            return super().train(*args, **kwargs)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """``with`` 之内才能走一步：每个微批次一个线程。"""
        if self.micro_batches == 1:
            yield
            return
        with worker_threads() as self._pool:
            yield

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """前向、反向传播一批，梯度加到各个参数的 ``grad`` 上，返回损失。"""
        if self.micro_batches == 1:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        step = partial(self._gradients, model, parameters, num_items_in_batch)
        losses, gradients = zip(*self._pool.map(step, inputs["micro_batches"]), strict=True)
        for parameter, *parts in zip(parameters, *gradients, strict=True):
            for part in parts:
                if part is None:
                    continue
                if parameter.grad is not None:
                    parameter.grad.add_(part)
                elif part.stride() == parameter.stride():
                    parameter.grad = part
                else:  # 优化器把两者按同样的次序读；嵌入的 LoRA 的梯度是转置的
                    parameter.grad = torch.empty_like(parameter).copy_(part)
        return torch.stack(losses).sum()

    def _gradients(
        self, model: torch.nn.Module, parameters: list[torch.nn.Parameter], num_items: Any, batch: dict[str, Any]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        with self.compute_loss_context_manager():
            loss = cast(torch.Tensor, self.compute_loss(model, batch, num_items_in_batch=num_items))
        # 不用 loss.backward()：两个线程同时往 grad 上加，先后不定，还要互相等。
        return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)
