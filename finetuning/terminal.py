"""对人说的话：打印一行，不让不可见的字符捣乱；做得久的事说出在做什么。"""

import os
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET_SECONDS = 5.0  # 一件事做了这么久还没有做完，就说在做什么；进度条也等这么久才出现


def is_main_process() -> bool:
    """多卡训练（torchrun、accelerate launch）时，只有第一个进程说话。"""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """打印一行；多卡训练时只由第一个进程打印。

    读的人走了（例如 ``| head``）也不停下：训练比看着它要紧。
    """
    if not is_main_process():
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        abandon_stdout()


def abandon_stdout() -> None:
    """标准输出另一头的管道已经关上：以后写的都扔掉，解释器退出时也不再抱怨。"""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def launched_by_uv() -> bool:
    """是不是由 ``uv run`` 启动的（它设这个环境变量，子进程也看得到）。"""
    return "UV_RUN_RECURSION_DEPTH" in os.environ


def launcher() -> str:
    """打印的命令怎样开头：照用户启动这个程序的样子，不然 ``uv run`` 会另装一个几个 GB 的环境。"""
    return "uv run python" if launched_by_uv() else "python"


def as_started(text: str) -> str:
    """帮助里的 ``uv run … python`` 换成 :func:`launcher`。"""
    return text if launched_by_uv() else re.sub(r"uv run (?:--\S+ \S+ )*python\b", launcher(), text)


def how_to_add(packages: str, flags: str) -> str:
    """要另外的库时的半句话。

    Args:
        packages: 库的名字，用空格隔开。
        flags: ``uv run`` 的参数，如 ``"--extra qlora"``。
    """
    if launched_by_uv():
        return f"请在 uv run 后面加上 {flags}"
    return f'请运行 uv pip install --python "{sys.executable}" {packages}'


def printable(text: str) -> str:
    """不可见的字符换成 ``·``：模型写出的转义序列能清屏、改剪贴板，双向控制符能把文字倒过来显示。"""
    return "".join(character if _is_harmless(character) else "·" for character in text)


def _is_harmless(character: str) -> bool:
    # 全角空格（Zs）和拼表情符号用的零宽连字（U+200D）不算 printable，却没有害处。
    return character in "\n\t\u200d" or character.isprintable() or unicodedata.category(character) == "Zs"


class _Stage(threading.local):
    name = ""


_current = _Stage()


@contextmanager
def stage(name: str, announced: bool = True) -> Iterator[None]:
    """``with`` 之内在做 ``name`` 这件事：超过 5 秒就打印一行，出了错也说得出是在哪里。

    Args:
        name: 如 ``"读入基座模型"``。
        announced: 要不要打印；另有进度条的不要。
    """
    previous, _current.name = _current.name, name
    timer = threading.Timer(_QUIET_SECONDS, _still_doing, [name])
    timer.daemon = True
    if announced:
        timer.start()
    try:
        yield
        _current.name = previous  # 出错时不改回来：run_main 要知道停在哪一件事上
    finally:
        timer.cancel()


def forget_stage() -> None:
    """从头开始：以前出错时停在哪一件事上，与以后无关。"""
    _current.name = ""


def current_stage() -> str:
    """正在做（或出错时在做）哪件事；没有就是空的。"""
    return _current.name


def _still_doing(name: str) -> None:
    if is_main_process():
        print(f"正在{name}……", file=sys.stderr, flush=True)


def progress_delay() -> float:
    """进度条（tqdm 的 ``delay``）多久以后才出现，单位秒。"""
    return _QUIET_SECONDS
