"""真实的模型学什么，考什么：都是本项目自己写的中文，不依赖任何下载。

270 段是图书馆咨询台的问答（``data/example``）：规章只在训练数据里有，要现学，口吻也要学。330 段是不用记规章的小题
（``data``，如把句子改成把字句、比大小）：要的材料就在问题里。自带的基座背的那些知识（谁住在哪里）不用：真实的模型没有读过。
"""

import json
import random
from pathlib import Path
from typing import Any

from small_world.world import IN_CONTEXT_SKILLS

SIZES = (600, 150)  # 训练数据取多少段；少的都是多的里面的
_LIBRARY, _DATA = Path("data/example"), Path("data")
_SKILLS = [skill.name for skill in IN_CONTEXT_SKILLS]
_LIBRARY_DEV = 30
_PROSE = Path("benchmarks/prose.txt")


def write(directory: Path) -> None:
    """写出 ``train_600.jsonl`` 等、``dev.jsonl``、``test.jsonl``；每次都相同。"""
    library = _read(_LIBRARY / "library.jsonl")
    random.Random(0).shuffle(library)
    train = library[_LIBRARY_DEV:] + _of_each_skill("train", SIZES[0] - len(library[_LIBRARY_DEV:]))
    random.Random(1).shuffle(train)
    parts = {f"train_{size}": train[:size] for size in SIZES}
    parts["dev"] = library[:_LIBRARY_DEV] + _of_each_skill("dev", _LIBRARY_DEV)
    parts["test"] = _read(_LIBRARY / "library_test.jsonl") + _of_each_skill("test", 2 * len(_SKILLS))
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def is_library(skill: str) -> bool:
    """是图书馆的问答，不是小题。"""
    return skill not in _SKILLS


def paragraphs() -> list[str]:
    """普通的散文，与要学的无关：看忘了多少。"""
    return _PROSE.read_text(encoding="utf-8").strip().split("\n\n")


def keeps_style(answer: str) -> bool:
    """合不合 ``data/example/README.md`` 里机器看得出来的几条：20 到 80 个字，没有“你”“亲”、感叹号，不换行。

    不查有没有“您”：参考答案里也不是每个都有。话通不通、对不对，都不管。
    """
    return 20 <= len(answer) <= 80 and not any(word in answer for word in ("你", "亲，", "！", "!", "\n"))


def _of_each_skill(split: str, count: int) -> list[dict[str, Any]]:
    """每种小题轮流取一段，直到 ``count`` 段；有的种类不够，就由别的补上。"""
    rows = _read(_DATA / f"{split}.jsonl")
    waiting = [[row for row in rows if row["skill"] == name] for name in _SKILLS]
    taken: list[dict[str, Any]] = []
    while len(taken) < count:
        for queue in waiting:
            if queue and len(taken) < count:
                taken.append(queue.pop(0))
    return taken


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
