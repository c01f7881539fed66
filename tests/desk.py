"""学习者的桌面：项目里自查用得到的文件，放在另一个目录；在那里运行真的命令。"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# 参考答案里方法的第一行。
FIRST_LINE = "        input_ids: list[int] = []\n"
STUB = "        raise NotImplementedError\n"
SOLUTION = (ROOT / "data_solution.py").read_text(encoding="utf-8")
assert FIRST_LINE in SOLUTION
EXERCISE = (ROOT / "data_exercise.py").read_text(encoding="utf-8")
NOTHING_MASKED = """\
        print("正在处理", len(conversation))
        ids = []
        for message in conversation:
            for part in self.chatml.segments(message):
                ids += part
        return ids, list(ids)
"""


def make_desk(folder):
    shutil.copytree(ROOT / "self_check", folder / "self_check", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "finetuning").mkdir()
    needed = "__init__ chatml conversations errors formats hermes reading store tables terminal"
    for name in needed.split():
        shutil.copy(ROOT / "finetuning" / f"{name}.py", folder / "finetuning")
    (folder / "base_model").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ROOT / "base_model" / name, folder / "base_model")
    write(folder, EXERCISE)
    return folder


def write(desk, text):
    (desk / "data_exercise.py").write_text(text, encoding="utf-8")


def write_todo(desk, body):
    write(desk, EXERCISE.replace(STUB, body))


def write_top(desk, lines):
    """参考答案，导入之后另有几行。"""
    write(desk, SOLUTION.replace("IGNORE_INDEX = -100\n", f"IGNORE_INDEX = -100\n{lines}", 1))


def run(desk, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(desk / "data_exercise.py"), *arguments],
        cwd=desk.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
    )


def run_json(desk):
    """``--json`` 的结果；标准输出上恰好是一个 JSON 对象，退出码与它一致。"""
    done = run(desk, "--json")
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert done.returncode == (0 if report["passed"] else 1)
    return report


def message_of(report):
    """没有通过的那一项说了什么。"""
    return next(check["message"] for check in report["checks"] if not check["passed"])
