"""在另一个进程里检查学习者的文件，并且看着它：卡住、退出、崩溃，都成为一份诊断。"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from self_check.location import look_at
from self_check.report import Diagnosis, Report
from self_check.runner import failed_before_checking
from self_check.sandbox import SetupError
from self_check.text import cleaned
from self_check.todos import load_exercise
from self_check.worker import CALLED, RESULT, STUCK

_SECONDS = 180  # 装入 torch 可能要十几秒；检查自己的时限短得多
# 没有填值的内存（torch.Tensor(r, n)）碰巧常常是零；让 glibc 填上别的，忘了填值就一定看得出来。
_PERTURB = {"MALLOC_PERTURB_": "165"}
_PRINTED_BYTES = 20_000
_ROOT = Path(__file__).parents[1]


def check_file(todo: str, path: Path, cwd: Path | None = None, seed: int | None = None) -> Report:
    """检查一个文件。

    Args:
        todo: ``"data"``、``"lora"`` 或 ``"debug"``。
        path: 学习者的文件。
        cwd: 在哪个目录里运行；None 是现在的目录。
        seed: 随机的用例的种子；None 是照环境变量 ``SELF_CHECK_SEED``，没有设就每次不同。

    Raises:
        SetupError: 自查跑不起来，例如项目不完整。
        KeyboardInterrupt: 按了 Ctrl-C；检查的进程已经结束。
    """
    path = path.resolve()
    source = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
    fixed = {} if seed is None else {"SELF_CHECK_SEED": str(seed)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        start = "from self_check.worker import main; main()"
        command = [sys.executable, "-W", "ignore", "-c", start, todo, str(path), str(folder)]
        with (folder / "printed.txt").open("wb") as printed:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": _python_path(), "PYTHONUTF8": "1"} | _PERTURB | fixed,
                start_new_session=os.name == "posix",
            )
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _end(process)
        text = _printed(folder / "printed.txt")
        if not (folder / RESULT).is_file():
            return failed_before_checking(load_exercise(todo), _how_it_ended(process, path, source, folder), text)
        result = json.loads((folder / RESULT).read_text("utf-8"))
    if "setup_error" in result:
        raise SetupError(result["setup_error"])
    report = Report.from_dict(result)
    return Report(report.results, report.printed + text, report.delegates)


def _python_path() -> str:
    return os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _end(process: subprocess.Popen[bytes]) -> None:
    """结束检查的进程，连同学习者的代码启动的别的进程。"""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _printed(path: Path) -> str:
    """学习者的代码绕过 ``print`` 写出的文字（``os.system``、``sys.__stdout__``）。"""
    with path.open("rb") as file:
        return cleaned(file.read(_PRINTED_BYTES).decode("utf-8", errors="replace"), lines=True)


def _how_it_ended(process: subprocess.Popen[bytes], path: Path, source: list[str], folder: Path) -> Diagnosis:
    """没有写出结果：停在哪一行，为什么。"""
    stuck = (folder / STUCK).read_text("utf-8", errors="replace") if (folder / STUCK).exists() else ""
    line = re.search(rf'File "{re.escape(str(path))}", line (\d+)', stuck)
    came, likely = _death(process.returncode, stuck)
    if line:
        code = cleaned(source[int(line[1]) - 1].strip()) if int(line[1]) <= len(source) else ""
        came += f"\n{path.name} 第 {line[1]} 行：\n    {code}"
    called = folder / CALLED
    described = called.read_text("utf-8") if called.exists() else f"装入 {path.name}"
    return Diagnosis("raises", called=described, came=came, likely=likely, look=look_at(str(path)))


def _death(code: int | None, stuck: str) -> tuple[str, str]:
    """(发生了什么, 多半为什么)。"""
    if "Timeout (" in stuck:
        return (
            "超过了时限，代码还没有运行完",
            "停在一行不会回来的代码里：遍历没有尽头的迭代器（itertools.count()、iter(int, 1)），"
            "一边遍历列表一边往它里面加东西（或 extend 自己），很大的乘方，或要试无数种分法的正则表达式（(a+)+）。",
        )
    if "MemoryError" in stuck or "Out of memory" in stuck:
        return "内存不够", "多半是列表在循环里越变越大。"
    if "Fatal Python error" in stuck or (code is not None and code < 0):
        reason = re.search(r"Fatal Python error: (.*)", stuck)
        return (
            f"整个进程崩溃了（{reason[1] if reason else f'信号 {-(code or 0)}'}）",
            "多半是内存用完了，或者一直在调用自己；也可能是代码结束了进程（os.kill），或用 ctypes 改动了内存。",
        )
    return (
        f"程序提前结束了（退出码 {code}），没有检查完",
        "文件里有让整个程序退出的代码，或者它把检查的进程结束了；请删掉它，用 return 返回结果。",
    )
