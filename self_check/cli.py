"""自查的命令行：``--json``、``--hint``、``--watch`` 与退出码。"""

import difflib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from finetuning.terminal import launcher, say
from self_check import worker
from self_check.exercise import Exercise
from self_check.rendering import render, render_json
from self_check.report import Report
from self_check.runner import run_suite
from self_check.sandbox import SetupError, debugger_attached
from self_check.supervisor import check_file
from self_check.text import fold
from self_check.todos import load_exercise

_HELP = """\
检查你写的代码，说出错在哪里。

  {python} {name}            检查
  {python} {name} --watch    每次保存后自动检查，Ctrl-C 结束
  {python} {name} --hint     看下一条提示（共三条，不是答案）
  {python} {name} --json     结果写成一行 JSON，给程序看

退出码：0 全部通过，1 没有通过，2 命令写错了。"""

_OPTIONS = ("--watch", "--hint", "--json", "--help")

# 看到了第几条提示记在这里；.gitignore 里有它。
_HINT_STATE = Path(__file__).parents[1] / ".self_check_cache" / "hints.json"
_POLL_SECONDS = 0.3


def check(todo: str, subject: Any) -> bool:
    """做完检查并打印报告；notebook 用。"""
    report = run_suite(load_exercise(todo), subject)
    print(render(load_exercise(todo), report, color=_use_color()))
    return report.passed


def check_and_print(todo: str, path: Path) -> bool:
    """见 :func:`self_check.check_file`。"""
    report = check_file(todo, path)
    say(render(load_exercise(todo), report, color=_use_color()))
    return report.passed


def run(todo: str, path: Path) -> NoReturn:
    """见 :func:`self_check.main`。"""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # Windows 的某些控制台编码不了的字符写成 ?，不要中断
    option = _parse(sys.argv[1:])
    if option == "--help":
        say(_HELP.format(python=launcher(), name=path.name))
        raise SystemExit(0)
    if option == "--hint":
        say(_next_hint(todo, load_exercise(todo)))
        raise SystemExit(0)
    try:
        if option == "--watch":
            _watch(todo, path)
        report = _check_here(todo, path) if debugger_attached() else check_file(todo, path)
    except SetupError as error:
        print(f"自查跑不起来：{error}", file=sys.stderr)
        if option == "--json":
            print(json.dumps({"passed": False, "diagnosis": "setup_error", "delegates": False, "checks": []}))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("检查被中断了。", file=sys.stderr)
        raise SystemExit(130) from None
    text = render_json(report) if option == "--json" else render(load_exercise(todo), report, color=_use_color())
    say(text)
    raise SystemExit(0 if report.passed else 1)


def _check_here(todo: str, path: Path) -> Report:
    """正在调试（例如 VS Code 里按 F5）：就在这个进程里检查，断点才停得下来。"""
    return worker.check(load_exercise(todo), path.resolve())


def _parse(arguments: Sequence[str]) -> str | None:
    """命令行 → 唯一的选项；没有就是 None。

    Raises:
        SystemExit: 命令写错了，退出码 2。
    """
    arguments = ["--help" if argument == "-h" else argument for argument in arguments]
    for argument in arguments:
        if argument not in _OPTIONS:
            close = difflib.get_close_matches(argument, _OPTIONS, n=1)
            guess = f"是不是 {close[0]}？" if close else f"能用的有 {'、'.join(_OPTIONS)}。"
            _fail(f"不认识 {argument}，{guess}")
    if len(arguments) > 1:
        _fail(f"{'、'.join(_OPTIONS)} 一次只能用一个。")
    return arguments[0] if arguments else None


def _fail(message: str) -> NoReturn:
    print(f"命令写错了：{message}", file=sys.stderr)
    raise SystemExit(2)


def _next_hint(todo: str, exercise: Exercise) -> str:
    """看到下一条提示；看过的也再列出来。"""
    try:
        state = json.loads(_HINT_STATE.read_text(encoding="utf-8"))
        seen = int(state.get(todo, 0))
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        state, seen = {}, 0
    total = len(exercise.hints)
    shown = max(1, min(seen + 1, total))
    try:
        _HINT_STATE.parent.mkdir(exist_ok=True)
        _HINT_STATE.write_text(json.dumps({**state, todo: shown}), encoding="utf-8")
    except OSError:
        pass  # 只读的目录：每次都从第一条看起
    parts = [f"提示 {number}/{total}\n{fold(hint)}" for number, hint in enumerate(exercise.hints[:shown], 1)]
    ending = (
        "再运行一次 --hint，看下一条。"
        if shown < total
        else f"提示就这些。再试一试；实在不行，参考答案在 {todo}_solution.py。"
    )
    return "\n\n".join([exercise.title, *parts, ending])


def _watch(todo: str, path: Path) -> NoReturn:
    """文件每次保存后检查一次。"""
    checked = None
    try:
        while True:
            changed = _modified(path)
            if changed is not None and changed != checked:
                checked = changed
                say(f"\n{'─' * 20} {time.strftime('%H:%M:%S')} {path.name}")
                try:
                    check_and_print(todo, path)
                except SetupError as error:
                    say(f"自查跑不起来：{error}")
                say("（保存后会再检查；Ctrl-C 结束）")
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _modified(path: Path) -> tuple[int, int] | None:
    """上次保存的时刻和大小；有的编辑器保存时先删掉旧文件，这时是 None。"""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _use_color() -> bool:
    """输出到终端或 notebook，而且没有设环境变量 NO_COLOR（https://no-color.org）。"""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    return (sys.stdout.isatty() or in_notebook) and not os.environ.get("NO_COLOR")
