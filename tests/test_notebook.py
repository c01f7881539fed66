"""``tutorial.ipynb``，做完练习的样子：真的从头运行一遍，看要紧的输出。"""

import re

import nbformat
import pytest
from notebook_runs import make_desk, read, run, texts

from notebook_helpers import store


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+(?:e-?\d+)?", text)]


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    return run(make_desk(tmp_path_factory.mktemp("desk")), solved=True)


def test_solved_checks_pass_and_the_mask_is_the_assistants(solved):
    for name in ("todo1", "todo2"):
        assert "全部通过" in texts(solved[name])
    # 第一段是“巴黎”“柏林”：两次回答各两个字，加上各自的 <|im_end|>。
    assert "要学 6 个" in texts(solved["mask"])


def test_solved_shift_is_the_models(solved):
    by_model, by_hand = numbers(texts(solved["shift-proof"]))[:2]
    assert by_model == pytest.approx(by_hand, abs=2e-6)


def test_solved_training_lowers_the_loss_and_teaches_answering(solved):
    first, start, end = numbers(texts(solved["first-training"]))
    assert end < start / 2 < first
    answers = texts(solved["before-after"])
    for answer in ("今天天气晴朗。", "今天有大雨。", "泰国的首都是曼谷。"):
        assert f"{answer}&lt;|im_end|&gt;" in answers
    assert "对不起，我不知道今天" in answers  # 后面怎样说，随线程数的舍入而变


def test_solved_without_end_token_answers_run_on(solved):
    cells = re.findall(r"<td[^>]*>(.*?)</td>", texts(solved["variants-measure"]))
    rows = {cells[i]: [int(share.rstrip("%")) for share in cells[i + 1 : i + 4]] for i in range(0, len(cells), 5)}
    right, begins, ended = rows["不学结束标记"]
    assert begins > 80
    assert right < 50
    assert ended < 90
    assert min(rows["只学助手"]) > 90


def test_solved_packing_merging_and_peft_change_nothing(solved):
    padded, packed, moved = numbers(texts(solved["packed-proof"]))
    assert padded == pytest.approx(packed, abs=2e-6)
    assert moved < 1e-5
    assert "完全相同：True" in texts(solved["apply"])
    assert "Linear" in texts(solved["merge"])
    assert "LoRALinear" not in texts(solved["merge"])
    for name in ("merge", "peft"):
        assert numbers(texts(solved[name]))[-1] < 1e-3, name


def test_solved_a_leak_is_seen(solved):
    """故意不给边界的批次，损失确实不同：不然，“首尾相接不改变损失”什么也没有证明。"""
    losses = [numbers(line)[-1] for line in texts(solved["leak-measure"]).splitlines()]
    right, positions, no_borders, wrong, trained_right, trained_wrong = losses
    assert positions == pytest.approx(right, abs=1e-5)
    assert min(no_borders, wrong) > 10 * right
    assert trained_wrong > 1.2 * trained_right


def test_solved_adapter_off_is_the_base(solved):
    on, off, base = texts(solved["adapter"]).strip().splitlines()
    assert off.split("：", 1)[1] == base.split("：", 1)[1]
    assert on.split("：", 1)[1] != base.split("：", 1)[1]


def test_stored_outputs_belong_to_the_stored_sources():
    notebook = read()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.metadata["source_sha256"] == store.source_sha256(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert store.errors(notebook) == []
    assert "widget-view" not in nbformat.writes(notebook)  # 没有内核时是一片空白


def test_code_cells_are_short():
    for cell in read().cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 25, cell.id
