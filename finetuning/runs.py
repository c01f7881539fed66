"""在单独的进程里训练一次，或沿用上次同样的训练。

单独的进程有自己的内存：上一种方法占过的，不算在下一种方法的峰值里。
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from finetuning.errors import UserError
from finetuning.output_dir import METRICS_FILE

_COMMAND_FILE, _LOG_FILE = "command.json", "train.log"


def read_finished(command: list[str], run_dir: Path) -> dict[str, Any] | None:
    """``run_dir`` 里同样的命令已经训练完时，它的 ``metrics.json``；否则 None。"""
    try:
        if json.loads((run_dir / _COMMAND_FILE).read_text(encoding="utf-8")) != command:
            return None
        return json.loads((run_dir / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # 没有训练过，或停在了半路
        return None


def train_in_process(script: Path, command: list[str], run_dir: Path) -> dict[str, Any]:
    """运行一次训练脚本，返回它的 ``metrics.json``；``run_dir`` 里原有的东西先删掉。

    Args:
        script: 训练脚本。
        command: 脚本的名字和参数；记在 ``run_dir`` 里，下次据此判断是不是同样的训练。

    Raises:
        UserError: 训练没有完成。
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    (run_dir / _COMMAND_FILE).write_text(json.dumps(command, ensure_ascii=False), encoding="utf-8")
    log_file = run_dir / _LOG_FILE
    with log_file.open("w", encoding="utf-8") as log:
        result = subprocess.run(
            [sys.executable, str(script), *command[1:], "--output_dir", str(run_dir)],
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
    return json.loads((run_dir / METRICS_FILE).read_text(encoding="utf-8"))


def saved_bytes(run_dir: Path) -> int:
    """存下来的权重有多少字节。"""
    return sum(path.stat().st_size for path in run_dir.glob("*.safetensors"))
