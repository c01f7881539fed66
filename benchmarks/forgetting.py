"""学了新的，忘了多少，怎样少忘：自带的基座，全参数微调和 LoRA，三个种子。

    uv run python -m benchmarks.forgetting

第一部分（pretraining），忘了预训练的多少，用 200 篇没有学过的预训练文本的损失来量。每次只比普通的做法改一样：
学习率减半、步数减半、训练数据里另掺 5% 或 10% 的预训练文本（重放，replay，按 token 数）。

第二部分（averaging），普通的做法训练完以后，与基座的权重平均（weight averaging，WiSE-FT，arXiv 2109.01903）。

第三部分（chat），在对话里忘了多少：第一轮（全参数微调）学完别的全部技能，第二轮只学一项新的（系统提示要求简短时，只说答案），
看第一轮的技能还剩多少；学习率减半、掺 10% 第一轮的数据（按段数）有没有用。

三部分一共约 40 分钟；结果写到 ``results/forgetting.json``，每做完一个种子就写一次。
"""

import argparse
import contextlib
import copy
import io
import json
import random
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from data_solution import SFTDataset
from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PaddedCollator
from finetuning.compare.forgetting import text_loss
from finetuning.conversations import Conversation
from finetuning.data import Splits
from finetuning.evaluate import checked_answers, exact_match, mean_loss
from finetuning.model import load_model
from finetuning.quiet import quiet_libraries
from finetuning.reading import iterate_rows, load_conversations
from finetuning.training import build_trainer
from small_world.corpus import document, unseen_documents

RESULTS = Path("results/forgetting.json")
NARROW = "系统：简短"
Examples = Sequence[dict[str, list[int]]]
_RATES = {"full": 4e-4, "lora": 4e-3}
_WEIGHTS = (0.3, 0.5, 0.7, 0.9)  # 微调后的权重占多少，其余是基座的
_PARTS = ("pretraining", "averaging", "chat")


def replayed(tokenizer: PreTrainedTokenizerBase, examples: Examples, share: float) -> list[dict[str, list[int]]]:
    """预训练文本，每个 token 都学；token 数是 ``examples`` 的 ``share``。"""
    wanted = share * sum(len(example["input_ids"]) for example in examples)
    texts: list[dict[str, list[int]]] = []  # 分词器自己在开头加上 <|endoftext|>，与预训练时相同
    while wanted > 0:
        input_ids = tokenizer(document(random.Random(f"重放:{len(texts)}")))["input_ids"]
        texts.append({"input_ids": input_ids, "labels": input_ids})
        wanted -= len(input_ids)
    return texts


def trained(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Examples,
    method: str,
    seed: int,
    rate: float | None = None,
    steps: int = -1,
) -> PreTrainedModel:
    """从 ``base`` 的一份副本开始训练一轮，或 ``steps`` 步；LoRA 的，已经合并成普通的模型。"""
    set_seed(seed)
    model: Any = copy.deepcopy(base)
    if method == "lora":
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        )
    with tempfile.TemporaryDirectory() as output_dir, contextlib.redirect_stdout(io.StringIO()):
        args = SFTArguments(
            output_dir=output_dir, learning_rate=rate or _RATES[method], per_device_train_batch_size=32,
            max_steps=steps, save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True,
            logging_strategy="no", seed=seed,
        )  # fmt: skip
        data = Splits(cast(Any, examples), None, cast(Any, examples), [])
        build_trainer(model, tokenizer, data, args, padding_free=True).train()
    return model.merge_and_unload() if method == "lora" else model


def averaged(base: PreTrainedModel, model: PreTrainedModel, weight: float) -> PreTrainedModel:
    """每个权重：基座的 (1 − ``weight``) 份，微调后的 ``weight`` 份。"""
    mixed = copy.deepcopy(base)
    tuned = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in mixed.named_parameters():  # 共用的嵌入只出现一次
            parameter.lerp_(tuned[name].to(parameter.dtype), weight)
    return mixed


