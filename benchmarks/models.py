"""测量用的模型：自带的基座；形状与真实模型相同、权重随机的模型（不用下载）；或任何一个真实的模型。"""

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

EMBEDDED = "base_model"


class PlainConfig(Qwen3Config):
    """:class:`PlainModel` 的配置。"""

    model_type = "plain_qwen3"


class PlainModel(Qwen3ForCausalLM):
    """forward 没有 ``logits_to_keep`` 的模型，像 xLSTM 那样；其余与 Qwen3 相同。"""

    config_class = PlainConfig

    def forward(
        self, input_ids: Any, attention_mask: Any = None, labels: Any = None, use_cache: Any = None, **kwargs: Any
    ) -> Any:
        """见 :class:`transformers.Qwen3ForCausalLM`。"""
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, use_cache=use_cache, **kwargs
        )


AutoModelForCausalLM.register(PlainConfig, PlainModel)


def _qwen3(hidden_size: int, layers: int, heads: int, kv_heads: int, head_dim: int, ffn: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=151_936,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=ffn,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
    )


# 形状取自各个模型在 hub 上的 config.json；qwen3-100m 是按同样的结构缩小的，词表仍是真实的 151,936 个。
SHAPES: dict[str, PretrainedConfig] = {
    "smollm2-135m": LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "qwen3-100m": _qwen3(512, 8, 8, 4, 64, 1536),
    "qwen3-0.6b": _qwen3(1024, 28, 16, 8, 128, 3072),
    "qwen3-1.7b": _qwen3(2048, 28, 16, 8, 128, 6144),
}


def config(name: str, **changes: Any) -> PretrainedConfig:
    """``SHAPES`` 里的一份配置，改动几项。"""
    shape = SHAPES[name]
    settings = shape.to_dict() | changes
    settings.pop("layer_types", None)  # 由层数得出
    return type(shape)(**settings)


def load(name: str, device: str = "cpu", **changes: Any) -> PreTrainedModel:
    """``SHAPES`` 里的名字给随机权重的模型，种子固定；其余的当作模型目录或 hub 上的名字。权重都是 fp32。

    Args:
        changes: 要改的形状，如 ``vocab_size=8192``；只用于 ``SHAPES`` 里的。
    """
    if name not in SHAPES:
        model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        return model.to(device)
    torch.manual_seed(0)
    # 公开的模型大多以 bf16 发布，读入以后再转成 fp32；随机的权重也舍入到 bf16。
    with torch.device(device):  # 显卡上造得快：十七亿个随机数，CPU 上要几十秒
        return AutoModelForCausalLM.from_config(config(name, **changes), dtype=torch.bfloat16).float()


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """随机权重的模型没有自己的分词器，训练又只用得着它的填充 token，就用自带基座的。"""
    return AutoTokenizer.from_pretrained(EMBEDDED if name in SHAPES else name)
