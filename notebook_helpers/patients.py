"""第 10 节的八份病历：名字遮住，先猜是什么病，再揭开。

谁是谁写在这里，不写在教程的单元格里；数据是 ``results/clinic.jsonl``（``python -m clinic.measure`` 量的）。
"""

from collections.abc import Sequence
from pathlib import Path

from clinic.runs import read
from clinic.symptoms import Symptoms
from finetuning.drawing import Curves
from notebook_helpers.live import Live
from notebook_helpers.predictions import predict

RECORDS = Path("results/clinic.jsonl")
HEALTHY = "健康"
# 遮住的名字 → 病例；HEALTHY 是对照
_WHO = {
    HEALTHY: "full",
    "甲": "end_masked",
    "乙": "rows_50",
    "丙": "full_rate_x10",
    "丁": "shifted_twice",
    "戊": "one_opening",
    "己": "full_rate_d30",
    "庚": "wrong_30",
    "辛": "asked_in_template",
}
# 遮住的名字 → 选项 → 回应；错的回应说那种病会看见什么。
_QUIZ = {
    "甲": {
        "学习率太大": "学习率太大的，损失降得早、停在高处；甲的曲线与健康的几乎重合。看看回答停不停。",
        "结束标记没有学": "对：曲线、损失都正常，开头多半答对，答完了却还在说。标签里没有结束标记，损失看不出。",
        "训练数据有错的": "那样训练损失会停在高处；甲的降到了底。看看回答停不停。",
        "提问的模板与训练时不同": "那样很多题开头就答错；甲的开头大多是对的，毛病在后面。",
    },
    "乙": {
        "数据太少，记住了": "对：训练损失几乎到零，验证损失却早早不动了，两条线越离越远。看一条曲线，只会觉得学得好。",
        "学习率太小": "学习率太小的，训练损失降得慢；乙的是所有病历里最低的。",
        "学得很好": "只看训练损失是这样。再看验证损失停在哪里，比健康的高多少。",
        "标签多移了一位": "那样训练前的损失高得出奇，回答不成话；乙的都正常。",
    },
    "丙": {
        "学习率太小": "学习率太小的，头几十步还在高处；丙十来步就降下来了，然后降得很慢。",
        "学习率太大": "对：开头降得快，数据还没有看完一遍，验证损失就往上走，等学习率降下来才又下降。",
        "数据太少，记住了": "记住了的，训练损失接近零；丙的停在高处，而且数据只看了一遍，来不及记住。",
        "训练数据有错的": "那样训练损失停在高处，验证损失却低；丙的两个都高。",
    },
    "丁": {
        "基座的权重没有读进来": "随机的权重，训练前的损失是 ln 词表，约 7.7；丁的比那还高得多：比乱猜还差。",
        "标签多移了一位": "对：训练前的损失比乱猜还高，因为要它猜的是隔一个的字；回答里的字也一个隔一个。",
        "学习率太大": "学习率太大，训练前的损失不会变；丁还没有开始训练，损失就不对了。",
        "不学的位置没有遮住": "每个 token 都学的，开始时不高；-100 写成 0 的，开始时也这样高，学完却成句。看回答。",
    },
    "戊": {
        "提问的模板与训练时不同": "那样损失会很低；戊的验证损失也高。看看那些回答的开头。",
        "一种口气占了大半训练数据": "对：回答的内容多半是对的，却都是一个开头；参考答案没有它，验证损失就停在高处。",
        "数据太少，记住了": "记住了的，训练损失接近零；戊的没有。看看那些回答的开头。",
        "结束标记没有学": "戊的回答都自己停下了。",
    },
    "己": {
        "学习率太小": "对：走了三成的步子，能降的还没有降完，到最后两条线都还在高处。",
        "学习率太大": "学习率太大的，头十几步就降下来了；己的一直慢慢地降。",
        "什么也没有训练": "那样损失是平的；己的在降，只是慢。",
        "训练数据有错的": "那样验证损失照样低；己的两个都高。",
    },
    "庚": {
        "学得还不够": "学得不够的，也可以一高一低；分开它们的是尾巴：庚的训练损失早早就平了。",
        "训练数据有错的": "对：训练损失早早停在高处，没有学过的却低得多（健康的只低一点）：三成的回答是错的，学不会。",
        "学习率太大": "学习率太大，验证损失也高；庚的低得多。",
        "数据太少，记住了": "正好相反：记住了的，训练损失比验证的低；庚的高。",
    },
    "辛": {
        "学习率太小": "损失和健康的一样低，学是学会了。",
        "数据太少，记住了": "验证损失和健康的一样低。毛病不在训练里。",
        "提问的模板与训练时不同": "对：损失与健康的一模一样，真的去问却大多答错。训练没有坏，坏的是提问。",
        "结束标记没有学": "辛的回答几乎都自己停下了。",
    },
}


def patients(names: Sequence[str] = tuple(_WHO), records: Path = RECORDS) -> dict[str, Symptoms]:
    """遮住的名字 → 种子 1 的症状。"""
    found = {record.case: record.symptoms for record in read(records) if record.seed == 1}
    return {name: found[_WHO[name]] for name in names}


def curves_of(shown: dict[str, Symptoms]) -> list[Curves]:
    """每份病历一格曲线。"""
    return [Curves(name, {"训练": each.curve("loss"), "验证": each.curve("eval_loss")}) for name, each in shown.items()]


def replies(name: str) -> dict[str, str]:
    """选项 → 选了它以后的回应。"""
    return _QUIZ[name]


def quiz(name: str) -> Live:
    """猜这一份是什么病。"""
    return predict(f"{name}：多半是什么病？", replies(name))


def case_of(name: str) -> str:
    """揭开：这一份是哪个病例。"""
    from clinic.cases import CASES

    return CASES[_WHO[name]].title