class Bench:
    """数据和三种衡量。"""

    def __init__(self, rows: int | None, questions: int | None) -> None:
        self.base, self.tokenizer, _ = load_model("base_model")
        train = list(islice(iterate_rows("data/train.jsonl"), rows))
        dataset = SFTDataset([row.conversation for row in train], self.tokenizer)
        self.train = [dataset[index] for index in range(len(dataset))]
        self.narrow = [example for example, row in zip(self.train, train, strict=True) if row.skill == NARROW]
        self.first = [example for example, row in zip(self.train, train, strict=True) if row.skill != NARROW]
        self.dev = load_conversations("data/dev.jsonl")[:questions]
        test = list(iterate_rows("data/test.jsonl"))
        self.of_skill = [row.conversation for row in test if row.skill == NARROW]
        self.others = [row.conversation for row in test if row.skill != NARROW][:questions]
        self.texts = unseen_documents()

    def pretraining(self, model: PreTrainedModel) -> dict[str, float]:
        """第一、二部分的衡量：dev 的损失和逐字匹配，预训练文本的损失。"""
        collate = PaddedCollator(self.tokenizer.pad_token_id)
        return {
            "loss": mean_loss(model, SFTDataset(self.dev, self.tokenizer), collate),
            "exact_match": self._right(model, self.dev),
            "text_loss": text_loss(model, self.tokenizer, self.texts),
        }

    def chat(self, model: PreTrainedModel) -> dict[str, float]:
        """第三部分的衡量：那一项技能和别的技能的逐字匹配（检验数据）。"""
        return {
            "narrow": self._right(model, self.of_skill),
            "others": self._right(model, self.others),
        }

    def _right(self, model: PreTrainedModel, conversations: Sequence[Conversation]) -> float:
        return exact_match(checked_answers(model, self.tokenizer, conversations))

    def forget_pretraining(self, method: str, seed: int) -> dict[str, Any]:
        """第一部分，一种方法、一个种子。"""
        steps = -(-len(self.train) // 32)

        def run(more: Examples = (), **changes: Any) -> PreTrainedModel:
            return trained(self.base, self.tokenizer, [*self.train, *more], method, seed, **changes)

        measured = {
            "普通": self.pretraining(run()),
            "学习率减半": self.pretraining(run(rate=_RATES[method] / 2)),
            "步数减半": self.pretraining(run(steps=steps // 2)),
            "重放 5%": self.pretraining(run(replayed(self.tokenizer, self.train, 0.05))),
            "重放 10%": self.pretraining(run(replayed(self.tokenizer, self.train, 0.10))),
        }
        return {"method": method, "seed": seed, "measured": measured}

    def average(self, method: str, seed: int) -> dict[str, Any]:
        """普通的做法训练完以后，与基座平均，一种方法、一个种子。"""
        plain = trained(self.base, self.tokenizer, self.train, method, seed)
        measured = {f"权重平均 {weight:g}": self.pretraining(averaged(self.base, plain, weight)) for weight in _WEIGHTS}
        return {"method": method, "seed": seed, "measured": measured}

    def forget_chat(self, method: str, seed: int) -> dict[str, Any]:
        """第三部分，一种方法、一个种子。"""
        start = trained(self.base, self.tokenizer, self.first, "full", seed)
        old = random.Random(seed).sample(self.first, len(self.narrow) // 10)

        def run(more: Examples = (), rate: float | None = None) -> PreTrainedModel:
            return trained(start, self.tokenizer, [*self.narrow, *more], method, seed, rate)

        measured = {
            "第一轮以后": self.chat(start),
            "普通": self.chat(run()),
            "学习率减半": self.chat(run(rate=_RATES[method] / 2)),
            "掺 10% 第一轮的数据": self.chat(run(old)),
        }
        return {"method": method, "seed": seed, "measured": measured}


def main() -> None:
    """逐个种子测量，写下结果。"""
    parser = argparse.ArgumentParser(description="学了新的，忘了多少，怎样少忘。")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--rows", type=int, help="只用训练数据的前多少段（试运行）")
    parser.add_argument("--questions", type=int, help="只问多少个问题（试运行）")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    quiet_libraries()
    bench = Bench(arguments.rows, arguments.questions)
    results = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.exists() else {}
    results["base"] = bench.pretraining(bench.base)
    for part in arguments.parts:
        measure = {"pretraining": bench.forget_pretraining, "averaging": bench.average, "chat": bench.forget_chat}[part]
        results[part] = []
        for seed in arguments.seeds:
            for method in _RATES:
                results[part].append(measure(method, seed))
                print(json.dumps(results[part][-1], ensure_ascii=False), flush=True)
                arguments.output.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
