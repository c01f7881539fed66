"""TODO 1 的错误写法：学习者会怎么写错，每一种应该得到什么诊断。

每个函数就是一个 ``_format_conversation``；``@wrong(slug)`` 写明它应得的诊断。
"""

# 照学习者的写法写，不照 ruff 的建议。
# ruff: noqa: RUF005, RUF059, SIM105, E722, B006, B905, F821, F841

import random
import re
import sys
import time
from collections.abc import Callable

from data_exercise import IGNORE_INDEX

WRONG: list[tuple[str, Callable]] = []


def wrong(slug: str) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        WRONG.append((slug, function))
        return function

    return register


def join(self, messages):
    """几个写法共用：整段对话的 id，每条消息分段编码。"""
    ids = []
    for message in messages:
        for part in self.chatml.segments(message):
            ids += part
    return ids


# ------------------------------------------------------------------ 没有写完、返回的东西不对


@wrong("not_implemented")
def stub(self, conversation):
    raise NotImplementedError


@wrong("not_implemented")
def forgot_to_delete_the_raise(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header + content + end + newline)
    raise NotImplementedError


@wrong("not_implemented")
def helper_not_written(self, conversation):
    def mask(message):
        raise NotImplementedError("TODO")

    return [mask(message) for message in conversation]


@wrong("wrong_return_type")
def forgot_return(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header + content + end + newline)


@wrong("wrong_return_type")
def only_pass(self, conversation):
    pass


@wrong("wrong_return_type")
def returns_dict(self, conversation):
    input_ids = join(self, conversation)
    return {"input_ids": input_ids, "labels": list(input_ids)}


@wrong("wrong_return_type")
def returns_only_labels(self, conversation):
    return [IGNORE_INDEX for _ in join(self, conversation)]


@wrong("wrong_return_type")
def returns_attention_mask_too(self, conversation):
    input_ids = join(self, conversation)
    return input_ids, [1] * len(input_ids), list(input_ids)


@wrong("wrong_return_type")
def swapped(self, conversation):
    input_ids, labels = right(self, conversation)
    return labels, input_ids


@wrong("wrong_return_type")
def list_of_two(self, conversation):
    return list(right(self, conversation))


@wrong("wrong_return_type")
def tuples_inside(self, conversation):
    input_ids, labels = right(self, conversation)
    return tuple(input_ids), tuple(labels)


@wrong("wrong_return_type")
def batch_encoding(self, conversation):
    return self.tokenizer.apply_chat_template(conversation, return_assistant_tokens_mask=True, return_dict=True)


