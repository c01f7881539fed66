"""学习者的代码在哪里：哪个文件，怎样告诉他。"""

import inspect
from pathlib import Path
from typing import Any

from finetuning.terminal import launcher


def learner_file(subject: Any) -> str:
    """学习者的代码在哪个文件里（notebook 里定义的类，是它的单元格）。"""
    owners = (
        [subject]
        if inspect.isclass(subject)
        else [value for value in vars(subject).values() if _is_own(value, subject)]
    )
    for owner in owners:
        for value in vars(owner).values() if inspect.isclass(owner) else [owner]:
            function = inspect.unwrap(value) if callable(value) else value
            if inspect.isfunction(function):
                return function.__code__.co_filename
    return str(getattr(subject, "__file__", ""))


def _is_own(value: Any, module: Any) -> bool:
    """是在这个模块里定义的，不是导入的。"""
    return getattr(value, "__module__", None) == module.__name__


def display_name(source_file: str) -> str:
    """给人看的文件名；notebook 单元格的代码没有真的文件。"""
    return Path(source_file).name if Path(source_file).is_file() else "notebook 的单元格"


def look_at(source_file: str, line: int | None = None) -> str:
    """“到哪里去看”的最后一句：文件、行号和提示的命令。"""
    name = display_name(source_file)
    if not Path(source_file).is_file():
        return f"你的代码：{name}" + (f"，第 {line} 行起" if line else "")
    place = f"{name} 第 {line} 行起" if line else name
    return f"你的代码：{place}\n想要提示：{launcher()} {name} --hint"
