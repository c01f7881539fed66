"""TODO 1 的诊断里的图：学习者的标签、两个列表、两份 input_ids，对照着画。"""

from collections.abc import Callable
from itertools import zip_longest

from self_check.data.cases import IGNORE_INDEX
from self_check.data.columns import Column, draw, token_text
from self_check.data.named_tokenizers import START
from self_check.data.trials import Position, Trial

_LEGEND = "（+ 要学：标签等于 id；. 不学：标签是 -100；? 别的值；^ 这一项说的地方）"
_SIGNS = {"trained": "+", "masked": ".", "other": "?"}


def draw_labels(trial: Trial, wrong: Callable[[Position], bool]) -> str:
    """画出各个 token 和标签，``wrong`` 的位置标上 ^。"""
    columns = [
        Column(
            text=token_text(trial.case.tokenizer.backend, position.token.id),
            signs=(
                _SIGNS[position.state],
                "+" if position.token.trained else ".",
                "^" if wrong(position) else " ",
            ),
            new_row=position.token.kind == "header" and position.token.offset == 0,
        )
        for position in trial.positions
    ]
    return draw(("token", "你的标签", "应该", ""), columns) + "\n" + _LEGEND


def draw_lists(trial: Trial) -> str:
    """画出两个长度不同的列表；没有标签的位置写 ``-``。"""
    tokenizer = trial.case.tokenizer
    columns = []
    for token_id, label in zip_longest(trial.ids, trial.labels):
        sign = "-" if label is None else "." if label == IGNORE_INDEX else "+" if label == token_id else "?"
        text = "（无）" if token_id is None else token_text(tokenizer.backend, token_id)
        columns.append(Column(text, (sign,), new_row=token_id == tokenizer.id(START)))
    return draw(("token", "你的标签"), columns) + "\n" + _LEGEND.replace("^ 这一项说的地方", "- 没有标签")


def draw_difference(trial: Trial, ids: list[int]) -> str:
    """从第一处不同的前面几个 token 起，画出应有的和得到的。"""
    tokenizer = trial.case.tokenizer.backend
    expected = trial.case.ids
    first = next((i for i, (a, b) in enumerate(zip_longest(expected, ids)) if a != b))
    begin, end = max(0, first - 5), first + 9

    def strip(name: str, values: list[int]) -> str:
        columns = [
            Column(token_text(tokenizer, value), ("^" if begin + i == first else " ",))
            for i, value in enumerate(values[begin:end])
        ]
        return draw((name, ""), columns or [Column("（到这里就没有了）", (" ",))], max_rows=3)

    return "\n".join(
        [
            f"input_ids 应该有 {len(expected)} 个 token（不算 BOS），得到 {len(ids)} 个；从下标 {first} 起不同：",
            strip("应该", expected),
            strip("得到", ids),
        ]
    )
