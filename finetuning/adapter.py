"""LoRA 等适配器：读入它和它的基座；新添一个，新添的标记要训练嵌入的哪几行。

给哪些层加 LoRA 见 :mod:`finetuning.targets`，合并见 :mod:`finetuning.merging`。
"""

import json
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from finetuning.bf16_base import autocast_of, shown_as_fp32
from finetuning.chatml import is_chatml_template
from finetuning.errors import UserError
from finetuning.model import LoadedModel, Template, embeddings_in_fp32, load_model
from finetuning.model_checks import ADAPTER_CONFIG, check_directory, explained
from finetuning.output.claim import finish_publishing
from finetuning.output.fingerprint import model_digest, read_record
from finetuning.targets import ALL_LINEAR, lora_layers, resolve
from finetuning.token_rows import train_few_rows

_ADAPTER_WEIGHTS = "adapter_model.safetensors"


def load_for_chat(name_or_path: str) -> LoadedModel:
    """读入任何能聊天的东西：:func:`load_model` 认的模型，或适配器连同它的基座。

    Raises:
        UserError: 同 :func:`load_model`；或者适配器的基座读不到。
    """
    if not is_adapter(name_or_path):
        return load_model(name_or_path, template="auto")
    base, tokenizer, _ = load_base_of(name_or_path)
    return LoadedModel(cast(PreTrainedModel, add_adapter(base, name_or_path)), tokenizer, [])


def is_adapter(name_or_path: str) -> bool:
    """是不是 LoRA 等适配器的目录。上一次的结果只放好了一半的，先放好。"""
    finish_publishing(Path(name_or_path))
    return os.path.isfile(Path(name_or_path, ADAPTER_CONFIG))  # noqa: PTH113  太长的名字，Path.is_file 会抛异常


def read_adapter_config(adapter: str) -> Any:
    """适配器的 PEFT 配置。

    Raises:
        UserError: 目录不完整，或配置坏了。
    """
    with explained(adapter):
        check_directory(Path(adapter), ADAPTER_CONFIG, (_ADAPTER_WEIGHTS,))
        if not isinstance(json.loads(Path(adapter, ADAPTER_CONFIG).read_text(encoding="utf-8")), dict):
            raise UserError(f"{Path(adapter, ADAPTER_CONFIG)} 应该是一个 JSON 对象；请重新下载，或重新训练这个适配器。")
        return PeftConfig.from_pretrained(adapter)


def load_base_of(adapter: str, template: Template | None = None, **options: Any) -> LoadedModel:
    """读入适配器的基座，对话的格式与训练它时相同。

    Args:
        template: 想要的对话格式；与训练时不同的拒绝。
        options: 同 :func:`load_model`。

    Raises:
        UserError: 适配器的目录不完整；基座读不到，或者已经不是训练时的那一个。
    """
    config = read_adapter_config(adapter)
    base_name = config.base_model_name_or_path
    with explained(adapter):
        if base_name is None:
            raise UserError(
                f"{Path(adapter, ADAPTER_CONFIG)} 里没有写基座（base_model_name_or_path）；"
                "请补上，或重新训练这个适配器。"
            )
        trained_on = read_record(Path(adapter)).get("base", {}).get("sha256")
        if trained_on and model_digest(base_name) not in (trained_on, None):
            raise UserError(
                f"适配器 {adapter} 的基座 {base_name} 的内容变了，已经不是训练时的那一个（例如后来又在那里训练过）；"
                "请找回原来的基座，或重新训练这个适配器。"
            )
        own = _template_of(adapter)
        if template not in (None, own):
            raise UserError(f"适配器 {adapter} 是用 --chat_template {own} 训练的，接着训练时不能换；请去掉它。")
        # 训练时一起存下的；别的程序存的适配器不一定有
        tokenizer_is_here = Path(adapter, "tokenizer_config.json").is_file()
        markers_of = adapter if tokenizer_is_here else None
        try:
            base = load_model(base_name, template=own, markers_of=markers_of, **options)
        except UserError as error:
            raise UserError(f"适配器 {adapter} 的基座不能用：{error}") from error
        if max(_trained_rows(config), default=0) >= cast(Any, base.model.get_input_embeddings()).weight.shape[0]:
            raise UserError(
                f"适配器 {adapter} 训练了新添的 token 的嵌入，它的目录里却没有说明是哪些 token 的分词器；"
                "请把训练时一起存下的 tokenizer.json、tokenizer_config.json 也放进去。"
            )
        return base


def _trained_rows(config: PeftConfig) -> set[int]:
    """适配器另外训练了嵌入的哪几行。"""
    rows = getattr(config, "trainable_token_indices", None) or []
    return {row for part in (rows.values() if isinstance(rows, dict) else [rows]) for row in part}


