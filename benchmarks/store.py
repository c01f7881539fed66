"""样本放在哪里：``finetuning.store`` 与 ``datasets`` 各存 100,000 个样本，再随机读 20,000 个。

    uv run python -m benchmarks.store

各在单独的进程里，轮流三次，取中位数。
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

_COUNT, _READS, _ROUNDS = 100_000, 20_000, 3


def _examples() -> Iterator[dict[str, list[int]]]:
    """40 到 160 个随机的 token。"""
    chooser = random.Random(0)
    rows = [[chooser.randrange(50_000) for _ in range(chooser.randrange(40, 160))] for _ in range(500)]
    for number in range(_COUNT):
        row = rows[number % len(rows)]
        yield {"input_ids": row, "labels": row}


def _ours() -> Any:
    from finetuning.store import ExampleStore

    stored = ExampleStore()
    for example in _examples():
        stored.append(**example)
    return stored


def _datasets(directory: str) -> Any:
    from datasets import Dataset, Features, Sequence, Value, disable_progress_bars

    disable_progress_bars()
    numbers = Sequence(Value("int32"))
    features = Features({"input_ids": numbers, "labels": numbers})
    return Dataset.from_generator(_examples, features=features, cache_dir=directory)


def measure(which: str) -> dict[str, float]:
    """写、读各多少秒，内存的峰值增加多少 MB。"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        stored = _ours() if which == "ours" else _datasets(directory)
        written = time.perf_counter()
        for index in random.Random(0).sample(range(_COUNT), _READS):
            stored[index]
        read = time.perf_counter()
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"write": written - started, "read": read - written, "memory": megabytes}


def main() -> None:
    """逐个测量并打印。"""
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1])))
        return
    results: dict[str, list[dict[str, float]]] = {"ours": [], "datasets": []}
    for _ in range(_ROUNDS):
        for which, measured in results.items():
            command = [sys.executable, "-m", "benchmarks.store", which]
            measured.append(json.loads(subprocess.check_output(command, encoding="utf-8").splitlines()[-1]))
    print("| | 写，秒 | 读，秒 | 内存增加，MB |\n|---|---|---|---|")
    for which, measured in results.items():
        write, read, memory = (median(each[name] for each in measured) for name in ("write", "read", "memory"))
        print(f"| {'finetuning.store' if which == 'ours' else 'datasets'} | {write:.2f} | {read:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
