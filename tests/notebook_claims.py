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


def _losses(outputs: dict[str, str], cell: str, name: str) -> list[float]:
    """``横坐标 → 损失，……`` 那样的一行里的损失。"""
    (line,) = [line for line in outputs[cell].splitlines() if line.startswith(name)]
    return [float(loss) for loss in re.findall(r"→ ([\d.]+)", line)]


def _leak(outputs: dict[str, str], name: str, what: str) -> list[float]:
    (line,) = [each for each in outputs["leak-measure"].splitlines() if each.startswith(name) and what in each]
    return numbers(line.partition(what)[2])


def _lesson(outputs: dict[str, str], name: str) -> list[float]:
    """第 10 节的表里的一行：训练损失、验证损失、答对（百分数）的平均。"""
    (cells,) = [cells for title, cells in rows(outputs["clinic-lesson"]).items() if name in title]
    training, validation, right = [numbers(cell)[0] for cell in cells if cell]
    return [training, validation, 100 * right]


def _memory(outputs: dict[str, str], model: str, method: str, checkpointing: str = "") -> list[str]:
    """权重、梯度和优化器、激活……、一共、显卡。"""
    lines = [[cell.strip() for cell in line.split("|")] for line in outputs["memory"].splitlines()]
    (cells,) = [each for each in lines if each[:3] == [model, method, checkpointing]]
    return cells[3:8]


def readings(outputs: dict[str, str], group: str) -> list[list[float]]:
    """读回答的表里以 ``group`` 开头的一行：切题、对、口吻，各是两个读者的个数。"""
    (line,) = [line for line in outputs["real-readings"].splitlines() if line.startswith(group)]
    return [[float(number) for number in cell.split("、")] for cell in line.split("|")[3:6]]


REAL_RUNS = ("普通", "6 轮", "150 段", "学习率 ×4", "学习率 ÷4", "种子 2")