def _template_of(adapter: str) -> Template:
    """训练时用的是哪种对话格式：与适配器一起存下来的对话模板就是。"""
    path = Path(adapter, "chat_template.jinja")
    return "model" if path.is_file() and not is_chatml_template(path.read_text(encoding="utf-8")) else "chatml"


def add_adapter(base: PreTrainedModel, name_or_path: str, trainable: bool = False) -> PeftModel:
    """给基座装上存下来的适配器。

    Args:
        base: 适配器的基座；没有对话标记的，:func:`load_model` 已经添上，它们训练后的嵌入存在适配器里。
        trainable: 是不是要接着训练它。

    Raises:
        UserError: 与基座对不上，或读不出来。
    """
    base_name = str(base.name_or_path)
    config = read_adapter_config(name_or_path)
    if getattr(config, "trainable_token_indices", None):
        embeddings_in_fp32(base)
    with explained(name_or_path), shown_as_fp32(base):
        if trainable and config.is_prompt_learning:  # PEFT 读进来的前缀不让训练：新建一个，再把数抄进去
            config.inference_mode = False
            model = cast(PeftModel, get_peft_model(base, config))
            set_peft_model_state_dict(model, load_file(Path(name_or_path, _ADAPTER_WEIGHTS)))
            return model
        try:
            model = PeftModel.from_pretrained(base, name_or_path, is_trainable=trainable)
            # 名字对不上的，上一句不收也不说（或只警告）；再读一次，看有没有。
            missing, unexpected = model.load_adapter(name_or_path, "default", is_trainable=trainable)
        except (RuntimeError, ValueError) as error:  # 形状不同；基座里没有要添 LoRA 的层
            raise UserError(_other_base(name_or_path, base_name)) from error
        # 前缀不在任何一层里，PEFT 总把它报作 unexpected。
        if (missing or unexpected) and not model.active_peft_config.is_prompt_learning:
            raise UserError(_other_base(name_or_path, base_name))
        train_few_rows(model)
        if trainable:
            refuse_tied(model)
        return model


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """套了适配器的，取里面的基座。"""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def has_prefix(model: PreTrainedModel) -> bool:
    """套的是前缀（prefix tuning）这样的适配器：它在 KV 缓存里，不在任何一层里。"""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def embedding_rows(model: PreTrainedModel, token_ids: list[int]) -> dict[str, list[int]] | None:
    """PEFT 的 ``trainable_token_indices``：嵌入矩阵里要训练的行；没有就是 None。

    输出的嵌入（lm_head）若与输入的不是同一个矩阵，它的这几行也要训练，不然模型永远写不出新的 token。
    """
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    layers = [inputs] if outputs.weight is inputs.weight else [inputs, outputs]
    names = [
        name.rsplit(".", 1)[-1] for name, module in model.named_modules() if any(module is layer for layer in layers)
    ]
    return dict.fromkeys(names, token_ids) if token_ids else None


def new_adapter(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """冻结基座，照 PEFT 的配置添上要训练的参数。

    Args:
        config: ``target_modules`` 里的名字可以是 ``all-linear``，也可以是它和别的层一起。

    Raises:
        UserError: ``target_modules`` 里有一个名字没有对应的层，或它是与别处共用的矩阵；PEFT 不能给这个模型加。
    """
    if isinstance(config, LoraConfig):
        wanted = config.target_modules or ALL_LINEAR
        config.target_modules = resolve(model, [wanted] if isinstance(wanted, str) else sorted(wanted))
    attention = " ".join(sorted({name.rsplit(".", 1)[-1] for name in lora_layers(model) if "attn" in name}))
    try:
        with shown_as_fp32(model):
            adapted = cast(PeftModel, get_peft_model(model, config))
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        if "trainable_token_indices" in reason:
            raise UserError(
                "这个基座要训练新添的对话标记的嵌入，不能再给嵌入和输出层加 LoRA；请从 --target_modules 里去掉它们。"
            ) from error
        if "ParamWrapper" in reason:
            raise UserError(
                "这是混合专家的模型，要给每个专家的矩阵也加适配器，而 PEFT 在那里只会普通的 LoRA，"
                f"不支持 DoRA 和 lora_dropout（{reason.rstrip('.')}）；请用 --method lora、不加 --lora_dropout，"
                f"或用 --target_modules 只写出专家以外的层{f'（如 {attention}）' if attention else ''}。"
            ) from error
        raise UserError(
            f"PEFT 不能给这个模型加这样的适配器（{reason.rstrip('.')}）；请去掉它说的参数（如 --lora_dropout），"
            "用 --target_modules 写出几个线性层，或换一种 --method。"
        ) from error
    train_few_rows(adapted)
    refuse_tied(adapted)
    if config.is_prompt_learning and adapted.device.type != "meta":
        _try_prefix(adapted)
    return adapted


def _try_prefix(model: PeftModel) -> None:
    """前缀放在 KV 缓存里，有的模型的缓存是另一种样子：用几个 token 试一次，损失要能传到前缀。

    Raises:
        UserError: 走不通，或前缀不起作用。
    """
    base = base_of(cast(PreTrainedModel, model))
    tokens = torch.zeros((1, 8), dtype=torch.long, device=base.device)
    prefix = [parameter for parameter in model.parameters() if parameter.requires_grad]
    advice = "请用 --method lora，或换一个基座"
    try:
        with autocast_of(base):
            loss = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens).loss
        gradients = torch.autograd.grad(loss, prefix, allow_unused=True)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"PEFT 的前缀微调用不了这种模型（{reason.rstrip('.')}）；{advice}。") from error
    if not any(gradient is not None and gradient.any() for gradient in gradients):
        raise UserError(f"PEFT 的前缀微调对这种模型不起作用（它的缓存不收前缀）；{advice}。")


