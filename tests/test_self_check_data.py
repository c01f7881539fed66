"""TODO 1 的检查：动物园里的错误写法都得到应得的诊断，正确的都通过。"""

import ast
import dataclasses
import json
import re
import threading
from functools import cache
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast
from zoo.data_right import RIGHT
from zoo.data_wrong import WRONG

import data_exercise
import data_solution
import self_check
from self_check import sandbox
from self_check.data.cases import Case
from self_check.data.checks import TRIAL_CHECKS, build_checks
from self_check.data.conversations import PLAIN, SPECIAL
from self_check.data.exercise import DATA
from self_check.data.named_tokenizers import base_tokenizer, byte_tokenizer, word_tokenizer
from self_check.rendering import render
from self_check.runner import run_suite
from self_check.text import display_width

ROOT = Path(__file__).parents[1]
SLUGS = {
    "not_implemented", "wrong_return_type", "length_mismatch", "wrong_input_ids", "nothing_masked",
    "everything_masked", "wrong_ignore_value", "user_trained", "system_trained", "header_trained",
    "end_token_masked", "foreign_end_token_trained", "newline_trained", "first_token_masked", "only_last_turn",
    "only_first_turn", "labels_shifted", "truncation_mismatch", "input_mutated", "labels_alias_input_ids",
    "raises", "wrong_labels",
}  # fmt: skip


def as_class(function):
    return type("SFTDataset", (data_exercise.SFTDataset,), {"_format_conversation": function})


@pytest.mark.parametrize("name", ["endless_search", "endless_in_bare_except", "endless_in_one_try"])
def test_endless_loop_is_really_stopped(name, monkeypatch):
    monkeypatch.setattr(sandbox, "CPU_SECONDS", 0.5)
    before = threading.active_count()
    for _ in range(3):  # 停不下来的线程会一直抢 CPU，后面的检查都会超时
        function = next(function for _, function in WRONG if function.__name__ == name)
        assert run_suite(DATA, as_class(function)).diagnosis.slug == "raises"
    assert threading.active_count() == before


@cache
def report(function):
    return run_suite(DATA, as_class(function))


def ids_of(entries):
    return [f"{slug}-{function.__name__}" for slug, function in entries]


@pytest.mark.parametrize(("slug", "function"), WRONG, ids=ids_of(WRONG))
def test_wrong_solution_gets_its_diagnosis(slug, function):
    diagnosis = report(function).diagnosis
    assert diagnosis is not None, "没有查出来"
    assert diagnosis.slug == slug


@pytest.mark.parametrize("function", RIGHT, ids=lambda function: function.__name__)
def test_right_solution_passes(function):
    result = report(function)
    assert result.passed, render(DATA, result, color=False)


def test_every_slug_has_wrong_solutions():
    assert {slug for slug, _ in WRONG} == SLUGS
    assert len(WRONG) >= 45
    assert len(RIGHT) >= 10


def test_unsolved_exercise_fails_and_solution_passes():
    assert run_suite(DATA, data_exercise).diagnosis.slug == "not_implemented"
    assert run_suite(DATA, data_solution).passed


@pytest.mark.parametrize(("slug", "function"), WRONG, ids=ids_of(WRONG))
def test_report_has_four_parts_and_fits_80_columns(slug, function):
    diagnosis = report(function).diagnosis
    assert all(part.strip() for part in (diagnosis.called, diagnosis.came, diagnosis.likely, diagnosis.look))
    text = render(DATA, report(function), color=False).split("你的代码打印了")[0]
    # 引用的报错和学习者的那行代码，多长都行。
    quoted = {line.strip() for line in diagnosis.came.splitlines()} if slug in ("raises", "not_implemented") else set()
    assert not [line for line in text.splitlines() if display_width(line) > 80 and line.strip() not in quoted]
    assert "\033" not in text
    assert "self_check/" not in text
    assert "Traceback" not in text