def drills(outputs: dict[str, str], name: str) -> float:
    """真实的基座，改法的表里小题逐字答对的比例。"""
    return numbers(rows(outputs["real-vary"])[name][4])[0]


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
    Claim("remember1", "更在预训练里特意加进合成的问答和指令", (LOGIC, "https://arxiv.org/abs/2305.11206")),
    Claim("remember1", "这个假说有争议（LIMA", ("https://arxiv.org/abs/2305.11206",)),
    Claim("remember1", "大量去掉问号的问与答", ("base_model/README.md", "small_world/retelling.py")),
    Claim("remember1", "SFT 也能教新的事实，只是慢，还有代价", ("https://arxiv.org/abs/2405.05904",)),
    Claim("remember1", "两个阶段用的是**同一个**损失", (LOGIC,)),
    # 2 token
    Claim("sec2", "每条消息有角色（role）和内容（content）", ("read-data",)),
    Claim("chatml-md", "每条消息写成", ("chatml-text",)),
    Claim("chatml-ids-md", "最前面的 `<|endoftext|>` 是这个分词器（tokenizer）的 BOS", ("chatml-text",)),
    Claim("special-md", "各是**一个**特殊 token", ("chatml-ids",)),
    Claim(
        "remember2",
        "内容永远不能变成标记",
        ("inject",),
        lambda o: numbers(o["inject"].strip().splitlines()[-1])[-2:] == [2.0, 1.0],
    ),
    # 3 掩码
    Claim("sec3", "有的库默认却是全学", (LOGIC, "https://github.com/tloen/alpaca-lora")),
    Claim("sec3", "`ignore_index` 的默认值", ("toy",)),
    Claim(
        "toy-md",
        "logits 的梯度**恰好是 0**",
        ("toy",),
        lambda o: [size == 0 for size in numbers(o["toy"])[-5:]] == [True, True, False, False, True],
    ),
    Claim("toy-md", "还会经过注意力（attention）传到它们的表示上", (LOGIC,)),
    Claim(
        "end-md",
        "**transformers 的模型收到 `labels`，会自己错开一格**",
        ("shift-proof",),
        lambda o: len(set(numbers(o["shift-proof"]))) == 1,
    ),
    Claim(
        "end-md",
        "这个基座在预训练里学过停",
        ("variants-measure",),
        lambda o: _variant(o, "基座")[2] > 0.9 > 0.6 > _variant(o, "不学结束标记")[2],
    ),
    Claim("mask-md", "**你的**掩码用在几段真实的对话上", ("mask",), lambda o: "要学 6 个" in o["mask"]),
    Claim("remember3", "学的只有助手的内容和它的 `<|im_end|>`", ("mask", "todo1")),
    # 4 训练
    Claim("sec4", "只差一个循环", ("first-training",)),
    Claim("ask-md", "与训练时回答之前的 token 一模一样", ("tests/test_formatting_properties.py",)),
    Claim(
        "before-after-md",
        "回答就跟着变",
        ("before-after",),
        lambda o: "今天天气晴朗。<|im_end|>" in o["before-after"] and "今天有大雨。<|im_end|>" in o["before-after"],
    ),
    Claim("before-after-md", "它就说不知道", ("before-after",), lambda o: "我不知道今天" in o["before-after"]),
    Claim("before-after-md", "有 166 段讲今天的天气", ("data/train.jsonl",)),
    Claim("before-after-md", "训练时一次也没有问过", ("tests/test_small_world.py",)),
    Claim(
        "loss-curve-md",
        "有一多半是相同的",
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
        "连基座原来会停的习惯也丢了大半",
        ("variants-measure",),
        lambda o: _variant(o, "不学结束标记")[2] < 0.5 * _variant(o, "基座")[2],
    ),
    Claim(
        "variants-md",
        "用正确的标签在没学过的问题上算（最后一列），立刻高出很多",
        ("variants-measure", "variants-curves"),
        lambda o: _variant(o, "不学结束标记")[3] > 5 * _variant(o, "只学助手")[3],
    ),
    Claim(
        "variants-md",
        "相差几个百分点不算数，分不出高下",
        ("variants-measure",),
        lambda o: abs(_variant(o, "全都学")[0] - _variant(o, "只学助手")[0]) < 0.06,
    ),
    Claim("variants-md", "提问长而回答短，**或**数据很少时", ("https://arxiv.org/abs/2405.14394",)),
    # 5 读错题
    Claim("sec5", "全部 400 个验证问题", ("skills",), lambda o: "/400 题" in o["skills"]),
    Claim(
        "worst-md",
        "上表里就有：“小年吃灶糖”",
        ("worst",),
        lambda o: "小年吃灶糖。" in o["worst"] and "小年的传统食物是灶糖。" in o["worst"],
    ),
    Claim("worst-md", "它只会把对的判成错，不会把错的判成对", (LOGIC,)),
    Claim(
        "worst-md",
        "学过两百段的，也可能还是最弱的几项之一",
        ("worst",),
        lambda o: max(int(n) for n in re.findall(r"学过 (\d+) 段", o["worst"])) >= 190,
    ),
    Claim(
        "unknown-md",
        "编出来的国家，它说不知道",
        ("unknown",),
        lambda o: "对不起，我不知道月亮国的首都" in o["unknown"],
    ),
    Claim("unknown-md", "另外两个，它没有说“不知道”", ("unknown",), lambda o: o["unknown"].count("不知道") == 2),
    Claim("unknown-md", "新知识比旧知识学得慢", ("https://arxiv.org/abs/2405.05904",)),
    # 6 LoRA
    Claim("sec6", "秩就是 1", (LOGIC,)),
    Claim("rank-md", "所以秩是 1", ("rank-toy",)),
    Claim(
        "lora-md",
        "比同样大小的随机矩阵集中，可是前 8 个方向远不是全部",
        ("delta",),
        lambda o: (
            after(o["delta"], "全部 28 个矩阵的改动：")[0] > after(o["delta"], "随机的 192×192")[-1]
            and after(o["delta"], "全部 28 个矩阵的改动：")[1] < 0.9
        ),
    ),
    Claim("lora-md", "秩比常用的 r 高十到一百倍", ("https://arxiv.org/abs/2405.09673",)),
    Claim("apply-md", "每一层里的七个线性层都换成", ("apply",), lambda o: "完全相同：True" in o["apply"]),
    Claim("merge-md", "两边的学习率也没有仔细找", (LOGIC,)),
    Claim("merge-md", "输出应当不变，只差浮点数的舍入", ("merge",), lambda o: numbers(o["merge"])[-1] < 1e-3),
    Claim("sweep-md", "alpha 固定为 16，和 alpha = 2r 跟着变", ("sweep-plot",)),
    Claim(
        "remember6",
        "r = 1 高一些，4 和 16 差不多",
        ("sweep-plot",),
        lambda o: (
            (losses := _losses(o, "sweep-plot", "alpha = 16"))[0] > max(losses[1:])
            and max(losses[1:]) < 1.3 * min(losses[1:])
        ),
    ),
    Claim(
        "remember6",
        "alpha 跟着 r 变的那条差别大",
        ("sweep-plot",),
        lambda o: (
            max(_losses(o, "sweep-plot", "alpha = 2r")) / min(_losses(o, "sweep-plot", "alpha = 2r"))
            > 2 * max(_losses(o, "sweep-plot", "alpha = 16")) / min(_losses(o, "sweep-plot", "alpha = 16"))
        ),
    ),
    Claim(
        "remember6",
        "太小学得慢，太大学坏",
        ("sweep-plot",),
        lambda o: min(_losses(o, "sweep-plot", "r = 8")) < 0.5 * min(_losses(o, "sweep-plot", "r = 8")[::4]),
    ),
    Claim("remember6", "r 很大时除以 r 会学得慢，该除以 √r", ("https://arxiv.org/abs/2312.03732",)),
    # 7 PEFT
    Claim("sec7", "它存的是转置", ("peft",)),
    Claim("todo3-md", "A、B 相同，输出就相同", ("peft",), lambda o: numbers(o["peft"])[-1] < 1e-5),
    Claim("todo3-md", "训练完没有看出差别", ("benchmarks/README.md",)),
    Claim(
        "adapter-md",
        "关掉就变回基座",
        ("adapter",),
        lambda o: len({line.partition("：")[2] for line in o["adapter"].strip().splitlines()[1:]}) == 1,
    ),
    Claim("remember7", "一个基座可以配许多个小适配器", ("sizes",)),
    # 8 填充和首尾相接
    Claim("sec8", "代价是白算", ("padding",)),
    Claim(
        "sec4",
        "两种的损失相同，这一种快",
        ("packed-proof", "packed-time"),
        lambda o: (
            (losses := numbers(o["packed-proof"]))[0] == losses[1]
            and (times := numbers(o["packed-time"]))[0] > 1.2 * max(times[1:])
        ),
    ),
    Claim("packed-md", "每段的位置（`position_ids`）从 0 重新数起", ("packed", "block-mask")),
    Claim(
        "leak-md",
        "“损失相同”的证明，只有“做错了会不一样”时才有意义",
        ("packed-proof",),
        lambda o: (n := numbers(o["packed-proof"]))[0] == n[1] and n[-1] < 1e-5,
    ),
    Claim(
        "remember8",
        "**位置没有重新数**，在这个模型上没有妨碍",
        ("leak-measure",),
        lambda o: abs(_leak(o, "位置没有重新数", "损失")[0] - _leak(o, "都对", "同一个模型的损失")[0]) < 1e-5,
    ),
    Claim(
        "remember8",
        "没学过的问题上回答的损失高了（0.049 对 0.029）",
        ("leak-measure",),
        lambda o: _leak(o, "都错", "回答的损失")[0] > 1.3 * _leak(o, "都对", "回答的损失")[0],
    ),
    Claim("remember8", "只去掉边界、位置却重新数的损失最高", ("leak-measure",)),
    Claim("remember8", "一步里还是那几段对话，损失按要学的 token 平均", ("tests/test_training_run.py",)),
    # 9 几种方法
    Claim("sec9", "**几个种子的范围重叠，就是分不出高下**", (LOGIC,)),
    Claim(
        "papers",
        "加在所有线性层时一致：10 倍",
        ("sweep-rates",),
        lambda o: "是全参数的 10 倍" in o["sweep-rates"],
    ),
    Claim("papers", "第 6 节的 20 步是 4 倍", ("rates-plot",)),
    Claim("papers", "最好的是 0.012 和 0.016，差不到一格", ("sweep-rates",)),
    Claim(
        "papers",
        "差一点：检验的逐字匹配低一个百分点，验证损失也高，范围都不重叠",
        ("compare-verdicts",),
        lambda o: "→ 全参数微调 高" in next(x for x in o["compare-verdicts"].splitlines() if "逐字匹配：全参数" in x),
    ),
    Claim(
        "papers",
        "参数一样多时，只在 MLP 也比所有线性层差；只在 q、v 与只在 MLP，验证损失分不出高下",
        ("places",),
        lambda o: o["places"].count("→ LoRA，所有线性层 低") == 2 and o["places"].count("分不出高下") == 1,
    ),
    Claim("papers", "要看怎样量：用预训练的文章来量，相反", ("forget", "forget-chat")),
    Claim("papers", "前 8 个方向远不是全部", ("delta",)),
    Claim("compare-md", "小模型上 LoRA 占百分之几", ("compare",), lambda o: "5.14%" in o["compare"]),
    Claim(
        "compare-md",
        "LoRA 反而比全参数多一成，范围不重叠",
        ("compare-verdicts",),
        lambda o: "→ LoRA，所有线性层 多" in next(x for x in o["compare-verdicts"].splitlines() if "内存峰值" in x),
    ),
    Claim("compare-md", "这里它最多", ("compare", "compare-plot")),
    Claim("compare-md", "首尾相接的一行不能有缓存", ("finetuning/shortcuts/packing.py",)),
    Claim(
        "forget-md",
        "**用预训练的文章来量，学得一样好时，这里是 LoRA 忘得多**",
        ("forget", "forget-plot"),
        lambda o: (n := numbers(next(x for x in o["forget"].splitlines() if "≤ 0.020" in x)))[3] < n[5],
    ),
    Claim("forget-md", "**学习率越大，忘得越多**", ("forget-plot",)),
    Claim("forget-md", "第一轮的技能却是全参数忘得多", ("forget-chat",)),
    Claim("forget-md", "**重放 5%**，就几乎不忘了，学得好坏分不出", ("remedies",)),
    Claim("forget-md", "掺的与用来量的是同一个来源的文章", ("benchmarks/forgetting.py",)),
    Claim("forget-md", "微调后的占 0.7 份，忘得少", ("remedies",)),
    Claim(
        "forget-md",
        "**步数减半**，忘了多少，分不出",
        ("remedies",),
        lambda o: all("分不出" in line for line in o["remedies"].splitlines() if line.startswith("步数减半")),
    ),
    Claim("forget-md", "第一轮的技能就从九成多掉到一到两成多", ("forget-chat",)),
    Claim("forget-md", "都与基座相同", ("results/comparison.md",)),
    Claim("remember9", "几个种子，看范围重不重叠", (LOGIC,)),
    # 10 诊断
    Claim("sec10clinic", "一处一处地故意弄坏", ("clinic/cases.py",)),
    Claim("sec10clinic", "损失是 ln 2,226，约 7.7", ("base_model/config.json",)),
    Claim("sec10clinic", "最前面一份是健康的", ("clinic-table", "clinic-reveal")),
    Claim("clinic-reveal-md", "它只看症状，不知道弄坏的是哪里", ("clinic/doctor.py",)),
    Claim(
        "clinic-reveal-md",
        "每一份都交给**诊断**",
        ("clinic-reveal",),
        lambda o: o["clinic-reveal"].count("没有看出问题") == 1,
    ),
    Claim("clinic-lesson-md", "步数都是 150，每次只改一样", ("clinic/cases.py",)),
    Claim(
        "clinic-read-md",
        "20 段不同的对话，反复看，就能答对七成多",
        ("clinic-lesson",),
        lambda o: 70 <= _lesson(o, "只有 20 段")[-1] < 80,
    ),
    Claim(
        "clinic-read-md",
        "1,000 段与 4,800 段，答对的比例分不出",
        ("clinic-lesson",),
        lambda o: max(x := [_lesson(o, name)[-1] for name in ("只有 1,000", "健康", "9,000")]) - min(x) < 2,
    ),
    Claim(
        "clinic-read-md",
        "一成是错的，答对少了几个百分点；三成，少了八个左右",
        ("clinic-lesson",),
        lambda o: (
            1 < (right := _lesson(o, "健康")[-1]) - _lesson(o, "10%")[-1] < 5 < right - _lesson(o, "30%")[-1] < 11
        ),
    ),
    Claim(
        "clinic-read-md",
        "验证损失却是健康的好几倍",
        ("clinic-lesson",),
        lambda o: _lesson(o, "30%")[1] > 3 * _lesson(o, "健康")[1],
    ),
    Claim("clinic-read-md", "一半是重复的，答对的比例分不出", ("clinic-lesson",)),
    Claim("clinic-read-md", "验证损失大多没有像书上那样一路回升", ("clinic-read", "results/clinic.svg")),
    Claim("clinic-read-md", "结束标记没有学的（甲），损失与健康的一样，答对却只剩两成", ("clinic-table",)),
    Claim("todo4-md", "却有**五处错**", ("tests/test_self_check_debug.py",)),
    Claim("remember10", "一个症状常有几种病因", (LOGIC,)),
    # 11 真实的模型
    Claim("sec10", "就能精确地算出来", ("benchmarks/README.md",)),
    Claim(
        "memory-md",
        "所以开不开梯度检查点（gradient checkpointing，用时间换激活的内存）一样",
        ("memory",),
        lambda o: _memory(o, "Qwen3-8B", "full") == _memory(o, "Qwen3-8B", "full", "开"),
    ),
    Claim(
        "memory-md",
        "一行要 32 GB 的卡，一行要 24 GB 的",
        ("memory",),
        lambda o: [_memory(o, "Qwen3-8B", "lora", each)[-1] for each in ("", "开")] == ["32 GB", "24 GB"],
    ),
    Claim(
        "memory-md",
        "激活却比 LoRA 多",
        ("memory",),
        lambda o: numbers(_memory(o, "Qwen3-8B", "qlora")[2]) > numbers(_memory(o, "Qwen3-8B", "lora")[2]),
    ),
    Claim("memory-md", "开了从 29.9 GB 降到 11.1 GB", ("benchmarks/results/gpu_nvidia-h200.md",)),
    Claim("memory-md", "曾少算 21%", ("benchmarks/README.md",)),
    Claim("quantized-about", "库和激活反而多", ("quantized",), lambda o: "base_model，内存峰值" in o["quantized"]),
    Claim(
        "quantized-md",
        "QLoRA 已经比 LoRA 省一些，范围不重叠",
        ("quantized",),
        lambda o: "→ QLoRA 少" in next(x for x in o["quantized"].splitlines() if "smollm2" in x),
    ),
    Claim("memory-md", "大模型上常用的数，不是我们量的", (LOGIC,)),
    Claim("inspect-md", "末尾添五段，一段一个毛病", ("inspect", "tests/test_inspect_data.py")),
    Claim("real-md", "没有显卡也训练得动", ("benchmarks/README.md",)),
    Claim("real-md", "270 段图书馆咨询台的问答", ("tests/test_real_model.py",)),
    Claim("real-md", "330 段不用记规章的小题", ("tests/test_real_model.py",)),
    Claim("real-md", "检验的小题句式学过，换了名字和数", ("tests/test_real_model.py",)),
    Claim("real-md", "它看见做完了的记录，就什么也不训练", ("tests/test_real_model.py",)),
    Claim(
        "real-md",
        "那些标记它没有学过",
        ("real-base",),
        lambda o: rows(o["real-base"])["照 ChatML 问"] == ["0%", "0%", ""],
    ),
    Claim(
        "real-base-md",
        "多半把一句话说了一遍又一遍，常常就是问题本身",
        ("real-base",),
        lambda o: "74后面是几？⏎74后面是几？" in o["real-base"],
    ),
    Claim(
        "real-base-md",
        "前两题就答对了，只是不照要求的整句说",
        ("real-base", "real-answers"),
        lambda o: "|蓝色。|" in o["real-base"] and "|苹果。|" in o["real-base"],
    ),
    Claim(
        "real-base-md",
        "别的小题多半是真的答不对，往下两个读者读了十道",
        ("real-readings",),
        lambda o: max(readings(o, "小题|训练前")[1]) < 5,
    ),
    Claim(
        "real-base-md",
        "图书馆的问题几乎都答不对",
        ("real-readings",),
        lambda o: max(readings(o, "图书馆的问题|训练前")[1]) <= 2,
    ),
    Claim("real-readings-md", "互不相看的 AI 读者，不是人", ("benchmarks/real_readings.py",)),
    Claim(
        "real-readings-md",
        "次序是打乱的，也没有告诉他们哪个是训练前的；但训练后的多半有“您”",
        ("tests/test_real_model.py",),
    ),
    Claim("real-readings-md", "1 是全都相同，0 是与碰巧一样", (LOGIC, "tests/test_real_model.py")),
    Claim("real-readings-md", "图书馆的每种只有 5 题", ("tests/test_real_model.py",)),
    Claim("real-vary-md", "“150 段”的步数与普通的相同", ("tests/test_real_model.py",)),
    Claim(
        "real-vary-md",
        "差五六道的（6 轮、学习率 ×4）还分不出高下，少了十几道的（150 段、学习率 ÷4）才看得出",
        ("real-vary",),
        lambda o: (
            [round(56 * drills(o, name)) - round(56 * drills(o, "普通")) for name in ("种子 2", "6 轮", "学习率 ×4")]
            == [-4, 5, 6]
            and all(
                round(56 * drills(o, "普通")) - round(56 * drills(o, name)) > 10 for name in ("150 段", "学习率 ÷4")
            )
        ),
    ),
    Claim(
        "real-vary-md",
        "两个读者读的十道里，内容对的从 3 道到 6 道",
        ("real-readings",),
        lambda o: readings(o, "小题|训练前")[1] + readings(o, "小题|训练后")[1] == [3, 3, 6, 6],
    ),
    Claim(
        "real-vary-md",
        "图书馆的回答几乎都自己停下",
        ("real-answers", "results/real_model.md"),
        lambda o: "没有停下" not in "".join(row[1] for row in rows(o["real-answers"]).values()),
    ),
    Claim(
        "real-vary-md",
        "训练前后都只有一两个，分不出差别",
        ("real-readings",),
        lambda o: readings(o, "图书馆的问题|训练前")[1] + readings(o, "图书馆的问题|训练后")[1] == [2, 2, 1, 1],
    ),
    Claim("real-vary-md", "规章散在 270 段里，一条往往只出现几次", ("data/example/README.md",)),
    Claim(
        "real-vary-md",
        "大多合；读者读，合口吻的只有 17 个和 20 个，一半上下",
        ("real-readings", "real-vary"),
        lambda o: (
            readings(o, "图书馆的问题|训练后")[2] == [17, 20] and numbers(rows(o["real-vary"])["普通"][5])[0] > 0.8
        ),
    ),
    Claim(
        "real-vary-md",
        "6 轮的验证损失回升了很多，小题的逐字答对却没有变差",
        ("real-vary",),
        lambda o: (
            numbers(rows(o["real-vary"])["6 轮"][2])[0] > 1.3 * numbers(rows(o["real-vary"])["6 轮"][1])[0]
            and numbers(rows(o["real-vary"])["6 轮"][4])[0] >= numbers(rows(o["real-vary"])["普通"][4])[0]
        ),
    ),
    Claim(
        "real-vary-md",
        "150 段的训练损失几乎是零，验证损失却比它最低的时候高了将近一倍",
        ("real-vary",),
        lambda o: (
            numbers(rows(o["real-vary"])["150 段"][0])[0] < 0.01
            and 1.7 < numbers(rows(o["real-vary"])["150 段"][2])[0] / numbers(rows(o["real-vary"])["150 段"][1])[0] < 2
        ),
    ),
    Claim(
        "real-vary-md",
        "对 6 轮、150 段、学习率 ×4 都说了 overfit，对普通没有说话",
        ("real-vary",),
        lambda o: (
            {name for name, cells in rows(o["real-vary"]).items() if cells[6] == "overfit"}
            == {"6 轮", "150 段", "学习率 ×4"}
        ),
    ),
    Claim(
        "real-vary-md",
        "训练损失降得越低的，与要学的无关的散文忘得越多；学习率 ÷4 忘得少，学得也少",
        ("real-vary",),
        lambda o: (
            sorted(REAL_RUNS, key=lambda name: -numbers(rows(o["real-vary"])[name][0])[0])
            == sorted(REAL_RUNS, key=lambda name: numbers(rows(o["real-vary"])[name][3])[0])
            and drills(o, "学习率 ÷4") < drills(o, "普通")
        ),
    ),
    Claim(
        "real-vary-md",
        "适配器关掉，就是原来的基座",
        ("real-skills",),
        lambda o: numbers(o["real-skills"])[-1] == numbers(o["real-skills"])[-3],
    ),
    Claim(
        "real-vary-md",
        "“对”的一共才十来个，它的 1.00 说明不了多少",
        ("real-readings",),
        lambda o: "对：两个读者相同 100%，κ = 1.00" in o["real-readings"],
    ),
    Claim("tools-md", "工具只有一个，写在系统提示里", ("tools-raw",), lambda o: "你有一个计算器" in o["tools-raw"]),
    Claim("tools-after-md", "**掩码的规则没有变**", ("tools-mask", "tests/test_hermes.py")),
    Claim("tools-after-md", "就从那里学起，一直学到结束的标记", ("tests/test_template.py",)),
    Claim("tools-after-md", "检验用的算式都没有学过", ("tests/test_tools_data.py",)),
    Claim(
        "tools-lesson",
        "全参数微调写的调用，三个种子都一字不差",
        ("tools-results",),
        lambda o: rows(o["tools-results"])["全参数"][0] == "100%",
    ),
    Claim(
        "tools-lesson",
        "**LoRA 一个调用也写不对**；别人写好了调用，它倒会把结果说出来",
        ("tools-results",),
        lambda o: rows(o["tools-results"])["LoRA"][0] == "0%" and numbers(rows(o["tools-results"])["LoRA"][1])[0] > 0.9,
    ),
    Claim("tools-lesson", "抽三千篇预训练的文章，一次也没有出现", ("tests/test_tools_data.py",)),
    Claim("tools-lesson", "它们的嵌入几乎是同一个向量", ("tools-why",), lambda o: '{ " :' in o["tools-why"]),
    Claim(
        "tools-lesson",
        "LoRA 训练后的损失就停在它的旁边",
        ("tools-why", "tools-results"),
        lambda o: 0 <= numbers(rows(o["tools-results"])["LoRA"][3])[0] - numbers(o["tools-why"])[-1] < 0.02,
    ),
    Claim(
        "tools-lesson",
        "两种方法都答错了一些",
        ("tools-results",),
        lambda o: all(numbers(rows(o["tools-results"])[each][2])[0] < 1 for each in ("全参数", "LoRA")),
    ),
    # 12 想一想
    Claim("sec11", "没有不同，都是猜下一个 token 的交叉熵", (LOGIC,)),
    Claim("sec11", "差别在起伏之内", ("variants-measure",)),
    Claim("sec11", "它的训练损失与正常的几乎一样", ("variants-curves",)),
    Claim("sec11", "没学过的问题上回答的损失却高了", ("leak-measure",)),
    Claim("sec11", "占 2.1%", (LOGIC,), lambda o: round(65536 / 3145728, 3) == 0.021),
    Claim("sec11", "要写作 119 GB", (LOGIC,), lambda o: round(8e9 * 16 / 2**30) == 119),
    Claim("sec11", "学进去的越多，幻觉也越多", ("https://arxiv.org/abs/2405.05904",)),
]