def refuse_tied(model: PeftModel) -> None:
    """输入与输出的嵌入是同一个矩阵（tied embeddings）时，LoRA 只能改动其中一处，合并以后却两处都变：是另一个模型。

    Raises:
        UserError: 给它加了 LoRA。
    """
    base = base_of(cast(PreTrainedModel, model))
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    if outputs is None or innermost(inputs).weight is not innermost(outputs).weight:
        return
    for name, layer in base.named_modules():
        if layer in (inputs, outputs) and isinstance(layer, LoraLayer):
            raise UserError(
                f"不能给 {name.rsplit('.', 1)[-1]} 加 LoRA：这个模型的输入与输出共用一个嵌入矩阵，"
                "LoRA 只改一处，合并时却两处都变，得到的是另一个模型；请从 --target_modules 里去掉它。"
            )


def innermost(layer: Any) -> Any:
    """PEFT 一层层包着的，最里面原来的那一层。问外面的要 weight，有的会把整个矩阵抄一份。"""
    while (inner := getattr(layer, "token_adapter", None) or getattr(layer, "base_layer", None)) is not None:
        layer = inner
    return layer


def trains_token_rows(model: PreTrainedModel) -> bool:
    """适配器里除了 LoRA，还有嵌入的几行。"""
    config = model.active_peft_config if isinstance(model, PeftModel) else None
    return bool(getattr(config, "trainable_token_indices", None))


def only_lora_that_adds_nothing(model: PreTrainedModel, changed: Collection[str]) -> bool:
    """变了的参数（``changed``，参数的名字）只是 LoRA 的，加到权重上又都舍入掉了：合并以后与基座一位不差。

    LoRA 的 B 从零开始，学习率再小（1e-30），B 也不是零了：看参数，它变了；模型没有变。
    """
    for name, layer in model.named_modules():
        if not any(each.startswith(f"{name}.lora_") for each in changed):
            continue
        if type(layer) is not LoraLinear:  # 4 bit 的、专家的矩阵，看不出
            return False
        weight = innermost(layer).weight
        for adapter in layer.active_adapters:
            delta = layer.get_delta_weight(adapter)
            if not torch.equal(weight + delta, weight.to(delta.dtype)):
                return False
    return all(".lora_A." in each or ".lora_B." in each for each in changed)


def adapted_layers(model: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """LoRA 加在了哪里：层的名字（末一段）→（几层，一共几个要训练的参数）。"""
    layers: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for full_name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            name = full_name.replace(".base_layer", "").rsplit(".", 1)[-1]  # 专家的矩阵一层套一层
            layers[name] += 1
            own = cast(nn.Module, layer).named_parameters()
            parameters[name] += sum(
                parameter.numel() for key, parameter in own if parameter.requires_grad and "base_layer" not in key
            )
    return {name: (count, parameters[name]) for name, count in layers.items()}


def adapted_experts(model: PreTrainedModel) -> int:
    """LoRA 也加在了混合专家的矩阵上的，每层有多少个专家；没有是 0。"""
    return max(
        (getattr(layer, "num_experts", 0) for layer in model.modules() if isinstance(layer, LoraLayer)), default=0
    )


def with_experts(experts: int) -> str:
    """LoRA 加在每个专家上要多花什么，一句话。"""
    return (
        f"每层 {experts} 个专家也各有一份 A、B：PEFT 每一步都把它们的改动展开成与专家的矩阵一样大的一份，费内存；"
        "只想给注意力加，请用 --target_modules 写出它的层"
    )


def _other_base(name_or_path: str, base_name: str) -> str:
    return f"适配器 {name_or_path} 与基座 {base_name} 对不上：它是为别的基座训练的，或文件不完整；请检查基座的路径。"
