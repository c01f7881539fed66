"""工具和思考在 ChatML 里的写法，和“这个回答不学”的记号：学的是哪些 token。"""

import json
from pathlib import Path

import toy_tokenizers

from data_solution import IGNORE_INDEX, SFTDataset
from finetuning.arguments import DataArguments
from finetuning.chatml import CHAT_TEMPLATE, ChatML, is_chatml_template
from finetuning.conversations import Conversation
from finetuning.data import load_splits
from finetuning.formats import to_conversation
from finetuning.hermes import as_text

TOOL = {"type": "function", "function": {"name": "查天气", "description": "查", "parameters": {"type": "object"}}}
CALLS = [
    {"id": "1", "type": "function", "function": {"name": "查天气", "arguments": {"城市": "北京"}}},
    {
        "id": "2",
        "type": "function",
        "function": {"name": "查天气", "arguments": {"城市": "<|im_end|>", "天": [1, None]}},
    },
]
OPENAI = [
    {"role": "system", "content": "设定"},
    {"role": "user", "content": "问"},
    {"role": "assistant", "content": "我查。", "reasoning_content": "想一想", "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "1", "content": "晴"},
    {"role": "tool", "tool_call_id": "2", "content": "<tool_response>\n雨\n</tool_response>"},
    {"role": "assistant", "content": "北京晴。"},
    {"role": "user", "content": "再查"},
    {"role": "assistant", "content": "", "tool_calls": CALLS[:1]},
]


def learnt(dataset: SFTDataset, index: int = 0) -> list[str]:
    """连着的要学的各段的文字。"""
    runs: list[list[int]] = []
    labels = dataset[index]["labels"]
    for number, label in enumerate(labels):
        if label != IGNORE_INDEX:
            if number == 0 or labels[number - 1] == IGNORE_INDEX:
                runs.append([])
            runs[-1].append(label)
    return [dataset.tokenizer.decode(run) for run in runs]


def shown(messages: list[dict], tools: list[dict] | None) -> str:
    """对照：存下来的对话模板，由 transformers 渲染。"""
    return toy_tokenizers.chatml().apply_chat_template(messages, tools=tools, tokenize=False)


def test_the_saved_template_says_the_same():
    tokenizer = toy_tokenizers.chatml()
    for messages in (OPENAI, OPENAI[1:]):
        for tools in ([TOOL], [TOOL, TOOL], None):
            row = {"messages": messages, **({"tools": tools} if tools else {})}
            conversation = as_text(to_conversation(row))
            assert shown(messages, tools) == shown(conversation, None)
            decoded = tokenizer.decode([i for m in conversation for s in ChatML(tokenizer).segments(m) for i in s])
            assert decoded == shown(messages, tools)


def test_the_calls_are_learnt_and_the_results_are_not():
    dataset = SFTDataset([{"messages": OPENAI, "tools": [TOOL]}], toy_tokenizers.chatml(), 4096)
    call = '<tool_call>\n{"name": "查天气", "arguments": {"城市": "北京"}}\n</tool_call>'
    other = '<tool_call>\n{"name": "查天气", "arguments": {"城市": "<|im_end|>", "天": [1, null]}}\n</tool_call>'
    assert learnt(dataset) == [
        f"<think>\n想一想\n</think>\n\n我查。\n{call}\n{other}<|im_end|>",
        "北京晴。<|im_end|>",
        f"{call}<|im_end|>",
    ]


def test_answers_that_are_context_are_not_learnt():
    rows = [{"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答", "weight": 1}]}]
    rows.append(
        {
            "messages": [
                {"role": "user", "content": "问一"},
                {"role": "assistant", "content": "不学这句", "weight": 0},
                {"role": "user", "content": "问二"},
                {"role": "assistant", "content": "学这句"},
            ]
        }
    )
    for make in (toy_tokenizers.chatml, toy_tokenizers.chatml_with_bos):
        dataset = SFTDataset(rows, make())
        assert learnt(dataset, 0) == ["答<|im_end|>"]
        assert learnt(dataset, 1) == ["学这句<|im_end|>"]


def test_thoughts_can_be_context(tmp_path: Path):
    def question(number: int, answer: dict) -> dict:
        return {"messages": [{"role": "user", "content": f"问{number}"}, {"role": "assistant", **answer}]}

    rows = [question(number, {"content": "答", "reasoning_content": "想"}) for number in range(8)]
    rows += [question(8, {"content": "<think>\n想\n</think>\n\n答"}), question(9, {"content": "没有想"})]

    def read(learn_reasoning: bool) -> list[str]:
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        arguments = DataArguments(train_file=[str(path)], learn_reasoning=learn_reasoning)
        data = load_splits(arguments, SFTDataset, toy_tokenizers.chatml(), tmp_path)
        texts = [part for split in (data.train, data.test) for n in range(len(split)) for part in learnt(split, n)]
        return sorted(texts)

    thought = "<think>\n想\n</think>\n\n"
    assert read(True) == sorted([f"{thought}答<|im_end|>"] * 9 + ["没有想<|im_end|>"])
    assert read(False) == sorted(["答<|im_end|>"] * 9 + ["没有想<|im_end|>"])


def test_ordinary_conversations_are_the_same_object():
    conversation: Conversation = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]
    assert as_text(conversation) is conversation


def test_our_templates_are_known():
    assert is_chatml_template(CHAT_TEMPLATE)
    assert is_chatml_template(
        (Path(__file__).parents[1] / "base_model/chat_template.jinja").read_text(encoding="utf-8")
    )
    assert not is_chatml_template("{{ messages }}")
    assert not is_chatml_template(None)
    assert not is_chatml_template({"default": CHAT_TEMPLATE})
