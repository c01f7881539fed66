"""模型读不读得：目录里缺什么，是不是读得了的种类；读不出来时，真正的原因和怎么办。"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetuning.errors import UserError
from finetuning.terminal import how_to_add, launcher, say

ADAPTER_CONFIG = "adapter_config.json"


def is_local_directory(path: Path) -> bool:
    """是本地目录；不是的，留给 hub 去找。

    Raises:
        UserError: 写的是本地的路径，却没有这个目录。
    """
    if path.is_dir():
        return True
    if path.is_absolute() or path.exists() or str(path).startswith((".", "~")):
        raise UserError(f"找不到模型目录 {path}；请检查路径。")
    return False


def check_directory(path: Path, config_name: str, weights_names: tuple[str, ...]) -> None:
    """本地目录里要有配置和 safetensors 格式的权重；不是目录的，留给 hub 去找。"""
    if not is_local_directory(path):
        return
    if not (path / config_name).is_file():
        if (path / ADAPTER_CONFIG).is_file():
            raise UserError(
                f"{path} 是适配器，不是整个模型；接着训练它，请用 train_lora_solution.py；要在它的上面做全参数微调，"
                f"请先合并（{launcher()} merge.py {path}），再用合并好的目录。"
            )
        raise UserError(f"{path} 不是模型目录：里面没有 {config_name}。")
    # 要看真正会去读的那个文件：目录里有别的 safetensors 时，库会退回去读 pickle 格式的权重。
    if not any((path / name).is_file() for name in weights_names):
        raise UserError(
            f"{path} 里没有 safetensors 格式的权重；不读 pickle 格式（.bin、.pt，打开就可能执行任意代码），请先转换。"
        )


def check_weights(name_or_path: str, loading_info: dict[str, Any]) -> None:
    """权重文件里缺少的矩阵，transformers 用随机数补上，只警告一句；那样训练的就不是这个模型了。"""
    missing, mismatched = loading_info["missing_keys"], loading_info["mismatched_keys"]
    if missing or mismatched:
        problem = f"缺少 {min(missing)}" if missing else f"{min(mismatched)[0]} 的形状不同"
        raise UserError(
            f"{name_or_path} 的权重与 config.json 对不上（{problem}，共 {len(missing) + len(mismatched)} 个）；"
            "请检查它们是不是同一个模型的，或重新下载。"
        )
    if unused := loading_info["unexpected_keys"]:
        say(f"{name_or_path} 的权重里有 {len(unused)} 个矩阵，config.json 说的结构用不到（{min(unused)} 等），没有读。")


def check_has_tokenizer(name_or_path: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """目录里没有分词器文件时，transformers 给一个空的。"""
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:
        raise UserError(f"{name_or_path} 里没有分词器（tokenizer.json）；请把与模型一起发布的分词器文件也放进去。")


def check_tokenizer(name_or_path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """有分词器，而且是这个模型的：别的模型的分词器，transformers 也照收。"""
    check_has_tokenizer(name_or_path, tokenizer)
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    # 只比原来的词表：有的模型（如 Gemma 3）另添的 token 比嵌入多，但文字里用不到它们。
    if tokenizer.vocab_size > rows:
        raise UserError(
            f"{name_or_path} 的分词器有 {tokenizer.vocab_size} 个 token，模型的嵌入却只有 {rows} 行；"
            "请换成与模型一起发布的分词器。"
        )


def check_supported(name_or_path: str, config: PretrainedConfig) -> None:
    """结构和量化的办法是不是这里读得了的；只看配置，不下载权重。

    Raises:
        UserError: 不是因果语言模型，或用 bitsandbytes 以外的办法量化的。
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        parts = config.sub_configs.keys() & {"vision_config", "audio_config"}
        kind = "看图或听声音的模型" if parts else "不是因果语言模型（causal LM）"
        raise UserError(
            f"{name_or_path} 是 {config.model_type}，{kind}，不能这样微调；"
            "请换成只读写文字的、一个 token 接一个 token 往下写的模型，例如 Qwen/Qwen3-0.6B-Base。"
        )
    method = quantization_of(config)
    if method not in (None, "bitsandbytes"):
        raise UserError(
            f"{name_or_path} 的权重是用 {method} 量化过的，只供推理，这里训练不了；请换成没有量化的原版，"
            "显存不够就用 --method qlora（读入时再量化成 4 bit）。"
        )
    if method and find_spec("bitsandbytes") is None:
        raise UserError(
            f"{name_or_path} 的权重是用 bitsandbytes 量化过的，读它要这个库，现在没有装；"
            f"{how_to_add('bitsandbytes', '--extra qlora')}，或换成没有量化的原版。"
        )


def quantization_of(config: PretrainedConfig) -> str | None:
    """检查点里的权重是用哪种办法量化过的，如 ``"gptq"``；没有量化是 None。"""
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return None
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    return str(settings.get("quant_method"))


