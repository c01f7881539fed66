"""``tutorial.ipynb``，没有做完练习的样子：运行得到底，说清楚缺什么；改了练习立刻生效。"""

import pytest
from nbclient import NotebookClient
from notebook_runs import make_desk, read, run, texts

NEEDS_TODO1 = ("mask", "first-training", "variants-measure", "packed-proof", "packed-time", "apply", "peft")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return make_desk(tmp_path_factory.mktemp("desk"))


def test_unsolved_runs_to_the_end_and_says_what_is_missing(desk):
    cells = run(desk, solved=False)
    for name in ("todo1", "todo2"):
        assert "raise NotImplementedError" in texts(cells[name])
    for name in NEEDS_TODO1:
        assert "跳过：这一格要用你的 TODO 1" in texts(cells[name]), name
    assert "逐字匹配" in texts(cells["todo3"])


def test_an_edit_takes_effect_without_restarting(desk):
    """做错、语法错、做对，依次保存，重新运行检查的那一格。"""
    exercise = desk / "data_exercise.py"
    unsolved, solution = exercise.read_text("utf-8"), (desk / "data_solution.py").read_text("utf-8")
    wrong = solution.replace("(end, learnt)", "(end, False)")
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
            assert "有语法错误" in output_of("todo1")
            exercise.write_text(solution, "utf-8")
            assert "要学 6 个" in output_of("mask")  # 没有重新运行检查的那一格，也生效
            assert "全部通过" in output_of("todo1")
    finally:
        exercise.write_text(unsolved, "utf-8")
