"""从敲下命令到走完第一步，时间花在哪里。

    uv run python -m benchmarks.startup

每一项在单独的进程里测几次，取中位数（秒，实际时间）。先运行一次不计时：第一次要把各个库编译成 .pyc，还要从磁盘读。
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
_TRAIN = "train_lora_solution.py --max_steps 1 --exact_match false --save_strategy no --eval_strategy no"
# 名字 → python 的参数；后一项包含前一项做的事。
STAGES = {
    "启动 Python": ["-c", "pass"],
    "--help": ["train_lora_solution.py", "--help"],
    "import torch": ["-c", "import torch"],
    "import transformers 的 AutoTokenizer": ["-c", "from transformers import AutoTokenizer"],
    "import transformers 的 Trainer": ["-c", "from transformers import Trainer"],
    "import peft": ["-c", "import peft"],
    "读入训练数据，变成 token": [
        "-c",
        "from transformers import AutoTokenizer; from data_solution import SFTDataset; "
        "SFTDataset('data/train.jsonl', AutoTokenizer.from_pretrained('base_model'))",
    ],
    "训练一步，前后各检验一次损失，保存": _TRAIN.split(),
}


def seconds(arguments: list[str], rounds: int = 3) -> float:
    """运行一次不计时，再运行 ``rounds`` 次，用时的中位数。"""
    environment = os.environ | {"PYTHONUTF8": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # 不然每次都要编译
    measured = []
    for _ in range(1 + rounds):
        with tempfile.TemporaryDirectory() as output_dir:
            extra = ["--output_dir", output_dir] if "--max_steps" in arguments else []
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments, *extra],
                cwd=ROOT,
                check=True,
                capture_output=True,
                env=environment,
            )
            measured.append(time.perf_counter() - started)
    return median(measured[1:])


def main() -> None:
    """逐项测量并打印。"""
    print("| 做什么 | 秒 |\n|---|---|")
    for name, arguments in STAGES.items():
        print(f"| {name} | {seconds(arguments):.2f} |", flush=True)


if __name__ == "__main__":
    main()
