"""CPU 上的小模型：一批分成两行，两个线程各算一行。

小模型的一步是几千个很小的运算，每一个都小得不值得由几个核来分，多出来的核几乎闲着。
反过来，让每个线程从头到尾算自己的一行，核就都用上了（``benchmarks/README.md`` 里有测量）。
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainingArguments

from finetuning.collator import Example

_ROWS = 2
# 每个线程另有一份梯度。大模型的运算本来就够大，不必为此多占内存。
_MOST_GRADIENT_BYTES = 64 * 2**20


def rows_per_step(model: PreTrainedModel, args: TrainingArguments) -> int:
    """免填充的一批分成几行：单个进程、几个核的 CPU，训练的参数又不多时，分成两行；其余不分。

    dropout 的随机数由两个线程抢着取，先后每次不同，同样的种子就得不到同样的结果，所以有 dropout 时也不分。
    """
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    dropout = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    worthwhile = (
        args.device.type == "cpu"
        and args.world_size == 1
        and torch.get_num_threads() >= _ROWS
        and args.per_device_train_batch_size >= _ROWS
        and 4 * trained <= _MOST_GRADIENT_BYTES
        and not dropout
        and not getattr(model.config.get_text_config(), "attention_dropout", 0)
    )
    return _ROWS if worthwhile else 1


class RowsCollator:
    """一批样本 → ``rows``：几行，token 数相近，各由 :class:`PackedCollator` 拼成。

    其余几项是各行的合在一起，给 Trainer 数一共多少个 token、其中要学的有多少个。
    """

    def __init__(self, collate: Any, rows: int):
        self.collate = collate
        self.rows = rows

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """一批样本 → :meth:`RowTrainer.training_step` 的 ``inputs``。"""
        shares: list[list[Example]] = [[] for _ in range(self.rows)]
        lengths = [0] * self.rows
        # 从长到短，每次放进眼下最短的一行。
        for example in sorted(examples, key=lambda example: len(example["input_ids"]), reverse=True):
            shortest = lengths.index(min(lengths))
            shares[shortest].append(example)
            lengths[shortest] += len(example["input_ids"])
        rows = [self.collate(share) for share in shares if share]
        joined = {name: torch.cat([row[name] for row in rows], dim=1) for name in ("input_ids", "shift_labels")}
        return {"rows": rows, "labels": joined["shift_labels"], **joined}


class RowTrainer(Trainer):
    """``rows`` 大于 1 时，一步的几行各由一个线程算损失和梯度，再把梯度加起来；其余都是 Trainer 的。

    损失除以整批要学的 token 数，所以与拼成一行来算结果相同，只有舍入的差别（``tests/test_threads.py``）。
    """

    rows = 1
    _pool: ThreadPoolExecutor

    def get_train_dataloader(self) -> DataLoader:
        """训练的批次分成几行；检验的不分。"""
        collate = self.data_collator
        if self.rows > 1:
            self.data_collator = RowsCollator(collate, self.rows)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collate

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """见 :class:`transformers.Trainer`。"""
        with self.row_threads():
            return super().train(*args, **kwargs)

    @contextmanager
    def row_threads(self) -> Iterator[None]:
        """``with`` 之内才能走一步：各行的线程，每个线程里的运算只用自己那一份核。"""
        if self.rows == 1:
            yield
            return
        cores = torch.get_num_threads()
        try:
            # 一个运算用几个核，是每个线程各自的设置，所以在那个线程里设。
            with ThreadPoolExecutor(
                self.rows, initializer=torch.set_num_threads, initargs=(cores // self.rows,)
            ) as pool:
                self._pool = pool
                yield
        finally:
            torch.set_num_threads(cores)

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """前向、反向传播一批，梯度加到各个参数的 ``grad`` 上，返回损失。"""
        if self.rows == 1:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        step = partial(self._row_step, model, parameters, num_items_in_batch)
        losses, gradients = zip(*self._pool.map(step, inputs["rows"]), strict=True)
        for parameter, *parts in zip(parameters, *gradients, strict=True):
            for part in parts:
                if part is not None:
                    parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)
        return torch.stack(losses).sum()

    def _row_step(
        self, model: torch.nn.Module, parameters: list[torch.nn.Parameter], num_items_in_batch: Any, row: dict[str, Any]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        with self.compute_loss_context_manager():
            loss = cast(torch.Tensor, self.compute_loss(model, row, num_items_in_batch=num_items_in_batch))
        # 不用 loss.backward()：两个线程同时往 grad 上加，先后不定，还要互相等。
        return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)
