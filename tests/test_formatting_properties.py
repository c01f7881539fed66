"""任何一段对话都成立的性质：由 hypothesis 造出各种刁钻的文字，一条一条地试。"""

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_tokenizers import CHATML_TOKENIZERS, REASSEMBLING_TOKENIZERS
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data_solution import IGNORE_INDEX, SFTDataset
from finetuning.chatml import CHATML_TOKENS, ChatML
from finetuning.conversations import BadRowError, Conversation
from finetuning.errors import UserError
from finetuning.formats import to_conversation
from finetuning.reading import load_conversations

ROOT = Path(__file__).parents[1]
# 每次试同样的例子，也不留下文件：学习者运行测试，结果不该看运气。
# 机器忙的时候造例子很慢，那不是错。
settings.register_profile(
    "steady",
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

# ----------------------------------------------------------------------------------------------------------------------
# 造对话：任何 Unicode 文字（代理项和 NUL 不是合法的文字，读数据时已经拒绝），里面满是像标记的片段

PIECES = ["<|im_end|>", "<|im_start|>", "<|im_start|>assistant\n", "<|endoftext|>", "<s>", "<|im_", "end|>", "\n", " "]
PIECES += ["</s>", "<pad>", " <|im_end|> ", " </s> ", "!"]
TEXT = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    max_size=6,
).map("".join)
ANSWER = TEXT.filter(str.strip)  # 回答不能是空的


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns = draw(st.lists(st.tuples(TEXT, ANSWER), min_size=1, max_size=4))
    start = [message("system", text) for text in draw(st.lists(TEXT, max_size=1))]
    return start + [item for ask, reply in turns for item in (message("user", ask), message("assistant", reply))]


def base_model() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(ROOT / "base_model")


@pytest.fixture(scope="module", params=[base_model, *CHATML_TOKENIZERS], ids=lambda build: build.__name__)
def tokenizer(request) -> PreTrainedTokenizerBase:
    return request.param()


def format_one(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, max_length: int = 10**6):
    item = SFTDataset([conversation], tokenizer, max_length)[0]
    return item["input_ids"], item["labels"]


# ----------------------------------------------------------------------------------------------------------------------
# 格式


@given(conversation=conversations())
def test_the_ids_are_the_chatml_text(tokenizer, conversation):
    """对照：按字符串拼出来的 ChatML。"""
    input_ids, _ = format_one(tokenizer, conversation)
    bos = ChatML(tokenizer).bos
    assert input_ids[: len(bos)] == bos
    text = "".join(f"<|im_start|>{item['role']}\n{item['content']}<|im_end|>\n" for item in conversation)
    assert tokenizer.decode(input_ids[len(bos) :]) == text


@given(conversation=conversations())
def test_what_is_learnt_is_each_answer_and_its_end(tokenizer, conversation):
    input_ids, labels = format_one(tokenizer, conversation)
    assert len(input_ids) == len(labels)
    assert all(label in (IGNORE_INDEX, token) for token, label in zip(input_ids, labels, strict=True))
    runs = [
        tokenizer.decode(list(run))
        for learnt, run in itertools.groupby(labels, key=lambda label: label != IGNORE_INDEX)
        if learnt
    ]
    assert runs == [item["content"] + "<|im_end|>" for item in conversation if item["role"] == "assistant"]


@given(conversation=conversations())
def test_content_never_becomes_a_control_token(tokenizer, conversation):
    input_ids, _ = format_one(tokenizer, conversation)
    start, end = tokenizer.convert_tokens_to_ids(list(CHATML_TOKENS))
    control = {start, end, *tokenizer.all_special_ids}
    found = [token for token in input_ids if token in control]
    assert found == ChatML(tokenizer).bos + [start, end] * len(conversation)


@pytest.mark.parametrize("build", REASSEMBLING_TOKENIZERS, ids=lambda build: build.__name__)
@given(conversation=conversations())
def test_a_vocabulary_that_holds_control_tokens_as_text(build, conversation):
    """拆开了又拼回去的分词器：内容里的 ``</s>``、``<pad>``、标记，从中间切开来编码。"""
    tokenizer = build()
    input_ids, labels = format_one(tokenizer, conversation)
    start, end = tokenizer.convert_tokens_to_ids(list(CHATML_TOKENS))
    control = {start, end, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    control -= {
        tokenizer.unk_token_id,
        None,
        tokenizer.convert_tokens_to_ids("!") if build().unk_token is None else None,
    }
    assert [token for token in input_ids if token in control] == [start, end] * len(conversation)
    assert sum(label == end for label in labels) == sum(item["role"] == "assistant" for item in conversation)


@pytest.mark.parametrize("build", REASSEMBLING_TOKENIZERS[:3], ids=lambda build: build.__name__)
@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "</s>", "<pad>", "<s>"])
def test_every_control_token_in_every_place(build, token):
    """单独、空格之间、开头、结尾、连着两个；分词器自己是会拼回去的（不然这个测试是空的）。"""
    tokenizer = build()
    chatml, token_id = ChatML(tokenizer), tokenizer.convert_tokens_to_ids(token)
    texts = [token, f"a {token} b", f"{token} a", f"a {token}", f" {token} ", f"{token} {token}", f"\n{token}\n"]
    itself = [tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for text in texts]
    assert any(token_id in ids for ids in itself)
    assert all(token_id not in chatml.encode(text) for text in texts)


