"""``--target_modules`` 里的名字 → 给哪些层加 LoRA。"""

import difflib
from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetuning.errors import UserError
from finetuning.model import has_other_modalities

ALL_LINEAR = "all-linear"
_TAKES_LORA = (nn.Linear, Conv1D, nn.Embedding, nn.Conv1d, nn.Conv2d)  # GPT-2 的线性层是 Conv1D
# 状态空间模型（Mamba）的这两种层由融合的算子直接用权重来算，不经过 forward，PEFT 因此不给它们加 LoRA。
_MAMBA_MODELS = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}
_MAMBA_LAYERS = {"out_proj", "conv1d"}


def resolve(model: PreTrainedModel, wanted: Iterable[str]) -> str | list[str]:
    """``--target_modules`` → PEFT 的 ``target_modules``；每个名字都要有对应的层。

    Raises:
        UserError: 有一个名字没有对应的线性层，或不能与 all-linear 写在一起。
    """
    wanted = list(wanted)
    layers, default = lora_layers(model), _linear_layers(model)
    if wanted == [ALL_LINEAR]:
        return ALL_LINEAR if layers == default else layers
    if ALL_LINEAR in wanted and _has_experts(model):
        raise UserError(  # PEFT 自己的 all-linear 还包括各个专家的矩阵，它们不是线性层，写不进名单
            "混合专家的模型，all-linear 不能与别的层写在一起；请只写 all-linear，或一个个写出层的名字。"
        )
    targets: list[str] = []
    for name in wanted:
        if name == ALL_LINEAR:
            targets += layers
            continue
        matched = [each for each, _ in model.named_modules() if _matches(name, each)]
        used = [each for each in matched if _reads_text(model, each)]
        if not used or not all(isinstance(model.get_submodule(each), _TAKES_LORA) for each in used):
            names = lora_layer_names(model)
            close = difflib.get_close_matches(name, names, n=1)
            guess = f"（是不是 {close[0]}？）" if close else ""
            raise UserError(
                f"不能给 {name or '（空）'} 加 LoRA，没有叫这个名字的线性层{guess}；可选的层有 {' '.join(names)}。"
            )
        targets += [name] if used == matched else used
    return targets


def _has_experts(model: PreTrainedModel) -> bool:
    """有混合专家（mixture of experts）的层：各个专家的矩阵叠成一个三维的参数。"""
    return any(
        parameter.ndim == 3
        for layer in model.get_decoder().modules()
        if not isinstance(layer, nn.Conv1d)
        for parameter in layer.parameters(recurse=False)
    )


def _reads_text(model: PreTrainedModel, name: str) -> bool:
    """这一层在读写文字的那一部分里；只读写文字的模型，全都是。"""
    if not has_other_modalities(model):
        return True
    layer = model.get_submodule(name)
    return layer is model.get_output_embeddings() or any(layer is each for each in model.get_decoder().modules())


def _matches(name: str, full_name: str) -> bool:
    """与 PEFT 相同：名字是末尾的一段或几段。"""
    return full_name == name or full_name.endswith(f".{name}")


def lora_layers(model: PreTrainedModel) -> list[str]:
    """``all-linear`` 给哪些层加 LoRA，全名：读文字的那一部分里，输出层以外的线性层。

    PEFT 自己的 all-linear 也给看图的部分加，而文字用不到它；遇到 Mamba 的模型则整个失败。
    """
    names = _linear_layers(model)
    decoder = model.get_decoder()
    inside = {id(layer) for layer in decoder.modules()} if has_other_modalities(model) else None
    if inside:
        names = [name for name in names if id(model.get_submodule(name)) in inside]
    if model.config.model_type in _MAMBA_MODELS:
        names = [name for name in names if name.rsplit(".", 1)[-1] not in _MAMBA_LAYERS]
    return names


def _linear_layers(model: PreTrainedModel) -> list[str]:
    """PEFT 的 all-linear：输出层以外的线性层。"""
    output = model.get_output_embeddings()
    return [
        name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D) and layer is not output
    ]


def lora_layer_names(model: PreTrainedModel) -> list[str]:
    """能加 LoRA 的层的名字（末一段），如 ``q_proj``。"""
    return sorted({name.rsplit(".", 1)[-1] for name in lora_layers(model)})
