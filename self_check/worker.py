"""在单独的进程里装入学习者的文件，检查它，把结果写成 JSON。

由 :mod:`self_check.supervisor` 启动。不论学习者的代码做什么，这个进程都会结束：装入和检查都有时限和内存的上限；
卡在 C 代码里、线程停不下来的，由 ``faulthandler`` 的看门狗写下停在哪一行，结束进程。
"""

import faulthandler
import json
import linecache
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from self_check import sandbox
from self_check.delegation import delegates
from self_check.exercise import Exercise
from self_check.explain import explain_error
from self_check.report import Report
from self_check.runner import failed_before_checking, run_suite
from self_check.sandbox import ExitedAtOnce, SetupError, run_limited
from self_check.todos import load_exercise

being_checked = False  # 这个进程正在装入一个练习文件，要检查它；文件末尾的 self_check.main 因此什么也不做

RESULT, CALLED, STUCK = "result.json", "called.txt", "stuck.txt"
# 解释器锁这么久没有放开，就是卡住了。装入文件时也许要导入很大的库，磁盘又慢，所以宽一些。
_STUCK_SECONDS, _LOADING_SECONDS = 4.0, 25.0
_MEMORY_BYTES = 2 * 10**9
_OUTPUT_BYTES = 64 * 10**6


def main() -> None:
    """命令行的参数：``data``、``lora`` 或 ``debug``，学习者的文件、把结果写到哪个目录。"""
    todo, path, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    sys.argv = [str(path)]
    with (folder / STUCK).open("w", encoding="utf-8") as stuck:
        faulthandler.enable(stuck)
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # 不真的编译：编译一次要几十秒，结果与不编译的相同
        exercise = load_exercise(todo)
        for module in exercise.imports:
            import_module(module)
        exit_now, os._exit = os._exit, _exit_at_once
        wind = _watchdog(stuck, exit_now)
        sandbox.on_call.append(lambda called: _remember(folder, called))
        _limit()
        try:
            result = check(exercise, path, wind).to_dict()
        except SetupError as error:
            result = {"setup_error": str(error)}
        partial_file = folder / (RESULT + ".part")
        partial_file.write_text(json.dumps(result), encoding="utf-8")
        partial_file.replace(folder / RESULT)
        faulthandler.cancel_dump_traceback_later()
        exit_now(0)  # 学习者留下的线程、atexit 都不等


def check(exercise: Exercise, path: Path, wind: Callable[[float], None] = lambda seconds: None) -> Report:
    """装入一个文件，检查它。

    Args:
        wind: 给看门狗上弦：往后这么多秒没有动静就算卡住。
    """
    global being_checked
    being_checked = True
    module = ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module
    sys.path[:0] = [str(path.parent)]
    wind(_LOADING_SECONDS)
    outcome = run_limited(partial(_execute, module, path), str(path))
    if outcome.error is not None:
        diagnosis = explain_error(outcome.error, str(path), f"装入 {path.name}", exercise.explain)
        return failed_before_checking(exercise, diagnosis, outcome.printed)
    wind(_STUCK_SECONDS)
    sandbox.on_tick.append(lambda: wind(_STUCK_SECONDS))
    report = run_suite(exercise, module)
    return Report(report.results, outcome.printed + report.printed, delegates(path, exercise.todo))


def _execute(module: ModuleType, path: Path) -> None:
    content = path.read_bytes()
    # 记住现在的样子：检查还没有做完，文件也许又改了，诊断里引用的应当是运行的那一份。
    lines = content.decode("utf-8", errors="replace").splitlines(keepends=True)
    linecache.cache[str(path)] = (len(content), None, lines, str(path))
    try:
        code = compile(content, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        if getattr(error, "filename", None):
            raise
        # 编码不对、里面有零字节时，Python 没有写明是哪个文件
        raise SyntaxError(str(error), (str(path), None, None, None)) from error
    exec(code, module.__dict__)


def _remember(folder: Path, called: str) -> None:
    with suppress(OSError):
        (folder / CALLED).write_text(called, encoding="utf-8")


def _watchdog(stuck: Any, exit_now: Callable[[int], NoReturn]) -> Callable[[float], None]:
    """解释器锁一直放不开，主线程就不能来上弦；``faulthandler`` 自己的线程于是写下各个线程在哪一行，结束进程。"""
    wound, limit = 0.0, 0.0

    def wind(seconds: float) -> None:
        nonlocal wound, limit
        if seconds != limit or time.monotonic() - wound > 0.5:
            wound, limit = time.monotonic(), seconds
            try:
                faulthandler.dump_traceback_later(seconds, exit=True, file=stuck)
            except (RuntimeError, MemoryError):  # 连看门狗的线程也开不了：内存已经到了上限
                for relax in sandbox.on_memory_error:
                    relax()
                stuck.write("Out of memory\n" + _where_every_thread_is())
                stuck.flush()
                exit_now(1)

    return wind


def _where_every_thread_is() -> str:
    """各个线程的调用栈，写法与 ``faulthandler`` 的相同。"""
    lines = []
    for innermost in list(sys._current_frames().values()):
        for frame in sandbox.frames_from(innermost):
            lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}\n')
    return "".join(lines)


def _limit() -> None:
    """内存和写文件的上限；没有 ``resource`` 的系统（Windows）没有。"""
    try:
        import resource
    except ImportError:
        return
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + _MEMORY_BYTES, hard))
        # 学习者的列表还被调用栈拿着，不放宽一些，连诊断也写不出来。
        sandbox.on_memory_error.append(lambda: resource.setrlimit(resource.RLIMIT_DATA, (hard, hard)))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_BYTES,) * 2)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _data_bytes() -> int:
    """现在已经用了多少（Linux）；别的系统当作零。"""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[5])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _exit_at_once(status: int) -> NoReturn:
    raise ExitedAtOnce
