"""两个核怎样用：一批拼成一行、一个运算由两个线程来分，还是分成两行、两个线程各算一行。

    uv run --group bench python -m benchmarks.threads

在自带的基座和数据上训练，轮流测几轮，取每一步实际时间的中位数；要在没有别的程序在跑的机器上测。
"""

from dataclasses import replace
from statistics import median

from benchmarks.models import EMBEDDED
from benchmarks.worker import Spec, run

_ROUNDS = 3
_SPEC = Spec("", EMBEDDED, bf16=True, steps=40, warmup=5, batch_size=32, train_file="data/dev.jsonl")
# 做法 → (程序, 线程)。
CASES = {
    "一行，一个线程": ("one_row", 1),
    "一行，两个线程": ("one_row", 2),
    "两行，两个线程": ("ours", 2),
}


def main() -> None:
    """逐个测量并打印。"""
    print(f"| 方法 | {' | '.join(CASES)} |\n|---|{'---|' * len(CASES)}")
    for method in ("full", "lora"):
        milliseconds: dict[str, list[float]] = {name: [] for name in CASES}
        for _ in range(_ROUNDS):
            for name, (contender, threads) in CASES.items():
                result = run(replace(_SPEC, contender=contender, threads=threads, lora=method == "lora"))
                milliseconds[name].append(1000 * result["wall_seconds"] / (_SPEC.steps - _SPEC.warmup))
        print(
            f"| {method} | {' | '.join(f'{median(values):.0f} 毫秒' for values in milliseconds.values())} |", flush=True
        )


if __name__ == "__main__":
    main()
