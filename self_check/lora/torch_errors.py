"""torch 的英文报错 → 诊断。认不出的照样抛出，由 :mod:`self_check.explain` 解释。"""

import functools
from dataclasses import replace
from typing import Any

from self_check.exercise import Check
from self_check.explain import explain_error
from self_check.location import look_at
from self_check.lora.messages import EXPLANATIONS
from self_check.report import Diagnosis

# 报错里的字样 → 它是什么意思。从上到下，第一个合的为准。
_MEANINGS = {
    "to unpack": "拆开的个数不对：x 可能是二维的，也可能是三维的，x.shape 的个数随它变；@ 两种都可以，不必拆。",
    "cannot be multiplied": (
        "两个矩阵的形状接不上：左边的最后一维要等于右边的第一维。看看相乘的顺序，有没有多余或漏掉的转置。"
    ),
    "must match the size": "两个张量的形状不同，不能相加：输出的最后一维是 out_features，x 的最后一维是 in_features。",
    "must be a matrix": (
        "这个函数只接受二维的张量，而 x 可以是三维的，(batch, seq, in_features)。@ 和 torch.matmul 都可以。"
    ),
    "must be a 3D tensor": (
        "torch.bmm 只接受三维的张量，而 x 可以是二维的，A、B 也总是二维的。@ 和 torch.matmul 都可以。"
    ),
    "view size is not compatible": (
        "view 只能用在内存里连续的张量上，而 x 可能是转置、切片得来的；用 reshape，或者不改形状，直接用 @。"
    ),
    "single memory location": (
        "它是 expand 出来的：好几个位置其实是内存里的同一个数，不能各自更新。先 .clone() 再包成参数。"
    ),
    "nference tensor": "它是在 torch.inference_mode() 里造的，不能训练。造参数的时候不要用 inference_mode。",
    "ninitialized": (
        "参数还没有形状（nn.UninitializedParameter、nn.LazyLinear）：形状在 __init__ 里已经知道，直接造出来。"
    ),
    "__init__() call": "nn.Module 还没有初始化：__init__ 里要先调用 super().__init__()，再往 self 上放参数和模块。",
    "'NoneType'": "它是 None。有的线性层没有偏置（bias=False），它的 bias 就是 None。",
    "inplace operation": (
        "forward 就地修改了反向传播（backward）还要用的张量；改成算出新的张量，不要用 +=、*= 和以下划线结尾的函数。"
    ),
    "leaf Variable that requires grad": (
        "要训练的参数不能就地修改：先把值算好再包成 nn.Parameter，或者用 nn.init 里的函数填值。"
    ),
    "has no attribute": (
        "没有这个属性：名字写错了，或者还没有存到 self 上。nn.Linear 自己没有 dtype 和 device，它的 weight 才有。"
    ),
    "invalid combination of arguments": "torch 的这个函数不接受这样的参数：看看形状是不是整数、关键字有没有写错。",
    "unexpected keyword argument": "这个函数没有这个关键字参数：看看有没有写错。",
}
# 上面都不合的，报错里的字样 → 代号；意思就是代号通常的解释。
_SLUGS = {
    "Cannot assign non-leaf Tensor to parameter": "base_modified",
    **dict.fromkeys(
        ("dtype", "scalar type", "ScalarType", "device", "aten::", "CUDA", "NVIDIA"), "wrong_dtype_or_device"
    ),
}


def explain_torch_errors(check: Check) -> Check:
    """包装一项检查：torch 抛出的异常，认得出的就成为它的诊断；“去哪里看”的最后，总有是哪个文件、怎样看提示。"""

    @functools.wraps(check)
    def explained(learner: Any) -> Diagnosis | None:
        try:
            diagnosis = check(learner)
        except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
            diagnosis = _explain(error, learner.source_file)
            if diagnosis is None:
                raise
        if diagnosis is None or "你的代码" in diagnosis.look:
            return diagnosis
        return replace(diagnosis, look=f"{diagnosis.look}\n{look_at(learner.source_file)}")

    return explained


def _explain(error: Exception, source_file: str) -> Diagnosis | None:
    message = str(error)
    if isinstance(error, NotImplementedError) and "aten::" not in message:
        return None  # 学习者自己的 raise NotImplementedError；torch 在不支持的设备上也会抛出它，里面有算子的名字
    explained = explain_error(error, source_file, "LoRALinear")  # 有学习者的那一行代码，只是不认得 torch 的话
    for words, meaning in _MEANINGS.items():
        if words in message:
            return replace(explained, slug="raises", likely=meaning)
    for words, slug in _SLUGS.items():
        if words in message:
            likely, look = EXPLANATIONS[slug]
            return replace(explained, slug=slug, likely=likely, look=look)
    return None
