"""TODO 1 用的几个分词器：自带的一个，和在代码里造的几个小的，各有一种真实的分词器会有的脾气。"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from self_check.data.light_tokenizer import LightTokenizer
from self_check.sandbox import SetupError

START, END = "<|im_start|>", "<|im_end|>"
_PREFIX = "\v"
_BASE_MODEL = Path(__file__).parents[2] / "base_model"


@dataclass(frozen=True)
class NamedTokenizer:
    """一个分词器和它的说明；``build()`` 每次造一个新的，学习者改了它也不影响下一个。"""

    description: str
    backend: Tokenizer
    special_tokens: dict[str, str]
    bos: list[int] = field(default_factory=list)  # 分词器自己会加在最前面的 id
    template_has_bos: bool = True  # 对话模板里写不写 BOS

    def build(self) -> LightTokenizer:
        template = (_BASE_MODEL / "chat_template.jinja").read_text(encoding="utf-8")
        if not self.template_has_bos:
            template = template.replace("{{- bos_token -}}\n", "")
        return LightTokenizer(Tokenizer.from_str(self.backend.to_str()), self.special_tokens, template)

    def encode(self, text: str) -> list[int]:
        """把文字当作普通文字编码：里面的 ``<|im_end|>`` 不会变成标记。"""
        self.backend.encode_special_tokens = True
        return self.backend.encode(text, add_special_tokens=False).ids

    def id(self, token: str) -> int:
        """一个标记的 id；也可以给它的用处，如 ``"pad_token"``。"""
        return _token_id(self.backend, self.special_tokens.get(token, token))


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
        special_tokens={name: config[name] for name in names},
        bos=[bos],
    )


@cache
def word_tokenizer() -> NamedTokenizer:
    """像 Qwen：一个 token 可以是一个词；没有 BOS；pad、eos 和 ``<|im_end|>`` 是同一个 token。"""
    words = ["assistant", "user", "system", "今天", "天气", "晴朗", "北京", "助手", "请", "你好", "hello", "Hello"]
    backend = _byte_level(words, [START, END])
    return NamedTokenizer(
        description="像 Qwen 的（一个词一个 token；没有 BOS；pad、eos 就是 <|im_end|>）",
        backend=backend,
        special_tokens={"eos_token": END, "pad_token": END},
    )


@cache
def byte_tokenizer() -> NamedTokenizer:
    """一个字节一个 token：一个汉字是三个 token，``assistant`` 是九个；自己会加 BOS，eos、pad 与它不同。"""
    backend = _byte_level([], ["<s>", "</s>", "<pad>", START, END])
    bos = _token_id(backend, "<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return NamedTokenizer(
        description="一个字节一个 token 的（一个汉字三个 token；自己会在最前面加 BOS）",
        backend=backend,
        special_tokens={"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        bos=[bos],
    )


@cache
def unadded_bos_tokenizer() -> NamedTokenizer:
    """像 GPT-2、SmolLM2：定义了 BOS，自己却从不加上它；也像 Qwen：两个换行是一个 token。"""
    backend = _byte_level(["assistant", "user", "system", "今天", "天气", "\n\n"], ["<|endoftext|>", START, END])
    return NamedTokenizer(
        description="像 GPT-2 的（定义了 BOS，但自己不加；两个换行是一个 token）",
        backend=backend,
        special_tokens=dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<|endoftext|>"),
        template_has_bos=False,
    )


@cache
def two_token_newline_tokenizer() -> NamedTokenizer:
    """像 Llama 2：每次编码，最前面都有一个 ▁。单独的一个换行因此是两个 token，三种角色头的第二个 token 也都相同。"""
    backend = _byte_level(["assistant", "user", "system", "今天", "天气"], ["</s>", "<pad>", START, END])
    backend.normalizer = normalizers.Prepend(_PREFIX)
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(_PREFIX, "")])
    return NamedTokenizer(
        description="像 Llama 2 的（每段文字前多一个 token，单独的换行是两个）",
        backend=backend,
        special_tokens={"eos_token": "</s>", "pad_token": "<pad>"},
        template_has_bos=False,
    )


TOKENIZERS = (base_tokenizer, word_tokenizer, byte_tokenizer, unadded_bos_tokenizer, two_token_newline_tokenizer)


def _token_id(backend: Tokenizer, token: str) -> int:
    index = backend.token_to_id(token)
    assert index is not None, token
    return index


def _byte_level(words: Iterable[str], special: Iterable[str]) -> Tokenizer:
    """字节级 BPE，词表里另有给出的词和标记：先把每个字的字节并成字，再把字并成词。"""
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
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return backend