# 没有说法的格：题目、怎样操作、问题。
WITHOUT_CLAIMS = {
    "sec0", "continue-md", "tool-md", "explore-md", "todo2-md", "remedies-about", "forget-chat-about",
}  # fmt: skip

# 正文里不是算出来的数，各是什么。
CONSTANTS: dict[str, str] = {
    "90": "学完要多少分钟，估计的",
    "29.9": "H200 上实测的内存峰值，GB，benchmarks/results/gpu_nvidia-h200.md",
    "11.1": "同上，开梯度检查点",
    "200": "基座的参数，万",
    "2.7": "Gemma 3 270M 的参数，亿",
    "270": "真实的基座学的图书馆问答，段，tests/test_real_model.py",
    "330": "同上，小题",
    "2021": "论文的年份",
    "2023": "论文的年份",
    "2024": "论文的年份",
    "2025": "论文的年份",
    "2505.09388": "arXiv 的编号",
    "2312.03732": "arXiv 的编号",
    "1920": "教程里训练用的段数，写在代码里",
    "166": "其中讲今天的天气的段数",
    "150": "问的题数，写在代码里",
    "180": "plan_memory.py 列出的最大的显卡，GB",
    "3072": "想一想第 9 题的 out_features",
    "1024": "想一想第 9 题的 in_features，和二进制的千",
    "3145728": "想一想第 9 题的乘积",
    "2.1%": "想一想第 9 题的答案",
    "128": "想一想第 12 题，10⁹ 字节",
    "119": "想一想第 12 题，GB",
}
