"""把学习者的练习接进 notebook：改了文件立刻生效；没有做完时，用到它的单元格说清楚并跳过。"""

import contextlib
import importlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from IPython.core.interactiveshell import InteractiveShell

import self_check


@dataclass
class Todo:
    """一处练习。

    Attributes:
        name: 学习者看到的名字，如 ``"TODO 1"``。
        stem: 文件名去掉 ``_exercise.py`` 的部分，如 ``"data"``。
        exports: 通过以后，放进 notebook 的名字。
        module: 现在用的模块；没有通过检查时为 ``None``。
    """

    name: str
    stem: str
    exports: tuple[str, ...]
    module: ModuleType | None = None
    _checked_at: tuple[str, int] | None = None

    def refresh(self, use_solution: bool) -> bool:
        """（重新）检查，打印报告；通过了才读入。返回有没有通过。

        检查在另一个进程里：文件里有语法错误、死循环、退出，都不影响 notebook。
        """
        module_name = f"{self.stem}_{'solution' if use_solution else 'exercise'}"
        self.module = None
        self._checked_at = self._version(use_solution)
        if self_check.check_file(self.stem, f"{module_name}.py"):
            # 删掉旧的再读，不会留着上一次的旧版本。
            sys.modules.pop(module_name, None)
            importlib.invalidate_caches()
            self.module = importlib.import_module(module_name)
        return self.module is not None

    def is_current(self, use_solution: bool) -> bool:
        """上次检查以后，文件和开关都没有变。"""
        return self._checked_at == self._version(use_solution)

    def _version(self, use_solution: bool) -> tuple[str, int]:
        path = Path(f"{self.stem}_{'solution' if use_solution else 'exercise'}.py")
        return (path.name, path.stat().st_mtime_ns if path.exists() else 0)


TODOS = {
    "TODO1": Todo("TODO 1", "data", ("SFTDataset",)),
    "TODO2": Todo("TODO 2", "lora", ("LoRALinear", "apply_lora", "merge")),
    "TODO4": Todo("TODO 4", "debug", ()),
}


def check_todo(name: str, shell: InteractiveShell) -> bool:
    """检查一处练习，打印报告；通过就把它的名字放进 notebook。"""
    todo = TODOS[name]
    passed = todo.refresh(bool(shell.user_ns.get("USE_SOLUTION", False)))
    for export in todo.exports:
        if todo.module is not None:
            shell.user_ns[export] = getattr(todo.module, export)
        else:
            shell.user_ns.pop(export, None)
    return passed


def register_needs(shell: InteractiveShell) -> None:
    """登记两个魔法命令：``%check TODO1`` 检查一处练习；``%%needs TODO1`` 开头的单元格，通过了才运行。"""

    def check(line: str) -> None:
        check_todo(line.strip(), shell)

    def needs(line: str, cell: str) -> None:
        for name in line.split():
            todo = TODOS[name]
            if not todo.is_current(bool(shell.user_ns.get("USE_SOLUTION", False))):
                # 文件改过了：悄悄再查一遍，报告在它自己的那一格里看。
                with contextlib.redirect_stdout(io.StringIO()):
                    check_todo(name, shell)
            if todo.module is None:
                print(
                    f"▷ 跳过：这一格要用你的 {todo.name}（{todo.stem}_exercise.py），它还没有通过检查。"
                    "想先看结果，把最上面的 USE_SOLUTION 改成 True，从头运行。"
                )
                return
        shell.run_cell(cell)

    shell.register_magic_function(check, "line", "check")  # type: ignore[arg-type]  # IPython 的注解少了一层
    shell.register_magic_function(needs, "cell", "needs")  # type: ignore[arg-type]
