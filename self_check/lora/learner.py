"""TODO 2：要检查的东西：学习者的 ``LoRALinear``，和练习里给定的、要用到它的那些函数。"""

import inspect
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import nn

from self_check.location import learner_file

_GIVEN = ("apply_lora", "merge", "lora_state_dict", "load_lora_state_dict")


@dataclass(frozen=True)
class Learner:
    """学习者的类和给定的函数。

    Attributes:
        lora_class: 学习者的 ``LoRALinear``；只写了 ``__init__`` 和 ``forward`` 的（notebook 里的类），补上给定的
            ``merge``。
        given: 给定的函数，名字 → 函数；它们用的 ``LoRALinear`` 就是 ``lora_class``。
        source_file: 学习者的代码在哪个文件里。
    """

    lora_class: Any
    given: dict[str, Any]
    source_file: str


def prepare(subject: Any) -> Learner:
    """学习者的模块或类 → 要检查的东西。"""
    source_file = learner_file(subject)
    lora_class = getattr(subject, "LoRALinear", subject)
    if not (inspect.isclass(lora_class) and issubclass(lora_class, nn.Module)):
        return Learner(lora_class, {}, source_file)
    additions = {}
    if not hasattr(lora_class, "merge"):
        from lora_solution import LoRALinear

        additions["merge"] = LoRALinear.merge
    # torch.compile 编译一次要几十秒，结果与不编译的相同：检查没有编译的那个。
    if (plain := getattr(lora_class.forward, "_torchdynamo_orig_callable", None)) is not None:
        additions["forward"] = plain
    if additions:
        lora_class = type(lora_class.__name__, (lora_class,), additions)
    if not additions and all(callable(getattr(subject, name, None)) for name in _GIVEN):
        return Learner(lora_class, {name: getattr(subject, name) for name in _GIVEN}, source_file)
    return Learner(lora_class, _given_functions(lora_class), source_file)


def _given_functions(lora_class: type) -> dict[str, Any]:
    """给定的函数，换成用学习者的类。"""
    import lora_solution

    namespace = dict(vars(lora_solution)) | {"LoRALinear": lora_class}
    for name, value in vars(lora_solution).items():
        if isinstance(value, FunctionType) and value.__module__ == lora_solution.__name__:
            namespace[name] = FunctionType(value.__code__, namespace, name, value.__defaults__)
    return {name: namespace[name] for name in _GIVEN}
