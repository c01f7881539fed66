"""一行原始数据 → 一段对话：各种格式，没有用到的键，以及每一种坏行的理由。"""

import copy

import pytest

from finetuning.conversations import BadRowError
from finetuning.formats import parse_row, to_conversation

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
    "other_text_parts": (
        native(
            {"role": "user", "content": [{"type": "text", "value": "你"}, {"type": "text", "content": "好"}]},
            assistant("答"),
        ),
        [{"role": "user", "content": "你好"}, ANSWER],
    ),
    "xtuner": (
        {"conversation": [{"system": "设定", "input": "问", "output": "答"}, {"input": "问", "output": "答"}]},
        [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER],
    ),
    "firefly": (
        {"conversation": [{"human": "问", "assistant": "答"}, {"human": "问", "assistant": "答"}], "category": "闲聊"},
        [QUESTION, ANSWER, QUESTION, ANSWER],
    ),
    "dolly": (
        {"instruction": "问", "context": "材料", "response": "答", "category": "qa"},
        [{"role": "user", "content": "问\n材料"}, ANSWER],
    ),
    "seed_task": (
        {"id": "seed_1", "instruction": "问", "instances": [{"input": "材料", "output": "答"}]},
        [{"role": "user", "content": "问\n材料"}, ANSWER],
    ),
    "swift": (
        {"system": "设定", "query": "问", "response": "答", "history": [["问", "答"]]},
        [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER],
    ),
    "history_of_messages": ({"query": "问", "response": "答", "history": [QUESTION, ANSWER]}, [QUESTION, ANSWER] * 2),
    "prompt_completion": ({"prompt": "问", "completion": "答"}, [QUESTION, ANSWER]),
    "prompt_response": ({"prompt": "问", "response": "答"}, [QUESTION, ANSWER]),
    "question_answer": ({"question": "问", "answer": "答"}, [QUESTION, ANSWER]),
    "upper_case": ({"Question": "问", "Answer": "答"}, [QUESTION, ANSWER]),
    "input_output": ({"input": "问", "output": "答"}, [QUESTION, ANSWER]),
    "input_output_and_an_empty_instruction": (
        {"instruction": None, "input": "问", "output": "答"},
        [QUESTION, ANSWER],
    ),
    "context_response": ({"Context": "问", "Response": "答"}, [QUESTION, ANSWER]),
    "chinese_keys": ({"问题": "问", "回答": "答"}, [QUESTION, ANSWER]),
    "trl_conversational": (
        {"prompt": [SYSTEM, QUESTION, ANSWER, QUESTION], "completion": [ANSWER]},
        [SYSTEM, QUESTION, {**ANSWER, "learnt": False}, QUESTION, ANSWER],
    ),
    "one_answer_under_two_names": ({"question": "问", "answer": "答", "response": "答"}, [QUESTION, ANSWER]),
    "system_beside": ({"system": "设定", **native(QUESTION, ANSWER)}, [SYSTEM, QUESTION, ANSWER]),
    "system_prompt_beside": ({"system_prompt": "设定", "messages": [QUESTION, ANSWER]}, [SYSTEM, QUESTION, ANSWER]),
    "a_list_as_text": (
        {"messages": '[{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]'},
        [QUESTION, ANSWER],
    ),
    "weight_0_is_context": (
        native(QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER),
        [QUESTION, {**ANSWER, "learnt": False}, QUESTION, ANSWER],
    ),
    "masked_is_context": (
        native(QUESTION, {**ANSWER, "masked": True}, QUESTION, {**ANSWER, "train": True}),
        [QUESTION, {**ANSWER, "learnt": False}, QUESTION, ANSWER],
    ),
    "nothing_learnt_at_the_end": (
        native(QUESTION, ANSWER, QUESTION, {**ANSWER, "loss": False}),
        [QUESTION, ANSWER],
    ),
    "reasoning": (
        native(QUESTION, {**ANSWER, "reasoning_content": "想"}),
        [QUESTION, {**ANSWER, "reasoning": "想"}],
    ),
    "reasoning_of_a_pair": (
        {"Question": "问", "Complex_CoT": "想", "Response": "答"},
        [QUESTION, {**ANSWER, "reasoning": "想"}],
    ),
    "the_same_thought_twice": (
        native(QUESTION, {"role": "assistant", "content": "<think>\n想\n</think>\n\n答", "reasoning_content": "想"}),
        [QUESTION, {**ANSWER, "reasoning": "想"}],
    ),
    "lima": ({"conversations": ["问", "答", "问", "答"], "source": "x"}, [QUESTION, ANSWER, QUESTION, ANSWER]),
    "turns_of_questions": ({"conversation": [{"question": "问", "answer": "答"}]}, [QUESTION, ANSWER]),
    "magpie": (
        {
            "instruction": "问",
            "response": "答",
            **native({"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}),
        },
        [QUESTION, ANSWER],
    ),
    "capital_list": ({"Messages": [QUESTION, ANSWER]}, [QUESTION, ANSWER]),
    "input_target": ({"kind": "NLI", "input": "问", "target": "答"}, [QUESTION, ANSWER]),
    "problem_solution": ({"problem": "问", "solution": "答"}, [QUESTION, ANSWER]),
    "a_score_is_no_mark": ({"messages": [QUESTION, ANSWER], "loss": 1.37, "weight": 2.5}, [QUESTION, ANSWER]),
    "a_mark_of_a_table": ({"question": "问", "answer": "答", "weight": "1"}, [QUESTION, ANSWER]),
    "empty_reasoning": (native(QUESTION, {**ANSWER, "reasoning_content": ""}), [QUESTION, ANSWER]),
    "whitespace_is_kept": (native(QUESTION, assistant("\n 答 \n")), [QUESTION, assistant("\n 答 \n")]),
    "empty_question": (native({"role": "user", "content": ""}, ANSWER), [{"role": "user", "content": ""}, ANSWER]),
}

BAD_ROWS = {
    "not_an_object": (3, "应该是一个 JSON 对象，实际是数字"),
    "null": (None, "应该是一个 JSON 对象，实际是空值"),
    "text": ("你好", "应该是一个 JSON 对象，实际是文字"),
    "unknown_format": (
        {"prompt": "a", "reply": "b"},
        "认不出格式：这一行的键是 'prompt'、'reply'；最像的是 {\"prompt\": 问, \"completion\": 答}，缺 completion；"
        "哪一列是问、哪一列是答，可以用 --columns 指明，如 --columns question=列名 answer=列名",
    ),
    "no_keys": (
        {},
        "认不出格式：这一行的键是 （没有）；要有 conversations 或 messages（消息的列表），或 instruction 和 output 等"
        "一问一答的键；哪一列是问、哪一列是答，可以用 --columns 指明，如 --columns question=列名 answer=列名",
    ),
    "null_instruction": (
        {"instruction": None, "input": None, "output": "答"},
        "认不出格式：这一行的键是 'instruction'、'input'、'output'，其中 instruction 是空值；请补上内容，或去掉这一行",
    ),
    "text_only": (
        {"text": "从前有座山", "url": "x"},
        "认不出格式：这一行的键是 'text'、'url'；只有 text 的多半是预训练用的文本，或已经拼好的对话，"
        "看不出哪里是回答；请换成一问一答的数据",
    ),
    "two_keys_like_answers": (
        {"question": "问", "answer": "答", "response": "另一个"},
        "有 answer、response 几个键都像回答，不知道学哪一个；请用 --columns 指明，"
        "如 --columns question=question answer=answer",
    ),
    "two_instances": (
        {"instruction": "问", "instances": [{"output": "一"}, {"output": "二"}]},
        "instances 应该恰有一个例子，实际是 2 个；请拆成几行，一行一个",
    ),
    "xtuner_without_output": (
        {"conversation": [{"input": "问", "output": "答"}, {"input": "问"}]},
        "第 2 轮的 output 应该是文字，实际是空值",
    ),
    "tool_after_a_question": (
        native(QUESTION, {"role": "tool", "content": "{}"}, ANSWER),
        "第 2 条消息应该是 assistant，实际是 tool",
    ),
    "call_without_a_result": (
        native(QUESTION, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}, QUESTION, ANSWER),
        "第 3 条消息应该是 tool，实际是 user",
    ),
    "call_without_a_name": (
        native(QUESTION, {"role": "assistant", "tool_calls": [{"arguments": {}}]}),
        "第 2 条消息的工具调用里没有函数的名字（name）：{'arguments': {}}",
    ),
    "arguments_that_are_no_object": (
        native(QUESTION, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "3"}]}),
        "第 2 条消息的工具调用 f 的参数应该是一个 JSON 对象，实际是 '3'",
    ),
    "a_user_that_calls": (
        native({"role": "user", "content": "问", "tool_calls": [{"name": "f"}]}, ANSWER),
        "第 1 条消息里有工具调用，角色却是 user；只有 assistant 能调用工具",
    ),
    "function_call_that_is_no_json": (
        native(QUESTION, {"from": "function_call", "value": "f(x)"}),
        "第 2 条消息的工具调用里没有函数的名字（name）：'f(x)'",
    ),
    "tools_without_a_name": (
        {"tools": [{}], "messages": [QUESTION, ANSWER]},
        "tools 的第 1 个工具没有名字（name）",
    ),
    "tools_that_are_no_list": (
        {"tools": "查天气", "messages": [QUESTION, ANSWER]},
        "tools 应该是工具定义的列表（或写成文字的 JSON 列表）",
    ),
    "messages_is_text": ({"messages": "你好"}, "messages 应该是消息的列表，实际是文字"),
    "conversations_is_object": ({"conversations": {"role": "user"}}, "conversations 应该是消息的列表，实际是对象"),
    "no_messages": (native(), "一条消息也没有"),
    "message_is_text": (native("问", ANSWER), "第 1 条消息应该是一个对象，实际是文字"),
    "an_odd_number_of_texts": (native("问", "答", "问"), "第 1 条消息应该是一个对象，实际是文字"),
    "message_is_list": (native(QUESTION, [ANSWER]), "第 2 条消息应该是一个对象，实际是列表"),
    "no_role": (native({"content": "问"}, ANSWER), "第 1 条消息没有角色（role 或 from）"),
    "no_content": (native(QUESTION, {"role": "assistant"}), "第 2 条消息没有内容（content 或 value）"),
    "an_empty_tool_call": (
        native(QUESTION, {"role": "assistant", "content": None, "tool_calls": [{}]}),
        "第 2 条消息的工具调用里没有函数的名字（name）：{}",
    ),
    "role_case": (
        native({"role": "User", "content": "问"}, ANSWER),
        "第 1 条消息的角色是 'User'，只支持 system、user（human）、assistant（gpt）和 tool（observation）",
    ),
    "role_is_list": (
        native({"role": ["user"], "content": "问"}, ANSWER),
        "第 1 条消息的角色是 ['user']，只支持 system、user（human）、assistant（gpt）和 tool（observation）",
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
        "第 1 条消息的内容里，有一部分说是文字，却没有写出文字（text）",
    ),
    "list_of_strings": (native(QUESTION, assistant(["答"])), "第 2 条消息的内容里有不是文字的部分（文字）"),
    "nested_list": (native(QUESTION, assistant([[]])), "第 2 条消息的内容里有不是文字的部分（列表）"),
    "empty_answer": (native(QUESTION, assistant("")), "第 2 条消息：assistant 的回答是空的"),
    "empty_parts": (native(QUESTION, assistant([])), "第 2 条消息：assistant 的回答是空的"),
    "blank_answer": (
        native(QUESTION, assistant(" \n\t\u3000"), QUESTION, ANSWER),
        "第 2 条消息：assistant 的回答是空的",
    ),
    "ends_with_user": (
        native(QUESTION, ANSWER, QUESTION),
        "最后一条消息应该是 assistant 的回答，实际是 user；多出来的，去掉就可以",
    ),
    "only_system": (native(SYSTEM), "最后一条消息应该是 assistant 的回答，实际是 system；多出来的，去掉就可以"),
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
    "weight_0": (answer_with(weight=0), "每条回答都标了不学"),
    "weight_half": (answer_with(weight=0.5), "第 2 条消息的 weight 是 0.5；只认 0 和 1"),
    "weight_is_text": (answer_with(weight="半"), "第 2 条消息的 weight 是 '半'"),
    "train_false": (answer_with(train=False), "每条回答都标了不学"),
    "marks_that_disagree": (answer_with(train=True, weight=0), "第 2 条消息的几个记号，有的说学，有的说不学"),
    "image_in_a_message": (
        native({**QUESTION, "images": ["a.jpg"]}, ANSWER),
        "第 1 条消息里有图片、视频或声音（images）",
    ),
    "another_system_beside": ({"system": "别的", **native(SYSTEM, QUESTION, ANSWER)}, "旁边的 system 与第一条消息"),
    "images_beside": ({"images": ["a.jpg"], "messages": [QUESTION, ANSWER]}, "对话旁边有图片、视频或声音（images）"),
    "alpaca_with_an_image": ({"instruction": "问", "output": "答", "image": "a.jpg"}, "对话旁边有图片"),
    "weight_beside": ({"weight": 0, "messages": [QUESTION, ANSWER]}, "对话旁边的记号说这一段不学"),
    "reasoning_beside": ({"reasoning": "想", "messages": [QUESTION, ANSWER]}, "对话旁边有思考过程（reasoning）"),
    "reasoning_of_a_user": (native({**QUESTION, "reasoning": "想"}, ANSWER), "只有 assistant 会思考"),
    "instruction_beside": ({"instruction": "别的", "messages": [QUESTION, ANSWER]}, "既有消息的列表，又有 instruction"),
    "kto_tag": ({"kto_tag": False, "messages": [QUESTION, ANSWER]}, "对话旁边有 kto_tag"),
    "kto": ({"label": False, "messages": [QUESTION, ANSWER]}, "KTO"),
    "kto_as_a_number": ({"prompt": "问", "completion": "答", "label": 0}, "KTO"),
    "images_in_a_turn": ({"conversation": [{"input": "问", "output": "答", "images": ["a"]}]}, "第 1 轮里有 images"),
    "weight_of_an_instance": ({"instruction": "问", "instances": [{"output": "答", "weight": 0}]}, "这一段不学"),
    "reasoning_beside_a_list": ({"prompt": [QUESTION], "completion": [ANSWER], "thinking": "想"}, "思考过程"),
    "two_thoughts": (answer_with(content="<think>甲</think>答", reasoning_content="乙"), "另一段思考"),
    "only_a_thought": (answer_with(content="<think>想</think>\n\n"), "只有思考，没有回答"),
    "two_kinds_of_calls": (
        answer_with(tool_calls=[{"name": "f"}], function_call={"name": "g"}),
        "既有 tool_calls，又有 function_call",
    ),
    "arguments_under_another_key": (answer_with(tool_calls=[{"name": "f", "参数": {"x": 1}}]), "却有 参数"),
    "a_key_twice_in_the_arguments": (
        answer_with(tool_calls=[{"name": "f", "arguments": '{"a": 1, "a": 2}'}]),
        "同一个对象里有两个 'a'",
    ),
    "a_result_of_another_call": (
        native(
            QUESTION,
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "2", "content": "x"},
            ANSWER,
        ),
        "第 3 条消息的 tool_call_id 不是前面任何一次调用的编号",
    ),
    "a_call_that_is_not_learnt_after_words_that_are": (
        native(
            {"from": "human", "value": "问"},
            {"from": "gpt", "value": "我查"},
            {"from": "function_call", "value": '{"name": "f"}', "weight": 0},
        ),
        "一条标了不学，另一条没有",
    ),
    "kto_of_a_table": ({"prompt": "问", "completion": "答", "label": "False"}, "KTO"),
    "alpaca_zero_input": ({"instruction": "问", "input": 0, "output": "答"}, "input 应该是文字，实际是数字"),
    "dpo": ({"rejected_response": "坏", "messages": [QUESTION, ANSWER]}, "对话旁边有偏好数据的一部分"),
    "dpo_pairs": ({"prompt": "问", "chosen": "好", "rejected": "坏"}, "这是 DPO 等用的偏好数据"),
    "dpo_conversations": (
        {"conversations": [{"from": "human", "value": "问"}], "chosen": ANSWER, "rejected": ANSWER},
        "这是 DPO 等用的偏好数据",
    ),
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


