"""TODO 4 的自查：各项检查、提示，和做完之后的话。"""

from importlib import import_module
from typing import Any

from finetuning.terminal import launcher
from self_check.exercise import Check, Exercise
from self_check.report import Diagnosis

# (名字, checks.py 里的哪个函数)：用到时才导入，它们要导入 torch。
_CHECKS = (
    ("train 返回模型和每一步的损失", "check_result"),
    ("base 没有被改动", "check_base"),
    ("第一步的损失，与独立算的一样", "check_first_loss"),
    ("训练以后，模型变了", "check_model_changed"),
    ("一步的梯度，只来自这一步的一批", "check_gradients"),
    ("学习率先升后降", "check_rate"),
    ("损失一路往下", "check_descends"),
    ("没有学过的问题，训练好的模型答得出", "check_learns"),
    ("answer 写出的，就是模型会说的", "check_answers"),
)


def _prepare(subject: Any) -> Any:
    from self_check.debug.patient import Patient

    return Patient(subject)


def _check(name: str) -> Check:
    def check(patient: Any) -> Diagnosis | None:
        return getattr(import_module("self_check.debug.checks"), name)(patient)

    return check


DEBUG = Exercise(
    todo="debug",
    title="TODO 4：找出训练程序里的五处错",
    prepare=_prepare,
    checks=tuple((name, _check(place)) for name, place in _CHECKS),
    imports=("self_check.debug.checks",),
    cpu_seconds=40.0,
    hints=(
        "五处错各是一类：一批数据怎样拼成，优化器管着谁，一步的次序，一步走多远，怎样提问。\n"
        "自查每次只说最先看见的症状；改好一处，再看下一处。",
        "把这个程序与教程第 4 节的训练循环、第 8 节的填充，一行一行地对着读。"
        "拿两段长短不一的对话交给 collate，把三个张量打印出来，看补的位置上各是什么。",
        "优化器：列出它的 param_groups 里的参数，是不是要训练的那个模型的？\n"
        "一步：上一步的梯度还在 .grad 里，不清掉就会加上去。\n"
        "学习率：第 6 节的图里，全参数用哪个最好？\n"
        "提问：把训练的一段和 answer 的提示词都解码出来，回答前面的几个 token 是不是一样？",
    ),
    start="读 debug_exercise.py，它能运行；看自查说的症状，想一想是哪一处。",
    learnt="你从症状找到了病因：第一步的损失、权重变没变、梯度、曲线、真的生成，五处各看得出一类错。",
    next_steps=(
        "与参考答案对照：debug_solution.py",
        f"给自己的训练诊断：{launcher()} -m clinic 结果目录",
    ),
)
