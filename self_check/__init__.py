"""练习的自查：认出学习者犯的是哪一种错误。

命令行（``python data_exercise.py``）、notebook、批改一个班的（``python -m self_check.grade``）和测试用的是同样的检查::

    import self_check
    self_check.check_data(SFTDataset)        # 打印报告，返回有没有通过
    self_check.check_lora(lora_exercise)
    self_check.check_file("data", "data_exercise.py")   # 在另一个进程里：卡住了也能停下

三道练习各有一个文件夹，``data/`` 是 TODO 1，``lora/`` 是 TODO 2，``debug/`` 是 TODO 4，互不相干；
从它们的 ``exercise.py`` 读起，一道练习查什么、按什么顺序、怎样提示，都从那里找得到。
这一层是各道练习共用的，大致按一次自查走过的次序：

- ``cli.py`` 命令行，``grade.py`` 批改一个班；``todos.py`` 找到练习，用到哪一道才装入哪一道；
- ``supervisor.py`` 另开一个进程并看着它；``worker.py`` 在那里装入文件，``delegation.py`` 看是不是自己写的；
- ``runner.py`` 按顺序做各项检查；``sandbox.py`` 运行学习者的代码，有时限，``location.py`` 找到它在哪个文件里；
- ``explain.py`` 把它抛出的异常变成诊断；``report.py`` 是结果，``rendering.py``、``text.py`` 写成给人看的文字。

这一层的 ``exercise.py`` 说一道练习由什么组成。导入只朝一个方向：练习用这一层的，这一层只有 ``todos.py`` 认得练习。
"""

import os
import sys
from pathlib import Path
from typing import Any

import finetuning  # noqa: F401  没有装好各个库时，在这里就说一句话


def check_data(subject: Any) -> bool:
    """检查 TODO 1，打印报告。

    Args:
        subject: 学习者的模块 ``data_exercise``，或他的类 ``SFTDataset``。
            模块改过以后，先 ``importlib.reload`` 再传进来。

    Returns:
        全部通过返回 True。
    """
    from self_check.cli import check

    return check("data", subject)


def check_lora(subject: Any) -> bool:
    """检查 TODO 2，打印报告；参数和返回值同 :func:`check_data`。"""
    from self_check.cli import check

    return check("lora", subject)


def check_file(todo: str, path: str | os.PathLike[str]) -> bool:
    """在另一个进程里检查一个文件（以磁盘上存好的为准），打印报告；返回值同 :func:`check_data`。"""
    from self_check.cli import check_and_print

    return check_and_print(todo, Path(path))


def guard(todo: str, name: str) -> None:
    """放在练习文件的开头：直接运行它时，文件的其余部分在另一个进程里装入、检查。

    这样，文件里的代码卡住了、提前退出了、把整个进程弄没了，也说得出来。

    Args:
        todo: 同 :func:`main`。
        name: 练习文件的 ``__name__``。
    """
    if name == "__main__":
        main(todo, sys.modules[name])


def main(todo: str, module: Any) -> None:
    """练习文件的命令行。

    Args:
        todo: ``"data"``、``"lora"`` 或 ``"debug"``。
        module: 练习文件自己：``sys.modules[__name__]``。

    Raises:
        SystemExit: 退出码 0 全部通过，1 没有通过，2 命令写错了。
    """
    from self_check import worker

    if worker.being_checked:  # 这就是检查它的进程：装入完了，由 worker 来检查
        return
    from self_check.cli import run

    run(todo, Path(module.__file__))
