"""有显卡的那一天要做的事，一个命令：查对、主要的训练、续训、显存的预测、与 TRL 比速度。

    uv run --group bench python -m benchmarks.gpu

在一块 H100 上不到 10 分钟。结果写到 benchmarks/results/gpu_<显卡的名字>.json 和 .md，每做完一部分写一次。
缺了某个库（datasets、trl、bitsandbytes），只有用它的部分做不成，其余照做。

参数：
  --parts 部分 …        只做其中几个：equality shapes main_job fp16 qlora resume memory speed loss_chunks
  --dry_run             不用显卡：在 CPU 上用很小的尺寸走同样的代码，结果不留
  --timeout 秒数        每个部分最多多久，默认 420；超过就停下它，做下一个
  --output_dir 目录     结果写到哪里，默认 benchmarks/results
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from finetuning.arguments import Parser

RESULTS = Path(__file__).parent / "results"
PARTS = ("equality", "shapes", "main_job", "fp16", "qlora", "resume", "memory", "speed", "loss_chunks")
PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "liger-kernel", "bitsandbytes")
_RESULT_MARK = "GPU_PART_RESULT "


def parse_arguments() -> argparse.Namespace:
    """解析命令行；不导入 torch。"""
    parser = Parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--timeout", type=float, default=420)
    parser.add_argument("--output_dir", type=Path, default=RESULTS)
    parser.add_argument("--here", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    return arguments


def main() -> None:
    """一个部分一个进程，做完一个写一次结果。"""
    arguments = parse_arguments()
    if arguments.here:
        run_here(arguments.here, arguments.dry_run)
        return
    import torch

    if not arguments.dry_run and not torch.cuda.is_available():
        raise SystemExit("这台机器上没有 torch 能用的 CUDA 显卡；加上 --dry_run，可以在 CPU 上走一遍同样的代码。")
    card = "CPU" if arguments.dry_run else torch.cuda.get_device_name()
    record: dict[str, Any] = {"card": card, "python": platform.python_version(), "versions": versions(), "parts": {}}
    failed = []
    for part in arguments.parts:
        print(f"== {part} …", flush=True)
        started = time.perf_counter()
        result = run_part(part, arguments.dry_run, arguments.timeout)
        result["seconds"] = round(time.perf_counter() - started, 1)
        record["parts"][part] = result
        section = to_markdown(part, result)
        print(section, flush=True)
        if "problem" in result or any(table["problems"] for table in result.get("tables", [])):
            failed.append(part)
        if not arguments.dry_run:
            write(record, arguments.output_dir)
    if failed:
        raise SystemExit(f"没有做成、或结果不对的部分：{' '.join(failed)}。")


def versions() -> dict[str, str]:
    """各个库的版本；没有装的不列。"""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run_here(part: str, dry_run: bool) -> None:
    """在这个进程里做一个部分，结果打印成一行 JSON。缺的库不是错误。"""
    from benchmarks.gpu_parts import PARTS as FUNCTIONS

    try:
        result: dict[str, Any] = {"tables": [asdict(table) for table in FUNCTIONS[part](dry_run)]}
    except ModuleNotFoundError as error:
        result = {"missing": error.name}
    print(_RESULT_MARK + json.dumps(result, ensure_ascii=False), flush=True)


def run_part(part: str, dry_run: bool, timeout: float) -> dict[str, Any]:
    """在新的进程里做一个部分；它说的话随时显示。

    Returns:
        ``tables``（各张表）；或 ``missing``（没有装的库）；或 ``problem``（没有做成的原因）。
    """
    command = [sys.executable, "-u", "-m", "benchmarks.gpu", "--here", part, *(["--dry_run"] if dry_run else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
    assert process.stdout is not None
    result: dict[str, Any] | None = None
    alarm = threading.Timer(timeout, process.kill)
    alarm.start()
    with process:
        for line in process.stdout:
            if line.startswith(_RESULT_MARK):
                result = json.loads(line.removeprefix(_RESULT_MARK))
            else:
                print(f"   {line}", end="", flush=True)
        code = process.wait()
    late = not alarm.is_alive()
    alarm.cancel()
    return result or {"problem": f"超过 {timeout:.0f} 秒，停下了" if late else f"退出码 {code}"}


def to_markdown(part: str, result: dict[str, Any]) -> str:
    """一个部分的各张表。"""
    lines = [f"## {part}（{result['seconds']} 秒）"]
    if "missing" in result:
        lines += ["", f"没有装 {result['missing']}，这一部分没有做。"]
    if "problem" in result:
        lines += ["", f"没有做成：{result['problem']}。"]
    for table in result.get("tables", []):
        lines += [
            "",
            f"### {table['title']}",
            "",
            f"| {' | '.join(table['columns'])} |",
            f"|{'---|' * len(table['columns'])}",
        ]
        lines += [f"| {' | '.join(map(str, row))} |" for row in table["rows"]]
        lines += [line for problem in table["problems"] for line in ("", f"**不对**：{problem}。")]
    return "\n".join(lines)


def write(record: dict[str, Any], directory: Path) -> None:
    """写下到现在为止的结果；以前用同样的卡、同样版本的库做过，这次没有做的部分留着。"""
    name = "gpu_" + re.sub(r"[^a-z0-9]+", "-", record["card"].lower()).strip("-")
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / f"{name}.json").is_file():
        earlier = json.loads((directory / f"{name}.json").read_text("utf-8"))
        if all(earlier[key] == record[key] for key in ("card", "python", "versions")):
            parts = earlier["parts"] | record["parts"]
            record = record | {"parts": {part: parts[part] for part in PARTS if part in parts}}
    (directory / f"{name}.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    header = f"# {record['card']}\n\nPython {record['python']}，"
    header += "，".join(f"{package} {number}" for package, number in record["versions"].items())
    sections = [to_markdown(part, result) for part, result in record["parts"].items()]
    (directory / f"{name}.md").write_text("\n\n".join([header, *sections]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
