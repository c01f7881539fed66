"""读入模型和分词器，备好对话要用的标记。适配器见 :mod:`finetuning.adapter`。

只读 safetensors，从不执行模型仓库里的代码（``trust_remote_code``）。
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from transformers import (
    AddedToken,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetuning.bf16_base import linears_in_bf16
from finetuning.chatml import CHATML_TOKENS, chat_template_for, is_chatml_template
from finetuning.device import avoid_cudnn_attention
from finetuning.errors import LOADING
from finetuning.model_checks import (
    check_has_tokenizer,
    check_tokenizer,
    check_weights,
    explained,
    is_local_directory,
    matrices_are_bf16,
    read_config,
)
from finetuning.output.fingerprint import RECORD_FILE
from finetuning.reserved_tokens import find_reserved, renamed
from finetuning.template import ModelTemplate
from finetuning.terminal import say, stage

# 只在采样（do_sample）时起作用的设置。
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")


Template = Literal["chatml", "model", "auto"]


class LoadedModel(NamedTuple):
    """模型、分词器，和原来的词表里没有、新添的 token 的 id（只训练一部分参数时，它们的嵌入也要训练）。"""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    new_token_ids: list[int]


def load_model(
    name_or_path: str,
    keep_bf16: bool = False,
    template: Template | None = None,
    markers_of: str | None = None,
    **options: Any,
) -> LoadedModel:
    """读入一个模型（目录，或 hub 上的名字），备好对话的格式。

    权重读成 fp32。检查点多是 bf16 的，但用 bf16 的权重训练，很小的更新会被舍入掉；省时间靠的是训练时的自动混合精度。

    Args:
        keep_bf16: 检查点是 bf16 的，线性层就照样读成 bf16；它们不训练，见 :mod:`finetuning.bf16_base`。
        template: 对话的格式：``"chatml"``；``"model"`` 是模型自己的对话模板；``"auto"`` 是它有自己的就用自己的；
            None 是 ChatML，这个项目训练出来的则是训练时的那一种。
        markers_of: 适配器的目录：模型自己没有对话标记的，照适配器带着的分词器，拿同样的 token 来当。
        options: 原样交给 ``from_pretrained`` 的其他选项，如 QLoRA 的 ``quantization_config``。

    Raises:
        UserError: 目录不完整，只有 pickle 格式的权重，不是读得了的种类，或连不上 hub。
    """
    avoid_cudnn_attention()
    with stage(f"{LOADING} {name_or_path}"), explained(name_or_path):
        config = read_config(name_or_path)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
        with linears_in_bf16(config) if keep_bf16 and matrices_are_bf16(name_or_path) else nullcontext():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name_or_path,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # 形状不同的，由 check_weights 来说
                **options,
            )
    model, loading_info = loaded
    check_weights(name_or_path, loading_info)
    check_tokenizer(name_or_path, model, tokenizer)
    _keep_gradients_on_cpu(model)
    freeze_other_modalities(model)
    new_token_ids: list[int] = []
    if _uses_own_template(name_or_path, tokenizer, template):
        _keep_own_template(model, tokenizer)
    else:
        tokenizer, new_token_ids = _add_chatml_tokens(model, tokenizer, markers_of)
        _set_chat_defaults(model, tokenizer)
    _mend_generation_config(name_or_path, model)
    return LoadedModel(model, tokenizer, new_token_ids)


def load_tokenizer(name_or_path: str, template: Template | None = None) -> PreTrainedTokenizerBase:
    """只读分词器，不读权重；备好对话的格式，编码出来的与 :func:`load_model` 的一样长（新添的标记，编号可能不同）。

    Raises:
        UserError: 没有分词器，用不了，或连不上 hub。
    """
    with stage(f"读入分词器 {name_or_path}"), explained(name_or_path):
        is_local_directory(Path(name_or_path))
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    check_has_tokenizer(name_or_path, tokenizer)
    if _uses_own_template(name_or_path, tokenizer, template):
        ModelTemplate(tokenizer)
    else:
        _add_markers(tokenizer)
        _set_tokenizer_defaults(tokenizer)
    return tokenizer


def _uses_own_template(name_or_path: str, tokenizer: PreTrainedTokenizerBase, template: Template | None) -> bool:
    """用模型自己的对话模板，不用 ChatML。"""
    has_own = bool(tokenizer.chat_template) and not is_chatml_template(tokenizer.chat_template)
    if template is not None:
        return template == "model" or (template == "auto" and has_own)
    directory = Path(name_or_path)
    # 这个项目训练出来的，与训练时一样；合并的，记录也在上一级。
    if has_own and any((place / RECORD_FILE).is_file() for place in (directory, directory.parent)):
        return True
    if has_own:
        say(f"{name_or_path} 有自己的对话模板；这里换成 ChatML，要保留它自己的，请加 --chat_template model。")
    return False


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """参数换成 ``dtype`` 的。缓冲区（旋转位置编码的频率等）不存盘，也不能舍入，所以不用 ``model.to(dtype)``。"""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def embeddings_in_fp32(model: PreTrainedModel) -> None:
    """输入、输出的嵌入换成 fp32 的：要改其中的几行。"""
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        cast_parameters(layer, torch.float32)


def fits_in(model: torch.nn.Module, dtype: torch.dtype) -> bool:
    """每个参数都在 ``dtype`` 能表示的范围之内；fp16 最大只到 65504。"""
    largest = torch.finfo(dtype).max
    return all(not parameter.numel() or parameter.abs().max().item() <= largest for parameter in model.parameters())


def has_other_modalities(model: PreTrainedModel) -> bool:
    """除了读写文字，还有看图、听声音的部分。"""
    return model.config.get_text_config() is not model.config


def freeze_other_modalities(model: PreTrainedModel) -> None:
    """看图、听声音的部分不训练：文字用不到它们，学不到什么，几张卡时还会出错（没有梯度的参数）。"""
    if has_other_modalities(model):
        model.requires_grad_(False)
        for part in (model.get_decoder(), model.get_output_embeddings()):
            part.requires_grad_(True)


def _mend_generation_config(name_or_path: str, model: PreTrainedModel) -> None:
    """很多公开的模型的 ``generation_config.json`` 自相矛盾（有 temperature，却没有打开采样）。

    transformers 读它时只警告，存它时却失败，那时已经训练完了。不起作用的设置去掉，回答不变。

    Raises:
        UserError: 去掉以后还是存不了。
    """
    config = model.generation_config
    if (problem := _problem_of(config)) is None:
        return
    if not config.do_sample:
        for name in _SAMPLING:
            setattr(config, name, None)
    if _problem_of(config) is not None:  # 别的矛盾：只留下停在哪里、用什么填充
        kept = {name: getattr(config, name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")}
        config = model.generation_config = GenerationConfig(**kept)
    say(f"{name_or_path} 的 generation_config.json 自相矛盾（{problem}），存的时候去掉其中不起作用的设置。")


def _problem_of(config: GenerationConfig) -> str | None:
    """存不了的原因；没有是 None。"""
    try:
        config.validate(strict=True)
    except ValueError as error:
        lines = [line.strip("- ") for line in str(error).splitlines() if line.startswith("-")]
        return (lines or str(error).splitlines())[0].split(" -- ")[0].split(". ")[0]
    return None


def max_positions(model: PreTrainedModel) -> int | None:
    """模型最多能看多少个 token；没有上限是 None。前缀（prefix tuning）也占位置。

    位置向量是学来的模型（GPT-2、OPT），再长就没有位置可用，会出错；旋转位置编码（RoPE）的模型不出错，只是没有学过那么远。
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    prefix = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", None) or 0
    return None if limit is None else limit - prefix


