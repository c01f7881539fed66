"""``tutorial.ipynb``：真的从头运行一遍，做了练习和没做练习两种样子，看要紧的输出。"""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from notebook_helpers import store

ROOT = Path(__file__).resolve().parent.parent
# 学习者的目录里，教程用得到的东西。
DESK = (
    "base_model", "data", "finetuning", "notebook_helpers", "results", "self_check", "data_exercise.py",
    "data_solution.py", "lora_exercise.py", "lora_solution.py", "plan_memory.py", "train_lora_solution.py",
)  # fmt: skip
NEEDS_TODO1 = ("mask", "first-training", "variants-measure", "packed-proof", "apply", "peft")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """项目的一份副本：运行教程会写文件，不能写到仓库里。"""
    path = tmp_path_factory.mktemp("desk")
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


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+(?:e-?\d+)?", text)]


@pytest.fixture(scope="module")
def solved(desk):
    return run(desk, solved=True)


def test_solved_checks_pass_and_the_mask_is_the_assistants(solved):
    for name in ("todo1", "todo2"):
        assert "✗" not in texts(solved[name]), texts(solved[name])
    # 第一段是“巴黎”“柏林”：两次回答各两个字，加上各自的 <|im_end|>。
    assert "要学 6 个" in texts(solved["mask"])


def test_solved_shift_is_the_models(solved):
    by_model, by_hand = numbers(texts(solved["shift-proof"]))[:2]
    assert by_model == pytest.approx(by_hand, abs=2e-6)


def test_solved_training_lowers_the_loss_and_teaches_answering(solved):
    start, end = numbers(texts(solved["first-training"]))
    assert end < start / 2
    assert "今天天气晴朗。&lt;|im_end|&gt;" in texts(solved["before-after"])


def test_solved_without_end_token_nothing_stops(solved):
    cells = re.findall(r"<td[^>]*>(.*?)</td>", texts(solved["variants-measure"]))
    rows = {cells[i]: cells[i + 1 : i + 4] for i in range(0, len(cells), 4)}
    assert rows["不学结束标记"][:2] == ["0%", "0%"]
    assert int(rows["只学助手"][1].rstrip("%")) > 90


def test_solved_packing_merging_and_peft_change_nothing(solved):
    padded, packed, moved = numbers(texts(solved["packed-proof"]))
    assert padded == pytest.approx(packed, abs=2e-6)
    assert moved < 1e-5
    assert "完全相同：True" in texts(solved["apply"])
    assert "Linear" in texts(solved["merge"])
    assert "LoRALinear" not in texts(solved["merge"])
    for name in ("merge", "peft"):
        assert numbers(texts(solved[name]))[-1] < 1e-3, name


def test_solved_adapter_off_is_the_base(solved):
    on, off, base = texts(solved["adapter"]).strip().splitlines()
    assert off.split("：", 1)[1] == base.split("：", 1)[1]
    assert on.split("：", 1)[1] != base.split("：", 1)[1]


def test_unsolved_runs_to_the_end_and_says_what_is_missing(desk):
    cells = run(desk, solved=False)
    assert "✗" in texts(cells["todo1"])
    for name in NEEDS_TODO1:
        assert "跳过：这一格要用你的 TODO 1" in texts(cells[name]), name
    assert "逐字匹配" in texts(cells["todo3"])


def test_an_edit_takes_effect_without_restarting(desk, tmp_path):
    """做错、语法错、做对，依次保存，重新运行检查的那一格。"""
    exercise = desk / "data_exercise.py"
    unsolved, solution = exercise.read_text("utf-8"), (desk / "data_solution.py").read_text("utf-8")
    wrong = solution.replace("(end, is_answer)", "(end, False)")
    assert wrong != solution
    notebook = read()
    index = {cell.id: position for position, cell in enumerate(notebook.cells)}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(desk)}})

    def output_of(name: str) -> str:
        client.execute_cell(notebook.cells[index[name]], index[name])
        return texts(notebook.cells[index[name]])

    try:
        with client.setup_kernel():
            for cell in notebook.cells[: index["todo1"]]:
                if cell.cell_type == "code":
                    client.execute_cell(cell, index[cell.id])
            exercise.write_text(wrong, "utf-8")
            assert "<|im_end|>" in output_of("todo1")
            assert "跳过" in output_of("mask")
            exercise.write_text(solution.replace("return input_ids, labels", "return input_ids,, labels", 1), "utf-8")
            assert "SyntaxError" in output_of("todo1")
            exercise.write_text(solution, "utf-8")
            assert "要学 6 个" in output_of("mask")  # 没有重新运行检查的那一格，也生效
            assert "✗" not in output_of("todo1")
    finally:
        exercise.write_text(unsolved, "utf-8")


def test_stored_outputs_belong_to_the_stored_sources():
    notebook = read()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.metadata["source_sha256"] == store.source_sha256(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert store.errors(notebook) == []


def test_code_cells_are_short():
    for cell in read().cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 25, cell.id
