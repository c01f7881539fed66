"""在单独的进程里训练一次，或沿用上次同样的训练。

单独的进程有自己的内存：上一种方法占过的，不算在下一种方法的峰值里。每次训练有一个输出目录 ``runs/lora_1``，
归训练脚本管；比较用的命令、日志放在它的旁边（``lora_1.command.json``、``lora_1.log``），互不相干。
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from finetuning.errors import UserError
from finetuning.output.checkpoints import is_complete
from finetuning.output.claim import METRICS_FILE, UNFINISHED_DIR, finish_publishing
from finetuning.output.fingerprint import read_record, write_json
from finetuning.output.record import still_holds


def beside(run_dir: Path, suffix: str) -> Path:
    """``run_dir`` 旁边、同名的文件。"""
    return run_dir.with_name(f"{run_dir.name}.{suffix}")


def read_finished(command: list[str], run_dir: Path) -> dict[str, Any] | None:
    """``run_dir`` 里同样的训练已经做完时，它的 ``metrics.json``；否则 None。

    命令相同还不够：数据、基座变了，或程序换了一版，都不是同样的训练了。
    """
    finish_publishing(run_dir)
    record = read_record(run_dir)
    try:
        trained = json.loads(beside(run_dir, "command.json").read_text(encoding="utf-8"))
        metrics = json.loads((run_dir / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # 没有训练过，或停在了半路
        return None
    same = record and trained == {"command": command, "run": record["run"]}
    return metrics if same and still_holds(record) else None


def train_in_process(script: Path, command: list[str], run_dir: Path) -> dict[str, Any]:
    """运行一次训练脚本，返回它的 ``metrics.json``；以前的结果由训练脚本在做完时换掉。

    Args:
        script: 训练脚本。
        command: 脚本的名字和参数；记在旁边，下次据此判断是不是同样的训练。

    Raises:
        UserError: 训练没有完成。
    """
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    log_file = beside(run_dir, "log")
    flags = ["--output_dir", str(run_dir)]
    if is_complete(run_dir / UNFINISHED_DIR):  # 上次停在了最后的检验
        flags += ["--resume_from_checkpoint", "true"]
    with log_file.open("w", encoding="utf-8") as log:
        result = subprocess.run(
            [sys.executable, str(script), *command[1:], *flags],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUTF8": "1"},  # 不然 Windows 上日志的编码随系统而定
        )
    if result.returncode:
        lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["什么也没有说"]
        reason = lines[-1].removeprefix("错误：").rstrip("。")
        raise UserError(
            f"{' '.join(command)} 没有训练完（退出码 {result.returncode}）：{reason}；全部输出在 {log_file}。"
            "做完的训练都留着，改好以后运行同样的命令就接着做；也可以用 --methods 去掉这种方法。"
        )
    # 做完了才记下命令，连同结果的编号：停在半路的，旧的结果不会被当成新的命令训练的。
    write_json(beside(run_dir, "command.json"), {"command": command, "run": read_record(run_dir)["run"]})
    return json.loads((run_dir / METRICS_FILE).read_text(encoding="utf-8"))


def saved_bytes(run_dir: Path) -> int:
    """存下来的权重有多少字节。"""
    return sum(path.stat().st_size for path in run_dir.glob("*.safetensors"))