def _keep_gradients_on_cpu(model: PreTrainedModel) -> None:
    """不让 bitsandbytes 把 4 bit 的权重换成只供推理的排法；没有量化的模型不受影响。

    在有 AVX512-BF16 的 CPU 上，它在第一次推理时就换，换了以后再训练，梯度到这一层就断了，而且不报错（0.50 版）。
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _add_chatml_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, markers_of: str | None
) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """分词器缺少 ChatML 的标记时添上；返回分词器（可能是新的一个）和新添的 id。

    嵌入矩阵常常比词表大（凑成整数倍），有空行就用空行；没有，就给词表里留着没用的 token 改名
    （:mod:`finetuning.reserved_tokens`）；都没有，才给嵌入加行。训练过的适配器用的是哪几个，仍用哪几个。
    """
    missing = [token for token in CHATML_TOKENS if token not in tokenizer.get_vocab()]
    if missing and markers_of is not None:
        tokenizer = _with_markers_of(markers_of, tokenizer)
    elif missing and len(tokenizer) + len(missing) > _rows(model):
        reserved = find_reserved(tokenizer, model, len(missing))
        if len(reserved) == len(missing):
            tokenizer = renamed(tokenizer, dict(zip(reserved, missing, strict=True))) or tokenizer
    _add_markers(tokenizer)
    new_token_ids = [cast(int, tokenizer.convert_tokens_to_ids(token)) for token in missing]
    _start_rows(model, tokenizer, new_token_ids)
    return tokenizer, new_token_ids


def _with_markers_of(adapter: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """适配器带着的分词器，它有对话标记的话；停在哪里仍照基座的 ``tokenizer``。"""
    own = AutoTokenizer.from_pretrained(adapter, trust_remote_code=False)
    if not set(CHATML_TOKENS) <= own.get_vocab().keys():
        return tokenizer
    own.eos_token, own.name_or_path = tokenizer.eos_token, tokenizer.name_or_path
    return own


def _start_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> None:
    """新的 token 在嵌入里的行：没有的加上；从其余 token 的平均值开始，这样它既不突出也不冷僻。"""
    if not token_ids:
        return
    embeddings_in_fp32(model)
    if max(token_ids) >= _rows(model):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        # 输入与输出的嵌入共用一个矩阵（tied）时，第二次写的是同样的值。
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
            weight = cast(Any, embeddings).weight
            weight[token_ids] = 0
            others = min(len(tokenizer), len(weight)) - len(token_ids)
            weight[token_ids] = weight[: len(tokenizer)].sum(dim=0) / others


def _rows(model: PreTrainedModel) -> int:
    return cast(Any, model.get_input_embeddings()).weight.shape[0]


def _add_markers(tokenizer: PreTrainedTokenizerBase) -> None:
    """ChatML 的标记在分词器里是特殊 token，没有就添上。"""
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in CHATML_TOKENS], True)


def _keep_own_template(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """模板、分词器都是模型自己的；生成时停在模板的结束标记：有的基座的 ``generation_config`` 里没有写它。

    Raises:
        UserError: 没有模板，或用不了。
    """
    ends = ModelTemplate(tokenizer).end_ids
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(min(ends))
    config = model.generation_config
    own = config.eos_token_id
    stop_ids = [*([] if own is None else [own] if isinstance(own, int) else own), *sorted(ends)]
    config.eos_token_id = list(dict.fromkeys(stop_ids))
    config.pad_token_id = tokenizer.pad_token_id


def _set_chat_defaults(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """存下来以后，transformers.pipeline 之类的工具也用同样的模板、停在 ``<|im_end|>``。"""
    stop_ids = [tokenizer.convert_tokens_to_ids(CHATML_TOKENS[1]), tokenizer.eos_token_id]
    _set_tokenizer_defaults(tokenizer)
    for config in (model.config.get_text_config(), model.generation_config):
        config.pad_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
    model.config.get_text_config().eos_token_id = stop_ids[0]
    model.generation_config.eos_token_id = [token for token in dict.fromkeys(stop_ids) if token is not None]


def _set_tokenizer_defaults(tokenizer: PreTrainedTokenizerBase) -> None:
    end = CHATML_TOKENS[1]
    # 填充用原来的结束标记；若用 <|im_end|> 填充，有的训练代码会把真正的 <|im_end|> 也当成填充而不学它。
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or end
    tokenizer.eos_token = end
    tokenizer.chat_template = chat_template_for(tokenizer)