@wrong("wrong_return_type")
def appended_segments(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        for part in self.chatml.segments(message):
            input_ids.append(part)
            labels.append(part if message["role"] == "assistant" else [IGNORE_INDEX] * len(part))
    return input_ids, labels


@wrong("wrong_return_type")
def token_strings(self, conversation):
    text = self.tokenizer.apply_chat_template(conversation, tokenize=False)
    tokens = self.tokenizer.tokenize(text)
    return tokens, tokens


@wrong("wrong_return_type")
def boolean_mask(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [label != IGNORE_INDEX for label in labels]


@wrong("wrong_return_type")
def none_as_ignore(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [None if label == IGNORE_INDEX else label for label in labels]


@wrong("wrong_return_type")
def float_labels(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [float(label) for label in labels]


@wrong("wrong_return_type")
def numpy_arrays(self, conversation):
    import numpy as np

    input_ids, labels = right(self, conversation)
    return np.array(input_ids), np.array(labels)


@wrong("wrong_return_type")
def numpy_integers(self, conversation):
    import numpy as np

    input_ids, labels = right(self, conversation)
    return input_ids, list(np.array(labels))


@wrong("wrong_return_type")
def tensors(self, conversation):
    import torch

    input_ids, labels = right(self, conversation)
    return torch.tensor(input_ids), torch.tensor(labels)


@wrong("wrong_return_type")
def generator(self, conversation):
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        yield header + content + end + newline, [IGNORE_INDEX]


# ------------------------------------------------------------------ 抛出异常、停不下来


@wrong("raises")
def wrong_key(self, conversation):
    return [message["text"] for message in conversation], []


@wrong("raises")
def attribute_of_dict(self, conversation):
    ids = []
    for message in conversation:
        ids += self.chatml.segments(message.role)
    return ids, ids


@wrong("raises")
def forgot_self(self, conversation):
    return tokenizer(conversation[0]["content"]), []


@wrong("raises")
def system_is_always_first(self, conversation):
    system, user, assistant = conversation[0], conversation[1], conversation[2]
    ids = join(self, [system, user, assistant])
    return ids, list(ids)


@wrong("raises")
def adds_list_and_int(self, conversation):
    ids = []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        ids = ids + header + content + self.tokenizer.convert_tokens_to_ids("<|im_end|>") + newline
    return ids, list(ids)


@wrong("raises")
def index_of_missing_token(self, conversation):
    ids = join(self, conversation)
    start = ids.index(self.tokenizer.convert_tokens_to_ids("<|assistant|>"))
    return ids, [IGNORE_INDEX] * start + ids[start:]


@wrong("raises")
def own_assertion(self, conversation):
    assert len(conversation) == 2
    return right(self, conversation)


@wrong("raises")
def endless_search(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    i = 0
    while i < len(ids):
        if ids[i] == self.chatml.end_id:
            labels[i] = ids[i]
            i += 1  # 缩进错了：只有找到时才前进
    return ids, labels


@wrong("raises")
def endless_in_bare_except(self, conversation):
    while True:
        try:
            right(self, conversation)
        except:
            pass


@wrong("raises")
def endless_in_one_try(self, conversation):
    try:
        while True:
            right(self, conversation)
    except:
        return [], []


@wrong("raises")
def recursion(self, conversation):
    return recursion(self, conversation)


@wrong("raises")
def exits(self, conversation):
    ids = join(self, conversation)
    print(ids)
    sys.exit()
    return ids, ids


@wrong("raises")
def reads_the_keyboard(self, conversation):
    input("继续？")
    return right(self, conversation)


# ------------------------------------------------------------------ 副作用


@wrong("input_mutated")
def pops_system(self, conversation):
    ids, labels = [], []
    if conversation[0]["role"] == "system":
        ids += join(self, [conversation.pop(0)])
        labels += [IGNORE_INDEX] * len(ids)
    rest, rest_labels = right(self, conversation)
    return ids + rest, labels + rest_labels


@wrong("input_mutated")
def pops_messages(self, conversation):
    ids, labels = [], []
    while conversation:
        message = conversation.pop(0)
        part, part_labels = right(self, [message])
        ids += part
        labels += part_labels
    return ids, labels


@wrong("input_mutated")
def strips_in_place(self, conversation):
    for message in conversation:
        message["content"] = message["content"].strip()
    return right(self, conversation)


@wrong("input_mutated")
def writes_ids_into_messages(self, conversation):
    for message in conversation:
        message["input_ids"] = self.chatml.encode(message["content"])
    return right(self, conversation)


@wrong("input_mutated")
def inserts_default_system(self, conversation):
    if conversation[0]["role"] != "system":
        conversation.insert(0, {"role": "system", "content": "你是一个有帮助的助手。"})
    return right(self, conversation)


@wrong("labels_alias_input_ids")
def labels_is_input_ids(self, conversation):
    input_ids = join(self, conversation)
    labels = input_ids
    position = 0
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        size = len(header + content + end + newline)
        if message["role"] != "assistant":
            for i in range(position, position + size):
                labels[i] = IGNORE_INDEX
        position += size
    return input_ids, labels


@wrong("labels_alias_input_ids")
def chained_assignment(self, conversation):
    input_ids = labels = []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if message["role"] == "assistant":
            labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX]
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


# ------------------------------------------------------------------ 长度、对齐


@wrong("length_mismatch")
def labels_are_only_the_answer(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [label for label in labels if label != IGNORE_INDEX]


@wrong("length_mismatch")
def counts_characters(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        text = f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(text)
    return input_ids, labels


@wrong("length_mismatch")
def one_ignore_per_message(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += content + end if message["role"] == "assistant" else [IGNORE_INDEX]
    return input_ids, labels


@wrong("length_mismatch")
def forgot_newline_in_labels(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        answer = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if answer else [IGNORE_INDEX] * (len(content) + 1))
    return input_ids, labels


@wrong("length_mismatch")
def labels_from_one(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, labels[1:]


@wrong("length_mismatch")
def bos_only_in_ids(self, conversation):
    input_ids, labels = right(self, conversation)
    return self.chatml.bos + input_ids, labels


@wrong("labels_shifted")
def shifts_left(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, labels[1:] + [IGNORE_INDEX]


@wrong("labels_shifted")
def shifts_right(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [IGNORE_INDEX] + labels[:-1]


@wrong("labels_shifted")
def inputs_and_targets(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids[:-1], labels[1:]


@wrong("labels_shifted")
def pretraining_targets(self, conversation):
    input_ids = join(self, conversation)
    return input_ids, input_ids[1:] + [IGNORE_INDEX]


@wrong("labels_shifted")
def shifts_inside_the_loop(self, conversation):
    ids, _ = right(self, conversation)
    _, mask = right(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    for i in range(len(ids) - 1):
        if mask[i + 1] != IGNORE_INDEX:
            labels[i] = ids[i + 1]
    return ids, labels


@wrong("labels_shifted")
def answer_glued_to_the_end(self, conversation):
    ids = join(self, conversation)
    answer = self.chatml.encode(conversation[-1]["content"])
    return ids, [IGNORE_INDEX] * (len(ids) - len(answer)) + answer


# ------------------------------------------------------------------ input_ids


@wrong("wrong_input_ids")
def bos_in_every_piece(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = self.tokenizer(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n")["input_ids"]
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("wrong_input_ids")
def no_newline_after_end(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, _ = self.chatml.segments(message)
        input_ids += header + content + end
        trained = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if trained else [IGNORE_INDEX] * len(content + end))
    return input_ids, labels


@wrong("wrong_input_ids")
def no_header(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = self.chatml.encode(message["content"]) + [self.chatml.end_id] + self.chatml.encode("\n")
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("wrong_input_ids")
def no_end_token(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, _, newline = self.chatml.segments(message)
        input_ids += header + content + newline
        trained = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content if trained else [IGNORE_INDEX] * len(content))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def only_contents(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = self.tokenizer.encode(message["content"], add_special_tokens=False)
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("wrong_input_ids")
def only_the_answer(self, conversation):
    ids = []
    for message in conversation:
        if message["role"] == "assistant":
            ids += self.chatml.segments(message).content + [self.chatml.end_id]
    return ids, list(ids)


@wrong("wrong_input_ids")
def drops_system(self, conversation):
    return right(self, [message for message in conversation if message["role"] != "system"])


@wrong("wrong_input_ids")
def returns_in_the_loop(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids, part_labels = right(self, [message])
        input_ids += ids
        labels += part_labels
        if message["role"] == "assistant":
            return input_ids, labels


@wrong("wrong_input_ids")
def adds_eos(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids + [self.tokenizer.eos_token_id], labels + [self.tokenizer.eos_token_id]


@wrong("wrong_input_ids")
def eos_instead_of_end(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, _, newline = self.chatml.segments(message)
        end = [self.tokenizer.eos_token_id]
        trained = message["role"] == "assistant"
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header) + (content + end if trained else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def generation_prompt_at_the_end(self, conversation):
    input_ids = self.tokenizer.apply_chat_template(conversation, add_generation_prompt=True)["input_ids"]
    return input_ids, [IGNORE_INDEX] * len(input_ids)


@wrong("wrong_input_ids")
def pads_to_max_length(self, conversation):
    input_ids, labels = right(self, conversation)
    missing = self.max_length - len(input_ids)
    return input_ids + [self.tokenizer.pad_token_id] * missing, labels + [IGNORE_INDEX] * missing


@wrong("wrong_input_ids")
def markers_as_text(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        text = f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
        ids = self.chatml.encode(text)
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("wrong_input_ids")
def strips_content(self, conversation):
    return right(self, [{**message, "content": message["content"].strip()} for message in conversation])


@wrong("wrong_input_ids")
def skips_empty_messages(self, conversation):
    return right(self, [message for message in conversation if message["content"]])


@wrong("wrong_input_ids")
def masks_input_ids_first(self, conversation):
    input_ids, labels = right(self, conversation)
    return list(labels), labels


@wrong("wrong_input_ids")
def keeps_state_between_calls(self, conversation):
    if not hasattr(self, "ids"):
        self.ids, self.labels = [], []
    input_ids, labels = right(self, conversation)
    self.ids += input_ids
    self.labels += labels
    return self.ids, self.labels


@wrong("wrong_input_ids")
def mutable_default(self, conversation, input_ids=[], labels=[]):
    for message in conversation:
        ids, part = right(self, [message])
        input_ids += ids
        labels += part
    return input_ids, labels


@wrong("wrong_input_ids")
def whole_string_at_once(self, conversation):
    encoded = self.tokenizer.apply_chat_template(conversation, return_dict=True, return_assistant_tokens_mask=True)
    ids = encoded["input_ids"]
    masks = encoded["assistant_masks"]
    return ids, [token if mask else IGNORE_INDEX for token, mask in zip(ids, masks, strict=True)]


@wrong("wrong_input_ids")
def message_string_at_once(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header = self.tokenizer.encode(f"<|im_start|>{message['role']}\n", add_special_tokens=False)
        body = self.tokenizer.encode(message["content"] + "<|im_end|>", add_special_tokens=False)
        newline = self.tokenizer.encode("\n", add_special_tokens=False)
        input_ids += header + body + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += body if message["role"] == "assistant" else [IGNORE_INDEX] * len(body)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


# ------------------------------------------------------------------ 全都学、全都不学、别的值


@wrong("nothing_masked")
def copies_input_ids(self, conversation):
    input_ids = join(self, conversation)
    return input_ids, input_ids.copy()


@wrong("nothing_masked")
def returns_the_same_list_twice(self, conversation):
    input_ids = join(self, conversation)
    labels = input_ids
    return input_ids, labels


@wrong("nothing_masked")
def mask_is_thrown_away(self, conversation):
    input_ids = join(self, conversation)
    labels = list(input_ids)
    for label, message in zip(labels, conversation, strict=False):
        if message["role"] != "assistant":
            label = IGNORE_INDEX  # 只改了循环变量
    return input_ids, labels


@wrong("everything_masked")
def all_ignored(self, conversation):
    input_ids = join(self, conversation)
    return input_ids, [IGNORE_INDEX] * len(input_ids)


@wrong("everything_masked")
def wrong_role_name(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if message["role"] == "gpt":
            labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX] * len(newline)
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


@wrong("everything_masked")
def looks_for_a_text_marker(self, conversation):
    input_ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(input_ids)
    marker = self.tokenizer.convert_tokens_to_ids("<|assistant|>")
    inside = False
    for i, token in enumerate(input_ids):
        if inside:
            labels[i] = token
        if token == marker:
            inside = True
    return input_ids, labels


@wrong("everything_masked")
def overwritten_at_the_end(self, conversation):
    input_ids, labels = right(self, conversation)
    for i, _ in enumerate(labels):
        labels[i] = IGNORE_INDEX
    return input_ids, labels


@wrong("wrong_ignore_value")
def ignores_with_zero(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [0 if label == IGNORE_INDEX else label for label in labels]


@wrong("wrong_ignore_value")
def ignores_with_minus_one(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [-1 if label == IGNORE_INDEX else label for label in labels]


@wrong("wrong_ignore_value")
def ignores_with_plus_hundred(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [100 if label == IGNORE_INDEX else label for label in labels]


@wrong("wrong_ignore_value")
def ignores_with_pad(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        pad = self.tokenizer.pad_token_id
        if message["role"] == "assistant":
            labels += [pad] * len(header) + content + end + [pad] * len(newline)
        else:
            labels += [pad] * len(header + content + end + newline)
    return input_ids, labels


@wrong("wrong_ignore_value")
def two_ignore_values(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if message["role"] == "assistant":
            labels += [0] * len(header) + content + end + [0] * len(newline)
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


# ------------------------------------------------------------------ 别人的话


@wrong("user_trained")
def masks_up_to_the_first_answer(self, conversation):
    input_ids = join(self, conversation)
    labels = list(input_ids)
    first = next(i for i, message in enumerate(conversation) if message["role"] == "assistant")
    prompt = join(self, conversation[:first]) + self.chatml.segments(conversation[first]).header
    labels[: len(prompt)] = [IGNORE_INDEX] * len(prompt)
    return input_ids, labels


@wrong("user_trained")
def inverted(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        masked = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header)
        labels += [IGNORE_INDEX] * len(content + end) if masked else content + end
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("user_trained")
def masks_only_system(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = join(self, [message])
        input_ids += ids
        labels += [IGNORE_INDEX] * len(ids) if message["role"] == "system" else ids
    return input_ids, labels


@wrong("user_trained")
def masks_only_special_tokens(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("user_trained")
def searches_for_the_answer_text(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    for message in conversation:
        if message["role"] == "assistant":
            answer = self.chatml.encode(message["content"])
            for start in range(len(ids)):
                if ids[start : start + len(answer)] == answer:
                    labels[start : start + len(answer)] = answer
                    if ids[start + len(answer)] == self.chatml.end_id:
                        labels[start + len(answer)] = self.chatml.end_id
                    break
    return ids, labels


@wrong("user_trained")
def searches_for_the_word_assistant(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    word = self.chatml.encode("assistant\n")
    inside = False
    for i, token in enumerate(ids):
        if inside:
            labels[i] = token
            if token == self.chatml.end_id:
                inside = False
        elif ids[i + 1 - len(word) : i + 1] == word:
            inside = True
    return ids, labels


@wrong("user_trained")
def reads_the_decoded_text(self, conversation):
    ids = join(self, conversation)
    labels, text, inside = [], "", False
    for token in ids:
        labels.append(token if inside else IGNORE_INDEX)
        text += self.tokenizer.decode([token])
        if text.endswith("<|im_start|>assistant\n"):
            inside = True
        elif token == self.chatml.end_id:
            inside = False
    return ids, labels


@wrong("user_trained")
def odd_messages_are_answers(self, conversation):
    input_ids, labels = [], []
    for number, message in enumerate(conversation):
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if number % 2 == 1:  # 有 system 时就反了
            labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX] * len(newline)
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


@wrong("system_trained")
def everyone_but_user(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if message["role"] != "user":
            labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX] * len(newline)
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


@wrong("system_trained")
def masks_whole_user_messages(self, conversation):
    input_ids = join(self, conversation)
    labels = list(input_ids)
    position = 0
    for message in conversation:
        size = len(join(self, [message]))
        if message["role"] == "user":
            labels[position : position + size] = [IGNORE_INDEX] * size
        position += size
    return input_ids, labels


@wrong("system_trained")
def starts_with_the_first_user(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += [IGNORE_INDEX] * len(content) if message["role"] == "user" else content
        labels += end if message["role"] == "assistant" else [IGNORE_INDEX]
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


# ------------------------------------------------------------------ 哪几轮


@wrong("only_last_turn")
def prompt_and_answer(self, conversation):
    *context, answer = conversation
    header, content, end, newline = self.chatml.segments(answer)
    prompt = join(self, context) + header
    return prompt + content + end + newline, [IGNORE_INDEX] * len(prompt) + content + end + [IGNORE_INDEX]


@wrong("only_last_turn")
def last_header_wins(self, conversation):
    ids = join(self, conversation)
    header = self.chatml.segments({"role": "assistant", "content": ""}).header
    start = 0
    for i in range(len(ids)):
        if ids[i : i + len(header)] == header:
            start = i + len(header)
    end = ids.index(self.chatml.end_id, start)
    return ids, [IGNORE_INDEX] * start + ids[start : end + 1] + [IGNORE_INDEX] * (len(ids) - end - 1)


@wrong("only_last_turn")
def labels_reset_in_the_loop(self, conversation):
    input_ids = []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        labels = [IGNORE_INDEX] * len(input_ids)
        input_ids += header + content + end + newline
        if message["role"] == "assistant":
            labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("only_last_turn")
def everything_after_the_last_header(self, conversation):
    *context, answer = conversation
    prompt = join(self, context) + self.chatml.segments(answer).header
    ids = join(self, conversation)
    return ids, [IGNORE_INDEX] * len(prompt) + ids[len(prompt) :]


@wrong("only_first_turn")
def index_finds_the_first(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    header = self.chatml.segments({"role": "assistant", "content": ""}).header
    start = next(i for i in range(len(ids)) if ids[i : i + len(header)] == header) + len(header)
    end = ids.index(self.chatml.end_id, start)
    labels[start : end + 1] = ids[start : end + 1]
    return ids, labels


@wrong("only_first_turn")
def flag_is_never_reset(self, conversation):
    input_ids, labels, done = [], [], False
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if message["role"] == "assistant" and not done:
            labels += [IGNORE_INDEX] * len(header) + content + end + [IGNORE_INDEX] * len(newline)
            done = True
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


# ------------------------------------------------------------------ 边界


@wrong("header_trained")
def template_of_one_message_at_a_time(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        text = self.tokenizer.apply_chat_template([message], tokenize=False)
        text = text.removeprefix(self.tokenizer.bos_token or "")
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("newline_trained")
def finds_header_and_footer_in_the_whole_string(self, conversation):
    text = self.tokenizer.apply_chat_template(conversation, tokenize=False)
    ids = self.tokenizer(text, add_special_tokens=False).input_ids
    begin = self.tokenizer("<|im_start|>assistant\n", add_special_tokens=False).input_ids
    end = self.tokenizer("<|im_end|>\n", add_special_tokens=False).input_ids
    labels = [IGNORE_INDEX] * len(ids)
    i = 0
    while i < len(ids):
        if ids[i : i + len(begin)] == begin:
            start = i + len(begin)
            stop = start
            while stop < len(ids) and ids[stop : stop + len(end)] != end:
                stop += 1
            for j in range(start, min(stop + len(end), len(ids))):
                labels[j] = ids[j]
            i = stop + len(end)
        else:
            i += 1
    return ids, labels


@wrong("only_last_turn")
def masks_the_rendered_prompt(self, conversation):
    ids = self.tokenizer.apply_chat_template(conversation, return_dict=False)
    prompt = self.tokenizer.apply_chat_template(conversation[:-1], add_generation_prompt=True, return_dict=False)
    labels = list(ids)
    labels[: len(prompt)] = [IGNORE_INDEX] * len(prompt)
    return ids, labels


@wrong("user_trained")
def length_of_the_first_question(self, conversation):
    ids = join(self, conversation)
    question = next(message["content"] for message in conversation if message["role"] == "user")
    hidden = len(self.chatml.encode(question))
    return ids, [IGNORE_INDEX] * hidden + ids[hidden:]


@wrong("header_trained")
def whole_assistant_message(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = join(self, [message])
        input_ids += ids
        labels += ids if message["role"] == "assistant" else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("header_trained")
def starts_one_too_early(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        start = len(input_ids)
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header + content + end + newline)
        if message["role"] == "assistant":
            first = start + len(header) - 1
            last = first + len(content) + len(end)
            labels[first : last + 1] = input_ids[first : last + 1]
    return input_ids, labels


@wrong("header_trained")
def everything_but_user_content(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += header
        labels += content if message["role"] == "assistant" else [IGNORE_INDEX] * len(content)
        labels += end + newline
    return input_ids, labels


@wrong("header_trained")
def header_is_three_tokens(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = join(self, [message])
        input_ids += ids
        if message["role"] == "assistant":
            labels += [IGNORE_INDEX] * 3 + ids[3:-1] + [IGNORE_INDEX]
        else:
            labels += [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("header_trained")
def forgot_the_newline_of_the_header(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        ids = join(self, [message])
        skipped = len(self.tokenizer.encode(f"<|im_start|>{message['role']}", add_special_tokens=False))
        input_ids += ids
        if message["role"] == "assistant":
            labels += [IGNORE_INDEX] * skipped + ids[skipped:-1] + [IGNORE_INDEX]
        else:
            labels += [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("end_token_masked")
def only_content(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += content if message["role"] == "assistant" else [IGNORE_INDEX] * len(content)
        labels += [IGNORE_INDEX] * len(end + newline)
    return input_ids, labels


@wrong("end_token_masked")
def masks_all_control_tokens(self, conversation):
    input_ids, labels = right(self, conversation)
    control = self.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    return input_ids, [IGNORE_INDEX if token in control else label for token, label in zip(input_ids, labels)]


@wrong("end_token_masked")
def stops_before_the_end_token(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    header = self.chatml.segments({"role": "assistant", "content": ""}).header
    for i in range(len(ids)):
        if ids[i : i + len(header)] == header:
            start = i + len(header)
            stop = ids.index(self.chatml.end_id, start)
            labels[start:stop] = ids[start:stop]
    return ids, labels


@wrong("end_token_masked")
def masks_pad_tokens(self, conversation):
    input_ids, labels = right(self, conversation)
    pad = self.tokenizer.pad_token_id
    return input_ids, [IGNORE_INDEX if token == pad else label for token, label in zip(input_ids, labels, strict=True)]


@wrong("end_token_masked")
def only_the_last_end_token(self, conversation):
    input_ids, labels = right(self, conversation)
    ends = [i for i, label in enumerate(labels) if label == self.chatml.end_id]
    for i in ends[:-1]:
        labels[i] = IGNORE_INDEX
    return input_ids, labels


@wrong("first_token_masked")
def plus_one(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    position = 0
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        if message["role"] == "assistant":
            start = position + len(header) + 1
            stop = position + len(header) + len(content) + len(end)
            labels[start:stop] = ids[start:stop]
        position += len(header) + len(content) + len(end) + len(newline)
    return ids, labels


@wrong("first_token_masked")
def trains_what_follows_a_trained_position(self, conversation):
    ids, labels = right(self, conversation)
    return ids, [
        token if i and labels[i] != IGNORE_INDEX and labels[i - 1] != IGNORE_INDEX else IGNORE_INDEX
        for i, token in enumerate(ids)
    ]


@wrong("first_token_masked")
def header_length_plus_bos(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        skipped = len(self.tokenizer(f"<|im_start|>{message['role']}\n")["input_ids"])  # 多数了一个 BOS
        ids = header + content + end + newline
        input_ids += ids
        if message["role"] == "assistant":
            labels += [IGNORE_INDEX] * skipped + ids[skipped:-1] + [IGNORE_INDEX]
        else:
            labels += [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@wrong("foreign_end_token_trained")
def every_end_token(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += content if message["role"] == "assistant" else [IGNORE_INDEX] * len(content)
        labels += end + [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("foreign_end_token_trained")
def restores_end_tokens_afterwards(self, conversation):
    input_ids, labels = right(self, conversation)
    for i, token in enumerate(input_ids):
        if token == self.chatml.end_id:
            labels[i] = token
    return input_ids, labels


@wrong("newline_trained")
def end_and_newline(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        if message["role"] == "assistant":
            labels += [IGNORE_INDEX] * len(header) + content + end + newline
        else:
            labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


@wrong("newline_trained")
def one_too_far(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    header = self.chatml.segments({"role": "assistant", "content": ""}).header
    i = 0
    while i < len(ids):
        if ids[i : i + len(header)] == header:
            i += len(header)
            stop = ids.index(self.chatml.end_id, i) + 2
            labels[i:stop] = ids[i:stop]
            i = stop
        else:
            i += 1
    return ids, labels


# ------------------------------------------------------------------ 截断


@wrong("truncation_mismatch")
def cuts_only_input_ids(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids[: self.max_length], labels


@wrong("truncation_mismatch")
def cuts_only_labels(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, labels[: self.max_length]


@wrong("truncation_mismatch")
def keeps_the_end(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids[-self.max_length :], labels[-self.max_length :]


@wrong("truncation_mismatch")
def front_and_end(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids[: self.max_length], labels[-self.max_length :]


@wrong("truncation_mismatch")
def fixed_length(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids[:512], labels[:512]


@wrong("truncation_mismatch")
def forces_an_end_token(self, conversation):
    input_ids, labels = right(self, conversation)
    if len(input_ids) > self.max_length:
        input_ids = input_ids[: self.max_length - 1] + [self.chatml.end_id]
        labels = labels[: self.max_length - 1] + [self.chatml.end_id]
    return input_ids, labels


@wrong("truncation_mismatch")
def truncates_each_message(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        content = content[: self.max_length // len(conversation)]
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += content + end if message["role"] == "assistant" else [IGNORE_INDEX] * len(content + end)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("truncation_mismatch")
def lets_the_tokenizer_truncate_the_ids(self, conversation):
    _, labels = right(self, conversation)
    text = self.tokenizer.apply_chat_template(conversation, tokenize=False)
    ids = self.tokenizer(text, add_special_tokens=False, truncation=True, max_length=self.max_length)["input_ids"]
    return ids, [IGNORE_INDEX] * len(self.chatml.bos) + labels


@wrong("wrong_return_type")
def returns_nothing_when_too_long(self, conversation):
    input_ids, labels = right(self, conversation)
    if len(input_ids) <= self.max_length:
        return input_ids, labels


# ------------------------------------------------------------------ 说不出是哪一种


@wrong("wrong_labels")
def zero_one_mask(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [int(label != IGNORE_INDEX) for label in labels]


@wrong("wrong_labels")
def ones_as_labels(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [label if label == IGNORE_INDEX else 1 for label in labels]


@wrong("wrong_labels")
def last_content_token_is_lost(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        if message["role"] == "assistant":
            labels += content[:-1] + [IGNORE_INDEX] + end
        else:
            labels += [IGNORE_INDEX] * len(content + end)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_labels")
def only_the_end_token(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [label if label == self.chatml.end_id else IGNORE_INDEX for label in labels]


@wrong("wrong_labels")
def trains_bos(self, conversation):
    input_ids, labels = right(self, conversation)
    return self.chatml.bos + input_ids, self.chatml.bos + labels


@wrong("everything_masked")
def assistant_must_be_one_token(self, conversation):
    ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(ids)
    word = self.tokenizer.convert_tokens_to_ids("assistant")
    start = self.tokenizer.convert_tokens_to_ids("<|im_start|>")
    inside = False
    for i in range(len(ids)):
        if inside:
            labels[i] = ids[i]
            inside = ids[i] != self.chatml.end_id
        elif i >= 2 and ids[i - 2] == start and ids[i - 1] == word:
            inside = True
    return ids, labels


def right(self, conversation):
    """几个写法从正确的结果改起：只有改的那一处是错的。"""
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        answer = content + end if message["role"] == "assistant" else [IGNORE_INDEX] * len(content + end)
        labels += [IGNORE_INDEX] * len(header) + answer + [IGNORE_INDEX] * len(newline)
    return input_ids, labels


# ------------------------------------------------------------------ 换一个分词器、换一段对话才看得出来


@wrong("wrong_input_ids")
def sanitized_template_prefixes(self, conversation):
    """模板一次比一次多一条消息，多出来的就是这条消息；标记在内容里时由 transformers 拆开。"""

    def encode(messages, **kwargs):
        if not messages:
            return [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        return self.tokenizer.apply_chat_template(messages, return_dict=False, sanitize_control_tokens=True, **kwargs)

    before = encode([])
    input_ids, labels = list(before), [IGNORE_INDEX] * len(before)
    for number, message in enumerate(conversation, 1):
        after = encode(conversation[:number])
        if message["role"] == "assistant":
            prompt = encode(conversation[: number - 1], add_generation_prompt=True)
            labels += [IGNORE_INDEX] * (len(prompt) - len(before)) + after[len(prompt) : -1] + [IGNORE_INDEX]
        else:
            labels += [IGNORE_INDEX] * (len(after) - len(before))
        input_ids, before = after, after
    return input_ids, labels


@wrong("wrong_input_ids")
def bos_whenever_defined(self, conversation):
    bos = self.tokenizer.bos_token_id
    input_ids, labels = right(self, conversation)
    return ([bos] if bos is not None else []) + input_ids, ([IGNORE_INDEX] if bos is not None else []) + labels


@wrong("wrong_input_ids")
def header_and_content_together(self, conversation):
    def encode(text):
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    start, end = self.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    input_ids, labels = [], []
    for message in conversation:
        header = 1 + len(encode(message["role"] + "\n"))
        ids = [start] + encode(message["role"] + "\n" + message["content"]) + [end] + encode("\n")
        stop = len(ids) - len(encode("\n"))
        input_ids += ids
        for index, token in enumerate(ids):
            labels.append(token if message["role"] == "assistant" and header <= index < stop else IGNORE_INDEX)
    return input_ids, labels


@wrong("length_mismatch")
def newline_is_one_token(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX]
    return input_ids, labels


@wrong("newline_trained")
def all_but_the_last_token(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        ids = header + content + end + newline
        input_ids += ids
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header)
        labels += ids[len(header) : -1] + [IGNORE_INDEX] if learn else [IGNORE_INDEX] * len(ids[len(header) :])
    return input_ids, labels


@wrong("header_trained")
def header_is_at_most_four_tokens(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        masked = min(4, len(header))
        answer = header[masked:] + content + end
        labels += [IGNORE_INDEX] * masked
        labels += answer if message["role"] == "assistant" else [IGNORE_INDEX] * len(answer)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def removes_old_thinking(self, conversation):
    messages = []
    for message in conversation:
        content = message["content"]
        if message is not conversation[-1]:
            content = re.sub(r"<think>.*?</think>\n*", "", content, flags=re.DOTALL)
        messages.append({**message, "content": content})
    return right(self, messages)


@wrong("user_trained")
def compares_the_second_token_of_the_header(self, conversation):
    answer = self.chatml.segments({"role": "assistant", "content": ""}).header[1]
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = header[1] == answer
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def replaces_tabs(self, conversation):
    return right(self, [{**message, "content": message["content"].replace("\t", " ")} for message in conversation])


@wrong("wrong_input_ids")
def normalises_line_endings(self, conversation):
    return right(self, [{**message, "content": message["content"].replace("\r\n", "\n")} for message in conversation])


@wrong("wrong_input_ids")
def at_most_eight_messages(self, conversation):
    return right(self, conversation[:8])


@wrong("truncation_mismatch")
def at_most_1024_tokens(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids[:1024], labels[:1024]


@wrong("wrong_input_ids")
def skips_what_it_has_seen(self, conversation):
    seen = self.__dict__.setdefault("_seen", set())
    key = str(conversation)
    if key in seen:
        return [], []
    seen.add(key)
    return right(self, conversation)


# ------------------------------------------------------------------ 常见的几种，要说得准


@wrong("length_mismatch")
def bos_on_one_side(self, conversation):
    input_ids, labels = right(self, conversation)
    return self.chatml.bos + input_ids, labels


@wrong("wrong_input_ids")
def lists_made_in_the_loop(self, conversation):
    for message in conversation:
        input_ids, labels = [], []
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def return_in_the_loop_body(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
        return input_ids, labels


@wrong("wrong_input_ids")
def a_tokenizer_of_its_own(self, conversation):
    from finetuning.chatml import ChatML
    from self_check.data.named_tokenizers import base_tokenizer

    chatml = ChatML(base_tokenizer().build())
    return right(type("Other", (), {"chatml": chatml})(), conversation)


@wrong("wrong_input_ids")
def marker_ids_written_down(self, conversation):
    from self_check.data.named_tokenizers import base_tokenizer

    start, end = base_tokenizer().id("<|im_start|>"), base_tokenizer().id("<|im_end|>")  # 学习者会直接写数字
    input_ids, labels = [], []
    for message in conversation:
        header, content, _, newline = self.chatml.segments(message)
        answer = content + [end]
        input_ids += [start] + header[1:] + answer + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += answer if message["role"] == "assistant" else [IGNORE_INDEX] * len(answer)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def twice_the_same(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids + input_ids, labels + labels


@wrong("raises")
def unpacks_two_messages(self, conversation):
    question, answer = conversation
    return right(self, [question, answer])


@wrong("raises")
def unpacks_three_segments(self, conversation):
    header, content, end = self.chatml.segments(conversation[0])
    return header + content + end, [IGNORE_INDEX] * len(header + content + end)


@wrong("wrong_labels")
def regex_without_dotall(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        text = f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>"
        hit = re.match(r"<\|im_start\|>assistant\n(.*)<\|im_end\|>$", text)
        labels += [IGNORE_INDEX] * len(header) + (content + end if hit else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_labels")
def stops_at_the_first_newline(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        answer = self.chatml.encode(message["content"].split("\n")[0])
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header)
        labels += (answer + [IGNORE_INDEX] * len(content))[: len(content)] if learn else [IGNORE_INDEX] * len(content)
        labels += (end if learn and len(answer) == len(content) else [IGNORE_INDEX]) + [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_labels")
def half_of_a_long_answer(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        answer = (content + end)[:4] if message["role"] == "assistant" else []
        labels += [IGNORE_INDEX] * len(header) + answer
        labels += [IGNORE_INDEX] * (len(content + end + newline) - len(answer))
    return input_ids, labels


@wrong("wrong_labels")
def drops_some_at_random(self, conversation):
    input_ids, labels = right(self, conversation)
    rng = random.Random(len(input_ids))
    return input_ids, [IGNORE_INDEX if rng.random() < 0.3 else label for label in labels]


@wrong("wrong_labels")
def the_word_user_in_the_text(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = "user" not in str(message) and "system" not in str(message)
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_labels")
def masks_the_ids_of_the_questions(self, conversation):
    input_ids, labels = right(self, conversation)
    asked = {token for m in conversation if m["role"] != "assistant" for token in self.chatml.segments(m).content}
    return input_ids, [IGNORE_INDEX if label in asked else label for label in labels]


@wrong("wrong_labels")
def answers_under_the_questions(self, conversation):
    input_ids, labels = [], []
    for index, message in enumerate(conversation):
        ids = [token for segment in self.chatml.segments(message) for token in segment]
        row = [IGNORE_INDEX] * len(ids)
        if message["role"] == "user":
            answer = self.chatml.segments(conversation[index + 1]).content
            row[: len(answer)] = answer[: len(ids)]
        input_ids += ids
        labels += row[: len(ids)]
    return input_ids, labels


@wrong("first_token_masked")
def starts_four_too_late(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant"
        skipped = min(4, len(content))
        labels += [IGNORE_INDEX] * (len(header) + skipped)
        labels += content[skipped:] + end if learn else [IGNORE_INDEX] * len(content[skipped:] + end)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


# ------------------------------------------------------------------ 改了不该改的；不会结束


@wrong("raises")
def without_self(conversation):
    return [1], [IGNORE_INDEX]


@wrong("raises")
def one_more_parameter(self, conversation, tokenizer):
    return right(self, conversation)


@wrong("raises")
async def is_async(self, conversation):
    return right(self, conversation)


@wrong("wrong_return_type")
def generates_them(self, conversation):
    yield from right(self, conversation)


@wrong("raises")
def leaves_a_breakpoint(self, conversation):
    breakpoint()
    return right(self, conversation)


@wrong("raises")
def sleeps(self, conversation):
    time.sleep(3600)
    return right(self, conversation)


@wrong("raises")
def a_very_long_message(self, conversation):
    raise ValueError("\x1b[31m坏了\a" + "很长" * 10_000)


# ------------------------------------------------------------------ 查找、缓存、按 token 是哪个字来判断


@wrong("user_trained")
def searches_from_the_start(self, conversation):
    input_ids = join(self, conversation)
    labels = [IGNORE_INDEX] * len(input_ids)
    for message in conversation:
        if message["role"] == "assistant":
            answer = self.chatml.segments(message).content
            start = next(i for i in range(len(input_ids)) if input_ids[i : i + len(answer)] == answer)
            labels[start : start + len(answer) + 1] = input_ids[start : start + len(answer) + 1]
    return input_ids, labels


@wrong("header_trained")
def learns_what_is_in_the_answer(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        ids = header + content + end + newline
        input_ids += ids
        wanted = set(content + end) if message["role"] == "assistant" else set()
        labels += [token if token in wanted else IGNORE_INDEX for token in ids]
    return input_ids, labels


@wrong("end_token_masked")
def only_the_last_end(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += content if message["role"] == "assistant" else [IGNORE_INDEX] * len(content)
        labels += [IGNORE_INDEX] * len(end + newline)
    labels[-1 - len(newline)] = end[0]
    return input_ids, labels


@wrong("wrong_input_ids")
def keyed_by_content(self, conversation):
    rows = {message["content"]: (message["role"], self.chatml.segments(message)) for message in conversation}
    input_ids, labels = [], []
    for message in conversation:
        role, (header, content, end, newline) = rows[message["content"]]
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header)
        labels += content + end if role == "assistant" else [IGNORE_INDEX] * len(content + end)
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_input_ids")
def grows_a_cached_list(self, conversation):
    cache = self.__dict__.setdefault("_segments", {})
    input_ids, labels = None, []
    for message in conversation:
        key = (message["role"], message["content"])
        if key not in cache:
            cache[key] = [list(segment) for segment in self.chatml.segments(message)]
        header, content, end, newline = cache[key]
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
        if input_ids is None:
            input_ids = header
        else:
            input_ids += header
        input_ids += content + end + newline
    return input_ids, labels


@wrong("wrong_input_ids")
def merges_messages_of_one_role(self, conversation):
    merged = []
    for message in conversation:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1]["content"] += "\n" + message["content"]
        else:
            merged.append(dict(message))
    return right(self, merged)


@wrong("user_trained")
def trains_user_too(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] in ("user", "assistant")
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("labels_alias_input_ids")
def one_list_with_two_names(self, conversation):
    input_ids = labels = []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        labels += [IGNORE_INDEX] * len(header + content + end + newline)
    return input_ids, labels


@wrong("raises")
def segments_by_name(self, conversation):
    return self.chatml.segments(conversation[0])["header"], []


@wrong("raises")
def message_attributes(self, conversation):
    return [message.role for message in conversation], []


@wrong("truncation_mismatch")
def skips_long_answers(self, conversation):
    input_ids, labels = right(self, conversation)
    return input_ids, [label if index < 1000 else IGNORE_INDEX for index, label in enumerate(labels)]


@wrong("wrong_input_ids")
def only_the_two_markers_are_text(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        if "<|im_" not in message["content"]:
            content = self.tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant"
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels


@wrong("wrong_labels")
def refuses_to_learn_i_do_not_know(self, conversation):
    input_ids, labels = [], []
    for message in conversation:
        header, content, end, newline = self.chatml.segments(message)
        input_ids += header + content + end + newline
        learn = message["role"] == "assistant" and "不" not in message["content"]
        labels += [IGNORE_INDEX] * len(header) + (content + end if learn else [IGNORE_INDEX] * len(content + end))
        labels += [IGNORE_INDEX] * len(newline)
    return input_ids, labels
