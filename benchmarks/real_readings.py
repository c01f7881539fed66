"""读回答：两个读者各自照同样的准则，给训练前后的各 50 个回答打分；打分的时候不知道哪个是训练前的。

    uv run python -m benchmarks.real_readings                # 写出要读的 100 个回答：outputs/real_readings_sheet.json
    uv run python -m benchmarks.real_readings 甲.json 乙.json  # 收进两个读者的分数，算出一致不一致

一个读者的分数是一个 JSON 的列表，100 项，每一项是三个 0 或 1，次序与要读的相同。准则：

1. 切题：回答的是问的那一件事。答错了，也算切题；把问题又说一遍、说别的事、不成话，是 0。
2. 对：说的事实与参考答案不矛盾，没有编出规章里没有的事（``data/example/README.md``），要紧的一点说到了；该反问的、
   该说“不归图书馆管”的、该请读者打电话问的，这样做了。小题：内容对，换个说法也算。一再重复、没有停下的，是 0。
3. 口吻：照 ``data/example/README.md`` 的口吻，读得通顺，自己停下。小题不问口吻：通顺，并且自己停下，就是 1。

存着的 ``results/real_readings.json`` 是两个互不相看的 AI 读者（语言模型）逐条读的，不是人。
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetuning.errors import UserError, run_main
from finetuning.output.fingerprint import write_json
from finetuning.terminal import say

CRITERIA = ("切题", "对", "口吻")
RECORD, READINGS = Path("results/real_model.json"), Path("results/real_readings.json")
SHEET = Path("outputs/real_readings_sheet.json")
_DRILLS, _STEP = 10, 6  # 小题每六道取一道，一共十道


def chosen(record: dict[str, Any]) -> list[tuple[str, int]]:
    """读哪些：（``"before"`` 或 ``"after"``，第几个问题），次序是打乱的，每次都相同。

    训练前的用先写四个例子的问法：三种问法里，只有它会停下来回答。
    """
    library = [number for number, question in enumerate(record["questions"]) if question["library"]]
    drills = [number for number, question in enumerate(record["questions"]) if not question["library"]]
    numbers = library + drills[::_STEP][:_DRILLS]
    items = [(moment, number) for moment in ("before", "after") for number in numbers]
    random.Random(7).shuffle(items)
    return items


def sheet(record: dict[str, Any]) -> list[dict[str, Any]]:
    """要读的：问题、参考答案、回答；不说是训练前的还是训练后的。"""
    answers = {
        "before": record["base"]["few_shot"]["answers"],
        "after": record["runs"]["普通"]["measured"]["answers"],
    }
    rows = []
    for moment, number in chosen(record):
        question = record["questions"][number]
        text, ended = answers[moment][number]
        rows.append(
            {
                "问": [f"{message['role']}: {message['content']}" for message in question["messages"]],
                "参考答案": question["reference"],
                "回答": text + ("" if ended else "……（没有停下）"),
            }
        )
    return rows


def agreement(first: Sequence[int], second: Sequence[int]) -> tuple[float, float]:
    """两列 0 和 1：相同的比例，和 Cohen 的 κ（扣掉碰巧相同的；1 是全都相同，0 是与碰巧一样）。

    来源：Cohen 1960，A Coefficient of Agreement for Nominal Scales。
    """
    count = len(first)
    same = sum(one == other for one, other in zip(first, second, strict=True)) / count
    ones = sum(first) / count, sum(second) / count
    chance = ones[0] * ones[1] + (1 - ones[0]) * (1 - ones[1])
    return same, (same - chance) / (1 - chance) if chance < 1 else 1.0


def _scores(path: Path, count: int) -> list[list[int]]:
    """一个读者的分数。

    Raises:
        UserError: 个数不对，或有的不是三个 0 和 1。
    """
    scores = json.loads(path.read_text(encoding="utf-8"))
    for number, row in enumerate(scores):
        if len(row) != len(CRITERIA) or not set(row) <= {0, 1}:
            raise UserError(f"{path} 的第 {number} 项（从 0 数起）应是三个 0 或 1，实际是 {row}。")
    if len(scores) != count:
        raise UserError(f"{path} 有 {len(scores)} 项，应是 {count} 项。")
    return scores


def main() -> None:
    """命令行。"""
    parser = argparse.ArgumentParser(description="两个读者，照准则读训练前后的回答。")
    parser.add_argument("scores", nargs="*", type=Path, help="两个读者的分数；不写，就写出要读的")
    arguments = parser.parse_args()
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    if not arguments.scores:
        SHEET.parent.mkdir(exist_ok=True)
        write_json(SHEET, sheet(record))
        say(f"要读的 {len(sheet(record))} 个回答在 {SHEET}，准则在 benchmarks/real_readings.py 的开头。")
        return
    if len(arguments.scores) != 2:
        raise UserError(f"要两个读者的分数，实际给了 {len(arguments.scores)} 个。")
    items = chosen(record)
    readers = [_scores(path, len(items)) for path in arguments.scores]
    write_json(READINGS, {"items": [list(item) for item in items], "scores": readers})
    for number, name in enumerate(CRITERIA):
        same, kappa = agreement(*([row[number] for row in scores] for scores in readers))
        say(f"{name}：两个读者相同 {same:.0%}，κ = {kappa:.2f}")


if __name__ == "__main__":
    run_main(main)
