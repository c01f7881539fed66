"""运行学习者的代码：有时限，它的打印收起来，它抛出的任何东西都接住。

代码在一个守护线程里运行，主线程看着它用掉的 CPU 时间；超时就在那个线程里抛出一个异常。信号只有 POSIX 才有，
子进程拿不到 notebook 里定义的类，这种办法处处可用。卡在 C 代码里、一直占着解释器锁（GIL）的，线程停不下它：
文件里的练习因此在另一个进程里检查（见 :mod:`self_check.supervisor`）。
"""

import ast
import contextlib
import ctypes
import gc
import io
import linecache
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

from self_check.text import cleaned

# 时限按 CPU 时间算，机器忙的时候不会误判；墙上时间管等待网络、锁之类。
CPU_SECONDS = 2.0
WALL_SECONDS, WALL_TIMES = 20.0, 2.5  # 墙上时间至少这么多秒，或 CPU 时间的几倍
SLEEP_SECONDS = 0.5  # 一共可以 sleep 多久

on_memory_error: list[Callable[[], None]] = []  # 内存到了上限时
on_tick: list[Callable[[], None]] = []  # 等着学习者的代码时，每隔几十毫秒调用一次
on_call: list[Callable[[str], None]] = []  # 每次要调用学习者的代码时，告诉它调用的是什么


class TimeLimitExceeded(BaseException):
    """学习者的代码没有在时限之内结束。不是 Exception 的子类：学习者写的 ``except Exception`` 拦不住它。"""

    line: int | None = None  # 到了时限，他的文件走到了第几行


class Slept(TimeLimitExceeded):
    """学习者的代码在 ``time.sleep``：不必真的等到时限。"""


class ExitedAtOnce(BaseException):
    """学习者的代码调用了 ``os._exit``。"""


class SetupError(Exception):
    """自查跑不起来，不是学习者的代码错了；消息是一句完整的中文。"""


@dataclass(frozen=True)
class Outcome:
    """一次运行的结果：返回值，或者抛出的东西。"""

    value: Any
    error: BaseException | None
    printed: str  # 运行时打印的全部文字


def random_seed() -> int:
    """随机的用例的种子：环境变量 ``SELF_CHECK_SEED``，没有设就每次不同。

    Raises:
        SetupError: 它不是整数。
    """
    wanted = os.environ.get("SELF_CHECK_SEED", "")
    if wanted and not wanted.isdecimal():
        raise SetupError(f"环境变量 SELF_CHECK_SEED 应该是不小于 0 的整数，实际是 {wanted}。")
    return int(wanted) if wanted else secrets.randbelow(10**6)


@contextlib.contextmanager
def calling(description: str) -> Iterator[None]:
    """记下正在调用什么；这时抛出的异常会带着它，成为诊断的“调用了什么”。"""
    for tell in on_call:
        tell(description)
    try:
        yield
    except BaseException as error:
        vars(error).setdefault("called", description)  # 一层套一层时，最里面的说得最准
        raise


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """我们自己要导入很大的库时：不必一行一行地看着，能快一倍。"""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def run_limited(function: Callable[[], Any], source_file: str, cpu_seconds: float = CPU_SECONDS) -> Outcome:
    """运行 ``function``，不论它做什么都会返回。

    Args:
        source_file: 学习者的文件；超时以后，从它的哪一行退出由这里决定。
        cpu_seconds: 最多用多少秒 CPU 时间。
    """
    value: Any = None
    error: BaseException | None = None
    try_bodies: list[range] | None = None  # 超时以后才有

    def exit_when_time_is_up(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != source_file:
            return None
        if try_bodies is not None and not _is_in(try_bodies, frame, source_file):
            raise TimeLimitExceeded
        return exit_when_time_is_up

    def target() -> None:
        nonlocal value, error
        if not debugger_attached():
            sys.settrace(exit_when_time_is_up)
        try:
            value = function()
        except BaseException as caught:
            if isinstance(caught, MemoryError):
                for relax in on_memory_error:
                    relax()
            error = caught

    printed = io.StringIO()
    thread = threading.Thread(target=target, daemon=True)
    with (
        contextlib.redirect_stdout(printed),
        _replaced(sys, "stdin", io.StringIO()),  # input() 立刻抛出 EOFError，而不是等在那里
        _replaced(time, "sleep", _short_sleep(time.sleep)),
        _no_garbage_collection(),
    ):
        thread.start()
        if not _wait(thread, cpu_seconds):
            line = _line_in(sys._current_frames().get(thread.ident or 0), source_file)
            try_bodies = _try_bodies(source_file)
            thread.join(1.0)
            _interrupt(thread)
            if error is None or isinstance(error, TimeLimitExceeded):
                error = error or TimeLimitExceeded()
                error.line = line
    return Outcome(value, error, cleaned(printed.getvalue(), lines=True))


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    saved = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, saved)


