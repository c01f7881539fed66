"""冻结的基座：线性层的权重从读入到最后都是 bf16 的，每个参数 2 字节，任何时候都不必先占 4 字节。

只在训练和检验都用 bf16 自动混合精度（autocast）时这样做，那就是支持 bf16 的显卡：autocast 的矩阵乘法反正要把 fp32 的
权重转成 bf16，而检查点里存的本来就是 bf16，转来转去是同样的数，所以算出来一位也不差。其余的（嵌入、归一化层、偏置、
专家的矩阵、与嵌入共用的输出层）不只用在矩阵乘法里，仍读成 fp32。CPU 上的小模型检验用 fp32，所以先读成 fp32，只在
训练期间换成 bf16，大的检验时也换（见 :mod:`finetuning.shortcuts.frozen`）。
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import PretrainedConfig, PreTrainedModel


def can_stay_bf16(
    adapter: PeftConfig, training: torch.dtype | None, evaluation: torch.dtype | None, sharded: bool = False
) -> bool:
    """添这样的适配器时，基座的线性层能不能一直是 bf16 的。

    Args:
        training, evaluation: 训练、检验各用哪种自动混合精度；None 是不用。
        sharded: 权重切分在几张卡上（FSDP、DeepSpeed）：精度由它们来管。
    """
    return training == evaluation == torch.bfloat16 and not sharded and _only_multiplies(adapter)


def _only_multiplies(adapter: PeftConfig) -> bool:
    """冻结的权重只用来做矩阵乘法：DoRA 要算它的长度，PiSSA 等要分解它，``modules_to_save`` 要抄一份来训练。"""
    if adapter.is_prompt_learning:
        return True
    return (
        isinstance(adapter, LoraConfig)
        and not adapter.use_dora
        and not adapter.modules_to_save
        and adapter.init_lora_weights in (True, False, "gaussian")
    )


@contextmanager
def linears_in_bf16(config: PretrainedConfig) -> Iterator[None]:
    """``with`` 之内用 ``from_pretrained`` 读入的模型，线性层的权重是 bf16 的，其余照旧。

    它先在 meta 设备上造模型，再把检查点里的每个张量读成造好的那个参数的类型；所以造的时候定好类型就行。
    不用 ``dtype="auto"``：那样造出来的缓冲区（如 Gemma 嵌入要乘的系数）也舍入成了 bf16。
    """
    text = config.get_text_config()
    tied = config.tie_word_embeddings or text.tie_word_embeddings

    def in_bf16(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if not isinstance(module, nn.Linear) or name != "weight" or parameter is None or not parameter.is_meta:
            return None
        if tied and module.out_features == text.vocab_size:
            return None
        return nn.Parameter(parameter.to(torch.bfloat16))

    hook = register_module_parameter_registration_hook(cast(Any, in_bf16))
    try:
        yield
    finally:
        hook.remove()


def bf16_linears(model: nn.Module) -> list[nn.Linear]:
    """权重是 bf16 的线性层。"""
    return [
        module for module in model.modules() if isinstance(module, nn.Linear) and module.weight.dtype == torch.bfloat16
    ]


def autocast_of(model: PreTrainedModel) -> torch.autocast:
    """线性层是 bf16 的模型，要在 bf16 自动混合精度里算；其余的不用。"""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=bool(bf16_linears(model)))


@contextmanager
def shown_as_fp32(model: nn.Module) -> Iterator[None]:
    """``with`` 之内，bf16 的权重看上去是 fp32 的，形状相同，没有数；之后恢复原样。

    PEFT 照权重的类型来造 A、B：照 bf16 造，随机的初值就舍入过了，再转回 fp32 也不是原来的数。
    """
    linears = bf16_linears(model)
    weights = [linear.weight.data for linear in linears]
    for linear in linears:
        linear.weight.data = torch.zeros((), device=linear.weight.device).expand(linear.weight.shape)
    try:
        yield
    finally:
        for linear, weight in zip(linears, weights, strict=True):
            linear.weight.data = weight
