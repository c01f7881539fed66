"""嵌入只训练两行（新添的对话标记）要多花多少：不训练它们，PEFT 自己的层，我们的（finetuning/token_rows.py）。

    uv run python -m benchmarks.token_rows

形状与 Gemma 3 270M 相同的随机模型，词表 262,144，LoRA，fp32，一个线程；每种在单独的进程里。
只有 Linux 才能把内存的峰值清零。
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.memory import cases, status_bytes

_KINDS = {"none": "不训练新的行", "peft": "PEFT 自己的层", "ours": "我们的"}
_BATCHES = {"56，各学 16": (56, 16), "128，各学 64": (128, 64)}  # 四段对话，每段多长、学几个
_STEPS, _NEW_TOKENS = 3, 10


def build(kind: str) -> Any:
    """添好 LoRA 的模型。"""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from finetuning.adapter import new_adapter
    from finetuning.shortcuts.packing import enable_packing

    base = AutoModelForCausalLM.from_config(cases()["Gemma 3 270M 的形状，新添两个标记"].config, dtype=torch.float32)
    rows = None if kind == "none" else {"embed_tokens": [6, 7]}
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=rows)
    model: Any = new_adapter(base, config) if kind == "ours" else get_peft_model(base, config)
    enable_packing(model)
    return model


def measure_here(kind: str, length: int, supervised: int) -> dict[str, float]:
    """在当前的进程里：一步的 CPU 秒数和内存峰值，生成一个 token 的 CPU 秒数。"""
    import torch

    from finetuning.collator import IGNORE_INDEX, PackedCollator

    torch.manual_seed(0)
    model = build(kind)
    ids = torch.randint(8, 262_144, (4, length))
    ids[:, 0], ids[:, -1] = 6, 7
    masked = [IGNORE_INDEX] * (length - supervised)
    batch = PackedCollator()([{"input_ids": row, "labels": masked + row[len(masked) :]} for row in ids.tolist()])
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-3)

    def step() -> None:
        model.train()(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def generate(count: int) -> float:
        start = time.process_time()
        model.eval().generate(
            ids[:1], attention_mask=torch.ones_like(ids[:1]), max_new_tokens=count, min_new_tokens=count,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        return time.process_time() - start

    step()  # 第一步另有准备
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 把峰值清零
    start = time.process_time()
    for _ in range(_STEPS):
        step()
    seconds = (time.process_time() - start) / _STEPS
    peak = status_bytes("VmHWM")
    generate(2)
    each = (generate(2 + _NEW_TOKENS) - generate(2)) / _NEW_TOKENS
    return {"step": seconds, "token": each, "peak_gb": peak / 1e9}


def main() -> None:
    """逐个测量并打印。"""
    if sys.argv[1:2] == ["--measure"]:
        kind, length, supervised = sys.argv[2:]
        print(json.dumps(measure_here(kind, int(length), int(supervised))))
        return
    print("| 四段，每段 | 嵌入 | 一步，CPU 秒 | 内存峰值，GB | 生成一个 token，CPU 秒 |\n|---|---|---|---|---|")
    for name, sizes in _BATCHES.items():
        for kind, label in _KINDS.items():
            result = subprocess.run(
                [sys.executable, "-m", "benchmarks.token_rows", "--measure", kind, *map(str, sizes)],
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}, capture_output=True, encoding="utf-8",
            )  # fmt: skip
            if result.returncode != 0:
                raise RuntimeError(result.stderr)
            one = json.loads(result.stdout.splitlines()[-1])
            print(f"| {name} | {label} | {one['step']:.2f} | {one['peak_gb']:.2f} | {one['token']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
