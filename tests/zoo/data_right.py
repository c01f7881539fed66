"""TODO 1 的正确写法，风格各不相同；都必须通过。"""

# 照学习者的写法写，不照 ruff 的建议。
# ruff: noqa: RUF005, B905

import re
from collections.abc import Callable
from itertools import chain

from data_exercise import IGNORE_INDEX

RIGHT: list[Callable] = []


def right(function: Callable) -> Callable:
    RIGHT.append(function)
    return function


@right
def segment_by_segment(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        for ids, trained in ((header, False), (content, True), (end, True), (newline, False)):
            input_ids.extend(ids)
            labels.extend(ids if trained and message["role"] == "assistant" else [IGNORE_INDEX] * len(ids))
    return input_ids, labels


@right
def one_comprehension(self, conversation):
    pairs = [
        (token, token if message["role"] == "assistant" and part in (1, 2) else IGNORE_INDEX)
        for message in conversation
        for part, ids in enumerate(self.chatml.segments(message))
        for token in ids
    ]
    return [token for token, _ in pairs], [label for _, label in pairs]


@right
def by_index(self, conversation):
    input_ids, spans = [], []
    for message in conversation:
        segments = self.chatml.segments(message)
        start = len(input_ids) + len(segments.header)
        if message["role"] == "assistant":
            spans.append((start, start + len(segments.content) + 1))
        input_ids += [token for segment in segments for token in segment]
    labels = [IGNORE_INDEX] * len(input_ids)
    for start, stop in spans:
        labels[start:stop] = input_ids[start:stop]
    return input_ids, labels


@right
def masks_afterwards(self, conversation):
    input_ids = [token for message in conversation for segment in self.chatml.segments(message) for token in segment]
    labels = input_ids.copy()
    position = 0
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        body = len(content) + len(end)
        hidden = len(header) if message["role"] == "assistant" else len(header) + body
        for i in range(position, position + hidden):
            labels[i] = IGNORE_INDEX
        position += len(header) + body
        for i in range(position, position + len(newline)):
            labels[i] = IGNORE_INDEX
        position += len(newline)
    return input_ids, labels


@right
def plain_tokenizer(self, conversation):
    def encode(text):
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    start, end = self.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    input_ids, labels = [], []
    for message in conversation:
        header = [start] + encode(message["role"] + "\n")
        body = encode(message["content"]) + [end]
        newline = encode("\n")
        input_ids += header + body + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += body if message["role"] == "assistant" else [IGNORE_INDEX] * len(body)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@right
def tokenizer_encode(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        pieces = [
            (self.tokenizer.encode(f"<|im_start|>{message['role']}\n", add_special_tokens=False), False),
            (self.tokenizer.encode(message["content"], add_special_tokens=False, split_special_tokens=True), True),
            (self.tokenizer.encode("<|im_end|>", add_special_tokens=False), True),
            (self.tokenizer.encode("\n", add_special_tokens=False), False),
        ]
        for ids, is_body in pieces:
            input_ids += ids
            labels += ids if is_body and message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@right
def searches_for_marker_ids(self, conversation):
    input_ids = list(chain.from_iterable(chain.from_iterable(map(self.chatml.segments, conversation))))
    start, end = (self.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    header = [start, *self.tokenizer.encode("assistant\n", add_special_tokens=False)]
    labels = [IGNORE_INDEX] * len(input_ids)
    i = 0
    while i < len(input_ids):
        if input_ids[i : i + len(header)] == header:
            i += len(header)
            while True:
                labels[i] = input_ids[i]
                if input_ids[i] == end:
                    break
                i += 1
        i += 1
    return input_ids, labels


@right
def state_machine(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        trained, seen_header = False, False
        header, content, end, newline = self.chatml.segments(message)
        for position, token in enumerate(header + content + end + newline):
            if position == len(header):
                seen_header = True
                trained = message["role"] == "assistant"
            input_ids.append(token)
            labels.append(token if seen_header and trained else IGNORE_INDEX)
            if token == self.chatml.end_id:
                trained = False
    return input_ids, labels


@right
def numpy_where(self, conversation):
    import numpy as np

    ids, mask = [], []
    for message in conversation:
        answer = message["role"] == "assistant"
        for segment, trained in zip(self.chatml.segments(message), (False, answer, answer, False), strict=True):
            ids.append(np.array(segment, dtype=np.int64))
            mask.append(np.full(len(segment), trained))
    input_ids = np.concatenate(ids)
    return input_ids.tolist(), np.where(np.concatenate(mask), input_ids, IGNORE_INDEX).tolist()


@right
def torch_where(self, conversation):
    import torch

    input_ids, labels = segment_by_segment(self, conversation)
    ids = torch.tensor(input_ids)
    masked = torch.tensor([label == IGNORE_INDEX for label in labels])
    return ids.tolist(), ids.masked_fill(masked, IGNORE_INDEX).tolist()


@right
def template_with_placeholders(self, conversation):
    """用对话模板写出骨架，内容的位置放占位符，再把内容单独编码填进去。"""
    marks = [{"role": message["role"], "content": f"@@{i}@@"} for i, message in enumerate(conversation)]
    text = self.tokenizer.apply_chat_template(marks, tokenize=False)
    input_ids, labels = [], []
    trained = False
    for piece in re.split(r"(@@\d+@@|<\|im_end\|>)", text):
        if found := re.fullmatch(r"@@(\d+)@@", piece):
            message = conversation[int(found[1])]
            trained = message["role"] == "assistant"
            ids = self.tokenizer(message["content"], add_special_tokens=False, split_special_tokens=True)["input_ids"]
            keep = trained
        else:
            ids = self.tokenizer(piece, add_special_tokens=False)["input_ids"]
            keep = trained and piece == "<|im_end|>"
        input_ids += ids
        labels += ids if keep else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@right
def with_bos(self, conversation):
    input_ids, labels = segment_by_segment(self, conversation)
    return self.chatml.bos + input_ids, [IGNORE_INDEX] * len(self.chatml.bos) + labels


@right
def cut_to_max_length(self, conversation):
    input_ids, labels = segment_by_segment(self, conversation)
    return input_ids[: self.max_length], labels[: self.max_length]


@right
def empty_when_nothing_is_left(self, conversation):
    input_ids, labels = cut_to_max_length(self, conversation)
    if all(label == IGNORE_INDEX for label in labels):
        return [], []
    return input_ids, labels


@right
def with_bos_cut_to_max_length(self, conversation):
    input_ids, labels = with_bos(self, conversation)
    return input_ids[: self.max_length], labels[: self.max_length]


@right
def backwards(self, conversation):
    input_ids, labels = [], []
    for message in reversed(conversation):
        header, content, end, newline = self.chatml.segments(message)
        input_ids = header + content + end + newline + input_ids
        body = content + end if message["role"] == "assistant" else [IGNORE_INDEX] * (len(content) + len(end))
        labels = [IGNORE_INDEX] * len(header) + body + [IGNORE_INDEX] * len(newline) + labels
    return input_ids, labels


@right
def recursive(self, conversation):
    if not conversation:
        return [], []
    first, *rest = conversation
    header, content, end, newline = self.chatml.segments(first)
    ids, labels = recursive(self, rest)
    body = content + end
    trained = body if first["role"] == "assistant" else [IGNORE_INDEX] * len(body)
    return (
        header + body + newline + ids,
        [IGNORE_INDEX] * len(header) + trained + [IGNORE_INDEX] * len(newline) + labels,
    )


@right
def prints_while_working(self, conversation):
    print("对话：", conversation)
    input_ids, labels = segment_by_segment(self, conversation)
    print(len(input_ids), len(labels))
    return input_ids, labels


@right
def match_statement(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        match message:
            case {"role": "assistant"}:
                rule = (False, True, True, False)
            case {"role": "user" | "system"}:
                rule = (False,) * 4
        for ids, trained in zip(self.chatml.segments(message), rule, strict=True):
            input_ids += ids
            labels += ids if trained else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@right
def own_encoding_with_the_tokenizer(self, conversation):
    """不用 self.chatml，自己查标记的 id，一段一段地编码。"""

    def encode(text):
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    start = self.tokenizer.convert_tokens_to_ids("<|im_start|>")
    end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
    input_ids, labels = [], []
    for message in conversation:
        header = [start] + encode(message["role"] + "\n")
        answer = encode(message["content"]) + [end]
        newline = encode("\n")
        input_ids += header + answer + newline
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (answer if learn else [IGNORE_INDEX] * len(answer))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@right
def a_helper_on_the_class(self, conversation):
    pairs = [pair for message in conversation for pair in _pairs_of(self, message)]
    return [token for token, _ in pairs], [label for _, label in pairs]


def _pairs_of(dataset, message):
    header, content, end, newline = dataset.chatml.segments(message)
    learnt = content + end if message["role"] == "assistant" else []
    masked = [] if learnt else content + end
    yield from ((token, IGNORE_INDEX) for token in header + masked)
    yield from ((token, token) for token in learnt)
    yield from ((token, IGNORE_INDEX) for token in newline)


@right
def remembers_segments(self, conversation):
    """按消息缓存编码的结果，每次都复制。"""
    cache = self.__dict__.setdefault("_cache", {})
    input_ids, labels = [], []
    for message in conversation:
        key = (message["role"], message["content"])
        if key not in cache:
            cache[key] = self.chatml.segments(message)
        for number, ids in enumerate(cache[key]):
            input_ids += ids
            labels += ids if message["role"] == "assistant" and number in (1, 2) else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@right
def tokenizer_told_to_split(self, conversation):
    """用分词器的属性，而不是每次调用的参数，让标记的文字按字面拆开。"""
    tokenizer = self.tokenizer
    before, tokenizer.split_special_tokens = tokenizer.split_special_tokens, True
    contents = [tokenizer(message["content"], add_special_tokens=False)["input_ids"] for message in conversation]
    tokenizer.split_special_tokens = before
    input_ids, labels = [], []
    for message, content in zip(conversation, contents):
        header, _, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels
