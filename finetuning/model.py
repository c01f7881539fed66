"""读入模型和分词器，备好对话要用的标记。

两种目录都认：整个模型（``config.json``），LoRA 等适配器（``adapter_config.json``）。
只读 safetensors，从不执行模型仓库里的代码（``trust_remote_code``）。
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import AddedToken, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from finetuning.chatml import CHATML_TOKENS, chat_template_for
from finetuning.errors import UserError


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
    with _explained(name_or_path):
        _check_directory(Path(name_or_path), "config.json")
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            name_or_path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **options
        )
    _keep_gradients_on_cpu(model)
    new_token_ids = _add_chatml_tokens(model, tokenizer)
    _set_chat_defaults(model, tokenizer)
    return LoadedModel(model, tokenizer, new_token_ids)


def load_for_chat(name_or_path: str) -> LoadedModel:
    """读入任何能聊天的东西：:func:`load_model` 认的模型，或适配器连同它的基座。

    Raises:
        UserError: 同 :func:`load_model`；或者适配器的基座读不到。
    """
    config_file = Path(name_or_path, "adapter_config.json")
    if not config_file.is_file():
        return load_model(name_or_path)

    from peft import PeftModel

    with _explained(name_or_path):
        _check_directory(Path(name_or_path), "adapter_config.json")
        base_name = json.loads(config_file.read_text("utf-8"))["base_model_name_or_path"]
        base, tokenizer, _ = load_model(base_name)
        # 添过标记的基座，在这里添上了同样的标记；它们训练后的嵌入存在适配器里。
        return LoadedModel(cast(PreTrainedModel, PeftModel.from_pretrained(base, name_or_path)), tokenizer, [])


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


def _check_directory(path: Path, config_name: str) -> None:
    """本地目录里要有配置和 safetensors 格式的权重；不是目录的，留给 hub 去找。"""
    if not path.is_dir():
        if path.is_absolute() or path.exists() or str(path).startswith((".", "~")):
            raise UserError(f"找不到模型目录 {path}；请检查路径。")
        return
    if not (path / config_name).is_file():
        raise UserError(f"{path} 不是模型目录：里面没有 {config_name}。")
    if not list(path.glob("*.safetensors")):
        raise UserError(
            f"{path} 里没有 safetensors 格式的权重；不读 pickle 格式（.bin、.pt，打开就可能执行任意代码），请先转换。"
        )


@contextmanager
def _explained(name_or_path: str) -> Iterator[None]:
    """把读模型时的各种异常变成一句话。"""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # 文件损坏、网络不通、结构不认识……类型取决于各个库，列不全
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if Path(name_or_path).is_dir():
            raise UserError(f"{name_or_path} 读不出来：{reason}") from error
        raise UserError(
            f"读不到模型 {name_or_path}：当前目录（{Path.cwd()}）下没有它，也没能从 hub 得到它（{reason}）。"
            "连不上 hub 时，可以设环境变量 HF_ENDPOINT（例如 https://hf-mirror.com）改用镜像，或把模型下载下来，改写本地目录的路径。"
        ) from error
