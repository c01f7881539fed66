"""会用计算器的对话：``uv run python -m small_world.tools``，写出 ``data/tools.jsonl`` 和 ``data/tools_test.jsonl``。

算式抄给计算器，再把结果说出来；有的问题用不着计算器，照常回答。
检验数据里，一半停在调用（考调用写得对不对），一半有结果（考说得对不对）；算式都没有在训练数据里出现过。
结果完全由代码决定，重跑一遍逐字节相同。
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA_DIR = Path(__file__).resolve().parent.parent / "data"
SYSTEM = "你有一个计算器。"
TOOL = "计算器"
TRAIN_ROWS, TEST_ROWS = 600, 200
_DIRECT_SHARE = 0.2

_ASK = ("{}等于多少？", "请问{}是多少？", "算一算：{}。", "{}得几？", "帮我算{}。", "你知道{}等于几吗？")
_OPERATIONS = {"加": "+", "减": "-", "乘": "*"}
Message = dict[str, Any]
Formula = tuple[int, str, int]


def formulas(rng: random.Random) -> Iterator[Formula]:
    """没有重复的算式。"""
    seen: set[Formula] = set()
    while True:
        operation = rng.choice(tuple(_OPERATIONS))
        first, second = rng.randint(11, 999), rng.randint(11, 99 if operation == "乘" else 999)
        if operation == "减" and first < second:
            first, second = second, first
        if (formula := (first, operation, second)) not in seen:
            seen.add(formula)
            yield formula


def _result(formula: Formula) -> int:
    first, operation, second = formula
    return {"加": first + second, "减": first - second, "乘": first * second}[operation]


def calculation(formula: Formula, rng: random.Random, with_result: bool) -> dict[str, Any]:
    """用计算器的一段对话；``with_result`` 不成立时停在调用。"""
    first, operation, second = formula
    said = f"{first}{operation}{second}"
    call = {"name": TOOL, "arguments": {"算式": f"{first}{_OPERATIONS[operation]}{second}"}}
    messages: list[Message] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": rng.choice(_ASK).format(said)},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    if with_result:
        messages += [
            {"role": "tool", "content": str(_result(formula))},
            {"role": "assistant", "content": f"{said}等于{_result(formula)}。"},
        ]
    return {"messages": messages, "skill": "说出结果" if with_result else "调用计算器"}


def direct(split: str, rng: random.Random, count: int) -> list[dict[str, Any]]:
    """用不着计算器的问题：``data/`` 里同一个划分的一问一答。"""
    with (DATA_DIR / f"{split}.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    single = [row["conversations"] for row in rows if len(row["conversations"]) == 2 and row["kind"] == "知识"]
    chosen = rng.sample(single, count)
    return [
        {"messages": [{"role": "system", "content": SYSTEM}, *conversation], "skill": "不用计算器"}
        for conversation in chosen
    ]


def make() -> dict[str, list[dict[str, Any]]]:
    """文件名 → 各行。"""
    rng = random.Random("计算器")
    fresh = formulas(rng)
    sizes = {"tools": (TRAIN_ROWS, "train"), "tools_test": (TEST_ROWS, "test")}
    made = {}
    for name, (size, split) in sizes.items():
        others = direct(split, rng, round(size * _DIRECT_SHARE))
        numbers = range(size - len(others))
        rows = [calculation(next(fresh), rng, name == "tools" or number % 2 == 0) for number in numbers]
        made[name] = [*rows, *others]
        rng.shuffle(made[name])
    return made


def main() -> None:
    for name, rows in make().items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (DATA_DIR / f"{name}.jsonl").write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}.jsonl：{len(rows)} 段对话")


if __name__ == "__main__":
    main()
