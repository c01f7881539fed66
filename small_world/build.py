"""生成指令数据和分词器：``uv run python -m small_world.build``。

写出 ``data/{train,dev,test}.jsonl`` 和 ``base_model/`` 里的分词器。结果完全由代码决定，重跑一遍逐字节相同。
"""

import json
import random
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from small_world.corpus import document
from small_world.instructions import SPLIT_SIZES, Conversation, make_splits
from small_world.tokenizer import build_tokenizer

ROOT = Path(__file__).resolve().parent.parent
DATA_DIR = ROOT / "data"
MODEL_DIR = ROOT / "base_model"
_VOCABULARY_DOCUMENTS = 30_000


def write_split(path: Path, conversations: list[Conversation]) -> None:
    """一行一段对话；除了 ``conversations``，还记下技能、哪一类和问到的事实，供分析和查重。"""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for conversation in conversations:
            row = {
                "conversations": conversation.messages(),
                "skill": conversation.skill,
                "kind": conversation.kind,
                "facts": list(conversation.groups),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def characters(conversations: list[Conversation]) -> set[str]:
    """世界里出现过的字：指令数据里的，加上一大批预训练文本里的。"""
    found: set[str] = set()
    for conversation in conversations:
        for message in conversation.messages():
            found.update(message["content"])
    for seed in tqdm(range(_VOCABULARY_DOCUMENTS), desc="收集用字", unit="篇"):
        found.update(document(random.Random(f"字表:{seed}")))
    return found


def main() -> None:
    splits = make_splits()
    DATA_DIR.mkdir(exist_ok=True)
    for split in SPLIT_SIZES:
        write_split(DATA_DIR / f"{split}.jsonl", splits[split])
        skills = Counter(conversation.skill for conversation in splits[split])
        print(f"{split}：{len(splits[split])} 段对话，{len(skills)} 项技能")
    tokenizer = build_tokenizer(characters([one for split in splits.values() for one in split]))
    tokenizer.save_pretrained(MODEL_DIR)
    print(f"词表：{len(tokenizer)} 个词元")


if __name__ == "__main__":
    main()
