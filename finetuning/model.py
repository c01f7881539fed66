"""读入模型和分词器，备好对话要用的标记。适配器见 :mod:`finetuning.adapter`。

只读 safetensors，从不执行模型仓库里的代码（``trust_remote_code``）。
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import AddedToken, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from finetuning.chatml import CHATML_TOKENS, chat_template_for
from finetuning.device import avoid_cudnn_attention
from finetuning.errors import LOADING, UserError
from finetuning.terminal import stage

ADAPTER_CONFIG = "adapter_config.json"


class LoadedModel(NamedTuple):
    """模型、分词器，和原来的词表里没有、新添的 token 的 id（只训练一部分参数时，它们的嵌入也要训练）。"""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    new_token_ids: list[int]


def load_model(name_or_path: str, **options: Any) -> LoadedModel:
    """读入一个模型（目录，或 hub 上的名字），备好 ChatML。

    权重读成 fp32。检查点多是 bf16 的，但用 bf16 的权重训练，很小的更新会被舍入掉；省时间靠的是训练时的自动混合精度。

    Args:
        options: 原样交给 ``from_pretrained`` 的其他选项，如 QLoRA 的 ``quantization_config``。

    Raises:
        UserError: 目录不完整，只有 pickle 格式的权重，或连不上 hub。
    """
    avoid_cudnn_attention()
    with stage(f"{LOADING} {name_or_path}"), explained(name_or_path):
        check_directory(Path(name_or_path), "config.json", ("model.safetensors", "model.safetensors.index.json"))
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name_or_path,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # 形状不同的，由 _check_weights 来说
            **options,
        )
    model, loading_info = loaded
    _check_weights(name_or_path, loading_info)
    _check_tokenizer(name_or_path, model, tokenizer)
    _keep_gradients_on_cpu(model)
    new_token_ids = _add_chatml_tokens(model, tokenizer)
    _set_chat_defaults(model, tokenizer)
    return LoadedModel(model, tokenizer, new_token_ids)


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


def _add_chatml_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """分词器缺少 ChatML 的标记时添上；返回新添的 id。

    嵌入矩阵常常比词表大（凑成整数倍），有空行就用空行，没有才加行。新的行取所有行的平均值，这样开始时它既不突出也不冷僻。
    """
    vocabulary = tokenizer.get_vocab()
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in CHATML_TOKENS], True)
    new_tokens = [token for token in CHATML_TOKENS if token not in vocabulary]
    new_token_ids = [cast(int, tokenizer.convert_tokens_to_ids(token)) for token in new_tokens]
    if new_token_ids:
        embeddings: Any = model.get_input_embeddings()
        if len(tokenizer) > embeddings.weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            # 输入与输出的嵌入共用一个矩阵（tied）时，第二次写的是同样的值。
            for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
                embeddings.weight[new_token_ids] = embeddings.weight[: len(vocabulary)].mean(dim=0)
    return new_token_ids


def _set_chat_defaults(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """存下来以后，transformers.pipeline 之类的工具也用同样的模板、停在 ``<|im_end|>``。"""
    end = CHATML_TOKENS[1]
    # 填充用原来的结束标记；若用 <|im_end|> 填充，有的训练代码会把真正的 <|im_end|> 也当成填充而不学它。
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or end
    stop_ids = [tokenizer.convert_tokens_to_ids(end), tokenizer.eos_token_id]
    tokenizer.eos_token = end
    tokenizer.chat_template = chat_template_for(tokenizer)
    for config in (model.config.get_text_config(), model.generation_config):
        config.pad_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
    model.config.get_text_config().eos_token_id = stop_ids[0]
    model.generation_config.eos_token_id = [token for token in dict.fromkeys(stop_ids) if token is not None]


def check_directory(path: Path, config_name: str, weights_names: tuple[str, ...]) -> None:
    """本地目录里要有配置和 safetensors 格式的权重；不是目录的，留给 hub 去找。"""
    if not path.is_dir():
        if path.is_absolute() or path.exists() or str(path).startswith((".", "~")):
            raise UserError(f"找不到模型目录 {path}；请检查路径。")
        return
    if not (path / config_name).is_file():
        if (path / ADAPTER_CONFIG).is_file():
            raise UserError(
                f"{path} 是适配器，不是整个模型；接着训练它，请用 train_lora_solution.py；要在它的上面做全参数微调，"
                "请在训练它时加上 --merge_and_save，再用合并好的目录（其中的 merged）。"
            )
        raise UserError(f"{path} 不是模型目录：里面没有 {config_name}。")
    # 要看真正会去读的那个文件：目录里有别的 safetensors 时，库会退回去读 pickle 格式的权重。
    if not any((path / name).is_file() for name in weights_names):
        raise UserError(
            f"{path} 里没有 safetensors 格式的权重；不读 pickle 格式（.bin、.pt，打开就可能执行任意代码），请先转换。"
        )


def _check_weights(name_or_path: str, loading_info: dict[str, Any]) -> None:
    """权重文件里缺少的矩阵，transformers 用随机数补上，只警告一句；那样训练的就不是这个模型了。"""
    missing, mismatched = loading_info["missing_keys"], loading_info["mismatched_keys"]
    if missing or mismatched:
        problem = f"缺少 {min(missing)}" if missing else f"{min(mismatched)[0]} 的形状不同"
        raise UserError(
            f"{name_or_path} 的权重与 config.json 对不上（{problem}，共 {len(missing) + len(mismatched)} 个）；"
            "请检查它们是不是同一个模型的，或重新下载。"
        )


def _check_tokenizer(name_or_path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """目录里没有分词器文件时，transformers 给一个空的；别的模型的分词器，它也照收。"""
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:
        raise UserError(f"{name_or_path} 里没有分词器（tokenizer.json）；请把与模型一起发布的分词器文件也放进去。")
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    # 只比原来的词表：有的模型（如 Gemma 3）另添的 token 比嵌入多，但文字里用不到它们。
    if tokenizer.vocab_size > rows:
        raise UserError(
            f"{name_or_path} 的分词器有 {tokenizer.vocab_size} 个 token，模型的嵌入却只有 {rows} 行；"
            "请换成与模型一起发布的分词器。"
        )


@contextmanager
def explained(name_or_path: str) -> Iterator[None]:
    """把读模型时的各种异常变成一句话。"""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # 文件损坏、网络不通、结构不认识……类型取决于各个库，列不全
        first, *more = str(error).strip().splitlines() or [""]
        # 有的异常只有一个词（KeyError），有的第一行以冒号结尾，下一行才是原因。
        reason = f"{type(error).__name__}: {first} {more[0].strip() if first.endswith(':') and more else ''}".strip()
        if os.path.isdir(name_or_path):  # noqa: PTH112  太长的名字，Path.is_dir 会抛异常
            raise UserError(f"{name_or_path} 读不出来（{reason}）；请检查里面的文件是否完整，或重新下载。") from error
        raise UserError(
            f"读不到模型 {name_or_path}：当前目录（{Path.cwd()}）下没有它，也没能从 hub 得到它（{reason}）。"
            "连不上 hub 时，可以设环境变量 HF_ENDPOINT（例如 https://hf-mirror.com）改用镜像，或把模型下载下来，改写本地目录的路径。"
        ) from error
