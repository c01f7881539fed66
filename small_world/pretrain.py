"""预训练基座模型：``uv run python -m small_world.pretrain``。

先运行 ``uv run python -m small_world.build`` 得到分词器。训练文本边生成边用，每一步的文本只由步号决定，
所以中断以后再运行同一条命令，会从最近的检查点接着训练，看到的文本与不中断时相同。
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from small_world.build import MODEL_DIR, ROOT
from small_world.corpus import document
from small_world.drills import document_or_drill
from small_world.tokenizer import DOCUMENT_TOKEN, END_TOKEN

ROW_LENGTH = 256
ROWS_PER_STEP = 16
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
DRILLS_FROM_STEP = 2750
COOLDOWN_SHARE = 0.4


def build_model(vocabulary: int) -> Qwen3ForCausalLM:
    """Qwen3 结构的小模型，约 200 万参数。"""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=192,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=512,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
        )
    )


def batch(step: int, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """第 ``step`` 步的词元，形状 ``(ROWS_PER_STEP, ROW_LENGTH)``；每行从一篇文本的开头起。"""
    rng = random.Random(f"预训练:{step}")
    next_document = document if step < DRILLS_FROM_STEP else document_or_drill
    rows = []
    for _ in range(ROWS_PER_STEP):
        text: str = ""
        input_ids: list[int] = []
        while len(input_ids) < ROW_LENGTH:
            # 一个字至少是一个词元，只有标记是几个字合成的，所以每次多备一些，最后切到整行为止。
            enough = len(text) + 2 * ROW_LENGTH
            while len(text) < enough:
                text += DOCUMENT_TOKEN + next_document(rng)
            input_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        rows.append(input_ids[:ROW_LENGTH])
    return torch.tensor(rows)


def learning_rate_factor(step: int, steps: int) -> float:
    """预热、持平，最后一段线性降到零（warmup-stable-decay）。"""
    return min((step + 1) / WARMUP_STEPS, 1.0, (steps - step) / (COOLDOWN_SHARE * steps))


def build_optimizers(model: Qwen3ForCausalLM) -> list[torch.optim.Optimizer]:
    """矩阵用 Muon，嵌入和归一化的系数用 AdamW。"""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=PEAK_LEARNING_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """先写到旁边再改名：中途被打断也不会留下半个检查点。"""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def train(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, steps: int, checkpoint: Path, compile_model: bool
) -> dict[str, float]:
    """训练到第 ``steps`` 步，返回用时和最后的损失。"""
    optimizers = build_optimizers(model)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    start, seconds, average = 0, 0.0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start, seconds, average = state["step"], state["seconds"], state["loss"]
    forward = torch.compile(model) if compile_model else model
    model.train()
    began = time.perf_counter()
    progress = tqdm(range(start, steps), desc="预训练", unit="步", initial=start, total=steps, mininterval=5)
    for step in progress:
        factor = learning_rate_factor(step, steps)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
        input_ids = batch(step, tokenizer)
        with torch.autocast("cpu", torch.bfloat16):
            loss = forward(input_ids=input_ids, labels=input_ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        progress.set_postfix(loss=f"{average:.3f}", refresh=False)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            save_checkpoint(
                checkpoint,
                {
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step + 1,
                    "seconds": seconds + time.perf_counter() - began,
                    "loss": average,
                },
            )
    return {"seconds": seconds + time.perf_counter() - began, "loss": average}


def main() -> None:
    parser = argparse.ArgumentParser(description="预训练内置的基座模型。")
    parser.add_argument("--steps", type=int, default=10000, help="步数，每步 4,096 个词元")
    parser.add_argument("--work_dir", type=Path, default=ROOT / "outputs" / "pretrain", help="检查点放在哪里")
    parser.add_argument("--no_compile", action="store_true", help="不用 torch.compile（没有 C++ 编译器时）")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    model = build_model(len(tokenizer))
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    result = train(model, tokenizer, arguments.steps, arguments.work_dir / "checkpoint.pt", not arguments.no_compile)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.convert_tokens_to_ids(END_TOKEN), tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    model.to(torch.bfloat16).save_pretrained(MODEL_DIR)  # type: ignore[arg-type]
    result |= {"steps": arguments.steps, "tokens": arguments.steps * ROWS_PER_STEP * ROW_LENGTH}
    (arguments.work_dir / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"权重在 {MODEL_DIR}：{result}")


if __name__ == "__main__":
    main()
