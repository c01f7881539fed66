"""时间和内存随什么增长：对话的长度、一步的段数、词表的大小、LoRA 的秩、数据的行数。

    uv run --group bench python -m benchmarks.scaling

本项目与普通的填充 Trainer 各测一次，一个线程，CPU 时间；CPU 有 bf16 指令就都用 bf16，没有就都用 fp32。
结果写到 benchmarks/results/scaling.json、.md 和 .png。
"""

import itertools
import json
import multiprocessing
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.training import RESULTS, seconds_per_1000
from benchmarks.worker import Spec, run
from finetuning.device import fastest_dtype

_EMBEDDED = Spec("", "base_model", steps=4)
_WIDE = Spec("", "qwen3-100m", steps=3, batch_size=4)
# 横轴的名字 → [(横轴的值, 测量哪一种情况)]。
SWEEPS: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "sequence length (tokens)": [(n, {"length": n, "batch_size": 2}) for n in (256, 512, 1024, 2048, 4096, 8192)],
    "conversations per step": [(n, {"batch_size": n}) for n in (1, 4, 16, 64)],
    "vocabulary": [(n, {"shape_changes": {"vocab_size": n}}) for n in (4_000, 16_000, 64_000, 151_936)],
    "LoRA rank r": [(n, {"lora": True, "lora_r": n, "batch_size": 16}) for n in (1, 4, 16, 64)],
}
CONTENDERS = ("ours", "padded")
ROWS = (1_000, 10_000, 100_000, 500_000)


def main() -> None:
    """逐项测量，写下结果。"""
    from tqdm import tqdm

    record: dict[str, Any] = {"bf16": fastest_dtype(use_cpu=True) is not None}
    cases = [(axis, *point, name) for axis, points in SWEEPS.items() for point in points for name in CONTENDERS]
    for axis, value, changes, name in tqdm(cases, unit="次"):
        base = _WIDE if axis == "vocabulary" else _EMBEDDED
        result = run(replace(base, contender=name, bf16=record["bf16"], **changes))
        record.setdefault(axis, {}).setdefault(name, []).append(
            {"x": value, "seconds_per_1000": seconds_per_1000(result, "cpu"), "mb": result["peak_memory_mb"]}
        )
    record["rows"] = [data_path(count) for count in tqdm(ROWS, unit="次", desc="数据的行数")]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scaling.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "scaling.md").write_text(to_markdown(record), encoding="utf-8")
    plot(record, RESULTS / "scaling.png")


def data_path(count: int) -> dict[str, float]:
    """``count`` 行的数据文件，从读入到变成 token：秒数，每行的微秒数，内存比一行也没有时多了多少。"""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_read_rows, (count,))


def _read_rows(count: int) -> dict[str, float]:
    import torch

    from benchmarks import models
    from data_solution import SFTDataset
    from finetuning.device import peak_memory_mb

    source = Path(__file__).parents[1] / "data" / "train.jsonl"
    with tempfile.TemporaryDirectory() as folder, source.open(encoding="utf-8") as rows:
        path = Path(folder, "rows.jsonl")
        with path.open("w", encoding="utf-8") as file:
            file.writelines(itertools.islice(itertools.cycle(list(rows)), count))
        tokenizer = models.load_tokenizer(models.EMBEDDED)
        before, started = peak_memory_mb(torch.device("cpu")), time.process_time()
        dataset = SFTDataset(path, tokenizer)
        seconds = time.process_time() - started
        assert len(dataset) == count
        megabytes = peak_memory_mb(torch.device("cpu")) - before
    return {"rows": count, "seconds": seconds, "microseconds_per_row": 1e6 * seconds / count, "mb": megabytes}


def to_markdown(record: dict[str, Any]) -> str:
    """每一项一张表。"""
    lines = [
        "# 时间和内存随什么增长",
        "",
        f"一个线程，{'bf16' if record['bf16'] else 'fp32'}；时间是每 1,000 个真的 token 的 CPU 秒。",
    ]
    for axis in SWEEPS:
        lines += ["", f"## {axis}", "", "| | 本项目，秒 | 填充，秒 | 本项目，MB | 填充，MB |", "|---|---|---|---|---|"]
        for ours, padded in zip(*(record[axis][name] for name in CONTENDERS), strict=True):
            seconds, memory = ([row[key] for row in (ours, padded)] for key in ("seconds_per_1000", "mb"))
            lines.append(
                f"| {ours['x']:,} | {seconds[0]:.3f} | {seconds[1]:.3f} | {memory[0]:,.0f} | {memory[1]:,.0f} |"
            )
    lines += [
        "",
        "## 数据的行数（读入、检查、变成 token）",
        "",
        "| 行 | 秒 | 每行微秒 | 内存多用，MB |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['rows']:,} | {row['seconds']:.1f} | {row['microseconds_per_row']:.0f} | {row['mb']:,.0f} |"
        for row in record["rows"]
    ]
    return "\n".join(lines) + "\n"


def plot(record: dict[str, Any], path: Path) -> None:
    """上面一排是时间，下面一排是内存。图里只用英文：很多机器上没有 matplotlib 能用的中文字体。"""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, len(SWEEPS), figsize=(4 * len(SWEEPS), 6), layout="constrained")
    for column, axis in enumerate(SWEEPS):
        for key, label, axes in zip(
            ("seconds_per_1000", "mb"),
            ("CPU seconds per 1,000 tokens", "peak memory (MB)"),
            grid[:, column],
            strict=True,
        ):
            for name, style in (("ours", "o-"), ("padded", "s--")):
                points = record[axis][name]
                axes.plot([point["x"] for point in points], [point[key] for point in points], style, label=name)
            axes.set(xlabel=axis, ylabel=label, xscale="log", ylim=(0, None))
            axes.set_xticks([point["x"] for point in points], [f"{point['x']:,}" for point in points])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