def _short_sleep(sleep: Callable[[float], None]) -> Callable[[Any], None]:
    """加起来不过半秒的 ``time.sleep``；超过就当场说，不真的等。"""
    slept = 0.0

    def sleep_shortly(seconds: Any) -> None:
        nonlocal slept
        slept += seconds
        if slept > SLEEP_SECONDS:
            raise Slept
        sleep(seconds)

    return sleep_shortly


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """垃圾回收的时间不算在学习者头上：notebook 里东西多，回收一次可能就要一秒。"""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _wait(thread: threading.Thread, cpu_seconds: float) -> bool:
    """等线程结束；超时返回 False。用着调试器时不限时，import 所用的时间不算。"""
    cpu, wall = time.process_time(), time.monotonic()
    while True:
        thread.join(0.02)
        if not thread.is_alive():
            return True
        for tick in on_tick:
            tick()
        if debugger_attached() or _is_importing(sys._current_frames().get(thread.ident or 0)):
            cpu, wall = time.process_time(), time.monotonic()
        if time.process_time() - cpu > cpu_seconds or time.monotonic() - wall > max(
            WALL_SECONDS, WALL_TIMES * cpu_seconds
        ):
            return False


def debugger_attached() -> bool:
    """有没有调试器在看着。"""
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12 起调试器用它
    return sys.gettrace() is not None or (monitoring is not None and bool(monitoring.get_tool(monitoring.DEBUGGER_ID)))


def _is_importing(frame: FrameType | None) -> bool:
    """调用栈里有 import：第一次 import torch 可能要十几秒，那不是死循环。"""
    return any(each.f_code.co_filename == "<frozen importlib._bootstrap>" for each in frames_from(frame))


def _try_bodies(source_file: str) -> list[range]:
    """文件里每个带 except 的 try，它里面的行：在这些行抛出异常，会被 ``except:`` 拦下，死循环又接着转。"""
    try:
        tries = ast.walk(ast.parse("".join(linecache.getlines(source_file))))
    except (SyntaxError, ValueError):  # 导入之后又改过，还没有改完
        return []
    return [
        range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
        for node in tries
        if isinstance(node, (ast.Try, ast.TryStar)) and node.handlers
    ]


def _is_in(bodies: list[range], frame: FrameType | None, source_file: str) -> bool:
    """学习者的代码，从这一层到最外面一层，有一层正走在这些行里。"""
    return any(
        each.f_code.co_filename == source_file and any(each.f_lineno in body for body in bodies)
        for each in frames_from(frame)
    )


def _interrupt(thread: threading.Thread) -> None:
    """在学习者的文件之外，或者整个循环都在 try 里：在那个线程里抛出异常（``PyThreadState_SetAsyncExc``）。

    停不下来（卡在 C 代码里）就不再管它，它是守护线程，随进程一起结束。
    """
    for _ in range(200):
        thread.join(0.01)
        if not thread.is_alive():
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeLimitExceeded)
        )


def _line_in(frame: FrameType | None, source_file: str) -> int | None:
    """此刻学习者的文件走到了第几行；要当场就看，这一层一结束，就再也找不到是谁调用它的。"""
    lines = (each.f_lineno for each in frames_from(frame) if each.f_code.co_filename == source_file)
    return next(lines, None)


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """调用栈，从这一层到最外面一层。"""
    while frame is not None:
        yield frame
        frame = frame.f_back
