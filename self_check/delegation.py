"""通过了检查的，是不是自己写的：有没有交给参考答案、自查程序，或现成的库。"""

import ast
from collections.abc import Iterator
from pathlib import Path

# 每道练习：哪些模块是替学习者做好了的。
_READY_MADE = {
    "data": ("data_solution", "trl", "tests", "zoo"),
    "lora": ("lora_solution", "peft", "tests", "zoo"),
    "debug": ("debug_solution", "trl", "tests", "zoo"),
}
_LOADERS = {"import_module", "__import__", "open", "Path", "run_path", "spec_from_file_location", "exec", "eval"}
_GIVEN = {"main", "guard"}  # 练习文件里给定的代码从 self_check 用到的


def delegates(path: Path, todo: str) -> bool:
    """文件里有没有导入、或用 ``importlib``、``open`` 之类装入替他做好了的模块。"""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    ready_made = _READY_MADE[todo]
    names = {name for name in _names(tree) if {name.split(".")[0], name.split("/")[-1].split(".")[0]} & set(ready_made)}
    return bool(names) or _uses_the_checker(tree)


def _names(tree: ast.Module) -> Iterator[str]:
    """导入的模块，和交给 ``import_module``、``open`` 之类的函数的名字。别处的文字（打印、注释、例子）不算。"""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if called in _LOADERS:
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                yield from (text.replace("\\", "/") for text in texts if isinstance(text, str))


def _uses_the_checker(tree: ast.Module) -> bool:
    """用到了 ``self_check`` 里给定的代码以外的东西。"""
    for node in ast.walk(tree):
        match node:
            case ast.Import() if any(alias.name.startswith("self_check.") for alias in node.names):
                return True
            case ast.ImportFrom() if (node.module or "").split(".")[0] == "self_check":
                return True
            case ast.Attribute(value=ast.Name(id="self_check")) if node.attr not in _GIVEN:
                return True
    return False
