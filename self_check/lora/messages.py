"""TODO 2 的诊断：每个代号多半错在哪里、为什么要紧、到哪里去看。

学习者的代码抛出的异常（``raises`` 和多数的 ``not_implemented``）由 :mod:`self_check.explain` 解释。
"""

from self_check.report import Diagnosis

# 代号 → (多半错在哪里、对训练有什么害处, 到哪里去看)
EXPLANATIONS: dict[str, tuple[str, str]] = {
    "not_implemented": (
        "这里还没有写。",
        "LoRALinear 的 __init__ 和 forward；每一项是什么、什么形状，见类的说明。",
    ),
    "base_not_frozen": (
        "原来的权重还会被训练：显存、优化器状态和要保存的文件都与全参数微调一样大，LoRA 就白加了。\n"
        "常见的原因：忘了冻结；给模块写 .requires_grad = …（那只是添了一个同名的属性，参数不受影响）；"
        "只调用了 eval()，或只在 forward 里用了 no_grad()（两者都不改变参数的 requires_grad）。",
        "__init__ 里保存 original 的地方：nn.Module 和 nn.Parameter 各有什么办法关掉梯度？",
    ),
    "bias_not_frozen": (
        "权重冻结了，偏置没有：一个线性层除了 weight 还有 bias。"
        "这样基座仍在悄悄变化，而只保存 A、B 的话，这部分改动就丢了。",
        "__init__ 里冻结 original 的地方：怎样一次冻结一个模块的全部参数？没有偏置的层，bias 是 None。",
    ),
    "not_a_parameter": (
        "给定的 apply_lora、lora_state_dict 靠名字找要训练、要保存的参数：名字的最后一段恰好是 lora_A、lora_B。"
        "找不到的，会被冻结，也不保存，训练了等于没训练。",
        "__init__ 里创建 lora_A、lora_B 的地方：先把值算好，最后一步才包成参数。",
    ),
    "wrong_shape": (
        "形状与约定的不同，保存下来的 A、B 别人读不了，合并的公式也对不上。\n"
        "nn.Linear 的 weight 是 (out_features, in_features)，PEFT 和论文里的 A、B 也是转置着存的，容易弄反；"
        "也可能没有用参数 r，写成了固定的数。",
        "__init__ 里 lora_A、lora_B 的形状：x 的最后一维是 in_features，要先变成 r，再变成 out_features。",
    ),
    "a_is_zero": (
        "A、B 都是零，就永远学不动：B 的梯度里乘着 A，A 的梯度里乘着 B，两个梯度都是零，一步也不会变。",
        "__init__ 里 lora_A 的初值。",
    ),
    "b_not_zero": (
        "训练还没开始，LoRA 支路就给每一层加上了一份随机的改动，模型不再是原来的基座："
        "开头的损失变高，预训练学到的东西先被弄坏一些。用 torch.empty 而不填值，也会这样。",
        "__init__ 里 lora_B 的初值：什么样的 B，能让 x A B 一开始不起作用？",
    ),
    "init_swapped": (
        "A 和 B 的初值对调了。这样也能训练，但与约定相反：论文和 PEFT 里随机的是 A，从零开始的是 B。",
        "__init__ 里 lora_A、lora_B 的初值。",
    ),
    "not_gaussian": (
        "A 的初值应当是均值为零、标准差 1/√in_features 左右的随机数：各个数独立，r 个方向才各不相同；"
        "如果都是同一个数，r 列就永远一样，秩等于只有 1。",
        "__init__ 里 lora_A 的初值：torch 里生成高斯分布的函数，名字里多半有 normal 或 randn。",
    ),
    "scaling_missing": (
        "LoRA 支路的系数没有写全：缺了 alpha，或者缺了 r，或者两个都缺。"
        "这样换一个 r，支路的大小就跟着变，学习率要重新找；读进别人训练的 A、B，输出也不对。",
        "forward 里 LoRA 支路乘的系数。算好了却忘了乘，也是这样。",
    ),
    "scaling_inverted": (
        "系数的分子和分母写反了：alpha 调大，支路反而变小。",
        "把你写的除法与类的说明里的公式对照一下。",
    ),
    "lora_branch_missing": (
        "输出里没有 LoRA 支路：A、B 变了，输出不变，训练什么也学不到。\n"
        "常见的原因：算了支路，忘了加上；在 __init__ 里就把 A、B 乘好存了起来，以后 A、B 更新了，存的还是旧的；"
        "只在训练时或只在推理时才加。",
        "forward 的返回值；凡是用到 A、B 的计算，都应当在 forward 里。",
    ),
    "original_missing": (
        "原来的层没有用上：预训练学到的东西全在它里面，丢了它，就只剩两个随机的小矩阵。\n"
        "常见的原因：forward 里忘了加它的输出；属性名不是 original；新建了一个随机的 nn.Linear 来代替它。",
        "__init__ 里怎样保存 original_layer，forward 里怎样用它。",
    ),
    "bias_lost": (
        "原来的层的偏置丢了，基座的输出就变了。多半是只用了它的 weight，没有用 bias。",
        "forward 里怎样得到原来的输出：original 本身就是一个能调用的层。",
    ),
    "base_modified": (
        "原来的权重被改动了。LoRA 的前提是它原样不动：去掉 A、B 就能回到基座，同一个基座还能换上别的 A、B。\n"
        "常见的原因：把 A B 直接加进了 weight；在 eval() 时合并；对 original 做了初始化、缩放、转置或类型转换。"
        "给定的 merge 是在原样的 original 上加 A B 的，它先变了，合并出来的就不对。",
        "凡是写到 original.weight、original.bias 或它们的 .data 里的地方。",
    ),
    "no_gradient": (
        "梯度断了，它或更前面的层就学不到东西。\n"
        "常见的原因：用了 .data、.detach()、.item() 或 torch.no_grad()；把 A、B 也一起冻结了。"
        "original 只要冻结参数就够了：它的计算仍要留在计算图里，梯度才能经过它传到前面的层。",
        "forward 里从 x、lora_A、lora_B 到返回值的每一步；__init__ 里的 requires_grad 设在了谁身上。",
    ),
    "wrong_dtype_or_device": (
        "A、B 和输出的 dtype、device 应当与原来的层相同：真实的模型常用 bfloat16，放在 GPU 上，"
        "不一致就会在矩阵相乘时报错，或者白占一倍的显存。"
        "创建张量时不写 dtype、device，torch 用的是 float32 和 CPU；NumPy 的随机数是 float64。",
        "__init__ 里创建 lora_A、lora_B 的地方：original_layer.weight 有 dtype 和 device；forward 里有没有转换类型。",
    ),
    "input_mutated": (
        "forward 改动了传进来的 x。同一个 x 还要交给别的层（q_proj、k_proj、v_proj 用的就是同一个），它们会跟着算错。\n"
        "常见的原因：+=、*= 和名字以下划线结尾的函数（如 mul_）都是就地修改；给 x 的切片赋值也是。",
        "forward 里对 x 做的每一步：算出新的张量，不要就地修改。",
    ),
    "raises": (
        "LoRALinear 用不起来。",
        "LoRALinear 的定义：它继承谁，__init__ 和 forward 有哪些参数。",
    ),
    "wrong_output": (
        "输出与公式 y = x Wᵀ + b + (alpha / r) · x A B 给出的不同。",
        "forward 的每一步，对照类的说明里能用手算的例子。",
    ),
}


def diagnose(slug: str, called: str, came: str, likely: str = "", alone: bool = False) -> Diagnosis:
    """一份诊断。

    Args:
        likely: 从这一次的结果里看出的原因，写在通常的解释前面。
        alone: 通常的解释在这里不合适，只写 ``likely``。
    """
    usual, look = EXPLANATIONS[slug]
    return Diagnosis(slug, called, came, likely if alone else f"{likely}\n{usual}" if likely else usual, look)


def compare(name: str, expected: object, came: object) -> str:
    """上下对齐的“应为”与“实际”。"""
    return f"{name}\n  应为  {expected}\n  实际  {came}"
