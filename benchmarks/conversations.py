"""测量用的对话：事先变成 ``input_ids`` 与 ``labels``，各个训练程序拿到的完全相同。"""

import math
import random
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from data_solution import IGNORE_INDEX, SFTDataset
from finetuning.collator import Example

# 随机对话的长度：对数正态分布，中位数 75 个 token，八段一批时约一半是填充，与常见的指令数据相近。
_MEDIAN_LENGTH, _SPREAD, _SHORTEST = 75, 0.65, 16
_ANSWER_SHARE = 0.53


def random_conversations(
    count: int, vocab_size: int, length: int | None = None, max_length: int = 512
) -> list[Example]:
    """随机的 token；后面约一半是要学的回答。

    Args:
        length: 每段都是这么长；None 表示有长有短。
    """
    rng = random.Random(0)
    rows = []
    for _ in range(count):
        drawn = round(rng.lognormvariate(math.log(_MEDIAN_LENGTH), _SPREAD))
        size = length or min(max(drawn, _SHORTEST), max_length)
        input_ids = [rng.randrange(vocab_size) for _ in range(size)]
        prompt = size - round(size * _ANSWER_SHARE)
        rows.append({"input_ids": input_ids, "labels": [IGNORE_INDEX] * prompt + input_ids[prompt:]})
    return rows


def real_conversations(
    path: Path, tokenizer: PreTrainedTokenizerBase, count: int, max_length: int = 512
) -> list[Example]:
    """数据文件里的前 ``count`` 段对话；不够就从头再来。"""
    examples = SFTDataset(path, tokenizer, max_length)
    return [examples[index % len(examples)] for index in range(count)]
