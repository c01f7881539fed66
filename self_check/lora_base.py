"""TODO 2：``layer.original`` 还是不是原来的层，有没有被改动。"""

import torch
from torch import Tensor, nn

from self_check.lora_layers import Trial, shown
from self_check.lora_messages import compare, diagnose
from self_check.report import Diagnosis


def base_problem(trial: Trial, called: str) -> Diagnosis | None:
    """与包装之前的副本比较权重和偏置。"""
    if not hasattr(trial.layer, "original"):
        return diagnose("original_missing", called, "layer 没有 original 这个属性。")
    original, reference = trial.layer.original, trial.reference
    if not isinstance(original, nn.Linear):
        came = compare("layer.original 的类型", "Linear", type(original).__name__)
        return diagnose("original_missing", called, came)
    is_given_layer = original is trial.original_layer
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


def _equal(actual: Tensor | None, expected: Tensor | None) -> bool:
    if actual is None or expected is None:
        return actual is expected
    return torch.equal(actual, expected)


def _summary(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"{tuple(tensor.shape)} {shown(tensor)}"
