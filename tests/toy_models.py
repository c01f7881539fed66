"""测试用的小模型：随机权重，几毫秒就能造好；结构与真实模型相同。"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CHATML_TOKENS = ["<|im_start|>", "<|im_end|>"]
TEXT = [
    "今天天气怎么样？今天天气晴朗。",
    "你好，我是小助手。system user assistant\n",
    "猫喜欢什么？猫喜欢鱼。",
    "法国的首都是巴黎。",
]


def toy_tokenizer(chatml: bool = True) -> PreTrainedTokenizerFast:
    """字节级 BPE 分词器；``chatml=False`` 时没有对话标记，也没有填充 token。"""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", *(CHATML_TOKENS if chatml else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    pad = {"pad_token": "<|endoftext|>"} if chatml else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", **pad)


def toy_model(family: str = "qwen3", vocab_size: int = 400, **changes: object) -> PreTrainedModel:
    """两层的随机模型。默认的 qwen3 是 4 个头、2 个 kv 头（GQA），head_dim 与 hidden_size / heads 不等，嵌入共用。"""
    torch.manual_seed(0)
    shape: dict = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,  # 比常用的 0.02 大：注意力才不是近乎均匀的，看错了位置才看得出来
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape | {"tie_word_embeddings": True} | changes))
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape | {"tie_word_embeddings": False} | changes))
    if family == "gemma3":
        return Gemma3ForCausalLM(
            Gemma3TextConfig(**shape | {"sliding_window": 4, "query_pre_attn_scalar": 12} | changes)
        )
    raise ValueError(family)


def save_toy(path: Path, family: str = "qwen3", chatml: bool = True) -> Path:
    """在 ``path`` 里存一个能用 ``from_pretrained`` 读的小模型。"""
    tokenizer = toy_tokenizer(chatml)
    toy_model(family, vocab_size=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
