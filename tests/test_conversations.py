"""一行原始数据 → 一段对话：各种格式，以及每一种坏行的理由。"""

import copy

import pytest

from finetuning.conversations import BadRowError, to_conversation

QUESTION, ANSWER = {"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}
SYSTEM = {"role": "system", "content": "设定"}


def native(*messages) -> dict:
    return {"conversations": list(messages)}


def assistant(content) -> dict:
    return {"role": "assistant", "content": content}


GOOD_ROWS = {
    "native": (native(SYSTEM, QUESTION, ANSWER), [SYSTEM, QUESTION, ANSWER]),
    "multi_turn": (native(QUESTION, ANSWER, QUESTION, ANSWER), [QUESTION, ANSWER, QUESTION, ANSWER]),
    "bare_list": ([QUESTION, ANSWER], [QUESTION, ANSWER]),
    "messages": ({"messages": [QUESTION, ANSWER]}, [QUESTION, ANSWER]),
    "sharegpt": (
        native({"from": "system", "value": "设定"}, {"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}),
        [SYSTEM, QUESTION, ANSWER],
    ),
    "sharegpt_other_names": (
        native({"from": "user", "value": "问"}, {"from": "assistant", "value": "答"}),
        [QUESTION, ANSWER],
    ),
    "alpaca": ({"instruction": "问", "input": "", "output": "答"}, [QUESTION, ANSWER]),
    "alpaca_no_input": ({"instruction": "问", "output": "答"}, [QUESTION, ANSWER]),
    "alpaca_input": (
        {"instruction": "翻译", "input": "hi", "output": "答"},
        [{"role": "user", "content": "翻译\nhi"}, ANSWER],
    ),
    "alpaca_full": (
        {"instruction": "问", "input": " ", "output": "答", "system": "设定", "history": [["问", "答"], ["问", "答"]]},
        [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER, QUESTION, ANSWER],
    ),
    "extra_keys": (
        {**native({**QUESTION, "weight": 0, "name": "x"}, {**ANSWER, "tool_calls": None}), "id": 7, "tools": []},
        [QUESTION, ANSWER],
    ),
    "learnt_as_everywhere": (
        {**native({**ANSWER, "weight": 1.0, "train": True} | {"role": "user"}, {**ANSWER, "loss": True}), "label": 3},
        [{"role": "user", "content": "答"}, ANSWER],
    ),
    "tools_as_text": ({"tools": "[]", "images": [], **native(QUESTION, ANSWER)}, [QUESTION, ANSWER]),
    "no_images": ({"images": [None], **native(QUESTION, ANSWER)}, [QUESTION, ANSWER]),
    "the_same_system_but_a_blank": (
        {"system": "设定 ", **native(SYSTEM, QUESTION, ANSWER)},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "not_masked": (native(QUESTION, {**ANSWER, "masked": False}), [QUESTION, ANSWER]),
    "the_same_system_twice": ({"system": "设定", **native(SYSTEM, QUESTION, ANSWER)}, [SYSTEM, QUESTION, ANSWER]),
    "null_keys_of_parquet": (
        {
            "conversations": [
                {"from": "human", "value": "问", "role": None, "content": None},
                {"from": None, "value": None, "role": "assistant", "content": "答"},
            ],
            "messages": None,
            "instruction": None,
        },
        [QUESTION, ANSWER],
    ),
    "text_parts": (
        native(
            {"role": "user", "content": [{"type": "text", "text": "你"}, {"type": "text", "text": "好"}]},
            assistant("答"),
        ),
        [{"role": "user", "content": "你好"}, ANSWER],
    ),
    "whitespace_is_kept": (native(QUESTION, assistant("\n 答 \n")), [QUESTION, assistant("\n 答 \n")]),
    "empty_question": (native({"role": "user", "content": ""}, ANSWER), [{"role": "user", "content": ""}, ANSWER]),
}

BAD_ROWS = {
    "not_an_object": (3, "应该是一个 JSON 对象，实际是数字"),
    "null": (None, "应该是一个 JSON 对象，实际是空值"),
    "text": ("你好", "应该是一个 JSON 对象，实际是文字"),
    "unknown_format": (
        {"prompt": "a", "回答": "b"},
        "认不出格式：要有 conversations、messages 或 instruction 这三个键之一，这一行的键是 'prompt'、'回答'",
    ),
    "no_keys": (
        {},
        "认不出格式：要有 conversations、messages 或 instruction 这三个键之一，这一行的键是 （没有）",
    ),
    "messages_is_text": ({"messages": "你好"}, "messages 应该是消息的列表，实际是文字"),
    "conversations_is_object": ({"conversations": {"role": "user"}}, "conversations 应该是消息的列表，实际是对象"),
    "no_messages": (native(), "一条消息也没有"),
    "message_is_text": (native("问", "答"), "第 1 条消息应该是一个对象，实际是文字"),
    "message_is_list": (native(QUESTION, [ANSWER]), "第 2 条消息应该是一个对象，实际是列表"),
    "no_role": (native({"content": "问"}, ANSWER), "第 1 条消息没有角色（role 或 from）"),
    "no_content": (native(QUESTION, {"role": "assistant"}), "第 2 条消息没有内容（content 或 value）"),
    "tool_call_without_content": (
        native(QUESTION, {"role": "assistant", "content": None, "tool_calls": [{}]}),
        "第 2 条消息没有内容（content 或 value）",
    ),
    "tool_role": (
        native(QUESTION, {"role": "tool", "content": "{}"}, ANSWER),
        "第 2 条消息的角色是 'tool'，只支持 system、user（human）和 assistant（gpt）",
    ),
    "role_case": (
        native({"role": "User", "content": "问"}, ANSWER),
        "第 1 条消息的角色是 'User'，只支持 system、user（human）和 assistant（gpt）",
    ),
    "role_is_list": (
        native({"role": ["user"], "content": "问"}, ANSWER),
        "第 1 条消息的角色是 ['user']，只支持 system、user（human）和 assistant（gpt）",
    ),
    "content_is_number": (native(QUESTION, assistant(42)), "第 2 条消息的内容应该是文字，实际是数字"),
    "content_is_bool": (native(QUESTION, assistant(False)), "第 2 条消息的内容应该是文字，实际是布尔值"),
    "content_is_object": (native(QUESTION, assistant({"text": "答"})), "第 2 条消息的内容应该是文字，实际是对象"),
    "image_part": (
        native({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ANSWER),
        "第 1 条消息的内容里有不是文字的部分（'image_url'）",
    ),
    "text_part_without_text": (
        native({"role": "user", "content": [{"type": "text", "text": None}]}, ANSWER),
        "第 1 条消息的内容里有不是文字的部分（'text'）",
    ),
    "list_of_strings": (native(QUESTION, assistant(["答"])), "第 2 条消息的内容里有不是文字的部分（文字）"),
    "nested_list": (native(QUESTION, assistant([[]])), "第 2 条消息的内容里有不是文字的部分（列表）"),
    "empty_answer": (native(QUESTION, assistant("")), "第 2 条消息：assistant 的回答是空的"),
    "empty_parts": (native(QUESTION, assistant([])), "第 2 条消息：assistant 的回答是空的"),
    "blank_answer": (
        native(QUESTION, assistant(" \n\t\u3000"), QUESTION, ANSWER),
        "第 2 条消息：assistant 的回答是空的",
    ),
    "ends_with_user": (native(QUESTION, ANSWER, QUESTION), "最后一条消息应该是 assistant 的回答，实际是 user"),
    "only_system": (native(SYSTEM), "最后一条消息应该是 assistant 的回答，实际是 system"),
    "starts_with_assistant": (native(ANSWER, QUESTION, ANSWER), "第 1 条消息应该是 user，实际是 assistant"),
    "two_users": (native(SYSTEM, QUESTION, QUESTION, ANSWER), "第 3 条消息应该是 assistant，实际是 user"),
    "two_answers": (native(QUESTION, ANSWER, ANSWER), "第 3 条消息应该是 user，实际是 assistant"),
    "late_system": (native(QUESTION, ANSWER, SYSTEM, QUESTION, ANSWER), "第 3 条消息应该是 user，实际是 system"),
    "two_systems": (native(SYSTEM, SYSTEM, QUESTION, ANSWER), "第 2 条消息应该是 user，实际是 system"),
    "nul": (native(QUESTION, assistant("a\0")), r"第 2 条消息的内容的第 2 个字符是 '\x00'，不是合法的文字"),
    "lone_surrogate": (
        native({"role": "user", "content": "\ud83d"}, ANSWER),
        r"第 1 条消息的内容的第 1 个字符是 '\ud83d'，不是合法的文字",
    ),
    "alpaca_empty_output": ({"instruction": "问", "output": ""}, "第 2 条消息：assistant 的回答是空的"),
    "alpaca_null_output": ({"instruction": "问", "output": None}, "output 应该是文字，实际是空值"),
    "alpaca_no_output": ({"instruction": "问", "input": ""}, "output 应该是文字，实际是空值"),
    "alpaca_instruction_is_number": ({"instruction": 1, "output": "答"}, "instruction 应该是文字，实际是数字"),
    "alpaca_input_is_object": (
        {"instruction": "问", "input": {"a": 1}, "output": "答"},
        "input 应该是文字，实际是对象",
    ),
    "alpaca_history_is_text": (
        {"instruction": "问", "output": "答", "history": "问"},
        "history 应该是 [问, 答] 的列表",
    ),
    "alpaca_history_of_one": (
        {"instruction": "问", "output": "答", "history": [["问"]]},
        "history 应该是 [问, 答] 的列表",
    ),
}


def answer_with(**keys) -> dict:
    return native(QUESTION, {**ANSWER, **keys})


# 不看就会学错的键：不收，不悄悄丢掉。
UNUSED_KEYS = {
    "weight_0": (answer_with(weight=0), "第 2 条消息的 weight 是 0"),
    "weight_half": (answer_with(weight=0.5), "第 2 条消息的 weight 是 0.5"),
    "weight_is_text": (answer_with(weight="0"), "第 2 条消息的 weight 是 '0'"),
    "train_false": (answer_with(train=False), "第 2 条消息的 train 是 False"),
    "loss_false": (answer_with(loss=False), "第 2 条消息的 loss 是 False"),
    "reasoning_content": (answer_with(reasoning_content="想"), "第 2 条消息里有思考过程（reasoning_content）"),
    "thinking": (answer_with(thinking="想"), "第 2 条消息里有思考过程（thinking）"),
    "image_in_a_message": (
        native({**QUESTION, "images": ["a.jpg"]}, ANSWER),
        "第 1 条消息里有图片、视频或声音（images）",
    ),
    "system_beside": ({"system": "设定", **native(QUESTION, ANSWER)}, "system 写在了对话外面"),
    "another_system_beside": ({"system": "别的", **native(SYSTEM, QUESTION, ANSWER)}, "system 写在了对话外面"),
    "tools_beside": ({"tools": [{}], "messages": [QUESTION, ANSWER]}, "对话旁边有工具的定义（tools）"),
    "tools_as_text": ({"tools": '[{"name": "f"}]', "messages": [QUESTION, ANSWER]}, "对话旁边有工具的定义（tools）"),
    "images_beside": ({"images": ["a.jpg"], "messages": [QUESTION, ANSWER]}, "对话旁边有图片、视频或声音（images）"),
    "alpaca_with_an_image": ({"instruction": "问", "output": "答", "image": "a.jpg"}, "对话旁边有图片"),
    "masked": (answer_with(masked=True), "第 2 条消息的 masked 是 True"),
    "trainable_false": (answer_with(trainable=False), "第 2 条消息的 trainable 是 False"),
    "weight_beside": ({"weight": 0, "messages": [QUESTION, ANSWER]}, "对话旁边的 weight 是 0"),
    "reasoning_beside": ({"reasoning": "想", "messages": [QUESTION, ANSWER]}, "对话旁边有思考过程（reasoning）"),
    "system_prompt_beside": ({"system_prompt": "设定", "messages": [QUESTION, ANSWER]}, "system_prompt 写在了对话外面"),
    "instruction_beside": ({"instruction": "问", "messages": [QUESTION, ANSWER]}, "既有消息的列表，又有 instruction"),
    "kto_tag": ({"kto_tag": False, "messages": [QUESTION, ANSWER]}, "对话旁边有 kto_tag"),
    "alpaca_with_reasoning": (
        {"instruction": "问", "output": "答", "reasoning_content": "想"},
        "对话旁边有思考过程（reasoning_content）",
    ),
    "alpaca_zero_input": ({"instruction": "问", "input": 0, "output": "答"}, "input 应该是文字，实际是数字"),
    "kto": ({"label": False, "messages": [QUESTION, ANSWER]}, "KTO"),
    "dpo": ({"rejected_response": "坏", "messages": [QUESTION, ANSWER]}, "对话旁边有偏好数据的一部分"),
    "alpaca_empty_instruction": ({"instruction": "", "input": "问", "output": "答"}, "instruction 是空的"),
    "alpaca_blank_instruction": ({"instruction": " \n", "output": "答"}, "instruction 是空的"),
}


@pytest.mark.parametrize(("row", "reason"), UNUSED_KEYS.values(), ids=UNUSED_KEYS)
def test_a_key_that_would_be_lost_is_refused(row, reason):
    with pytest.raises(BadRowError) as caught:
        to_conversation(row)
    assert reason in str(caught.value)


@pytest.mark.parametrize(("row", "expected"), GOOD_ROWS.values(), ids=GOOD_ROWS)
def test_good_row(row, expected):
    before = copy.deepcopy(row)
    conversation = to_conversation(row)
    assert conversation == expected
    conversation[0]["content"] = "改过"
    assert row == before, "结果与原始数据不共用任何可变的东西"


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_row(row, reason):
    with pytest.raises(BadRowError) as caught:
        to_conversation(row)
    assert str(caught.value) == reason


def test_whole_emoji_is_good():
    assert to_conversation(native({"role": "user", "content": "\U0001f600"}, ANSWER))[0]["content"] == "😀"


def test_long_user_data_is_shortened_in_the_reason():
    with pytest.raises(BadRowError) as caught:
        to_conversation(native({"role": "很长" * 10_000, "content": "问"}, ANSWER))
    assert len(str(caught.value)) < 150
