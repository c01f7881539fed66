"""notebook 在哪里打开的：网页上租来的环境里，装库、运行命令的办法不同。

只用标准库，什么都没有装时也能导入。
"""

import os
import sys
from collections.abc import Mapping

# 各家的环境里都有、别处没有的环境变量。
_HOSTED = {
    "COLAB_RELEASE_TAG": "Colab",
    "KAGGLE_KERNEL_RUN_TYPE": "Kaggle",
    "MODELSCOPE_ENVIRONMENT": "ModelScope",
}


def hosted(environment: Mapping[str, str] = os.environ) -> str | None:
    """网页上的 notebook 的名字；在自己的电脑、租来的机器上是 None。"""
    return next((name for variable, name in _HOSTED.items() if variable in environment), None)


def how_to_install(environment: Mapping[str, str] = os.environ) -> str:
    """缺了库、版本不合时，怎样装。"""
    if name := hosted(environment):
        return (
            f"这里是 {name}，不用 uv run：在一个新的单元格里运行 %pip install -q uv 和 "
            f"!uv pip install -q --python {sys.executable} -r pyproject.toml，再重启内核，从头运行"
        )
    return "请关掉它，在项目目录里运行 uv run jupyter lab"


def how_to_enter(environment: Mapping[str, str] = os.environ) -> str:
    """当前目录不是项目目录时，怎样到那里去。"""
    if hosted(environment):
        return "先运行 !git clone 仓库的地址，再运行 %cd 进到那个目录（docs/where_to_run.md 里有完整的一格）"
    return "请在项目目录里打开 tutorial.ipynb"
