"""解析命令行：``--help`` 只列学习者用得着的参数，不导入 torch；``--help_all`` 再列出 Trainer 的全部参数。

参数写错时只说一句话，退出码是 2。
"""

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, get_type_hints, overload

from finetuning.arguments.options import ByOption, DataArguments, ModelArguments, Rare, TrainingDefaults
from finetuning.terminal import as_started, stage

if TYPE_CHECKING:
    from finetuning.arguments.trainer import SFTArguments

Own = TypeVar("Own")


class _ChineseErrors:
    """给 ``argparse.ArgumentParser`` 用的混入类（mixin）：参数写错时只说一句中文。"""

    def error(self, message: str) -> NoReturn:
        """argparse 发现参数有误时调用。"""
        _fail(_in_chinese(message))


class Parser(_ChineseErrors, argparse.ArgumentParser):
    """不训练的脚本用的解析器。

    Args:
        help_screen: ``--help`` 显示的话，一般是脚本的文档字符串。
    """

    def __init__(self, help_screen: str | None):
        super().__init__(allow_abbrev=False)
        self.help_screen = (help_screen or "").strip()

    def format_help(self) -> str:
        """见 :class:`argparse.ArgumentParser`。"""
        return as_started(self.help_screen) + "\n"


@overload
def parse_arguments(
    description: str, defaults: Mapping[str, Any], own: None = None, argv: Sequence[str] | None = None
) -> "tuple[ModelArguments, DataArguments, SFTArguments]": ...


@overload
def parse_arguments(
    description: str, defaults: Mapping[str, Any], own: type[Own], argv: Sequence[str] | None = None
) -> "tuple[ModelArguments, DataArguments, Own, SFTArguments]": ...


def parse_arguments(
    description: str, defaults: Mapping[str, Any], own: type | None = None, argv: Sequence[str] | None = None
) -> Any:
    """解析命令行。

    Args:
        description: ``--help`` 开头的话，一般是脚本的文档字符串。
        defaults: 这个脚本自己的默认值，如 ``{"learning_rate": 3e-3}``；随另一个参数而定的，写成 :class:`ByOption`。
        own: 这个脚本自己的参数类（dataclass，字段由 :func:`finetuning.arguments.options.option` 声明）。
        argv: 命令行；默认 ``sys.argv[1:]``。

    Returns:
        ``(ModelArguments, DataArguments, own 的实例（给了才有）, SFTArguments)``。

    Raises:
        SystemExit: 显示了帮助（退出码 0），或者参数有误（退出码 2）。
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if any("\ud800" <= character <= "\udfff" for word in argv for character in word):
        _fail("命令里有不是 UTF-8 的字符，请改用 UTF-8 的终端，或给文件改名")
    classes = (ModelArguments, DataArguments, *([own] if own else []))
    if {"-h", "--help"} & set(argv):
        print(_help_screen(description, (*classes, TrainingDefaults), defaults))
        raise SystemExit(0)

    with stage("导入 torch 和 transformers"):
        from transformers import HfArgumentParser

        from finetuning.arguments.trainer import SFTArguments

    class TrainerParser(_ChineseErrors, HfArgumentParser):
        pass

    # allow_abbrev=False：不然 --lr 会被当成 --lr_scheduler_type 的缩写。
    parser = TrainerParser(cast(Any, (*classes, SFTArguments)), add_help=False, allow_abbrev=False)
    chosen, _ = parser.parse_known_args(argv)
    parser.set_defaults(
        **{
            name: value.values[getattr(chosen, value.option)] if isinstance(value, ByOption) else value
            for name, value in defaults.items()
        }
    )
    if "--help_all" in argv:
        print(_help_screen(description, (*classes, TrainingDefaults), defaults, rare=True))
        print("\ntransformers.TrainingArguments 的全部参数：\n")
        print(parser.format_help())
        raise SystemExit(0)
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(
            argv, return_remaining_strings=True, look_for_args_file=False
        )
    except (ValueError, ImportError) as error:
        _fail(str(error).strip().splitlines()[0])
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1, cutoff=0.6)
        guess = f"（是不是 {close[0]}？）" if close else ""
        _fail(f"不认识 {unknown[0]}{guess}；常用的参数见 --help，全部参数见 --help_all")
    return tuple(parsed)


def _fail(message: str) -> NoReturn:
    print(f"参数有误：{message.rstrip('。.')}。", file=sys.stderr)
    raise SystemExit(2)


def _in_chinese(message: str) -> str:
    """argparse 的英文报错 → 中文的一句话；没见过的原样附上。"""
    types = {"int": "整数", "float": "数字"}
    if match := re.match(r"argument (\S+?)(?:/\S+)?: (.*)", message, re.DOTALL):
        name, problem = match.groups()
        if problem.startswith("expected"):
            return f"{name} 后面缺少值"
        if bad := re.match(r"invalid (\w+) value: (.*)", problem):
            return f"{name} 的值应该是{types.get(bad[1], bad[1])}，实际是 {bad[2]}"
        if bad := re.match(r"invalid choice: (.*) \(choose from (.*)\)", problem):
            return f"{name} 的值只能是 {bad[2]} 之一，实际是 {bad[1]}"
        if bad := re.match(r"Truthy value expected: got (.*) but expected", problem):
            return f"{name} 的值应该是 true 或 false，实际是 {bad[1]}"
        return f"{name} 的值不对（{problem}）"
    return message.replace("unrecognized arguments:", "不认识")


def _help_screen(description: str, classes: Sequence[type], defaults: Mapping[str, Any], rare: bool = False) -> str:
    lines = [as_started(description.strip())]
    for cls in classes:
        lines.append(f"\n{cls.__doc__}：")
        hints = get_type_hints(cls)
        for item in dataclasses.fields(cls):
            if "help" not in item.metadata or (isinstance(item.metadata["help"], Rare) and not rare):
                continue
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            default = defaults.get(item.name, default)
            if isinstance(default, list):
                default = " ".join(default)
            elif isinstance(default, ByOption):
                default = "，".join(f"{choice}：{value}" for choice, value in default.values.items())
            elif hints[item.name] is bool:
                default = str(default).lower()
            note = "" if default in (None, "") else f"（默认 {default}）"
            lines.append(f"  --{item.name:<28} {item.metadata['help']}{note}")
    lines.append("\n  --help_all                     再列出少用的，和 transformers.Trainer 的全部参数")
    return "\n".join(lines)
