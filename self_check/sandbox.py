"""运行学习者的代码：有时限，它的打印收起来，它抛出的任何东西都变成一份诊断。

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
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from self_check.report import Diagnosis

# 正常的实现只要几毫秒。按 CPU 时间算，机器忙的时候不会误判；墙上时间管等待网络、锁之类。
CPU_SECONDS = 2.0
WALL_SECONDS = 20.0
SLEEP_SECONDS = 0.5  # 一共可以 sleep 多久
_LONGEST_LINE = 300  # 引用学习者的报错、打印时，一行最多多少个字符

on_memory_error: list[Callable[[], None]] = []  # 内存到了上限时
on_tick: list[Callable[[], None]] = []  # 等着学习者的代码时，每隔几十毫秒调用一次
on_call: list[Callable[[str], None]] = []  # 每次要调用学习者的代码时，告诉它调用的是什么


class TimeLimitExceeded(BaseException):
    """学习者的代码没有在时限之内结束。不是 Exception 的子类：学习者写的 ``except Exception`` 拦不住它。"""


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
        if not hasattr(error, "called"):
            error.called = description  # type: ignore[attr-defined]
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


def run_limited(function: Callable[[], Any], source_file: str) -> Outcome:
    """运行 ``function``，不论它做什么都会返回。

    Args:
        source_file: 学习者的文件；超时以后，从它的哪一行退出由这里决定。
    """
    value, error = None, None
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
    with contextlib.redirect_stdout(printed), _empty_stdin(), _short_sleeps(), _no_garbage_collection():
        thread.start()
        if not _wait(thread):
            line = _line_in(sys._current_frames().get(thread.ident or 0), source_file)
            try_bodies = _try_bodies(source_file)
            thread.join(1.0)
            _interrupt(thread)
            if error is None or isinstance(error, TimeLimitExceeded):
                error = error or TimeLimitExceeded()
                error.line = line  # type: ignore[attr-defined]
    return Outcome(value, error, cleaned(printed.getvalue(), lines=True))


@contextlib.contextmanager
def _empty_stdin() -> Iterator[None]:
    """``input()`` 立刻抛出 EOFError，而不是等在那里。"""
    saved, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = saved


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


@contextlib.contextmanager
def _short_sleeps() -> Iterator[None]:
    """``time.sleep`` 加起来不过半秒；超过就当场说，不真的等。"""
    slept, sleep = 0.0, time.sleep

    def sleep_shortly(seconds: Any) -> None:
        nonlocal slept
        slept += seconds
        if slept > SLEEP_SECONDS:
            raise Slept
        sleep(seconds)

    time.sleep = sleep_shortly
    try:
        yield
    finally:
        time.sleep = sleep


def _wait(thread: threading.Thread) -> bool:
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
        if time.process_time() - cpu > CPU_SECONDS or time.monotonic() - wall > WALL_SECONDS:
            return False


def debugger_attached() -> bool:
    """有没有调试器在看着。"""
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12 起调试器用它
    return sys.gettrace() is not None or (monitoring is not None and bool(monitoring.get_tool(monitoring.DEBUGGER_ID)))


def _is_importing(frame: FrameType | None) -> bool:
    """调用栈里有 import：第一次 import torch 可能要十几秒，那不是死循环。"""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


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
    while frame is not None:
        if frame.f_code.co_filename == source_file and any(frame.f_lineno in body for body in bodies):
            return True
        frame = frame.f_back
    return False


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


def diagnose_error(error: BaseException, source_file: str, default_called: str, look: str) -> Diagnosis:
    """学习者的代码抛出的东西 → 诊断。

    调用栈里可以没有他的代码：参数对不上，或者他造出来的东西用不了，都是在我们用它的时候才出错。

    Args:
        source_file: 学习者的文件；调用栈里只有这个文件的行才给他看。
        default_called: 没有用 :func:`calling` 说明时，“调用了什么”。
        look: 到哪里去看。
    """
    called = getattr(error, "called", default_called)
    if isinstance(error, SyntaxError) and error.filename == source_file:
        return _unreadable(error, called, source_file, look)
    place = _learner_place(error, source_file)
    if place is None:
        came, likely = _explain(error, "")
        if isinstance(error, TypeError) and _ARGUMENTS.search(str(error)):
            likely = "参数的个数或名字与原来的不同，自查（和训练）就调用不了它；请把 def 那一行改回原来的样子。"
        return Diagnosis(slug="raises", called=called, came=came, likely=likely, look=look)
    line, code = place
    where = f"{display_name(source_file)} 第 {line} 行：\n    {code}"
    if isinstance(error, NotImplementedError):
        return Diagnosis(
            slug="not_implemented",
            called=called,
            came=where,
            likely="如果已经写了，请删掉 raise NotImplementedError 这一行"
            + ("。" if _learner_function(error, source_file) == "__init__" else "，并用 return 返回结果。"),
            look=look,
        )
    came, likely = _explain(error, code)
    return Diagnosis(slug="raises", called=called, came=f"{came}\n{where}", likely=likely, look=look)


def _unreadable(error: SyntaxError, called: str, source_file: str, look: str) -> Diagnosis:
    """文件不是合法的 Python。"""
    name = display_name(source_file)
    if "null byte" in str(error) or "encoding" in str(error) or "utf-8" in str(error).lower():
        came = f"{name} 读不出来（{cleaned(error.msg)}）"
        likely = "文件多半不是 UTF-8 编码（例如存成了 UTF-16 或 GBK）：请用编辑器另存为 UTF-8。"
    else:
        code = cleaned(linecache.getline(source_file, error.lineno or 0).strip())
        came = f"{name} 第 {error.lineno or '?'} 行有语法错误（{cleaned(error.msg)}）：\n    {code}"
        likely = (
            "用了全角的标点（，：（）“”）：代码里的标点要用英文半角的。"
            if "invalid character" in str(error)
            else "Python 读不懂这一行：看看括号、引号有没有配对，冒号有没有漏，缩进对不对；错的也可能是它的上一行。"
        )
    return Diagnosis(slug="raises", called=called, came=came, likely=likely, look=look)


# “f() takes 1 positional argument but 2 were given”之类：调用时给的参数与定义的不同。
_ARGUMENTS = re.compile(r"positional argument|keyword argument|takes no arguments|multiple values for argument")


def _learner_place(error: BaseException, source_file: str) -> tuple[int, str] | None:
    """出错时学习者的代码走到了哪一行：(行号, 这一行的代码)。"""
    found = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == source_file:
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    if found is None:
        found = getattr(error, "line", None)
    return None if found is None else (found, cleaned(linecache.getline(source_file, found).strip()))


def _learner_function(error: BaseException, source_file: str) -> str:
    """出错时走到的那一行，在学习者的哪个函数里。"""
    name = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == source_file:
            name = traceback.tb_frame.f_code.co_name
        traceback = traceback.tb_next
    return name


def _line_in(frame: FrameType | None, source_file: str) -> int | None:
    """此刻学习者的文件走到了第几行；要当场就看，这一层一结束，就再也找不到是谁调用它的。"""
    while frame is not None:
        if frame.f_code.co_filename == source_file:
            return frame.f_lineno
        frame = frame.f_back
    return None


def display_name(source_file: str) -> str:
    """给人看的文件名；notebook 单元格的代码没有真的文件。"""
    return Path(source_file).name if Path(source_file).is_file() else "notebook 的单元格"


def cleaned(text: str, lines: bool = False) -> str:
    """引用学习者的文字：太长的截短，控制字符（颜色、响铃、清屏……）去掉。

    Args:
        lines: 有好几行的：换行留着，每一行各自截短。
    """
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    if lines:
        return "\n".join(cleaned(line) for line in text.splitlines()) + "\n" * text.endswith("\n")
    text = "".join(char if char.isprintable() or char == "\t" else " " for char in text)
    return text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + f"……（共 {len(text):,} 个字符）"


def _explain(error: BaseException, code: str) -> tuple[str, str]:
    """(发生了什么, 多半为什么)；``code`` 是学习者的那一行。"""
    try:
        message = cleaned(str(error))
    except Exception:  # 学习者自己的异常类，它的 __str__ 也可能出错
        message = ""
    name = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if type(error).__name__ == "BdbQuit" or re.search(r"\bbreakpoint\(|set_trace\(|post_mortem\(", code):
        return (
            "停在了断点上",
            "断点（breakpoint() 或 pdb）留在了代码里；自查时没有键盘输入，请删掉它，要看变量请用 print。",
        )
    if isinstance(error, Slept):
        return "代码在 sleep", "time.sleep 只是让程序停下来等，这道练习用不着，自查也不等；请删掉这一行。"
    if isinstance(error, ExitedAtOnce):
        return "程序要退出（os._exit）", "os._exit() 会让整个程序立刻结束。请用 return 返回结果，不要退出。"
    if isinstance(error, TimeLimitExceeded):
        return (
            "超过了时限，代码还没有运行完",
            "多半是死循环：while 的条件一直成立，或者一边遍历列表一边往它里面加东西。",
        )
    if isinstance(error, SystemExit):
        return f"程序要退出（{name}）", "代码里调用了 exit() 或 sys.exit()。请用 return 返回结果，不要退出整个程序。"
    if isinstance(error, ValueError) and "unpack" in message:
        return f"抛出了 {name}", _unpacking(code)
    for words, reason in _MESSAGES:
        if re.search(words, message):
            return f"抛出了 {name}", reason
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return f"抛出了 {name}", reason
    return f"抛出了 {name}", "请从这一行看起，可以在它前面加 print 看看各个变量。"


def _unpacking(code: str) -> str:
    segments = "segments(message) 给出四段：header, content, end, newline，要用四个变量来接。"
    messages = (
        "一段对话有几条消息不一定：可能有 system，也可能有好几轮；请用 for message in conversation 一条一条地处理。"
    )
    if "segments" in code:
        return segments
    return messages if "conversation" in code else f"等号两边的个数不同。{segments}{messages}"


# 报错里的字样 → 为什么；比只看异常的类型说得准。
_MESSAGES = (
    (
        "tuple indices must be integers",
        '四段要用 .header、.content、.end、.newline 来取，或者拆成四个变量，不能用 ["header"]。',
    ),
    (
        "list indices must be integers",
        '把列表当成了字典：conversation 是消息的列表，先用 for message in conversation 取出一条，再取 message["role"]；'
        "segments 收的也是一条消息。",
    ),
    ("extend\\(\\) takes exactly one argument", "extend 一次只接一个列表：要接几个，就写几次，或者先用 + 连起来。"),
    ("'dict' object has no attribute", '消息是字典：用 message["role"]、message["content"] 来取，不是 message.role。'),
    ("'Segments' object has no attribute", "四段的名字是 header、content、end、newline。"),
    ("should return None", "__init__ 不返回东西：删掉它里面的 return。"),
)


_REASONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (RecursionError, "函数一直在调用自己，没有停下的条件。"),
    (EOFError, "自查时没有键盘输入，不能用 input() 或 breakpoint()；要看变量请用 print。"),
    (KeyError, "字典里没有这个键。每条消息只有 role 和 content 两个键；tokenizer(...) 的结果里 id 在 input_ids 下。"),
    (UnicodeError, "文字的编码不对：字符串里有不能编码的字符。"),
    (IndexError, "下标超出了范围。对话可能只有两条消息，也可能没有 system；回答可能只有一个 token。"),
    (UnboundLocalError, "变量在赋值之前就用到了，多半是赋值写在了没有走到的 if 或循环里。"),
    (NameError, "这个名字没有定义，看看有没有写错，或者漏了 self.。"),
    (AttributeError, "对象没有这个属性，看看名字有没有写错，或者它其实是 None。"),
    (ImportError, "要导入的模块不在环境里；这道练习不需要另装什么。"),
    (TypeError, "类型对不上：例如列表与整数相加，或把 None、字典当成了列表。"),
    (ValueError, "值不合要求：例如在列表里找一个不存在的 token，或两个列表长度不同。"),
    (AssertionError, "你自己写的 assert 没有通过。"),
    (MemoryError, "内存不够，多半是列表在循环里越变越大。"),
)
