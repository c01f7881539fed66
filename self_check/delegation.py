"""通过了检查的，是不是自己写的：有没有交给参考答案、自检程序，或现成的库。"""

import ast
from collections.abc import Iterator
from pathlib import Path

# 每道练习：哪些模块是替学习者做好了的。
_READY_MADE = {
    "data": ("data_solution", "trl", "tests", "zoo"),
    "lora": ("lora_solution", "peft", "tests", "zoo"),
}
_GIVEN = {"main", "guard"}  # 练习文件里给定的代码从 self_check 用到的


def delegates(path: Path, todo: str) -> bool:
    """文件里有没有导入、或以名字提到（``importlib``、``open``、``exec``）替他做好了的模块。"""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    ready_made = _READY_MADE[todo]
    names = {name for name in _names(tree) if name.split(".")[0].split("/")[-1] in ready_made}
    return bool(names) or _uses_the_checker(tree)


def _names(tree: ast.Module) -> Iterator[str]:
    """导入的模块，和文档字符串以外的短字符串（模块名、文件名）。"""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield from node.value.replace("\\", "/").split()


def _uses_the_checker(tree: ast.Module) -> bool:
    """用到了 ``self_check`` 里给定的代码以外的东西。"""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.startswith("self_check.") for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "self_check":
            return True
        is_attribute = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_attribute and node.value.id == "self_check" and node.attr not in _GIVEN:  # type: ignore[attr-defined]
            return True
    return False