# ----------------------------------------------------------------------------------------------------------------------
# 工具

CALL = {"name": "查天气", "arguments": {"城市": "北京"}}
TOOL = {"type": "function", "function": {"name": "查天气", "parameters": {"type": "object"}}}
WITH_TOOL = [
    {"role": "system", "content": "", "tools": [TOOL]},
    QUESTION,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "晴"},
    ANSWER,
]
TOOL_ROWS = {
    "openai": {
        "tools": [TOOL],
        "messages": [
            QUESTION,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "查天气", "arguments": '{"城市": "北京"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "晴"},
            ANSWER,
        ],
    },
    "openai_before_tools": {
        "functions": [TOOL["function"]],
        "messages": [
            QUESTION,
            {"role": "assistant", "content": "", "function_call": {"name": "查天气", "arguments": '{"城市": "北京"}'}},
            {"role": "function", "name": "查天气", "content": "晴"},
            ANSWER,
        ],
    },
    "sharegpt": {
        "tools": '[{"name": "查天气", "parameters": {"type": "object"}}]',
        "conversations": [
            {"from": "human", "value": "问"},
            {"from": "function_call", "value": '{"name": "查天气", "arguments": {"城市": "北京"}}'},
            {"from": "observation", "value": "晴"},
            {"from": "gpt", "value": "答"},
        ],
    },
}