def test_trained_tokens_are_green_and_have_a_sign():
    function = next(function for _, function in WRONG if function.__name__ == "only_content")
    colored = render(DATA, report(function), color=True)
    assert "\033[32m晴\033[0m" in colored
    assert re.sub(r"\033\[\d*m", "", colored) == render(DATA, report(function), color=False)


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "bos_in_every_piece": "add_special_tokens=False",
        "no_newline_after_end": "后面的换行",
        "no_header": "角色头",
        "no_end_token": "少了 <|im_end|>",
        "only_contents": "没有 ChatML 的标记",
        "only_the_answer": "只有回答",
        "drops_system": "system",
        "returns_in_the_loop": "过早的 return",
        "adds_eos": "不用再加 eos_token",
        "eos_instead_of_end": "eos_token 而不是",
        "generation_prompt_at_the_end": "add_generation_prompt",
        "pads_to_max_length": "填充",
        "markers_as_text": "当作普通文字",
        "strips_content": "strip",
        "masks_input_ids_first": "出现了 -100",
        "keeps_state_between_calls": "self",
        "mutable_default": "默认参数",
        "whole_string_at_once": "注入",
        "masks_pad_tokens": "pad_token_id",
        "inverted": "反了",
        "masks_up_to_the_first_answer": "后面几轮",
        "zero_one_mask": "0/1",
        "trains_bos": "BOS",
        "fixed_length": "不要写死",
        "keeps_the_end": "从前面截掉",
        "forces_an_end_token": "补了一个",
        "bos_on_one_side": "BOS 只加在了 input_ids 上",
        "bos_whenever_defined": "定义了 BOS，编码时自己却从不加它",
        "header_and_content_together": "角色头和内容连在一起分词",
        "lists_made_in_the_loop": "在循环里面创建",
        "return_in_the_loop_body": "return 多半缩进到了循环里面",
        "a_tokenizer_of_its_own": "不是这个数据集的 self.tokenizer",
        "marker_ids_written_down": "标记的 id 写死了",
        "twice_the_same": "写了两次",
        "unpacks_two_messages": "一条一条地处理",
        "unpacks_three_segments": "四段：header, content, end, newline",
        "regex_without_dotall": "re.DOTALL",
        "stops_at_the_first_newline": "遇到换行就停了",
        "half_of_a_long_answer": "只学了前 4 个 token",
        "drops_some_at_random": "有一部分没有学",
        "the_word_user_in_the_text": "有的回答一个 token 也没有学",
        "masks_the_ids_of_the_questions": "看了 token 的内容",
        "answers_under_the_questions": "既不是 -100，也不是这个 token 的 id",
        "starts_four_too_late": "前 4 个 token 没有学",
        "leaves_a_breakpoint": "断点",
        "sleeps": "time.sleep",
        "odd_messages_are_answers": "第几条消息",
        "removes_old_thinking": "一字不改",
        "replaces_tabs": "一字不改",
        "all_but_the_last_token": "换行是 2 个 token",
        "skips_what_it_has_seen": "记住了见过的对话",
        "searches_from_the_start": "学的是问题里的字",
        "learns_what_is_in_the_answer": "在不在回答里",
        "only_the_last_end": "只有最后一个回答的 <|im_end|> 在学",
        "keyed_by_content": "内容相同、角色不同",
        "grows_a_cached_list": "接长了",
        "trains_user_too": "user 的话也在学",
        "one_list_with_two_names": "只造了一个列表",
        "segments_by_name": '不能用 ["header"]',
        "message_attributes": "消息是字典",
    }.items(),
)
def test_the_explanation_fits_the_mistake(name, says):
    diagnosis = report(next(function for _, function in WRONG if function.__name__ == name)).diagnosis
    assert says in diagnosis.came + diagnosis.likely


def test_an_exception_shows_the_line_of_the_learner():
    function = next(function for _, function in WRONG if function.__name__ == "wrong_key")
    came = report(function).diagnosis.came
    assert "KeyError: 'text'" in came
    assert 'return [message["text"] for message in conversation], []' in came
    assert re.search(r"data_wrong\.py 第 \d+ 行", came)


