"""重新运行 ``tutorial.ipynb`` 并存下输出：``uv run python -m notebook_helpers.store``。

从头到尾用参考答案运行（``USE_SOLUTION=1``），所以在网页上也读得到完整的结果。
``--check PATH`` 只运行、不改动原文件：把结果写到 PATH，配合 ``--unsolved`` 看没有做练习时的样子。
"""

import argparse
import hashlib
import os
import shutil
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "tutorial.ipynb"
_WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: nbformat.NotebookNode, solved: bool, root: Path = ROOT) -> float:
    """就地运行 ``notebook``，返回秒数；单元格出错就抛出 ``nbclient.exceptions.CellExecutionError``。"""
    os.environ["USE_SOLUTION"] = "1" if solved else "0"
    os.environ["UV_RUN_RECURSION_DEPTH"] = "1"  # 存下的命令是 uv run 的样子，不论这个程序自己怎样启动
    bar = tqdm(total=len(notebook.cells), desc="运行", unit="格")
    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        coalesce_streams=True,  # 进度条只留最后的样子
        resources={"metadata": {"path": str(root)}},
        on_cell_complete=lambda cell, cell_index: bar.update(1),
    )
    started = time.perf_counter()
    client.execute()
    bar.close()
    return time.perf_counter() - started


def source_sha256(notebook: nbformat.NotebookNode) -> str:
    """全部代码单元格的散列值：存下的输出与现在的源码对不对得上，一比就知道。"""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """运行中出的错，每个一行；``%%needs`` 里面的错不会让运行停下，所以要看输出。"""
    return [
        f"{cell.id}：{output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def clean(notebook: nbformat.NotebookNode) -> None:
    """去掉每次运行都不同、而读者用不着的东西（执行的时刻、内核的版本号），记下输出是由哪些源码得到的。

    小部件没有内核就是一片空白，所以有 HTML 可看的，不存小部件。
    """
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "source_sha256": source_sha256(notebook),
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data.pop(_WIDGET, None)


def main() -> None:
    parser = argparse.ArgumentParser(description="运行 tutorial.ipynb，存下输出。")
    parser.add_argument("--check", type=Path, metavar="PATH", help="写到这里，不改动 tutorial.ipynb")
    parser.add_argument("--unsolved", action="store_true", help="用练习文件现在的样子，不用参考答案")
    arguments = parser.parse_args()
    if arguments.unsolved and not arguments.check:
        parser.error("--unsolved 要和 --check 一起用：存在仓库里的，是用参考答案运行的结果")

    # 上一次的训练结果还在的话，TODO 3 会多说一句“训练完以后换掉它”，而学习者第一次运行时没有这一句。
    shutil.rmtree(ROOT / "outputs" / "tutorial_lora", ignore_errors=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    seconds = execute(notebook, solved=not arguments.unsolved)
    if problems := errors(notebook):
        raise SystemExit("没有存：有单元格出错。\n" + "\n".join(problems))
    clean(notebook)
    target = arguments.check or NOTEBOOK
    nbformat.write(notebook, target)
    print(f"{len(notebook.cells)} 格，{seconds:.0f} 秒，写到 {target}")


if __name__ == "__main__":
    main()