@pytest.mark.parametrize("name", TOOL_ROWS)
def test_tools(name):
    assert parse_row(TOOL_ROWS[name]).conversation == WITH_TOOL
    assert parse_row(TOOL_ROWS[name]).unused == ()


def test_a_sentence_and_two_calls_are_one_message():
    row = {
        "conversations": [
            {"from": "human", "value": "问"},
            {"from": "gpt", "value": "我查一查。"},
            {"from": "function_call", "value": '{"name": "甲", "arguments": {}}'},
            {"from": "function_call", "value": '[{"name": "乙"}, {"name": "丙", "parameters": {"x": 1}}]'},
            {"from": "observation", "value": "1"},
            {"from": "observation", "value": {"y": 2}},
            {"from": "gpt", "value": "答"},
        ]
    }
    calls = [
        {"name": "甲", "arguments": {}},
        {"name": "乙", "arguments": {}},
        {"name": "丙", "arguments": {"x": 1}},
    ]
    assert to_conversation(row) == [
        QUESTION,
        {"role": "assistant", "content": "我查一查。", "tool_calls": calls},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": '{"y": 2}'},
        ANSWER,
    ]


# ----------------------------------------------------------------------------------------------------------------------
# 列名，没有用到的键


@pytest.mark.parametrize("key", ["arguments", "parameters", "args", "input"])
def test_names_of_the_arguments(key):
    row = native(QUESTION, {"role": "assistant", "tool_calls": [{"name": "f", key: {"x": 1}}]})
    assert to_conversation(row)[1]["tool_calls"] == [{"name": "f", "arguments": {"x": 1}}]


