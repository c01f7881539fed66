"""内置模型的分词器：一个字一个词元 (token)，没见过的字退回到 UTF-8 字节。"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from finetuning.chatml import CHATML_TOKENS, chat_template_for

DOCUMENT_TOKEN = "<|endoftext|>"
START_TOKEN, END_TOKEN = CHATML_TOKENS
_ROLES = ("system", "user", "assistant")


def build_tokenizer(characters: Iterable[str]) -> PreTrainedTokenizerFast:
    """由字表构造分词器。

    字节级 BPE (byte-level BPE) 不带任何合并规则：``ignore_merges=True`` 让词表里有的片段直接成为一个词元，
    其余的拆成字节，所以任何文本都能编码，并且能还原。

    Args:
        characters: 要收进词表的字；单字节的字符（英文字母、数字）本来就在，可以重复给出。
    """
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = set(pieces)
    for text in (*_ROLES, *sorted(set(characters))):
        piece = "".join(part for part, _ in byte_level.pre_tokenize_str(text))
        if piece not in known:
            known.add(piece)
            pieces.append(piece)
    vocabulary = {piece: index for index, piece in enumerate(pieces)}

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    one_character = pre_tokenizers.Split(Regex("|".join(_ROLES) + r"|[\s\S]"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([one_character, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token) for token in (DOCUMENT_TOKEN, START_TOKEN, END_TOKEN)])
    # 预训练时每篇文本都以 <|endoftext|> 开头，所以编码时自己把它加在最前面。
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{DOCUMENT_TOKEN} $A", special_tokens=[(DOCUMENT_TOKEN, tokenizer.token_to_id(DOCUMENT_TOKEN))]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=DOCUMENT_TOKEN,
        eos_token=DOCUMENT_TOKEN,
        pad_token=DOCUMENT_TOKEN,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    wrapped.chat_template = chat_template_for(wrapped)
    return wrapped
