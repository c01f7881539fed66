"""学会调用计算器要多少训练，全参数与 LoRA 各三个种子：``uv run python -m benchmarks.tools``。

训练数据是 ``data/tools.jsonl``，检验数据里的算式都没有学过；写出 ``results/tools.json``：每次训练各项技能的逐字匹配。
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetuning.errors import UserError, run_main
from finetuning.output.fingerprint import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "results" / "tools.json"
SEEDS = (1, 2, 3)
SCRIPTS = {"full": ("train_sft_solution.py", "1e-3"), "lora": ("train_lora_solution.py", "4e-3")}
EPOCHS = "8"


def measure(method: str, seed: int, directory: str) -> dict[str, Any]:
    """训练一次，返回它的各项技能答对多少。"""
    script, rate = SCRIPTS[method]
    out = Path(directory, f"{method}_{seed}")
    command = [
        *(sys.executable, script, "--train_file", "data/tools.jsonl", "--test_file", "data/tools_test.jsonl"),
        *("--max_test_prompts", "200", "--num_train_epochs", EPOCHS, "--learning_rate", rate),
        *("--seed", str(seed), "--output_dir", str(out)),
    ]
    if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise UserError(f"{method} 的种子 {seed} 没有训练成。")
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    found = {"method": method, "seed": seed, "learning_rate": float(rate), "skills": metrics["after"]["skills"]}
    return found | {"loss_before": metrics["before"]["loss"], "loss_after": metrics["after"]["loss"]}


def main() -> None:
    """六次训练。"""
    with TemporaryDirectory() as directory:
        runs = [measure(method, seed, directory) for method in SCRIPTS for seed in SEEDS]
    write_json(RESULT, {"epochs": float(EPOCHS), "runs": runs})
    for run in runs:
        shown = "，".join(f"{name} {tally['right']}/{tally['asked']}" for name, tally in run["skills"].items())
        print(f"{run['method']} 种子 {run['seed']}：{shown}")


if __name__ == "__main__":
    run_main(main)