def read_config(name_or_path: str) -> PretrainedConfig:
    """检查点自己的配置：权重的类型（``dtype``）、量化，都还是发布时的样子。

    Raises:
        UserError: 读不到，目录不完整，或不是这里读得了的种类。
    """
    with explained(name_or_path):
        check_directory(Path(name_or_path), "config.json", ("model.safetensors", "model.safetensors.index.json"))
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    check_supported(name_or_path, config)
    return config


def positions_of(name_or_path: str) -> int | None:
    """模型最多能看多少个 token；没有上限，或读不到配置，是 None。"""
    try:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError):
        return None
    return cast(int | None, getattr(config.get_text_config(), "max_position_embeddings", None))


def saved_dtype(name_or_path: str, wanted: str) -> torch.dtype | None:
    """整个模型存成哪种精度。

    Args:
        name_or_path: 基座。
        wanted: ``--save_dtype``；``auto`` 与基座的检查点相同。
    """
    if wanted != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
    if (dtype := _stored_dtype(Path(name_or_path))) is not None:
        return dtype
    config = read_config(name_or_path)
    return cast(torch.dtype | None, config.dtype or config.get_text_config().dtype)


def matrices_are_bf16(name_or_path: str) -> bool:
    """权重里的矩阵全都存成 bf16；hub 上的模型，先下载好权重。"""
    directory = Path(name_or_path)
    if not directory.is_dir():
        directory = Path(snapshot_download(name_or_path, allow_patterns=["model*.safetensors*"]))
    matrices = [dtype for dtype, dimensions in _stored_tensors(directory) if dimensions > 1]
    return bool(matrices) and set(matrices) == {"BF16"}


def _stored_tensors(directory: Path) -> Iterator[tuple[str, int]]:
    """本地的权重里每个张量的类型和维数，只读文件头；config.json 里写的不一定对。"""
    for path in directory.glob("model*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  不是字典
                tensor = file.get_slice(name)
                yield tensor.get_dtype(), len(tensor.get_shape())


def _stored_dtype(directory: Path) -> torch.dtype | None:
    """本地的权重大多存成哪种类型；hub 上的是 None。"""
    stored = Counter(dtype for dtype, _ in _stored_tensors(directory))
    names = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    return names.get(stored.most_common(1)[0][0]) if stored else None


def refuse_quantized(name_or_path: str, doing: str) -> None:
    """检查点已经量化过的，不能做 ``doing``；训练之前就说。

    Raises:
        UserError: 它已经量化过。
    """
    if quantization_of(read_config(name_or_path)):
        raise UserError(
            f"{name_or_path} 的权重已经量化成 4 bit，不能{doing}；请换成没有量化的原版，"
            "或用 train_lora_solution.py --method qlora，不合并。"
        )


@contextmanager
def explained(name_or_path: str) -> Iterator[None]:
    """把读模型时的各种异常变成一句话。"""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # 文件损坏、网络不通、结构不认识……类型取决于各个库，列不全
        if reason := _known_reason(name_or_path, error):
            raise UserError(f"{name_or_path} 读不出来：{reason}。") from error
        first, *more = str(error).strip().splitlines() or [""]
        # 有的异常只有一个词（KeyError），有的第一行以冒号结尾，下一行才是原因。
        reason = f"{type(error).__name__}: {first} {more[0].strip() if first.endswith(':') and more else ''}".strip()
        if os.path.isdir(name_or_path):  # noqa: PTH112  太长的名字，Path.is_dir 会抛异常
            raise UserError(f"{name_or_path} 读不出来（{reason}）；请检查里面的文件是否完整，或重新下载。") from error
        raise UserError(
            f"读不到模型 {name_or_path}：当前目录（{Path.cwd()}）下没有它，也没能从 hub 得到它（{reason}）。"
            "连不上 hub 时，可以设环境变量 HF_ENDPOINT（例如 https://hf-mirror.com）改用镜像，或把模型下载下来，改写本地目录的路径。"
        ) from error


def _known_reason(name_or_path: str, error: Exception) -> str | None:
    """库的报错说的不是真正的原因，或没有说怎么办的几种。"""
    text = str(error)
    if "custom code" in text or "trust_remote_code" in text:
        return (
            "它要执行模型仓库里自带的代码（custom code），这里从不执行别人的代码；"
            "请换成 transformers 自带结构的模型（同一个模型常有转换好的版本，名字里带 hf）"
        )
    if "tiktoken" in text or "SentencePiece" in text:  # 没有 sentencepiece 时，transformers 退回去找 tiktoken
        local = os.path.isdir(name_or_path)  # noqa: PTH112  太长的名字，Path.is_dir 会抛异常
        if local and not Path(name_or_path, "tokenizer.model").is_file():
            return "里面没有分词器（tokenizer.json）；请把与模型一起发布的分词器文件也放进去"
        return (
            "它的分词器只有 tokenizer.model（SentencePiece 格式），没有 tokenizer.json；请把带 tokenizer.json 的"
            "分词器文件也放进去；没有的，"
            f"{how_to_add('sentencepiece protobuf', '--with sentencepiece --with protobuf')}"
        )
    if isinstance(error, ImportError):
        return f"读它要另外的库（{text.strip().splitlines()[0]}）；{how_to_add('这个库的名字', '--with 这个库的名字')}"
    return None
