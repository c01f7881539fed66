"""衡量基座和对照组：``uv run python -m small_world.evaluate``。

- 知识探针：给出陈述句的开头，看基座能不能接上事实。
- 对话里的基座、直接提问的基座：没有微调过，应当几乎答不出来。
- 最近邻 (nearest neighbour)：不训练，抄训练集里最像的提示的回答；说明测试题不能靠“见过差不多的”答对。
- 随机初始化：``--random_init 目录`` 写出一个没有预训练过的同样的模型，拿它去微调，说明知识来自预训练。
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetuning.evaluate import checked_answers, exact_match
from finetuning.quiet import quiet_libraries
from small_world.build import DATA_DIR, MODEL_DIR
from small_world.pretrain import build_model
from small_world.skill import Skill
from small_world.world import IN_CONTEXT_SKILLS, RELATIONS

_BATCH_SIZE = 128
_RAW_ANSWER_TOKENS = 48


def continue_texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_new_tokens: int
) -> list[str]:
    """贪心地接着写每段文字，不套对话格式。"""
    continuations = [""] * len(texts)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    for start in range(0, len(order), _BATCH_SIZE):
        indices = order[start : start + _BATCH_SIZE]
        batch = tokenizer([texts[i] for i in indices], padding=True, padding_side="left", return_tensors="pt")
        output = cast(Any, model).generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config
        )
        for index, token_ids in zip(indices, output[:, batch["input_ids"].shape[1] :], strict=True):
            continuations[index] = cast(str, tokenizer.decode(token_ids))
    return continuations


def probe_knowledge(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[float, int, dict[str, tuple[int, int]]]:
    """知识探针：（答对的比例，探针个数，{技能: (答对, 总数)}）。"""
    skills: tuple[Skill, ...] = (*RELATIONS, *IN_CONTEXT_SKILLS)
    probes = [(skill.name, start, completion) for skill in skills for start, completion in skill.probes()]
    longest = max(len(tokenizer(completion, add_special_tokens=False)["input_ids"]) for *_, completion in probes)
    written = continue_texts(model, tokenizer, [start for _, start, _ in probes], longest)
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for (name, _, completion), text in zip(probes, written, strict=True):
        total[name] += 1
        right[name] += text.startswith(completion)
    return right.total() / total.total(), total.total(), {name: (right[name], total[name]) for name in total}


def read_rows(split: str) -> list[dict]:
    """``data/`` 里一个划分的全部对话。"""
    with (DATA_DIR / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def answer_raw_questions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict]
) -> tuple[float, float, int]:
    """不套对话格式，直接把单轮问题给基座。

    Returns:
        续写里出现了参考答案的比例；其中答案本来就一字不差地写在问题里的（“请抄写：……”），把问题再说一遍也会出现，
        这样的占多少；问题个数。
    """
    single = [row["conversations"] for row in rows if len(row["conversations"]) == 2]
    written = continue_texts(model, tokenizer, [messages[0]["content"] for messages in single], _RAW_ANSWER_TOKENS)
    right = [messages for messages, text in zip(single, written, strict=True) if messages[1]["content"] in text]
    repeated = sum(messages[1]["content"] in messages[0]["content"] for messages in right)
    return len(right) / len(single), repeated / len(single), len(single)


def nearest_neighbour(train: list[dict], test: list[dict]) -> float:
    """抄最像的训练提示的回答，逐字相同的比例；像不像按相邻两字 (bigram) 的 Jaccard 相似度。"""
    known = [_bigrams(row["conversations"]) for row in train]
    containing: dict[str, list[int]] = defaultdict(list)
    for index, grams in enumerate(known):
        for gram in grams:
            containing[gram].append(index)
    right = 0
    for row in test:
        grams = _bigrams(row["conversations"])
        shared = Counter(index for gram in grams for index in containing[gram])
        nearest = max(shared, key=lambda index: shared[index] / (len(grams) + len(known[index]) - shared[index]))
        right += train[nearest]["conversations"][-1]["content"] == row["conversations"][-1]["content"]
    return right / len(test)


def most_frequent(train: Iterable[dict], test: Sequence[dict]) -> float:
    """总是说训练集里最常见的那个回答，逐字相同的比例。"""
    (answer, _), *_ = Counter(row["conversations"][-1]["content"] for row in train).most_common(1)
    return sum(row["conversations"][-1]["content"] == answer for row in test) / len(test)


def _bigrams(messages: list[dict[str, str]]) -> set[str]:
    text = "\n".join(message["content"] for message in messages[:-1])
    return {text[i : i + 2] for i in range(len(text) - 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="衡量基座和对照组。")
    parser.add_argument("--model", type=Path, default=MODEL_DIR, help="基座的目录")
    parser.add_argument("--random_init", type=Path, help="只写出一个随机初始化的同样的模型，然后结束")
    parser.add_argument("--by_skill", action="store_true", help="再列出每项技能的探针")
    arguments = parser.parse_args()
    quiet_libraries()
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    if arguments.random_init:
        build_model(len(tokenizer)).save_pretrained(arguments.random_init)
        tokenizer.save_pretrained(arguments.random_init)
        return

    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    train, test = read_rows("train"), read_rows("test")
    share, count, by_skill = probe_knowledge(model, tokenizer)
    print(f"知识探针        {share:.1%}（{count} 个）")
    if arguments.by_skill:
        for name, (right, total) in sorted(by_skill.items(), key=lambda item: item[1][0] / item[1][1]):
            print(f"    {name}  {right}/{total}")
    chat = exact_match(checked_answers(model, tokenizer, [row["conversations"] for row in test]))
    print(f"对话里的基座    {chat:.1%}（{len(test)} 个问题，逐字匹配）")
    raw, repeated, count = answer_raw_questions(model, tokenizer, test)
    print(f"直接提问的基座  {raw:.1%}（{count} 个单轮问题，续写中含有答案；其中 {repeated:.1%} 的答案就写在问题里）")
    print(f"最近邻          {nearest_neighbour(train, test):.1%}")
    print(f"最常见的回答    {most_frequent(train, test):.1%}")


if __name__ == "__main__":
    main()
