"""TODO 4：这个训练程序能运行，却有五处错，各是不同的一类；把它们找出来，改好。

各个函数的说明（docstring）是对的，代码不都照着它。自查会真的训练一次，告诉你还剩什么症状，不告诉你是哪一行：

    uv run python debug_exercise.py          # 加 --watch：每次保存后再查
    uv run python debug_exercise.py --hint   # 提示
"""

import self_check

self_check.guard("debug", __name__)  # 直接运行时，其余的在另一个进程里装入、检查

import copy
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from data_solution import SFTDataset
from finetuning.chatml import ChatML

IGNORE_INDEX = -100  # 标签是它的位置不学
WARMUP = 4


def collate(examples: list[dict[str, list[int]]], pad_id: int) -> dict[str, torch.Tensor]:
    """一批样本 → ``(B, L)``：在右边补到最长的一段；补的不看，也不学。"""
    length = max(len(example["input_ids"]) for example in examples)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "attention_mask": []}
    for example in examples:
        real = len(example["input_ids"])
        rows["input_ids"].append(example["input_ids"] + [pad_id] * (length - real))
        rows["labels"].append(example["labels"] + [pad_id] * (length - real))
        rows["attention_mask"].append([1] * real + [0] * (length - real))
    return {name: torch.tensor(row) for name, row in rows.items()}


def train(
    base: Any, tokenizer: Any, conversations: list, steps: int = 40, batch_size: int = 8, learning_rate: float = 3e-2
) -> tuple[Any, list[float]]:
    """从 ``base`` 的一份副本开始训练，``base`` 自己不动；第 k 步用第 k 批，按次序。返回训练好的模型和每一步的损失。

    学习率用 ``WARMUP`` 步升到 ``learning_rate``，再一步一步降下来。
    """
    dataset = SFTDataset(conversations, tokenizer)
    model = copy.deepcopy(base).train()
    optimizer = torch.optim.AdamW(base.parameters(), lr=learning_rate, weight_decay=0)
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP + 1)))
    losses = []
    for step in range(steps):
        batch = [dataset[index] for index in range(step * batch_size, (step + 1) * batch_size)]
        loss = model(**collate(batch, tokenizer.pad_token_id)).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


def answer(model: Any, tokenizer: Any, question: list, max_new_tokens: int = 40) -> str:
    """``question`` 是一段对话，最后一条是用户的；贪心解码，写出助手的回答。"""
    chatml = ChatML(tokenizer)
    token_ids = [*chatml.bos, *(token for message in question for part in chatml.segments(message) for token in part)]
    prompt = torch.tensor([token_ids])
    with torch.no_grad():
        output = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=chatml.end_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    return tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True)


if __name__ == "__main__":
    import sys

    self_check.main("debug", sys.modules[__name__])
