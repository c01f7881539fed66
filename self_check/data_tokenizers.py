"""TODO 1 用的几个分词器：自带的一个，和在代码里造的几个小的，各有一种真实的分词器会有的脾气。"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from self_check.sandbox import SetupError
from self_check.tokenizer import LightTokenizer

START, END = "<|im_start|>", "<|im_end|>"
_PREFIX = "\v"
_BASE_MODEL = Path(__file__).parents[1] / "base_model"


@dataclass(frozen=True)
class NamedTokenizer:
    """一个分词器和它的说明；``build()`` 每次造一个新的，学习者改了它也不影响下一个。"""

    description: str
    backend: Tokenizer
    special_tokens: tuple[tuple[str, str], ...]
    chat_template: str
    bos: tuple[int, ...]  # 分词器自己会加在最前面的 id

    def build(self) -> LightTokenizer:
        backend = Tokenizer.from_str(self.backend.to_str())
        return LightTokenizer(backend, dict(self.special_tokens), self.chat_template)

    def encode(self, text: str) -> list[int]:
        """把文字当作普通文字编码：里面的 ``<|im_end|>`` 不会变成标记。"""
        self.backend.encode_special_tokens = True
        return self.backend.encode(text, add_special_tokens=False).ids

    def id(self, token: str) -> int:
        return _token_id(self.backend, token)


@cache
def base_tokenizer() -> NamedTokenizer:
    """项目自带的分词器。

    Raises:
        SetupError: 项目不完整，没有 ``base_model``。
    """
    if not (_BASE_MODEL / "tokenizer.json").is_file():
        raise SetupError(f"找不到自带的分词器 {_BASE_MODEL / 'tokenizer.json'}，项目不完整；请重新下载整个项目。")
    backend = Tokenizer.from_file(str(_BASE_MODEL / "tokenizer.json"))
    config = json.loads((_BASE_MODEL / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = ("bos_token", "eos_token", "pad_token")
    bos = _token_id(backend, config["bos_token"])
    return NamedTokenizer(
        description="项目自带的 base_model（一个汉字一个 token；自己会在最前面加 BOS）",
        backend=backend,
        special_tokens=tuple((name, config[name]) for name in names),
        chat_template=_chat_template(),
        bos=(bos,),
    )


@cache
def word_tokenizer() -> NamedTokenizer:
    """像 Qwen：一个 token 可以是一个词；没有 BOS；pad、eos 和 ``<|im_end|>`` 是同一个 token。"""
    words = ["assistant", "user", "system", "今天", "天气", "晴朗", "北京", "助手", "请", "你好", "hello", "Hello"]
    backend = _byte_level(words)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (START, END)])
    return NamedTokenizer(
        description="像 Qwen 的（一个词一个 token；没有 BOS；pad、eos 就是 <|im_end|>）",
        backend=backend,
        special_tokens=(("eos_token", END), ("pad_token", END)),
        chat_template=_chat_template(),
        bos=(),
    )


@cache
def byte_tokenizer() -> NamedTokenizer:
    """一个字节一个 token：一个汉字是三个 token，``assistant`` 是九个；自己会加 BOS，eos、pad 与它不同。"""
    backend = _byte_level([])
    special = ("<s>", "</s>", "<pad>", START, END)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    bos = _token_id(backend, "<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return NamedTokenizer(
        description="一个字节一个 token 的（一个汉字三个 token；自己会在最前面加 BOS）",
        backend=backend,
        special_tokens=(("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")),
        chat_template=_chat_template(),
        bos=(bos,),
    )


@cache
def unadded_bos_tokenizer() -> NamedTokenizer:
    """像 GPT-2、SmolLM2：定义了 BOS，自己却从不加上它；也像 Qwen：两个换行是一个 token。"""
    backend = _byte_level(["assistant", "user", "system", "今天", "天气", "\n\n"])
    special = ("<|endoftext|>", START, END)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    names = ("bos_token", "eos_token", "pad_token")
    return NamedTokenizer(
        description="像 GPT-2 的（定义了 BOS，但自己不加；两个换行是一个 token）",
        backend=backend,
        special_tokens=tuple((name, "<|endoftext|>") for name in names),
        chat_template=_chat_template(adds_bos=False),
        bos=(),
    )


@cache
def two_token_newline_tokenizer() -> NamedTokenizer:
    """像 Llama 2：每次编码，最前面都有一个 ▁。单独的一个换行因此是两个 token，三种角色头的第二个 token 也都相同。"""
    backend = _byte_level(["assistant", "user", "system", "今天", "天气"])
    backend.normalizer = normalizers.Prepend(_PREFIX)
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(_PREFIX, "")])
    special = ("</s>", "<pad>", START, END)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return NamedTokenizer(
        description="像 Llama 2 的（每段文字前多一个 token，单独的换行是两个）",
        backend=backend,
        special_tokens=(("eos_token", "</s>"), ("pad_token", "<pad>")),
        chat_template=_chat_template(adds_bos=False),
        bos=(),
    )


def _token_id(backend: Tokenizer, token: str) -> int:
    index = backend.token_to_id(token)
    assert index is not None, token
    return index


def _chat_template(adds_bos: bool = True) -> str:
    """自带的模板；分词器自己不加 BOS 的，模板里也不写。"""
    template = (_BASE_MODEL / "chat_template.jinja").read_text(encoding="utf-8")
    return template if adds_bos else template.replace("{{- bos_token -}}\n", "")


def _byte_level(words: Iterable[str]) -> Tokenizer:
    """字节级 BPE，词表里另有给出的词：先把每个字的字节并成字，再把字并成词。"""
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocab = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: dict[tuple[str, str], None] = {}

    def merge(symbols: list[str]) -> str:
        whole = symbols[0]
        for symbol in symbols[1:]:
            merges.setdefault((whole, symbol))
            whole += symbol
            vocab.setdefault(whole, len(vocab))
        return whole

    for word in words:
        merge([merge(list(pre_tokenizer.pre_tokenize_str(char)[0][0])) for char in word])
    backend = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    return backend