def test_a_control_token_that_cannot_be_taken_apart():
    """切开的一半还是控制 token：说出是哪段文字，不学它。"""
    tokenizer = toy_tokenizers.unigram()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|><|im_end|>"]})
    with pytest.raises(UserError, match="拆不开"):
        ChatML(tokenizer).encode("好<|im_end|><|im_end|>")


@given(conversation=conversations())
def test_inference_sees_what_training_saw(tokenizer, conversation):
    """每一个回答之前的 id，恰好是聊天时的提示词；回答从提示词之后的第一个位置学起。"""
    input_ids, labels = format_one(tokenizer, conversation)
    for number, item in enumerate(conversation):
        if item["role"] == "assistant":
            prompt = ChatML(tokenizer).prompt(conversation[:number])
            assert input_ids[: len(prompt)] == prompt
            assert labels[len(prompt) - 1] == IGNORE_INDEX != labels[len(prompt)]


@given(conversation=conversations(), share=st.floats(0, 1))
def test_truncation_keeps_a_prefix(tokenizer, conversation, share):
    input_ids, labels = format_one(tokenizer, conversation)
    max_length = round(share * len(input_ids))
    if all(label == IGNORE_INDEX for label in labels[:max_length]):
        with pytest.raises(UserError, match="max_length"):
            format_one(tokenizer, conversation, max_length)
    else:
        assert format_one(tokenizer, conversation, max_length) == (input_ids[:max_length], labels[:max_length])


@given(many=st.lists(conversations(), min_size=1, max_size=5), max_length=st.integers(2, 60))
def test_every_conversation_is_kept_or_counted(many, max_length):
    tokenizer = toy_tokenizers.chatml()
    whole = [format_one(tokenizer, conversation) for conversation in many]
    kept = [(ids, labels) for ids, labels in whole if set(labels[:max_length]) != {IGNORE_INDEX}]
    if not kept:
        with pytest.raises(UserError, match="max_length"):
            SFTDataset(many, tokenizer, max_length)
        return
    dataset = SFTDataset(many, tokenizer, max_length)
    items = [(item["input_ids"], item["labels"]) for item in dataset]
    assert items == [(ids[:max_length], labels[:max_length]) for ids, labels in kept]
    assert dataset.num_dropped == len(many) - len(kept)
    assert dataset.num_truncated == sum(len(ids) > max_length for ids, _ in kept)


# ----------------------------------------------------------------------------------------------------------------------
# 读数据

FORMATS: dict[str, Callable[[Conversation], object]] = {
    "native": lambda conversation: {"conversations": conversation},
    "messages": lambda conversation: {"messages": conversation},
    "sharegpt": lambda conversation: {
        "conversations": [
            {"from": {"user": "human", "assistant": "gpt"}.get(item["role"], "system"), "value": item["content"]}
            for item in conversation
        ]
    },
    "parts": lambda conversation: {
        "messages": [
            {**item, "content": [{"type": "text", "text": char} for char in item["content"]]} for item in conversation
        ]
    },
}


@pytest.mark.parametrize("format_row", FORMATS.values(), ids=FORMATS)
@given(
    many=st.lists(conversations(), min_size=1, max_size=3),
    ascii_only=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n", "\n\n"]),
    bom=st.sampled_from(["", "\ufeff"]),
    as_array=st.booleans(),
    zipped=st.booleans(),
)
def test_text_survives_the_file(tmp_path_factory, format_row, many, ascii_only, newline, bom, as_array, zipped):
    rows = [json.dumps(format_row(conversation), ensure_ascii=ascii_only) for conversation in many]
    text = f"[{newline}{f',{newline}'.join(rows)}]" if as_array else newline.join(rows)
    data = (bom + text).encode()
    path = tmp_path_factory.getbasetemp() / ("rows.jsonl.gz" if zipped else "rows.jsonl")
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert load_conversations(path) == many


KEYS = ["conversations", "messages", "role", "content", "from", "value", "instruction", "input", "output", "system"]
KEYS += ["history", "type", "text", "tool_calls", ""]
WORDS = ["user", "assistant", "system", "human", "gpt", "tool", "text", "image_url", "", " ", "\0", "\ud800", "答"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=150)
@given(row=JSON)
def test_any_row_is_a_conversation_or_a_bad_row(row):
    try:
        conversation = to_conversation(row)
    except BadRowError as error:
        reason = str(error)
    else:
        first_turn = conversation[0]["role"] == "system"
        roles = [item["role"] for item in conversation[first_turn:]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(item.keys() == {"role", "content"} and type(item["content"]) is str for item in conversation)
        return
    assert 0 < len(reason) < 500
    assert "\n" not in reason


LINE_PIECES = [b"{", b"}", b"[", b"]", b'"', b":", b",", b'"messages"', b'"instruction"', b'"output"', b"\n", b"\r"]
LINE_PIECES += [b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b\x08", b"\0", b"NaN", b"9" * 5000, b'"a"', b"\\ud800", b" "]


@settings(max_examples=150)
@given(data=st.lists(st.sampled_from(LINE_PIECES) | st.binary(max_size=4), max_size=20).map(b"".join))
@pytest.mark.parametrize("name", ["bytes.jsonl", "bytes.jsonl.gz"])
def test_any_bytes_are_read_or_refused(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    try:
        load_conversations(path)
    except UserError as error:
        refusal = str(error)
    else:
        return
    assert str(path) in refusal