def test_an_endless_loop_shows_where_it_was():
    function = next(function for _, function in WRONG if function.__name__ == "endless_search")
    assert "时限" in report(function).diagnosis.came
    assert re.search(r"data_wrong\.py 第 \d+ 行", report(function).diagnosis.came)


def test_prints_of_the_learner_are_collected(capsys):
    function = next(function for function in RIGHT if function.__name__ == "prints_while_working")
    result = run_suite(DATA, as_class(function))
    assert capsys.readouterr().out == ""
    assert "对话：" in result.printed
    assert "对话：" in render(DATA, result, color=False)


# 变异测试：少了任何一项检查，动物园里都有一个错误得不到应得的诊断。


def failing_check(function):
    return next((result.name for result in report(function).results if result.diagnosis), None)


def assert_noticed(name, checks):
    reduced = dataclasses.replace(DATA, checks=checks)
    caught = [(slug, function) for slug, function in WRONG if failing_check(function) == name and slug != "raises"]
    assert caught, f"没有一个错误写法是由“{name}”查出来的"
    assert any(
        (found := run_suite(reduced, as_class(function)).diagnosis) is None or found.slug != slug
        for slug, function in reversed(caught)
    )


@pytest.mark.parametrize("index", range(len(TRIAL_CHECKS)), ids=[check.__name__ for _, check in TRIAL_CHECKS])
def test_every_check_function_is_needed(index):
    assert_noticed(TRIAL_CHECKS[index][0], build_checks(TRIAL_CHECKS[:index] + TRIAL_CHECKS[index + 1 :]))


RANDOM = "随机的对话"
SIGNATURE, *GROUPS = [name for name, _ in DATA.checks if name not in dict(TRIAL_CHECKS)]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_cases_is_needed(group):
    """随机的对话用的是各个分词器，哪一组漏掉的它多半也查得出，所以一起去掉。"""
    assert_noticed(group, tuple(check for check in DATA.checks if check[0] not in (group, RANDOM)))


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "without_self": "少了 self",
        "one_more_parameter": "参数是（self, conversation, tokenizer）",
        "is_async": "去掉 async",
        "generates_them": "yield",
    }.items(),
)
def test_a_changed_signature_is_named(name, says):
    """少了这一项检查，也说得出有错，只是说不出是 def 那一行。"""
    function = next(function for _, function in WRONG if function.__name__ == name)
    assert failing_check(function) == SIGNATURE
    diagnosis = report(function).diagnosis
    assert says in diagnosis.came + diagnosis.likely
    reduced = dataclasses.replace(DATA, checks=DATA.checks[1:])
    blind = run_suite(reduced, as_class(function)).diagnosis
    assert says not in blind.came + blind.likely


# 用例：以 transformers 自己的分词器和对话模板为准。


@pytest.mark.parametrize("build", [base_tokenizer, word_tokenizer, byte_tokenizer])
@pytest.mark.parametrize("conversation", [*PLAIN, *SPECIAL])
def test_expected_tokens_agree_with_the_chat_template(build, conversation):
    named = build()
    light = named.build()
    real = PreTrainedTokenizerFast(
        tokenizer_object=light.backend_tokenizer, chat_template=light.chat_template, **named.special_tokens
    )
    expected = real.apply_chat_template(conversation, return_assistant_tokens_mask=True)
    case = Case(named, conversation)
    assert named.bos + case.ids == expected["input_ids"]
    assert [0] * len(named.bos) + [int(token.trained) for token in case.tokens] == expected["assistant_masks"]


# 练习文件


def test_exercise_and_solution_differ_only_in_the_todo():
    exercise, solution = (
        (ROOT / name).read_text(encoding="utf-8").split('"""\n', 1)[1]
        for name in ("data_exercise.py", "data_solution.py")
    )
    before, after = re.split(" +# TODO 1：.*\n +raise NotImplementedError\n", exercise)
    assert solution.startswith(before)
    assert solution.endswith(after)
    todo = solution[len(before) : -len(after)]
    method = next(
        node for node in ast.walk(ast.parse(solution)) if getattr(node, "name", None) == "_format_conversation"
    )
    first, last = method.body[1].lineno, method.end_lineno
    lines = solution.splitlines()[first - 1 : last]
    assert todo.rstrip().splitlines()[-len(lines) :] == lines


