"""``tutorial.ipynb`` 里的说法都有证明：``notebook_claims`` 里的表，与存下的输出对得上。"""

import html
import json
import re

import pytest
from notebook_claims import CLAIMS, CONSTANTS, LOGIC, WITHOUT_CLAIMS, Claim
from notebook_runs import ROOT, read


def plain(text: str) -> str:
    """HTML 的表变成一行一行、用 ``|`` 隔开的文字；图换成它的文字说明。"""
    text = re.sub(r'<img[^>]*alt="([^"]*)"[^>]*>', r"\1", text)
    text = re.sub(r"</t[dh]>", "|", re.sub(r"</tr>", "\n", text))
    return html.unescape(re.sub(r"<[^>]+>", "", text))


NOTEBOOK = read()
SOURCES = {cell.id: cell.source for cell in NOTEBOOK.cells}
PROSE = [cell.id for cell in NOTEBOOK.cells if cell.cell_type == "markdown"]
OUTPUTS = {
    cell.id: "\n".join(
        plain(output.get("text") or output["data"].get("text/html") or output["data"].get("text/markdown")
              or output["data"].get("text/plain", ""))
        for output in cell.outputs
    )
    for cell in NOTEBOOK.cells
    if cell.cell_type == "code"
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.cell}: {claim.words[:20]}")
def test_a_claim_stands_there_and_is_shown(claim: Claim):
    assert claim.words in SOURCES[claim.cell]
    for shown in claim.shown:
        if shown.startswith("https://"):
            assert any(shown in source for source in SOURCES.values()), f"{shown} 在教程里没有写出来"
        elif shown != LOGIC and shown not in OUTPUTS:
            assert (ROOT / shown).exists(), shown
        elif shown != LOGIC:
            assert OUTPUTS[shown].strip(), f"{shown} 没有存下的输出"
    assert claim.holds is None or claim.holds(OUTPUTS)


def test_every_prose_cell_is_accounted_for():
    """写着说法的格都在表里；没有说法的，明白地列出来。添了一格，就要想一想它说了什么。"""
    claimed = {claim.cell for claim in CLAIMS}
    assert claimed | WITHOUT_CLAIMS >= set(PROSE)
    assert not claimed & WITHOUT_CLAIMS
    assert claimed | WITHOUT_CLAIMS <= set(SOURCES)


def numbers_of(text: str) -> set[str]:
    """文字里的数，去掉千分位的逗号；代码块、行内的代码、公式、网址里的不算。"""
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$?[^$]*\$\$?|\(https?://[^)]*\)|\]\([^)]*\)|<[^>]+>", " ", text, flags=re.DOTALL
    )
    return {number.replace(",", "") for number in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?%?", text)}


@pytest.mark.parametrize("cell", PROSE)
def test_every_number_of_the_prose_comes_from_a_cell_or_is_a_constant(cell):
    produced = {number.rstrip("%") for text in OUTPUTS.values() for number in numbers_of(text)}
    unknown = {n for n in numbers_of(SOURCES[cell]) if n.rstrip("%") not in produced and n not in CONSTANTS}
    assert unknown == set(), f"{cell} 里的 {unknown} 没有一格算出来过，也没有在 CONSTANTS 里说明它是什么"


def test_the_weather_rows_are_counted():
    lines = (ROOT / "data/train.jsonl").read_text(encoding="utf-8").splitlines()[:1920]
    assert sum(json.loads(line)["skill"] == "今天的天气" for line in lines) == 166


def test_constants_are_used():
    used = set().union(*(numbers_of(SOURCES[cell]) for cell in PROSE))
    assert set(CONSTANTS) - used == set()


def test_there_are_ten_predictions_each_with_a_reply_to_every_option():
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code" and cell.source.startswith("predict(")]
    assert len(cells) >= 10
    for cell in cells:
        assert len(re.findall(r"<summary>", "".join(o["data"]["text/html"] for o in cell.outputs))) >= 2, cell.id
