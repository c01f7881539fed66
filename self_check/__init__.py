"""练习的自检：认出学习者犯的是哪一种错误。

命令行（``python data_exercise.py``）、notebook 和测试用的是同样的检查::

    import self_check
    self_check.check_data(SFTDataset)        # 打印报告，返回有没有通过
    self_check.check_lora(lora_exercise)
"""

from typing import Any


def check_data(subject: Any) -> bool:
    """检查 TODO 1，打印报告。

    Args:
        subject: 学习者的模块 ``data_exercise``，或他的类 ``SFTDataset``。
            模块改过以后，先 ``importlib.reload`` 再传进来。

    Returns:
        全部通过返回 True。
    """
    from self_check.cli import check
    from self_check.data import DATA

    return check(DATA, subject)


def check_lora(subject: Any) -> bool:
    """检查 TODO 2，打印报告；参数和返回值同 :func:`check_data`。"""
    from self_check.cli import check
    from self_check.lora import LORA

    return check(LORA, subject)


def main(todo: str, module: Any) -> None:
    """练习文件的命令行。

    Args:
        todo: ``"data"`` 或 ``"lora"``。
        module: 练习文件自己：``sys.modules[__name__]``。

    Raises:
        SystemExit: 退出码 0 全部通过，1 没有通过，2 命令写错了。
    """
    from self_check.cli import run

    run(todo, module)
