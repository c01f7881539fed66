"""TODO 2 的自查：各项检查、提示，和做完之后的话。"""

from importlib import import_module
from typing import Any

from finetuning.terminal import launcher
from self_check.exercise import Check, Exercise
from self_check.lora.torch_errors import explain_torch_errors
from self_check.report import Diagnosis

# (名字, 在哪个模块里的哪个函数)：用到时才导入，它们要导入 torch。
_CHECKS = (
    ("LoRALinear 是 nn.Module，有 __init__ 和 forward", "checks.check_definition"),
    ("original 是原来的层，没有被改动", "checks.check_original"),
    ("原来的权重和偏置都冻结", "checks.check_frozen"),
    ("要训练的参数恰好是 lora_A 和 lora_B", "checks.check_parameters"),
    ("A 是 (in_features, r)，B 是 (r, out_features)", "checks.check_shapes"),
    ("A 的初值随机，B 的初值是零", "checks.check_initial_values"),
    ("输出等于公式，x 可以是二维或三维", "checks.check_output"),
    ("两层互不影响", "checks.check_two_layers"),
    ("训练一步：梯度正确，原来的权重不变", "checks.check_training"),
    ("dtype 和 device 与原来的层相同", "checks.check_dtype_and_device"),
    ("合并（merge）等于公式，训练、推理时都是", "use.check_merge"),
    ("装进模型：训练、保存、读回、合并都用得了", "use.check_in_a_model"),
    ("A 的初值不太大", "checks.check_scale"),
)


def _prepare(subject: Any) -> Any:
    from self_check.lora.learner import prepare

    return prepare(subject)


def _check(place: str) -> Check:
    module, name = place.split(".")

    def check(learner: Any) -> Diagnosis | None:
        return getattr(import_module(f"self_check.lora.{module}"), name)(learner)

    return explain_torch_errors(check)


LORA = Exercise(
    todo="lora",
    title="TODO 2：手写 LoRA 层（low-rank adaptation，低秩适配）",
    prepare=_prepare,
    checks=tuple((name, _check(place)) for name, place in _CHECKS),
    imports=("self_check.lora.checks", "self_check.lora.use"),
    hints=(
        "先写 __init__，它要做三件事：留住原来的层并冻结它；造 A；造 B。\n"
        "A、B 的形状由原来的层的 in_features、out_features 和 r 决定：x 的最后一维从 in_features "
        "先缩到 r，再放大到 out_features，每一步各要多大的矩阵？",
        "冻结：让一个模块的全部参数都不要梯度，nn.Module 有现成的方法，在文档里找 requires_grad。\n"
        "A、B：先造出初值（一个随机，一个全零；dtype 和 device 照着原来的 weight），最后一步才用 "
        "nn.Parameter 包起来，并存到 self 上，优化器才找得到它们。",
        "forward 是两项相加：一项是原来的层对 x 的输出，它自己就带着偏置；另一项是 x 依次乘过 A、B，"
        "再乘系数。系数只乘后一项。把类的说明里能用手算的例子填进去，一步一步核对形状和数值。",
    ),
    start="给一个现成的线性层加上 LoRA：读 LoRALinear 的说明和能用手算的例子，先写 __init__，再写 forward。",
    learnt="你写出了 LoRA：原来的权重一个不动，只训练两个小矩阵；B 从零开始，所以训练从原来的模型出发。",
    next_steps=(
        "回到 tutorial.ipynb，把你的层装进模型（第 6 节）",
        "与参考答案对照：lora_solution.py",
        f"TODO 3，用 PEFT 训练：{launcher()} train_lora_solution.py",
    ),
)
