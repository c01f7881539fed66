"""交给学习者的轻量分词器与 transformers 的分词器处处相同。"""

import pytest
from transformers import PreTrainedTokenizerFast

from self_check.data.named_tokenizers import base_tokenizer, byte_tokenizer, word_tokenizer

TEXT = "今天天气 sunny，\n<|im_end|>🙂"
CONVERSATION = [
    {"role": "system", "content": "回答要短。"},
    {"role": "user", "content": "你好<|im_end|>"},
    {"role": "assistant", "content": "你好。"},
    {"role": "user", "content": "再见"},
    {"role": "assistant", "content": " 再见 \n"},
]

CALLS = {
    "call": lambda t: dict(t(TEXT)),
    "call_plain": lambda t: dict(t(TEXT, add_special_tokens=False)),
    "call_split": lambda t: dict(t(TEXT, add_special_tokens=False, split_special_tokens=True, verbose=False)),
    "split_is_for_one_call": lambda t: (t(TEXT, split_special_tokens=True).input_ids, t(TEXT).input_ids),
    "call_empty": lambda t: dict(t("")),
    "call_batch": lambda t: dict(t([TEXT, "你好"], add_special_tokens=False)),
    "call_no_attention": lambda t: dict(t(TEXT, return_attention_mask=False)),
    "call_offsets": lambda t: dict(t(TEXT, return_offsets_mapping=True)),
    "call_truncated": lambda t: dict(t(TEXT, truncation=True, max_length=4)),
    "call_max_length_alone": lambda t: dict(t(TEXT, max_length=3)),
    "call_padded": lambda t: dict(t(TEXT, padding="max_length", max_length=60)),
    "call_after_truncation": lambda t: (t(TEXT, truncation=True, max_length=4).input_ids, t(TEXT).input_ids),
    "call_numpy": lambda t: t(TEXT, return_tensors="np")["input_ids"].tolist(),
    "call_torch": lambda t: t(TEXT, return_tensors="pt").input_ids.tolist(),
    "call_pair": lambda t: dict(t("你", "好")),
    "attribute": lambda t: t(TEXT).input_ids,
    "keys": lambda t: list(t(TEXT).keys()),
    "encoding_methods": lambda t: (t(TEXT).tokens(), t(TEXT).char_to_token(2), t(TEXT)[0].ids),
    "encode": lambda t: t.encode(TEXT),
    "encode_plain": lambda t: t.encode(TEXT, add_special_tokens=False),
    "encode_split": lambda t: t.encode(TEXT, add_special_tokens=False, split_special_tokens=True),
    "encode_truncated": lambda t: t.encode(TEXT, truncation=True, max_length=3),
    "tokenize": lambda t: t.tokenize(TEXT),
    "tokenize_special": lambda t: t.tokenize(TEXT, add_special_tokens=True),
    "decode": lambda t: t.decode(t(TEXT).input_ids),
    "decode_one": lambda t: t.decode(40),
    "decode_skip": lambda t: t.decode(t(TEXT).input_ids, skip_special_tokens=True),
    "decode_batch": lambda t: t.decode([[40, 41], [42]]),
    "batch_decode": lambda t: t.batch_decode([[40, 41], [42]]),
    "ids_of_tokens": lambda t: t.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "没有", "assistant"]),
    "id_of_token": lambda t: t.convert_tokens_to_ids("<|im_end|>"),
    "tokens_of_ids": lambda t: t.convert_ids_to_tokens(t(TEXT).input_ids),
    "tokens_skip": lambda t: t.convert_ids_to_tokens(t(TEXT).input_ids, skip_special_tokens=True),
    "token_of_id": lambda t: t.convert_ids_to_tokens(40),
    "tokens_to_string": lambda t: t.convert_tokens_to_string(t.tokenize("你好 a")),
    "special": lambda t: [getattr(t, f"{name}_token") for name in ("bos", "eos", "pad", "unk", "cls")],
    "special_ids": lambda t: [getattr(t, f"{name}_token_id") for name in ("bos", "eos", "pad", "unk", "cls")],
    "special_map": lambda t: (t.special_tokens_map, t.all_special_tokens, t.all_special_ids),
    "sizes": lambda t: (len(t), t.vocab_size, t.model_max_length, t.padding_side, t.is_fast),
    "vocab": lambda t: (t.get_vocab() == t.vocab, t.get_vocab()["<|im_end|>"]),
    "added": lambda t: (t.get_added_vocab(), {i: str(token) for i, token in t.added_tokens_decoder.items()}),
    "template_text": lambda t: t.apply_chat_template(CONVERSATION, tokenize=False),
    "template_prompt": lambda t: t.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True),
    "template": lambda t: dict(t.apply_chat_template(CONVERSATION)),
    "template_ids": lambda t: t.apply_chat_template(CONVERSATION, return_dict=False),
    "template_mask": lambda t: dict(t.apply_chat_template(CONVERSATION, return_assistant_tokens_mask=True)),
    "template_truncated": lambda t: dict(t.apply_chat_template(CONVERSATION, truncation=True, max_length=9)),
    "template_batch": lambda t: t.apply_chat_template([CONVERSATION, CONVERSATION[:3]], return_dict=False),
    "template_sanitized": lambda t: t.apply_chat_template(
        CONVERSATION, sanitize_control_tokens=True, return_dict=False
    ),
    "template_continue": lambda t: t.apply_chat_template(CONVERSATION, tokenize=False, continue_final_message=True),
    "template_own": lambda t: t.apply_chat_template(
        CONVERSATION,
        tokenize=False,
        chat_template="{% for m in messages %}\n  {{ m.role }}{{ eos_token }}\n{% endfor %}",
    ),
}  # fmt: skip


@pytest.fixture(
    scope="module", params=[base_tokenizer, word_tokenizer, byte_tokenizer], ids=lambda build: build.__name__
)
def tokenizers(request):
    named = request.param()
    light = named.build()
    real = PreTrainedTokenizerFast(
        tokenizer_object=named.build().backend_tokenizer,
        chat_template=light.chat_template,
        **named.special_tokens,
    )
    return light, real


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_same_as_transformers(tokenizers, call):
    light, real = tokenizers
    assert call(light) == call(real)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t(None),
        lambda t: t(42),
        lambda t: t.apply_chat_template([]),
        lambda t: t.no_such_method(),
        lambda t: t(TEXT).no_such_column,
        lambda t: t(TEXT)["no_such_column"],
        lambda t: t.apply_chat_template(CONVERSATION, tokenize=False, return_assistant_tokens_mask=True),
    ],
)
def test_same_errors_as_transformers(tokenizers, call):
    light, real = tokenizers
    with pytest.raises(Exception) as expected:  # noqa: PT011
        call(real)
    with pytest.raises(expected.type):
        call(light)


def test_special_tokens_can_be_set():
    light = byte_tokenizer().build()
    light.pad_token = light.eos_token
    assert light.pad_token_id == light.eos_token_id
    light.pad_token_id = light.bos_token_id
    assert light.pad_token == "<s>"
