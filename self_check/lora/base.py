"""TODO 2：``layer.original`` 还是不是原来的层，有没有被改动。"""

import torch
from torch import Tensor, nn

from self_check.lora.layers import BuiltLayer, call, close, shown
from self_check.lora.messages import compare, diagnose
from self_check.report import Diagnosis


def base_problem(built: BuiltLayer, called: str) -> Diagnosis | None:
    """与包装之前的副本比较权重和偏置。"""
    if not hasattr(built.layer, "original"):
        likely = "原来的层要存成 self.original，名字恰好是它：给定的 merge、apply_lora 和检查都用这个名字。"
        return diagnose("original_missing", called, "layer 没有 original 这个属性。", likely, alone=True)
    original, reference = built.layer.original, built.reference
    if not isinstance(original, nn.Linear):
        came = compare("layer.original 的类型", "Linear", type(original).__name__)
        return diagnose("original_missing", called, came)
    if all(module is not original for module in built.layer.modules()):
        came = "layer.original 不在 layer.modules() 里。"
        likely = (
            "原来的层没有登记为子模块（放在了列表、字典里，或绕过了 nn.Module 的赋值）："
            "layer.to(device)、model.half() 碰不到它，state_dict 里也没有它。"
            "写 self.original = original_layer 就会登记。"
        )
        return diagnose("original_missing", called, came, likely, alone=True)
    is_given_layer = original is built.original_layer
    for name in ("dtype", "device"):
        expected, actual = getattr(reference.weight, name), getattr(original.weight, name)
        if actual != expected:
            came = compare(f"layer.original.weight.{name}", expected, actual)
            return diagnose("base_modified", called, came, f"原来的层的 {name} 被改了（例如 .half()、.to(…)）。")
    if not _equal(original.weight, reference.weight):
        came = compare("layer.original.weight", _summary(reference.weight), _summary(original.weight))
        if is_given_layer:
            return diagnose("base_modified", called, came)
        return diagnose("original_missing", called, came, "layer.original 是另一个层，权重与交给你的层不同。")
    if not _equal(original.bias, reference.bias):
        came = compare("layer.original.bias", _summary(reference.bias), _summary(original.bias))
        is_gone = original.bias is None or not original.bias.any() or not is_given_layer
        return diagnose("bias_lost" if is_gone and reference.bias is not None else "base_modified", called, came)
    return None


def hook_problem(built: BuiltLayer, x: Tensor, called: str) -> Diagnosis | None:
    """``layer.original(x)`` 还是不是原来的输出：有没有挂上 hook，或换了它的 forward。

    支路要加在 LoRALinear 自己的 forward 里：``merge`` 复制的是 original，挂在它上面的东西会跟着走，改动就加了两次。
    """
    output = call(built.layer.original, x, f"{called}\nlayer.original(x)")
    expected = nn.functional.linear(x, built.reference.weight, built.reference.bias)
    if isinstance(output, Tensor) and output.shape == expected.shape and close(output, expected):
        return None
    actual = shown(output) if isinstance(output, Tensor) else type(output).__name__
    came = compare("layer.original(x) 的第一行", shown(expected), actual)
    likely = (
        "original 的权重没有变，输出却变了：多半在它上面挂了 hook，或换掉了它的 forward。"
        "支路要写在 LoRALinear 的 forward 里；挂在 original 上，merge 复制它时会一起复制，改动就加了两次。"
    )
    return diagnose("base_modified", called, came, likely, alone=True)


def _equal(actual: Tensor | None, expected: Tensor | None) -> bool:
    if actual is None or expected is None:
        return actual is expected
    return torch.equal(actual, expected)


def _summary(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"{tuple(tensor.shape)} {shown(tensor)}"
