"""检验：在没有学过的对话上，每个要学的 token 平均损失多少，有多少回答与参考答案逐字相同。"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetuning.chatml import ChatML
from finetuning.conversations import Conversation
from finetuning.data import Dataset

_BATCH_SIZE = 64
_MOST_LOGITS = 2**27  # 一次最多算多少个 logits：fp32 是 512 MB


class Answer(NamedTuple):
    """模型的一个回答。"""

    text: str
    ended: bool  # 是不是自己写出 <|im_end|> 停下的


@contextmanager
def _inference(model: PreTrainedModel) -> Iterator[None]:
    """关掉 dropout 和梯度；在 CUDA 上用 bf16 加快，CPU 和 MPS 上用保存下来的精度（fp32）。"""
    was_training = model.training
    model.eval()
    bf16 = model.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        yield
    model.train(was_training)


def mean_loss(model: PreTrainedModel, dataset: Dataset, collate: Callable[[list], dict[str, Any]]) -> float:
    """全部要学的 token 的平均损失（交叉熵），单位 nat。

    按 token 平均，不按批次平均：有的批次要学的 token 多，有的少。对话长、词表大时，一批少放几段，免得比训练还费内存。
    """
    total, count = 0.0, 0
    longest = max(len(dataset[index]["input_ids"]) for index in range(len(dataset)))
    most = _MOST_LOGITS // (longest * model.config.get_text_config().vocab_size)
    size = max(1, min(_BATCH_SIZE, most))
    with _inference(model):
        for start in range(0, len(dataset), size):
            batch = collate([dataset[index] for index in range(start, min(start + size, len(dataset)))])
            batch = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
            labels = batch["shift_labels"] if "shift_labels" in batch else batch["labels"][:, 1:]
            supervised = int((labels != -100).sum())
            total += model(**batch).loss.item() * supervised
            count += supervised
    return total / count


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    max_new_tokens: Sequence[int],
) -> list[Answer]:
    """对每段对话的最后一个 user，按贪心法（greedy）成批生成回答。

    Args:
        conversations: 消息的列表，最后一条是 user。
        max_new_tokens: 每个回答最多生成多少个 token。

    Returns:
        与 ``conversations`` 顺序相同的回答。
    """
    chatml = ChatML(tokenizer)
    prompts = [chatml.prompt(conversation) for conversation in conversations]
    stop_ids = [chatml.end_id, *_as_list(model.generation_config.eos_token_id)]
    answers: list[Answer] = [Answer("", False)] * len(prompts)
    # 长短相近的放在一批：一批要等最长的一个写完。
    order = sorted(range(len(prompts)), key=lambda index: (max_new_tokens[index], len(prompts[index])))
    with _inference(model):
        for start in range(0, len(order), _BATCH_SIZE):
            indices = order[start : start + _BATCH_SIZE]
            longest = max(len(prompts[index]) for index in indices)
            # 填充在左边，右端对齐：生成的 token 才能接在每个提示词的后面。
            padding = [longest - len(prompts[index]) for index in indices]
            rows = [[tokenizer.pad_token_id] * pad + prompts[i] for i, pad in zip(indices, padding, strict=True)]
            mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
            generated = model.generate(  # type: ignore[operator]
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=GenerationConfig(
                    max_new_tokens=max(max_new_tokens[index] for index in indices),
                    do_sample=False,
                    use_cache=True,
                    eos_token_id=stop_ids,
                    pad_token_id=tokenizer.pad_token_id,
                ),
            )
            for index, token_ids in zip(indices, generated[:, longest:].tolist(), strict=True):
                answers[index] = _cut(token_ids, chatml.end_id, stop_ids, tokenizer)
    return answers


def exact_match(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]
) -> float:
    """逐字匹配（exact match）的比例，0 到 1：回答与参考答案一字不差，并且自己写出 ``<|im_end|>`` 停下。

    只看最后一个回答，前面各轮用数据里的原文。比参考答案还长的回答一定不对，所以生成到那个长度就够了。
    """
    references = [conversation[-1]["content"] for conversation in conversations]
    chatml = ChatML(tokenizer)
    lengths = [len(chatml.encode(reference)) + 1 for reference in references]  # 加上 <|im_end|>
    questions = [conversation[:-1] for conversation in conversations]
    answers = generate_answers(model, tokenizer, questions, lengths)
    return sum(a.ended and a.text == reference for a, reference in zip(answers, references, strict=True)) / len(answers)


def _cut(token_ids: list[int], end_id: int, stop_ids: list[int], tokenizer: PreTrainedTokenizerBase) -> Answer:
    """截到第一个停止标记；后面是成批生成时补的填充。"""
    length = next((position for position, token in enumerate(token_ids) if token in stop_ids), len(token_ids))
    ended = length < len(token_ids) and token_ids[length] == end_id
    return Answer(cast(str, tokenizer.decode(token_ids[:length])), ended)


def _as_list(token_ids: int | list[int] | None) -> list[int]:
    return [] if token_ids is None else [token_ids] if isinstance(token_ids, int) else token_ids
