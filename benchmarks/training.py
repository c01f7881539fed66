"""同样的模型、数据、步数，四种训练程序并排比较。

    uv run --group bench python -m benchmarks.training

一轮（round）里每种情况各在单独的进程里训练一次，轮流着做，所以机器忙闲的变化对大家一样；比值在每一轮之内算，再取中位数。
CPU 上比的是 CPU 时间，CUDA 上是实际时间。结果写到 benchmarks/results/。换一个模型，或在显卡上：

    uv run --group bench python -m benchmarks.training --model_name_or_path Qwen/Qwen3-0.6B-Base --train_file my.jsonl
    uv run --group bench python -m benchmarks.training --device cuda --model_name_or_path qwen3-0.6b --lengths 512 2048

参数：
  --model_name_or_path 模型   smollm2-135m（默认）、qwen3-100m、qwen3-0.6b、qwen3-1.7b：形状相同、权重随机，不用下载；
                              或模型目录（如 base_model）、hub 上的名字
  --train_file 文件           用真实的对话；默认是随机的 token
  --rounds 轮数               默认 3
  --steps 步数                每次训练几步，第一步不计时；默认 3
  --batch_size 段数           一步几段对话；默认 16
  --lengths 长度 …            每段对话都是这么长；默认有长有短
  --methods full lora         比较全参数微调、LoRA，还是两样都比；默认两样
  --equality_steps 步数       另外用 fp32 训练这么多步，一步两段，比较每一步的损失；0 是不比；默认 50
  --device cpu|cuda           默认 cpu
  --threads 线程数            默认 1
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.worker import Spec, run
from finetuning.arguments import Parser

RESULTS = Path(__file__).parent / "results"
# (程序, 是不是 bf16)；TRL 的默认就是 bf16。
CASES = (("padded", False), ("padded", True), ("trl", True), ("trl_best", True), ("ours", False), ("ours", True))
# (我们的, 与谁比)：精度相同。
COMPARED = (
    (("ours", True), ("trl", True)),
    (("ours", True), ("trl_best", True)),
    (("ours", False), ("padded", False)),
    (("ours", True), ("padded", True)),
)
_EQUALITY_BATCH = 2
Case = tuple[str, bool]
Measured = dict[Case, list[dict[str, Any]]]  # 每种情况 → 各轮的结果


def parse_arguments() -> argparse.Namespace:
    """解析命令行。"""
    parser = Parser(__doc__)
    parser.add_argument("--model_name_or_path", default="smollm2-135m")
    parser.add_argument("--train_file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs="+", default=[None])
    parser.add_argument("--methods", nargs="+", choices=("full", "lora"), default=["full", "lora"])
    parser.add_argument("--equality_steps", type=int, default=50)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    return arguments


def main() -> None:
    """测量每种方法、每种长度，写下结果。"""
    arguments = parse_arguments()
    sections, record = [], []
    for method in arguments.methods:
        for length in arguments.lengths:
            base = Spec(
                contender="",
                model=arguments.model_name_or_path,
                lora=method == "lora",
                steps=arguments.steps,
                batch_size=arguments.batch_size,
                length=length,
                train_file=arguments.train_file,
                device=arguments.device,
                threads=arguments.threads,
            )
            measured = measure_cases(base, arguments.rounds)
            difference = loss_difference(base, arguments.equality_steps) if arguments.equality_steps else None
            title = f"{'LoRA r=8' if base.lora else '全参数微调'}" + (f"，每段 {length} 个 token" if length else "")
            sections.append(to_markdown(title, measured, difference, arguments))
            print(f"\n{sections[-1]}\n", flush=True)
            record.append(
                {
                    "method": method,
                    "length": length,
                    "largest_loss_difference": difference,
                    "rounds": [
                        {"contender": name, "bf16": bf16, "results": results}
                        for (name, bf16), results in measured.items()
                    ],
                }
            )
    RESULTS.mkdir(exist_ok=True)
    name = f"training_{Path(arguments.model_name_or_path).name}_{arguments.device}_batch{arguments.batch_size}"
    settings = {key: value for key, value in vars(arguments).items() if key != "help"}
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"settings": settings, "versions": versions(), "measured": record}, ensure_ascii=False, indent=1)
        + "\n",
        encoding="utf-8",
    )
    header = f"# {arguments.model_name_or_path}，{arguments.device}，{arguments.threads} 线程，"
    header += f"一步 {arguments.batch_size} 段对话\n\n"
    header += "，".join(f"{package} {version}" for package, version in versions().items())
    (RESULTS / f"{name}.md").write_text("\n\n".join([header, *sections]) + "\n", encoding="utf-8")
    print(f"结果在 {RESULTS.name}/{name}.json 和 .md")


def versions() -> dict[str, str]:
    """比较的是哪些版本。"""
    from importlib.metadata import version

    return {package: version(package) for package in ("torch", "transformers", "peft", "trl")}


def measure_cases(base: Spec, rounds: int) -> Measured:
    """轮流测量每种情况；每一轮从不同的一种开始。"""
    from tqdm import tqdm

    measured: Measured = {case: [] for case in CASES}
    with tqdm(total=rounds * len(CASES), unit="次") as progress:
        for turn in range(rounds):
            for name, bf16 in (*CASES[turn:], *CASES[:turn]):
                progress.set_description(f"{name} {'bf16' if bf16 else 'fp32'}")
                measured[name, bf16].append(run(replace(base, contender=name, bf16=bf16)))
                progress.update()
    return measured


def loss_difference(base: Spec, steps: int) -> float:
    """fp32 训练 ``steps`` 步，本项目与填充的 Trainer 每一步的损失最多差多少。"""
    short = replace(base, steps=steps, batch_size=_EQUALITY_BATCH)
    ours, padded = (run(replace(short, contender=name))["loss"] for name in ("ours", "padded"))
    return max(abs(a - b) for a, b in zip(ours, padded, strict=True))


def seconds_per_1000(result: dict[str, Any], device: str) -> float:
    """每 1,000 个真的 token（不算填充）用多少秒。"""
    return 1000 * result["cpu_seconds" if device == "cpu" else "wall_seconds"] / result["real_tokens"]


def ratios(measured: Measured, slow: Case, fast: Case, device: str) -> list[float]:
    """每一轮里，``slow`` 的时间是 ``fast`` 的几倍。"""
    pairs = zip(measured[slow], measured[fast], strict=True)
    return [seconds_per_1000(a, device) / seconds_per_1000(b, device) for a, b in pairs]


def _case_rows(measured: Measured, device: str) -> Iterator[str]:
    from benchmarks.contenders import CONTENDERS

    for (name, bf16), results in measured.items():
        seconds = [seconds_per_1000(result, device) for result in results]
        cells = [
            CONTENDERS[name].label,
            "bf16" if bf16 else "fp32",
            f"{median(seconds):.2f}（{min(seconds):.2f}–{max(seconds):.2f}）",
            f"{median(result['peak_memory_mb'] for result in results):,.0f}",
            f"{median(result['padding_share'] for result in results):.0%}",
        ]
        if device == "cuda":
            speed = 1000 / median(seconds)
            cells += [f"{speed:,.0f}", f"{speed * results[0]['flops_per_token'] / results[0]['matmul_flops']:.0%}"]
        yield f"| {' | '.join(cells)} |"


def to_markdown(title: str, measured: Measured, difference: float | None, arguments: argparse.Namespace) -> str:
    """一张各种情况的表，一张比值的表。"""
    device = arguments.device
    unit = "CPU 秒" if device == "cpu" else "秒"
    columns = ["程序", "精度", f"每 1,000 个真的 token，{unit}", "内存峰值，MB", "填充"]
    columns += ["token/秒", "MFU"] if device == "cuda" else []
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += _case_rows(measured, device)
    lines += ["", "| 本项目与谁比，精度相同 | 快几倍（最小–最大） | 内存是它的 |", "|---|---|---|"]
    from benchmarks.contenders import CONTENDERS

    for ours, other in COMPARED:
        speedups = ratios(measured, other, ours, device)
        pairs = zip(measured[ours], measured[other], strict=True)
        memory = median(a["peak_memory_mb"] / b["peak_memory_mb"] for a, b in pairs)
        lines.append(
            f"| {CONTENDERS[other[0]].label}，{'bf16' if other[1] else 'fp32'} "
            f"| {median(speedups):.2f}（{min(speedups):.2f}–{max(speedups):.2f}） | {memory:.2f} |"
        )
    if difference is not None:
        lines += [
            "",
            f"fp32 训练 {arguments.equality_steps} 步，每一步的损失与填充的 Trainer 最多差 {difference:.1e}。",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
