"""``tutorial.ipynb`` 里的每一个说法：写在哪一格，由哪一格的输出或哪个出处来证明。

``Claim.words`` 是那一格里的原话；``shown`` 是证明它的代码单元格的 id、网址、项目里的文件，或 ``LOGIC``
（定义和推导，读的人自己能核对）。能从存下的输出里核对的，另有 ``holds``：读出那些数，看说法是不是真的。
"""

import re
from collections.abc import Callable
from typing import NamedTuple

LOGIC = "定义或推导"


class Claim(NamedTuple):
    """一个说法。"""

    cell: str
    words: str
    shown: tuple[str, ...]
    holds: Callable[[dict[str, str]], bool] | None = None  # 单元格的 id → 输出的文字


def numbers(text: str) -> list[float]:
    """文字里的数；``97%`` 是 0.97。"""
    found = re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?%?", text)
    return [float(each.rstrip("%").replace(",", "")) / (100 if each.endswith("%") else 1) for each in found]


def rows(text: str) -> dict[str, list[str]]:
    """``outputs`` 里的表：第一列 → 其余各列。"""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "|" in line]
    return {cells[0]: cells[1:] for cells in lines}


def after(text: str, name: str) -> list[float]:
    """以 ``name`` 开头的那一行里，``name`` 后面的数。"""
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return numbers(line.removeprefix(name))


def _variant(outputs: dict[str, str], name: str) -> list[float]:
    """答对、开头是答案、自己停下、损失。"""
    return numbers(" ".join(rows(outputs["variants-measure"])[name]))


CLAIMS = [
    # 1 续写与回答
    Claim("title", "会**续写**", ("continue",), lambda o: "今天天气 → '很好" in o["continue"]),
    Claim("title", "它会**回答**", ("before-after",), lambda o: "今天天气晴朗。<|im_end|>" in o["before-after"]),
    Claim("sec1", "200 万参数", ("load-base",), lambda o: abs(numbers(o["load-base"])[0] / 2e6 - 1) < 0.05),
    Claim(
        "bars-md",
        "不是回答，而是另起一句，或者把原话再说一遍",
        ("ask-raw",),
        lambda o: "晴" not in o["ask-raw"] and "巴黎" not in o["ask-raw"],
    ),
    Claim("bars-md", "带问号的问题后面总是放别的问题", ("base_model/README.md", "tests/test_small_world.py")),
    Claim("remember1", "更在预训练里特意加进合成的问答和指令", ("https://arxiv.org/abs/2505.09388",)),
    Claim("remember1", "更多是把回答的样子固定下来", ("https://arxiv.org/abs/2305.11206",)),
    Claim("remember1", "SFT 也能教新的事实，只是既慢又有代价", ("https://arxiv.org/abs/2405.05904",)),
    Claim("remember1", "两个阶段用的是**同一个**损失", (LOGIC,)),
    # 2 token
    Claim("chatml-md", "Qwen 等许多模型用的就是它", ("https://huggingface.co/Qwen/Qwen3-0.6B",)),
    Claim("chatml-ids-md", "最前面的 `<|endoftext|>` 是这个分词器的 BOS", ("chatml-text",)),
    Claim("special-md", "各是**一个**特殊 token", ("chatml-ids",)),
    Claim(
        "remember2",
        "内容永远不能变成标记",
        ("inject",),
        lambda o: numbers(o["inject"].splitlines()[-1])[-2:] == [2.0, 1.0],
    ),
    # 3 掩码
    Claim("sec3", "PyTorch 的交叉熵约定的 `ignore_index`", ("toy",)),
    Claim(
        "toy-md",
        "那里的 logits 的梯度**恰好是 0**",
        ("toy",),
        lambda o: [size == 0 for size in numbers(o["toy"])[-5:]] == [True, True, False, False, True],
    ),
    Claim("toy-md", "还会经过注意力传到它们的表示上", (LOGIC,)),
    Claim(
        "end-md",
        "**错位是模型替我们做的**",
        ("shift-proof",),
        lambda o: len(set(numbers(o["shift-proof"]))) == 1,
    ),
    Claim("end-md", "不学它，就没有谁教模型答完要停", ("variants-measure",)),
    Claim("mask-md", "**你的**掩码用在几段真实的对话上", ("mask",), lambda o: "要学 6 个" in o["mask"]),
    # 4 训练
    Claim(
        "before-after-md",
        "回答就跟着变",
        ("before-after",),
        lambda o: "今天天气晴朗。<|im_end|>" in o["before-after"] and "今天有大雨。<|im_end|>" in o["before-after"],
    ),
    Claim("before-after-md", "它就说不知道", ("before-after",), lambda o: "我不知道今天" in o["before-after"]),
    Claim("before-after-md", "训练时一次也没有问过", ("tests/test_small_world.py",)),
    Claim(
        "loss-curve-md",
        "跳得高的多半还是那几批",
        ("loss-curve",),
        lambda o: numbers(o["loss-curve"].splitlines()[1])[-1] >= 3,
    ),
    Claim(
        "variants-md",
        "**基座**大多会停，却几乎全答错",
        ("variants-measure",),
        lambda o: _variant(o, "基座")[0] < 0.05 and _variant(o, "基座")[2] > 0.9,
    ),
    Claim(
        "variants-md",
        "开头大多就是正确的答案，答完了却还在往下说",
        ("variants-measure",),
        lambda o: _variant(o, "不学结束标记")[1] > 0.8 and _variant(o, "不学结束标记")[0] < 0.5,
    ),
    Claim(
        "variants-md",
        "连基座原来会停的习惯也丢了不少",
        ("variants-measure",),
        lambda o: _variant(o, "不学结束标记")[2] < 0.7,
    ),
    Claim("variants-md", "它的训练损失看起来一点不差", ("variants-curves",)),
    Claim("variants-md", "**全都学**的训练损失高得多", ("variants-curves",)),
    Claim("variants-md", "连提问一起学反而好一些", ("https://arxiv.org/abs/2405.14394",)),
]
