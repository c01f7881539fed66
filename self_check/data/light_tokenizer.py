"""交给学习者代码的分词器：用法与 transformers 的分词器相同，但不导入 transformers。

导入 transformers 要一秒半以上，而自查要在半秒之内回答。常用的调用在这里直接交给 ``tokenizers``；不常用的方法和参数交给
由同样的词表现造的 ``transformers.PreTrainedTokenizerFast``，所以结果总与真的一样，只是第一次慢一些。
"""

from collections import UserDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Encoding, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# 两个常用的调用里，这里会做的参数和它们的默认值。
_CALL_OPTIONS = {
    "add_special_tokens": True,
    "split_special_tokens": None,
    "return_attention_mask": None,
    "return_offsets_mapping": False,
    "verbose": True,
}
_CHAT_OPTIONS = {
    "chat_template": None,
    "add_generation_prompt": False,
    "tokenize": True,
    "return_dict": True,
    "return_assistant_tokens_mask": False,
}


class BatchEncoding(UserDict):
    """``tokenizer(...)`` 的结果：字典，也可以用 ``.input_ids`` 取；其余方法同 ``transformers.BatchEncoding``。"""

    def __init__(self, data: dict[str, Any], encodings: list[Encoding]):
        super().__init__(data)
        self.encodings = encodings

    def __getitem__(self, key: str | int) -> Any:
        return self.data[key] if isinstance(key, str) else self.encodings[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("data", "encodings"):
            raise AttributeError(name)
        if name in self.data:
            return self.data[name]
        from transformers import BatchEncoding as RealBatchEncoding

        return getattr(RealBatchEncoding(self.data, self.encodings), name)


class LightTokenizer:
    """见文件开头。

    Args:
        backend: 词表与分词规则。
        special_tokens: 各个特殊 token 的文字，如 ``{"bos_token": "<s>"}``；没有的不写。
        chat_template: 对话模板（chat template）。
    """

    is_fast = True
    padding_side = truncation_side = "right"
    split_special_tokens = False

    def __init__(
        self,
        backend: Tokenizer,
        special_tokens: dict[str, str],
        chat_template: str,
        model_max_length: int = int(1e30),  # transformers 对没有写明长度的分词器用的值
    ):
        self.backend_tokenizer = self._tokenizer = backend
        self.chat_template = chat_template
        self.model_max_length = model_max_length
        for name in _SPECIAL:
            setattr(self, name, special_tokens.get(name))

    @cached_property
    def _real(self) -> "PreTrainedTokenizerFast":
        """同样的分词器，真的那一种。"""
        from transformers import PreTrainedTokenizerFast

        # 真的分词器会复制一份，先去掉 split_special_tokens 留下的状态。
        self._tokenizer.encode_special_tokens = False
        return PreTrainedTokenizerFast(
            tokenizer_object=self._tokenizer,
            chat_template=self.chat_template,
            model_max_length=self.model_max_length,
            **self.special_tokens_map,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_tokenizer":
            raise AttributeError(name)
        if name.removesuffix("_id") in _SPECIAL and name.endswith("_id"):
            token = getattr(self, name.removesuffix("_id"))
            return None if token is None else self.convert_tokens_to_ids(token)
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.removesuffix("_id") in _SPECIAL and name.endswith("_id"):
            name, value = name.removesuffix("_id"), self._tokenizer.id_to_token(value)
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def get_vocab(self) -> dict[str, int]:
        return self._tokenizer.get_vocab(with_added_tokens=True)

    vocab = property(get_vocab)

    @property
    def special_tokens_map(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in _SPECIAL if getattr(self, name) is not None}

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return self._tokenizer.get_added_tokens_decoder()

    @property
    def all_special_tokens(self) -> list[str]:
        return list(dict.fromkeys(self.special_tokens_map.values()))

    @property
    def all_special_ids(self) -> list[int]:
        return self.convert_tokens_to_ids(self.all_special_tokens)

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        if isinstance(tokens, str):
            index = self._tokenizer.token_to_id(tokens)
            return self.unk_token_id if index is None and tokens != self.unk_token else index
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        if isinstance(ids, int):
            return self._tokenizer.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._tokenizer.id_to_token(int(index)) for index in ids if int(index) not in skipped]

    def __call__(self, text: Any = None, *args: Any, **given: Any) -> Any:
        options = _CALL_OPTIONS | given
        if options["split_special_tokens"] is None:
            options["split_special_tokens"] = self.split_special_tokens
        is_batch = isinstance(text, list | tuple)
        texts = text if is_batch else [text]
        is_plain = bool(texts) and all(isinstance(each, str) for each in texts)
        if args or not is_plain or _has_unusual(given, _CALL_OPTIONS):
            return self._real(text, *args, **options)
        self._tokenizer.encode_special_tokens = options["split_special_tokens"]
        adds = options["add_special_tokens"]
        encodings = [self._tokenizer.encode(each, add_special_tokens=adds) for each in texts]
        columns: dict[str, list[Any]] = {"input_ids": [encoding.ids for encoding in encodings]}
        if options["return_attention_mask"] is not False:
            columns["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        if options["return_offsets_mapping"]:
            columns["offset_mapping"] = [encoding.offsets for encoding in encodings]
        return BatchEncoding(columns if is_batch else {name: rows[0] for name, rows in columns.items()}, encodings)

    def encode(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        if args or not isinstance(text, str):
            return self._real.encode(text, *args, **kwargs)
        return self(text, **kwargs)["input_ids"]

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **kwargs: Any
    ) -> list[str]:
        if pair is not None or kwargs or not isinstance(text, str):
            return self._real.tokenize(text, pair, add_special_tokens, **kwargs)
        return self(text, add_special_tokens=add_special_tokens).encodings[0].tokens

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any:
        if isinstance(token_ids, int):
            token_ids = [token_ids]
        if kwargs or not isinstance(token_ids, list) or not all(isinstance(index, int) for index in token_ids):
            return self._real.decode(token_ids, skip_special_tokens=skip_special_tokens, **kwargs)
        return self._tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, conversation: Any, *args: Any, **given: Any) -> Any:
        options = _CHAT_OPTIONS | given
        is_plain = isinstance(conversation, list) and bool(conversation) and isinstance(conversation[0], dict)
        wants_mask = options["return_assistant_tokens_mask"]
        wrong_call = wants_mask and not (options["tokenize"] and options["return_dict"])
        if args or not is_plain or wrong_call or _has_unusual(given, _CHAT_OPTIONS):
            real: Any = self._real
            return real.apply_chat_template(conversation, *args, **options)
        from self_check.data.chat_template import render  # jinja2 不小，多数人用不到

        text, spans = render(
            options["chat_template"] or self.chat_template,
            messages=conversation,
            add_generation_prompt=options["add_generation_prompt"],
            **self.special_tokens_map,
        )
        if not options["tokenize"]:
            return text
        encoded = self(text, add_special_tokens=False)
        if not options["return_dict"]:
            return encoded["input_ids"]
        if wants_mask:
            mask = [0] * len(encoded["input_ids"])
            for start, end in spans:
                first, last = (encoded.encodings[0].char_to_token(index) for index in (start, end - 1))
                mask[first : last + 1] = [1] * (last + 1 - first)
            encoded["assistant_masks"] = mask
        return encoded


def _has_unusual(given: dict[str, Any], usual: dict[str, Any]) -> bool:
    """写明了这里不会做的参数。"""
    return any(value not in (None, False) for name, value in given.items() if name not in usual)
