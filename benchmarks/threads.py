"""两个核怎样用，旁边没有别的程序，和有一个一直占着一个核的程序。

    uv run python -m benchmarks.threads

两张表：

- 训练的一步：一批拼成一行、一个运算由两个线程来分，还是分成两个微批次、两个线程各算一个；填充的批次也由两个线程来分
  （最常见的训练循环就是这样）。OpenMP 的线程做完自己的一份，空转三十万次等别人（libgomp 的默认），马上睡，还是
  空转一千次再睡（本项目的设置）。轮流测几轮，取中位数。
- 从头到尾的 ``train_lora_solution.py``：训练用多久，训练之外（import、两次检验、保存）用多久。

要在没有别的程序在跑的机器上测。
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from unittest.mock import patch

from benchmarks.models import EMBEDDED
from benchmarks.worker import Spec, run
from finetuning import WAITING

_ROUNDS = 3
# 等的办法 → 环境变量；空的，libgomp 说一句不认识，就用它的默认。
_WAITS = {
    "空转三十万次再睡": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": ""},
    "马上睡": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "空转一千次再睡": WAITING,
}
_SPEC = Spec("", EMBEDDED, steps=25, warmup=5, batch_size=32, train_file="data/dev.jsonl")
# 做法 → 程序、线程、精度。
CASES = {
    "填充，fp32，两个线程": replace(_SPEC, contender="padded", threads=2),
    "一行，bf16，一个线程": replace(_SPEC, contender="one_row", threads=1, bf16=True),
    "一行，bf16，两个线程": replace(_SPEC, contender="one_row", threads=2, bf16=True),
    "两个微批次，bf16，两个线程": replace(_SPEC, contender="ours", threads=2, bf16=True),
}


@contextmanager
def neighbour(present: bool) -> Iterator[None]:
    """``with`` 之内，旁边有一个一直占着一个核的程序。"""
    if not present:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def step_milliseconds() -> dict[tuple[str, str], float]:
    """（等的办法，做法）→ 全参数微调一步的毫秒数；每一轮里各测一次，机器忙闲的变化对大家一样。"""
    measured: dict[tuple[str, str], list[float]] = {}
    for _, (wait, variables), (name, spec) in product(range(_ROUNDS), _WAITS.items(), CASES.items()):
        with patch.dict(os.environ, variables):
            seconds = run(spec)["wall_seconds"]
        measured.setdefault((wait, name), []).append(1000 * seconds / (spec.steps - spec.warmup))
    return {key: median(values) for key, values in measured.items()}


def command_seconds() -> tuple[float, float]:
    """主要的命令：训练、训练之外，各多少秒。"""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "train_lora_solution.py", "--output_dir", directory, "--disable_tqdm", "true"]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        total = time.perf_counter() - started
        train = json.loads(Path(directory, "metrics.json").read_text("utf-8"))["train_seconds"]
    return train, total - train


def main() -> None:
    """逐个测量并打印。"""
    print(f"| 旁边的程序 | 等的办法 | {' | '.join(CASES)} |\n|---|---|{'---|' * len(CASES)}")
    for busy in (False, True):
        with neighbour(busy):
            measured = step_milliseconds()
        for wait in _WAITS:
            cells = " | ".join(f"{measured[wait, name]:.0f}" for name in CASES)
            print(f"| {'有' if busy else '没有'} | {wait} | {cells} |", flush=True)
    print("\n| 整个命令，秒 | 训练 | 训练之外 | 一共 |\n|---|---|---|---|")
    for busy in (False, True):
        with neighbour(busy):
            times = [command_seconds() for _ in range(_ROUNDS)]
        train, around = median(each[0] for each in times), median(each[1] for each in times)
        total = median(sum(each) for each in times)
        print(f"| 旁边{'有' if busy else '没有'}程序 | {train:.1f} | {around:.1f} | {total:.1f} |", flush=True)


if __name__ == "__main__":
    main()