def test_example_in_the_docstring_is_what_the_solution_gives():
    text = data_exercise.SFTDataset._format_conversation.__doc__
    rows = {
        name: [
            cell.replace("\\n", "\n")
            for line in re.findall(rf"^ +{name}  +(<.*|-100 .*)$", text, re.MULTILINE)
            for cell in line.split()
        ]
        for name in ("input_ids", "labels")
    }
    dataset = data_solution.SFTDataset([], base_tokenizer().build())
    question, answer = {"role": "user", "content": "几点了？"}, {"role": "assistant", "content": "三点。"}
    input_ids, labels = dataset._format_conversation([question, answer])
    decode = dataset.tokenizer.decode
    assert rows["input_ids"] == [decode([token]) for token in input_ids]
    assert rows["labels"] == ["-100" if label == -100 else decode([label]) for label in labels]


def test_hints_do_not_contain_the_solution():
    assert len(DATA.hints) == 3
    todo = (ROOT / "data_solution.py").read_text(encoding="utf-8").split("# 聊天时", 1)[1].split("def _add_bos")[0]
    code = [line.strip() for line in todo.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    texts = [*DATA.hints, (ROOT / "data_exercise.py").read_text(encoding="utf-8")]
    assert not [line for line in code for text in texts if line in text and line != "return input_ids, labels"]


# notebook 里的用法


def test_check_data_prints_a_report_and_returns_whether_it_passed(capsys):
    assert self_check.check_data(data_solution) is True
    assert "全部通过" in capsys.readouterr().out
    assert self_check.check_data(data_exercise.SFTDataset) is False
    assert "还没有写" in capsys.readouterr().out


def test_a_class_defined_in_a_notebook_cell(capsys):
    namespace = {}
    code = (
        "from data_exercise import SFTDataset as Base\n"
        "class SFTDataset(Base):\n"
        "    def _format_conversation(self, conversation):\n"
        "        return conversation['messages']\n"
    )
    exec(compile(code, "/tmp/ipykernel_1/123.py", "exec"), namespace)
    assert not self_check.check_data(namespace["SFTDataset"])
    out = capsys.readouterr().out
    assert "notebook 的单元格 第 4 行" in out
    assert "123.py" not in out


class OwnDataset:
    """只照接口、不用我们的给定代码写的数据集：读 JSONL，取用时才编码，不加 BOS。"""

    def __init__(self, data_path, tokenizer, max_length=512):
        with Path(data_path).open(encoding="utf-8") as file:
            self.rows = [json.loads(line)["conversations"] for line in file]
        self.tokenizer, self.max_length = tokenizer, max_length

    def _format_conversation(self, conversation):
        def encode(text):
            return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

        start, end = self.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        input_ids, labels = [], []
        for message in conversation:
            header, body = [start, *encode(message["role"] + "\n")], [*encode(message["content"]), end]
            input_ids += header + body + encode("\n")
            labels += [-100] * len(header)
            labels += body if message["role"] == "assistant" else [-100] * len(body)
            labels += [-100] * len(encode("\n"))
        return input_ids, labels

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        input_ids, labels = self._format_conversation(self.rows[index])
        return {"input_ids": input_ids[: self.max_length], "labels": labels[: self.max_length]}


def test_a_class_written_from_the_interface_alone():
    assert run_suite(DATA, OwnDataset).passed

    class CutsOnlyIds(OwnDataset):
        def __getitem__(self, index):
            input_ids, labels = self._format_conversation(self.rows[index])
            return {"input_ids": input_ids[: self.max_length], "labels": labels}

    assert run_suite(DATA, CutsOnlyIds).diagnosis.slug == "truncation_mismatch"


def test_a_corrected_class_passes_at_the_next_check():
    dataset_class = as_class(WRONG[-1][1])
    assert not run_suite(DATA, dataset_class).passed
    dataset_class._format_conversation = RIGHT[0]
    assert run_suite(DATA, dataset_class).passed
