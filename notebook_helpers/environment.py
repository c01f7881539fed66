"""开始之前看一看环境：版本、设备、线程；不合适的，说出怎样改，而不是报错。"""

import importlib
import importlib.metadata
import os
import platform
import sys
import tomllib
from pathlib import Path

from IPython.display import HTML
from packaging.requirements import Requirement

from finetuning.device import best_device, describe_device, find_trouble
from finetuning.errors import WRONG_TORCHVISION
from notebook_helpers.html import table
from notebook_helpers.places import hosted, how_to_enter, how_to_install

_PACKAGES = ("torch", "transformers", "peft", "datasets", "jupyterlab", "ipywidgets")
_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def show() -> HTML:
    """一张表：有什么，合不合适，不合适怎么办。"""
    import torch

    rows = [_python()]
    if name := hosted():
        rows += [("地方", name, "✓ 装库、运行命令都在单元格里：命令前面加 !，不用 uv run")]
    rows += [_package(name) for name in _PACKAGES]
    rows += _torchvision()
    rows += [_device(), _threads(torch.get_num_threads()), _folder()]
    return HTML(table(("", "这里的", "合适吗"), rows))


def _python() -> tuple[str, str, str]:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return "Python", version, "✓" if good else f"✗ 要 3.11 到 3.13：{how_to_install()}"


def _package(name: str) -> tuple[str, str, str]:
    """一个库的版本，在不在 ``pyproject.toml`` 的范围里；那里没有写的（由别的库带来的），有就行。"""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # 网页上的 notebook 有自己的界面，不用 jupyterlab。
        unneeded = name == "jupyterlab" and hosted() is not None
        return name, "没有装", "✓ 用不着" if unneeded else f"✗ {how_to_install()}"
    wanted = _wanted().get(name)
    good = wanted is None or wanted.specifier.contains(version, prereleases=True)
    if good or wanted is None:
        return name, version, "✓"
    bounds = sorted(map(str, wanted.specifier), reverse=True)  # 下限写在上限前面：>=5.18,<6
    return name, version, f"✗ 要 {','.join(bounds)}：{how_to_install()}"


def _torchvision() -> list[tuple[str, str, str]]:
    """这里用不着它；装了而与 torch 不配套的，训练一开始就失败，所以先说。"""
    try:
        version = importlib.metadata.version("torchvision")
        importlib.import_module("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return []
    except Exception:  # 不配套时，RuntimeError、ImportError、OSError 都有
        return [("torchvision", version, f"✗ {WRONG_TORCHVISION}，再重启内核")]
    return []


def _wanted() -> dict[str, Requirement]:
    """``pyproject.toml`` 里的各项要求；只抄走了几个文件、没有它的，不作要求。"""
    if not _PROJECT.is_file():
        return {}
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(line) for line in project["dependencies"]]
    return {requirement.name: requirement for requirement in requirements}


def _device() -> tuple[str, str, str]:
    advice = "✓ 自带的小模型在 CPU 上就够快"
    if sentence := find_trouble():
        advice += f"；训练真实的模型以前，请看：{sentence}"
    return "设备", describe_device(best_device()), advice


def _threads(threads: int) -> tuple[str, str, str]:
    cores = os.cpu_count() or 1
    advice = "✓" if threads <= cores else f"✗ 比核数（{cores}）还多，会很慢：删掉环境变量 OMP_NUM_THREADS，重启内核"
    return "线程", f"{threads} 个（{cores} 个核）", advice


def _folder() -> tuple[str, str, str]:
    good = Path("base_model", "config.json").is_file()
    return "目录", Path.cwd().name, "✓" if good else f"✗ 这里没有 base_model：{how_to_enter()}"
