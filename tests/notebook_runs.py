"""运行 ``tutorial.ipynb``，供测试用。"""

import shutil
from pathlib import Path

import nbformat

from notebook_helpers import store

ROOT = Path(__file__).resolve().parent.parent
# 学习者的目录里，教程用得到的东西。
DESK = (
    "base_model", "benchmarks", "clinic", "data", "finetuning", "notebook_helpers", "results", "self_check",
    "data_exercise.py", "data_solution.py", "lora_exercise.py", "lora_solution.py", "train_lora_solution.py",
    "debug_exercise.py", "debug_solution.py", "compare_methods.py",
    "inspect_data.py", "pyproject.toml",
)  # fmt: skip


def make_desk(path: Path) -> Path:
    """项目的一份副本：运行教程会写文件，不能写到仓库里。"""
    for name in DESK:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, path / name)
    return path


def read() -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "tutorial.ipynb", as_version=4)


def texts(cell: nbformat.NotebookNode) -> str:
    """一格的全部输出里的文字。"""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts.append(output.get("text", "") or data.get("text/html", "") or data.get("text/plain", ""))
    return "\n".join(parts)


def run(desk: Path, solved: bool) -> dict[str, nbformat.NotebookNode]:
    notebook = read()
    store.execute(notebook, solved, desk)
    assert store.errors(notebook) == []
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    for name, cell in cells.items():
        assert [output.text for output in cell.outputs if output.get("name") == "stderr"] == [], name
    return cells
