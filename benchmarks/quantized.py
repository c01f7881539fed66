"""QLoRA 省在哪里：4 bit 省的是权重的内存，所以权重占大头的模型才看得出来。

    uv run --extra qlora python -m benchmarks.quantized

自带的基座（200 万参数），和形状与 SmolLM2-135M 相同、权重随机的模型（1.35 亿），各用全参数、LoRA、QLoRA 训练几步，
看整个命令的内存峰值和每步的时间（三次）；权重是随机的，所以不看损失。约 10 分钟；结果写到 ``results/quantized.json``。
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import models
from benchmarks.models import EMBEDDED
from finetuning.compare.runs import train_in_process

ROOT = Path(__file__).parents[1]
RESULTS = Path("results/quantized.json")
_METHODS = {
    "full": ("train_sft_solution.py", ()),
    "lora": ("train_lora_solution.py", ("--method", "lora")),
    "qlora": ("train_lora_solution.py", ("--method", "qlora")),
}
_TRAIN_ROWS, _TEST_ROWS = 400, 8


def measure(model: str, method: str, steps: int, workplace: Path) -> dict[str, float]:
    """训练 ``steps`` 步；整个命令的内存峰值（MB）和每步的秒数。"""
    script, flags = _METHODS[method]
    command = [
        script, *flags, *("--model_name_or_path", model, "--learning_rate", "1e-4", "--max_steps", str(steps)),
        *("--per_device_train_batch_size", "16", "--exact_match", "false", "--save_strategy", "no"),
        *("--train_file", str(workplace / "train.jsonl"), "--test_file", str(workplace / "test.jsonl")),
    ]  # fmt: skip
    metrics = train_in_process(ROOT / script, command, workplace / f"{Path(model).name}_{method}")
    return {
        "parameters": metrics["total_parameters"],
        "peak_memory_mb": metrics["peak_memory_mb"],
        "seconds_a_step": metrics["train_seconds"] / steps,
    }


def main() -> None:
    """逐个测量，写下结果。"""
    parser = argparse.ArgumentParser(description="QLoRA 省在哪里。")
    parser.add_argument("--models", nargs="+", default=[EMBEDDED, "smollm2-135m"])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results: dict[str, dict[str, list[Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        workplace = Path(name)
        for split, rows in (("train", _TRAIN_ROWS), ("test", _TEST_ROWS)):
            lines = Path(f"data/{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            (workplace / f"{split}.jsonl").write_text("".join(lines[:rows]), encoding="utf-8")
        for model in arguments.models:
            directory = model
            if model != EMBEDDED:
                directory = str(workplace / model)
                weights: Any = models.load(model)
                weights.to(torch.bfloat16).save_pretrained(directory)  # 公开的模型大多以 bf16 发布
                models.load_tokenizer(model).save_pretrained(directory)
            for _ in range(arguments.rounds):
                for method in _METHODS:
                    measured = measure(directory, method, arguments.steps, workplace)
                    results.setdefault(model, {}).setdefault(method, []).append(measured)
                    print(model, method, measured, flush=True)
                    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
