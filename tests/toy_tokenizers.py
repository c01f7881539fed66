"""在代码里造的几个极小的分词器，各有一种真实分词器的脾气。"""

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from finetuning.chatml import CHATML_TOKENS, chat_template_for

_CORPUS = [
    "你是一个有帮助的助手。今天天气怎么样？今天天气晴朗，适合出游。",
    "system\nuser\nassistant\n",
    "Hello, world! What is 12 + 34?\n\n12 + 34 = 46.\n    indented code\n",
] * 4


@cache
def _byte_level_json() -> str:
    """训练一次，各个分词器都从它复制。"""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    return backend.to_str()


def byte_level() -> PreTrainedTokenizerFast:
    """没有 ChatML 标记，也没有 unk：查不到的 token 得到 None（像 GPT-2）。"""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_level_json()), eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def with_unk() -> PreTrainedTokenizerFast:
    """没有 ChatML 标记，有 unk：查不到的 token 得到 unk 的 id（像 Gemma）。"""
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"unk_token": "<unk>"})
    return tokenizer


def with_plain_markers() -> PreTrainedTokenizerFast:
    """有 ChatML 标记，但不是特殊 token：``split_special_tokens`` 拆不开它们。"""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken(token, special=False) for token in CHATML_TOKENS])
    return tokenizer


def add_chatml(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens(list(CHATML_TOKENS), special_tokens=True)
    tokenizer.chat_template = chat_template_for(tokenizer)
    return tokenizer


def chatml() -> PreTrainedTokenizerFast:
    """最普通的一种：字节级 BPE 加上 ChatML 标记（像 Qwen）。"""
    return add_chatml(byte_level())


def chatml_with_bos() -> PreTrainedTokenizerFast:
    """编码时自己在最前面加 BOS（像 Gemma）。"""
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return add_chatml(tokenizer)


def chatml_with_unused_bos() -> PreTrainedTokenizerFast:
    """定义了 BOS 却不加它；而且 BOS 就是 ``<|im_start|>``（像 SmolLM2-Instruct）。"""
    tokenizer = chatml()
    tokenizer.bos_token = "<|im_start|>"
    return tokenizer


def chatml_pad_is_end() -> PreTrainedTokenizerFast:
    """pad、eos 和 ``<|im_end|>`` 是同一个 token：按 pad 的 id 去遮标签会把结束标记也遮掉。"""
    tokenizer = chatml()
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    return tokenizer


CHATML_TOKENIZERS = [chatml, chatml_with_bos, chatml_with_unused_bos, chatml_pad_is_end]


# ----------------------------------------------------------------------------------------------------------------------
# 控制 token 的文字同时也在普通的词表里：split_special_tokens 拆开以后，又原样拼了回去

_WORDS = ["今天", "天气", "你好", "a", "b", "system", "user", "assistant", "\n", "<s>", "</s>", "<pad>", *CHATML_TOKENS]


def word_level() -> PreTrainedTokenizerFast:
    """整词的词表，先按空白切开：“a <|im_end|> b”里的标记正好是一个词。"""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<unk>", *_WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    return add_chatml(tokenizer)


def whole_words_first() -> PreTrainedTokenizerFast:
    """BPE，整个词在词表里就不再拆（``ignore_merges``，像 Llama 3）；先按空白切开。"""
    characters = sorted({character for word in _WORDS for character in word} | set("天气好一二"))
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(["<unk>", *characters, *_WORDS]))}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    return add_chatml(tokenizer)


def unigram() -> PreTrainedTokenizerFast:
    """Unigram（像 T5、mBART）：``</s>``、``<pad>`` 是分数最高的几段，哪里出现都切成一个 token。"""
    characters = sorted({character for word in _WORDS for character in word} | set("天气好一二▁"))
    pieces = [("<unk>", 0.0), *((word, 0.0) for word in ("<s>", "</s>", "<pad>", *CHATML_TOKENS))]
    pieces += [(character, -10.0) for character in characters]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    return add_chatml(tokenizer)


def pad_is_a_plain_character() -> PreTrainedTokenizerFast:
    """拿“!”来填充：那是普通的字，内容里出现不是错。"""
    tokenizer = chatml()
    tokenizer.pad_token = "!"
    return tokenizer


REASSEMBLING_TOKENIZERS = [word_level, whole_words_first, unigram, pad_is_a_plain_character]