def test_results_follow_the_order_of_the_calls():
    row = native(
        QUESTION,
        {"role": "assistant", "tool_calls": [{"id": each, "function": {"name": each}} for each in "ab"]},
        *({"role": "tool", "tool_call_id": each, "content": f"结果{each}"} for each in "ba"),
        ANSWER,
    )
    assert [message["content"] for message in to_conversation(row)[2:4]] == ["结果a", "结果b"]


def test_ways_to_write_tools():
    flat = {"type": "function", "name": "查天气", "parameters": {"type": "object"}}
    for tools in ([TOOL], [TOOL["function"]], [flat], ['{"name": "查天气", "parameters": {"type": "object"}}']):
        assert to_conversation({"tools": tools, "messages": [QUESTION, ANSWER]})[0]["tools"] == [TOOL]


@pytest.mark.parametrize(("key", "value"), [("weight", 0), ("label", False), ("image", "a.jpg")])
def test_columns_do_not_hide_what_would_be_learnt_wrongly(key, value):
    with pytest.raises(BadRowError):
        to_conversation({"题目": "问", "讲解": "答", key: value}, {"question": "题目", "answer": "讲解"})


def test_columns():
    row = {"题目": "问", "讲解": "答", "人设": "设定", "难度": 3, "skill": "算术"}
    parsed = parse_row(row, {"question": "题目", "answer": "讲解", "system": "人设"})
    assert parsed.conversation == [SYSTEM, QUESTION, ANSWER]
    assert parsed.unused == ("难度",)
    preferred = {"prompt": "问", "chosen": "答", "rejected": "坏"}
    assert to_conversation(preferred, {"question": "prompt", "answer": "chosen"}) == [QUESTION, ANSWER]
    with pytest.raises(
        BadRowError, match=r"没有 --columns 里说的 '讲解'（没有这一列，或这一格是空的）；这一行有 '题目'"
    ):
        to_conversation({"题目": "问"}, {"question": "题目", "answer": "讲解"})


def test_keys_that_are_not_used_are_told():
    row = {
        "messages": [{**QUESTION, "time": 1}, ANSWER],
        "prompt": "问",
        "id": 0,
        "ok": False,
        "source": "",
        "tools": [],
    }
    assert parse_row(row).unused == ("prompt", "id", "ok", "消息里的 time")
    assert parse_row({"instruction": "问", "input": "", "output": "答", "skill": "x"}).unused == ()


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (native(QUESTION, ANSWER), "本项目"),
        ({"messages": [QUESTION, ANSWER]}, "OpenAI"),
        (native({"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}), "ShareGPT"),
        ({"instruction": "问", "output": "答"}, "Alpaca"),
        ({"query": "问", "response": "答"}, "query/response"),
    ],
)
def test_the_format_has_a_name(row, name):
    assert parse_row(row).format == name
