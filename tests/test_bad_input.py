"""坏的输入：每一种都以一句话结束（哪里错了，在什么位置，怎么办），退出码不是 0，没有调用栈。

读数据的规则在 test_reading.py 和 test_conversations.py 里；这里是真实世界里会遇到的坏文件、坏模型、坏参数，各一行。
"""

import codecs
import gzip
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from child_processes import run_command, without_notices
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from toy_models import save_toy, toy_model, toy_tokenizer

from finetuning.adapter import load_for_chat
from finetuning.arguments import parse_arguments
from finetuning.chatml import CHAT_TEMPLATE
from finetuning.errors import run_main
from finetuning.model import load_model
from finetuning.output.directory import OutputDir
from finetuning.quiet import quiet_libraries
from finetuning.reading import load_conversations
from train_lora_solution import DEFAULTS, AdapterArguments

ROOT = Path(__file__).parents[1]
ROW = json.dumps({"instruction": "问", "output": "答"}, ensure_ascii=False)
GOOD = ROW.encode()
CONVERSATION = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]


@pytest.fixture
def refusal(capsys) -> Callable[..., str]:
    """运行一件应当被拒绝的事，像命令行那样结束；返回标准错误里的那句话。"""

    def run(action: Callable[..., object], *arguments: object, **options: Any) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run_main(lambda: action(*arguments, **options))
        output = capsys.readouterr()
        assert stop.value.code == 1
        assert output.out == ""
        assert output.err.startswith("错误：")
        assert "Traceback" not in output.err
        return output.err.removeprefix("错误：").removesuffix("\n")

    return run


def assert_one_sentence(text: str, *words: str) -> None:
    assert "\n" not in text
    assert text.endswith("。")
    for word in words:
        assert word in text


# ----------------------------------------------------------------------------------------------------------------------
# 整个文件读不了：一句话，有路径，有怎么办


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def parquet(table: pyarrow.Table) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


PARQUET = parquet(pyarrow.table({"instruction": ["问"] * 50, "output": ["答"] * 50}))
FILES = {
    "gzip_without_suffix": ("a.jsonl", gzip.compress(GOOD), "gzip 压缩文件，请在文件名后面加上 .gz"),
    "gzip_twice": ("a.jsonl.gz", gzip.compress(gzip.compress(GOOD)), "先解压一次"),
    "gzip_bad_checksum": ("a.jsonl.gz", flip(gzip.compress(GOOD), -5), "读不出来：CRC check failed"),
    "gzip_bad_data": ("a.jsonl.gz", flip(gzip.compress(GOOD), 10), "请检查文件是否完整"),
    "gzip_then_garbage": ("a.jsonl.gz", gzip.compress(GOOD) + b"garbage", "请检查文件是否完整"),
    "gzip_of_nothing": ("a.jsonl.gz", gzip.compress(b""), "里没有可用的对话：是空的"),
    "gzip_empty_file": ("a.jsonl.gz", b"", "里没有可用的对话：是空的"),
    "only_a_bom": ("a.jsonl", codecs.BOM_UTF8 + b"\r\n", "里没有可用的对话：是空的"),
    "zip_or_excel": ("a.jsonl", b"PK\x03\x04\x14\0", "zip 压缩文件或 Excel 表格，请先解压，或另存为 JSON Lines"),
    "parquet_named_jsonl": ("a.jsonl", PARQUET, "Parquet 文件，请把后缀改成 .parquet"),
    "git_lfs_pointer": ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "web_page": ("a.jsonl", b"<!DOCTYPE html>\n<html></html>", "网页，请下载原始文件（raw）"),
    "only_zeros": ("a.jsonl", bytes(4096), "空字节（NUL），已经损坏，请重新下载"),
    "utf16_without_bom": ("a.jsonl", ROW.encode("utf-16-le"), "是 UTF-16 编码的，请用编辑器另存为 UTF-8"),
    "utf16_big_endian": ("a.json", f"[{ROW}]".encode("utf-16-be"), "是 UTF-16 编码的，请用编辑器另存为 UTF-8"),
    "utf32": ("a.jsonl", ROW.encode("utf-32"), "是 UTF-32 编码的，请用编辑器另存为 UTF-8"),
    "utf16_in_gzip": ("a.jsonl.gz", gzip.compress(ROW.encode("utf-16")), "是 UTF-16 编码的"),
    "gbk_array": ("a.json", f"[\n{ROW}]".encode("gbk"), "第 2 行不是合法的 UTF-8；若是 GBK 编码"),
    "array_repeated_key": ("a.json", b'[\n{"a": 1, "b": 2, "a": 3}]', "第 2 行不是合法的 JSON（同一个对象里有两个 'a'"),
    "array_raw_nul": ("a.json", b'[{"a": "\0"}]', "第 1 行不是合法的 JSON（Invalid control character"),
    "csv_without_rows": ("a.csv", b"question,answer", "是空的"),
    "word": ("a.docx", b"PK", "支持的有 .jsonl、"),
    "bz2": ("a.jsonl.bz2", b"BZh9", "支持的有 .jsonl、"),
    "text_named_parquet": ("a.parquet", GOOD, "请检查文件是否完整"),
    "parquet_cut": ("a.parquet", PARQUET[: len(PARQUET) // 2], "请检查文件是否完整"),
    "parquet_bad_footer": ("a.parquet", flip(PARQUET, -5), "请检查文件是否完整"),
    "parquet_no_rows": ("a.parquet", parquet(pyarrow.table({"output": pyarrow.array([], "string")})), "是空的"),
    "parquet_no_columns": ("a.parquet", parquet(pyarrow.table({})), "是空的"),
    "parquet_repeated_column": (
        "a.parquet",
        parquet(pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["output", "output"])),
        "读不出来",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), FILES.values(), ids=FILES)
def test_file(tmp_path, refusal, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    assert_one_sentence(refusal(load_conversations, path), str(path), words)


PATHS = {
    "empty": ("", "路径是空的；请检查 --train_file"),
    "too_long": ("x" * 5000 + ".jsonl", "请检查路径"),
    "json_instead_of_a_path": (ROW, "找不到数据文件"),
    "a_file_as_a_directory": ("train.jsonl/a.jsonl", "找不到数据文件"),
    "no_such_user": ("~nobody-has-this-name/a.jsonl", "请检查路径"),
    "directory_named_like_a_file": ("folder.jsonl", "目录 folder.jsonl 里没有数据文件"),
    "link_to_nothing": ("dangling.jsonl", "找不到数据文件 dangling.jsonl"),
}


@pytest.mark.parametrize(("source", "words"), PATHS.values(), ids=PATHS)
def test_path(tmp_path, monkeypatch, refusal, source, words):
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_bytes(GOOD)
    Path("folder.jsonl").mkdir()
    with suppress(OSError):  # Windows 上要有权限才能建符号链接；没有链接，也是找不到
        Path("dangling.jsonl").symlink_to("nothing.jsonl")
    assert_one_sentence(refusal(load_conversations, source), words)


@pytest.mark.parametrize("kind", ["a.jsonl", "a.jsonl.gz", "a.parquet", "folder"])
def test_no_permission(tmp_path, refusal, kind):
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else path.write_bytes(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.chmod(0o700)
        pytest.skip("管理员什么都能读；Windows 上 chmod 管不了读")
    sentence = refusal(load_conversations, path)
    path.chmod(0o700)
    assert_one_sentence(sentence, str(path), "权限" if kind != "a.parquet" else "Permission denied")


# ----------------------------------------------------------------------------------------------------------------------
# 文件里的一行不能用：说出文件、行号、原因，怎么办；别的行不受影响


def row(*messages: object, **keys: object) -> bytes:
    return json.dumps({"messages": list(messages), **keys}).encode()


def says(content: object, **keys: object) -> dict[str, object]:
    return {"role": "assistant", "content": content, **keys}


USER = CONVERSATION[0]
LINES = {
    "repeated_key": (
        b'{"instruction": "a", "output": "b", "output": "c"}',
        "JSON 无法解析（同一个对象里有两个 'output'）",
    ),
    "repeated_role": (
        b'{"messages": [{"role": "user", "role": "assistant", "content": "a"}]}',
        "JSON 无法解析（同一个对象里有两个 'role'）",
    ),
    "nan_output": (b'{"instruction": "a", "output": NaN}', "output 应该是文字，实际是数字"),
    "infinite_input": (b'{"instruction": "a", "input": -Infinity, "output": "b"}', "input 应该是文字，实际是数字"),
    "raw_nul": (b'{"instruction": "a\0b", "output": "c"}', "第 19 个字符：Invalid control character"),
    "raw_newline": (b'{"instruction": "a\rb", "output": "c"}', "第 19 个字符：Invalid control character"),
    "surrogate_in_bytes": ('{"instruction": "\ud83d"}'.encode("utf-8", "surrogatepass"), "不是合法的 UTF-8（第 18 个"),
    "half_an_emoji": (b'{"instruction": "a", "output": "b\\ude00"}', r"output 的第 2 个字符是 '\ude00'"),
    "pretty_printed_object": (b"{", "double quotes）；到这里还没有写完"),
    "only_part_of_a_row": (GOOD[:-1], "到这里还没有写完，一段对话要完整地写在一行里"),
    "comma_after_the_row": (GOOD + b",", "Extra data"),
    "merge_conflict": (b"<<<<<<< HEAD", "第 1 个字符：Expecting value"),
    "python_none": (b'{"instruction": "a", "output": None}', "Expecting value"),
    "old_mac_lines": (GOOD + b"\r" + GOOD, "Extra data"),
    "rows_under_a_key": (b'{"data": [' + GOOD + b"]}", "认不出格式：这一行的键是 'data'"),
    "rows_in_a_row": (b"[" + GOOD + b"]", "第 1 条消息没有角色（role 或 from）"),
    "conversations_in_a_row": (row(CONVERSATION), "第 1 条消息应该是一个对象，实际是列表"),
    "conversation_is_a_number": (b'{"messages": 3}', "messages 应该是消息的列表，实际是数字"),
    "everything_null": (b'{"messages": null, "instruction": null}', "认不出格式"),
    "pretraining_text": (b'{"text": "a"}', "这一行的键是 'text'"),
    "prompt_without_completion": (b'{"prompt": "a", "reply": "b"}', "这一行的键是 'prompt'、'reply'"),
    "empty_role": (row({"role": "", "content": "a"}), "第 1 条消息的角色是 ''"),
    "role_with_space": (row({"role": "user ", "content": "a"}), "第 1 条消息的角色是 'user '"),
    "role_is_a_number": (row({"role": 1, "content": "a"}), "第 1 条消息的角色是 1，只支持 system、user（human）"),
    "developer": (row({"role": "developer", "content": "a"}), "最后一条消息应该是 assistant 的回答"),
    "function_role": (row({"from": "observation", "value": "a"}), "第 1 条消息应该是 user，实际是 tool"),
    "control_token_as_a_role": (row({"role": "<|im_start|>", "content": "a"}), "的角色是 '<|im_start|>'"),
    "content_is_nan": (row(USER, says(float("nan"))), "第 2 条消息的内容应该是文字，实际是数字"),
    "deeply_nested_role": (
        b'{"messages": [{"role": ' + b"[" * 900 + b"]" * 900 + b', "content": "a"}]}',
        "第 1 条消息的角色是 [[[",
    ),
    "tool_calls_beside_text": (row(USER, says("查一下", tool_calls=[{"id": "1"}])), "工具调用里没有函数的名字"),
    "function_call": (row(USER, says("查", function_call={"name": 3})), "工具调用里没有函数的名字"),
    "image_beside_text": (
        row({"role": "user", "content": [{"type": "text", "text": "看"}, {"type": "image", "image": "a.png"}]}),
        "第 1 条消息的内容里有不是文字的部分（'image'）",
    ),
    "part_without_type": (row(USER, says([{"text": "a"}])), "第 2 条消息的内容里有不是文字的部分（对象）"),
    "surrogate_in_a_part": (
        row({"role": "user", "content": [{"type": "text", "text": "a\ud800"}]}),
        r"第 1 条消息的内容的第 2 个字符是 '\ud800'",
    ),
    "answer_of_wide_spaces": (row(USER, says("\u3000\u00a0")), "第 2 条消息：assistant 的回答是空的"),
    "only_a_question": (row(USER), "最后一条消息应该是 assistant 的回答，实际是 user"),
    "system_in_the_middle": (row(USER, {"role": "system", "content": "a"}), "2 条消息应该是 assistant，实际是 system"),
    "alpaca_system_is_a_number": (b'{"instruction": "a", "output": "b", "system": 3}', "system 应该是文字，实际是数字"),
    "alpaca_history_of_objects": (b'{"instruction": "a", "output": "b", "history": [{}]}', "第 1 条消息没有角色"),
    "alpaca_history_of_numbers": (b'{"instruction": "a", "output": "b", "history": [[1, 2]]}', "应该是文字，实际是"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), LINES.values(), ids=LINES)
def test_line(tmp_path, refusal, line, reason):
    path, left_out = tmp_path / "train.jsonl", tmp_path / "left_out.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    summary, *listed = refusal(load_conversations, path).splitlines()
    assert summary.startswith(f"{path} 的 3 行中有 1 行不能用于训练；请改正它们，或加上 --on_bad_rows skip")
    assert len(listed) == 1
    assert listed[0].startswith(f"  {path} 第 2 行：")
    assert reason in listed[0]
    assert len(listed[0]) < 300 + len(str(path))

    assert load_conversations(path, on_bad_rows="skip", bad_rows_path=left_out) == [CONVERSATION] * 2
    (record,) = [json.loads(text) for text in left_out.read_text(encoding="utf-8").splitlines()]
    assert record["line"] == 2
    assert reason in record["reason"]


def test_every_depth_of_nesting(tmp_path):
    """读得进来的嵌套，写进坏行文件时也可能太深；不管停在哪一步，都不能有别的异常。"""
    for depth in range(970, 1000):
        path = tmp_path / "train.jsonl"
        path.write_bytes(GOOD + b'\n{"messages": ' + b"[" * depth + b"]" * depth + b"}")
        left_out = tmp_path / "left_out.jsonl"
        assert load_conversations(path, on_bad_rows="skip", bad_rows_path=left_out) == [CONVERSATION]
        assert json.loads(left_out.read_text(encoding="utf-8"))["line"] == 2


@pytest.mark.parametrize("strange", [{("a", "b"): 1}, {1, 2}, object, b"\xff"], ids=["key", "set", "class", "bytes"])
def test_strange_rows_in_memory(tmp_path, refusal, strange):
    text = refusal(load_conversations, [CONVERSATION, strange])
    assert "（内存中的数据） 第 2 行：" in text
    left_out = tmp_path / "bad.jsonl"
    assert load_conversations([CONVERSATION, strange], on_bad_rows="skip", bad_rows_path=left_out) == [CONVERSATION]
    assert json.loads(left_out.read_text(encoding="utf-8"))["line"] == 2


PARQUET_ROWS: dict[str, tuple[dict[str, list], str]] = {
    "other_columns": ({"text": ["a"]}, "认不出格式"),
    "bytes": ({"instruction": [b"\xff"], "output": ["a"]}, "instruction 应该是文字，实际是字节串"),
    "text_instead_of_messages": ({"conversations": ["a"]}, "conversations 应该是消息的列表，实际是文字"),
    "null_content": ({"messages": [[{**USER}, {"role": "assistant", "content": None}]]}, "第 2 条消息没有内容"),
    "null_row": ({"messages": pyarrow.array([None], pyarrow.list_(pyarrow.string()))}, "认不出格式"),
}


@pytest.mark.parametrize(("columns", "reason"), PARQUET_ROWS.values(), ids=PARQUET_ROWS)
def test_parquet_row(tmp_path, refusal, columns, reason):
    path = tmp_path / "rows.parquet"
    path.write_bytes(parquet(pyarrow.table(columns)))
    assert f"  {path} 第 1 行：{reason}" in refusal(load_conversations, path)


# ----------------------------------------------------------------------------------------------------------------------
# 看着奇怪、其实没有错的：读对，一字不改

GOOD_ROWS = {
    "control_characters": ('{"instruction": "\\u001b[1m\\u0007", "output": "\\u0008\\u007f"}', "\x1b[1m\x07", "\b\x7f"),
    "noncharacters": ('{"instruction": "\\uffff", "output": "\\ufffd"}', "\uffff", "\ufffd"),
    "escaped_emoji": ('{"instruction": "\\ud83d\\ude00", "output": "😀"}', "😀", "😀"),
    "bom_inside": ('{"instruction": "a\ufeffb", "output": "\ufeff."}', "a\ufeffb", "\ufeff."),
    "line_separators": ('{"instruction": "a\u2028b", "output": "c\x85d"}', "a\u2028b", "c\x85d"),
    "nan_in_a_key_not_read": ('{"instruction": "a", "output": "b", "score": NaN}', "a", "b"),
    "empty_tool_calls": (
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": []}]}',
        "a",
        "b",
    ),
    "same_key_in_two_objects": ('{"instruction": "a", "output": "b", "x": {"output": "c"}}', "a", "b"),
}


@pytest.mark.parametrize(("line", "question", "answer"), GOOD_ROWS.values(), ids=GOOD_ROWS)
@pytest.mark.parametrize("wrap", ["plain", "bom_crlf", "gzip", "array"])
def test_good_row(tmp_path, line, question, answer, wrap):
    data = line.encode()
    content = {
        "plain": data,
        "bom_crlf": codecs.BOM_UTF8 + data + b"\r\n\r\n",
        "gzip": gzip.compress(codecs.BOM_UTF8 + data),
        "array": b"[\r\n" + data + b"\r\n]",
    }[wrap]
    path = tmp_path / ("train.jsonl.gz" if wrap == "gzip" else "train.jsonl")
    path.write_bytes(content)
    assert load_conversations(path) == [[{**USER, "content": question}, says(answer)]]


# ----------------------------------------------------------------------------------------------------------------------
# 模型目录


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """一个好的模型 base，一个它的适配器 adapter，和一些别的基座。"""
    quiet_libraries()
    path = tmp_path_factory.mktemp("models")
    tokenizer = toy_tokenizer()
    shapes = {
        "base": {},
        "wide": {"hidden_size": 64},
        "deep": {"num_hidden_layers": 3},
        "shallow": {"num_hidden_layers": 1},
    }
    for name, shape in shapes.items():
        toy_model(vocab_size=len(tokenizer), **shape).save_pretrained(path / name)
        tokenizer.save_pretrained(path / name)
    base = load_model(str(path / "base")).model
    adapter = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"]))
    adapter.peft_config["default"].base_model_name_or_path = "base"
    adapter.save_pretrained(path / "adapter")
    return path


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(content)


def edit(name: str, **values: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        settings = json.loads((path / name).read_text(encoding="utf-8"))
        (path / name).write_text(json.dumps(settings | values), encoding="utf-8")

    return change


def remove(*names: str) -> Callable[[Path], object]:
    return lambda path: [(path / name).unlink() for name in names]


def pickle_weights(name: str, new_name: str) -> Callable[[Path], object]:
    """只剩 pickle 格式的权重；谁打开它，谁就执行了里面的代码。"""

    def change(path: Path) -> None:
        (path / name).unlink()
        torch.save({"x": torch.zeros(1)}, path / new_name)

    return change


def drop_weight(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def drop_shard(path: Path) -> None:
    names = list(load_file(path / "model.safetensors"))
    (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def fewer_rows(path: Path) -> None:
    """分词器比嵌入大：它是别的模型的。"""
    toy_model(vocab_size=300).save_pretrained(path)


CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
BROKEN_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_config": (remove(CONFIG), "里面没有 config.json"),
    "empty_config": (write(CONFIG, b""), "请检查里面的文件是否完整"),
    "cut_config": (write(CONFIG, b'{"model_type": "qw'), "not a valid JSON file"),
    "config_is_a_list": (write(CONFIG, b"[]"), "请检查里面的文件是否完整"),
    "config_without_type": (write(CONFIG, b"{}"), "model_type"),
    "unknown_type": (edit(CONFIG, model_type="no-such-model"), "no-such-model"),
    "size_is_text": (edit(CONFIG, hidden_size="大"), "hidden_size"),
    "unknown_activation": (edit(CONFIG, hidden_act="no-such-function"), "no-such-function"),
    "code_of_its_own": (edit(CONFIG, model_type="mine", auto_map={"AutoConfig": "evil.Config"}), "custom code"),
    "other_width": (edit(CONFIG, intermediate_size=64), "的权重与 config.json 对不上"),
    "weight_missing": (drop_weight, "缺少 model.norm.weight"),
    "no_weights": (remove(WEIGHTS), "没有 safetensors 格式的权重"),
    "only_pickled_weights": (pickle_weights(WEIGHTS, "pytorch_model.bin"), "不读 pickle 格式"),
    "shard_missing": (drop_shard, "model-00002-of-00002.safetensors"),
    "empty_weights": (write(WEIGHTS, b""), "header too small"),
    "cut_weights": (lambda path: os.truncate(path / WEIGHTS, 20_000), "incomplete metadata"),
    "git_lfs_pointer": (write(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), "请检查里面的文件是否完整"),
    "no_tokenizer": (remove(TOKENIZER, "tokenizer_config.json"), "里没有分词器（tokenizer.json）"),
    "empty_tokenizer": (write(TOKENIZER, b""), "请检查里面的文件是否完整"),
    "cut_tokenizer_config": (write("tokenizer_config.json", b"{"), "请检查里面的文件是否完整"),
    "tokenizer_of_another_model": (fewer_rows, "嵌入却只有 300 行"),
    "template_is_not_text": (write("chat_template.jinja", b"\xff\xfe"), "utf-8"),
}
BROKEN_ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut_config": (write("adapter_config.json", b"{"), "请检查里面的文件是否完整"),
    "config_is_a_list": (write("adapter_config.json", b"[]"), "应该是一个 JSON 对象"),
    "config_without_base": (write("adapter_config.json", b"{}"), "没有写基座（base_model_name_or_path）"),
    "base_is_null": (edit("adapter_config.json", base_model_name_or_path=None), "没有写基座"),
    "base_is_missing": (edit("adapter_config.json", base_model_name_or_path="./gone"), "的基座不能用"),
    "base_is_itself": (edit("adapter_config.json", base_model_name_or_path="broken"), "是适配器，不是整个模型"),
    "unknown_method": (edit("adapter_config.json", peft_type="NO_SUCH"), "NO_SUCH"),
    "wider_base": (edit("adapter_config.json", base_model_name_or_path="wide"), "与基座 wide 对不上"),
    "deeper_base": (edit("adapter_config.json", base_model_name_or_path="deep"), "与基座 deep 对不上"),
    "shallower_base": (edit("adapter_config.json", base_model_name_or_path="shallow"), "与基座 shallow 对不上"),
    "no_such_layers": (edit("adapter_config.json", target_modules=["no_such"]), "与基座 base 对不上"),
    "other_rank": (edit("adapter_config.json", r=4), "与基座 base 对不上"),
    "no_weights": (remove("adapter_model.safetensors"), "没有 safetensors 格式的权重"),
    "only_pickled_weights": (pickle_weights("adapter_model.safetensors", "adapter_model.bin"), "不读 pickle 格式"),
    "corrupt_weights": (write("adapter_model.safetensors", b"\xff" * 100), "header too large"),
    "pickle_beside_a_stray": (
        lambda path: (
            shutil.copy(path / "adapter_model.safetensors", path / "other.safetensors"),
            pickle_weights("adapter_model.safetensors", "adapter_model.bin")(path),
        ),
        "不读 pickle 格式",
    ),
}


@pytest.mark.parametrize(
    ("kind", "spoil", "words"),
    [("base", *case) for case in BROKEN_MODELS.values()] + [("adapter", *case) for case in BROKEN_ADAPTERS.values()],
    ids=[f"model-{name}" for name in BROKEN_MODELS] + [f"adapter-{name}" for name in BROKEN_ADAPTERS],
)
def test_broken_model(models, monkeypatch, refusal, kind, spoil, words):
    monkeypatch.chdir(models)
    shutil.rmtree("broken", ignore_errors=True)
    shutil.copytree(kind, "broken")
    spoil(Path("broken"))
    assert_one_sentence(refusal(load_for_chat, "broken"), "broken", words)


def test_an_adapter_is_not_a_base_to_train(models, monkeypatch, refusal):
    monkeypatch.chdir(models)
    assert_one_sentence(refusal(load_model, "adapter"), "adapter 是适配器，不是整个模型", "merge.py adapter")


@pytest.mark.parametrize("name", ["", "base/config.json", "~nobody-has-this-name/m", "x" * 5000])
def test_not_a_model(models, monkeypatch, refusal, name):
    monkeypatch.chdir(models)
    assert_one_sentence(refusal(load_model, name), name[:20])


def test_the_broken_template_of_a_base_is_replaced(models, tmp_path):
    """基座自己的对话模板用不着：训练只用 ChatML，有错也不碍事。"""
    path = tmp_path / "base"
    shutil.copytree(models / "base", path)
    (path / "chat_template.jinja").write_text("{% if %}", encoding="utf-8")
    tokenizer = load_model(str(path)).tokenizer
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert tokenizer.apply_chat_template(CONVERSATION, tokenize=False).startswith("<|im_start|>user\n问<|im_end|>\n")


# ----------------------------------------------------------------------------------------------------------------------
# 参数与输出目录

ARGUMENTS = {
    "max_length_negative": ("--max_length -5", "--max_length 至少是 2，实际是 -5"),
    "max_length_not_whole": ("--max_length 1e3", "--max_length 的值应该是整数，实际是 '1e3'"),
    "max_length_empty": ("--max_length=", "--max_length 的值应该是整数"),
    "two_values": ("--max_length 9 10", "不认识 10"),
    "no_epochs": ("--num_train_epochs 0", "--num_train_epochs 应该大于 0，实际是 0.0"),
    "negative_epochs": ("--num_train_epochs -1", "--num_train_epochs 应该大于 0，实际是 -1.0"),
    "learning_rate_nan": ("--learning_rate nan", "--learning_rate 应该是"),
    "learning_rate_infinite": ("--learning_rate inf", "--learning_rate 应该是"),
    "no_accumulation": ("--gradient_accumulation_steps 0", "--gradient_accumulation_steps 至少是 1"),
    "negative_eval_batch": ("--per_device_eval_batch_size -1", "--per_device_eval_batch_size 至少是 1"),
    "batch_not_whole": ("--per_device_train_batch_size 1.5", "的值应该是整数，实际是 '1.5'"),
    "seed_is_text": ("--seed x", "--seed 的值应该是整数，实际是 'x'"),
    "seed_negative": ("--seed -1", "--seed 应该在 0 和 4294967295 之间，实际是 -1"),
    "seed_too_big": ("--seed 99999999999", "--seed 应该在 0 和 4294967295 之间"),
    "warmup_negative": ("--warmup_steps -1", "warmup_steps"),
    "unknown_schedule": ("--lr_scheduler_type bogus", "bogus"),
    "unknown_optimizer": ("--optim bogus", "--optim 的值只能是"),
    "unknown_strategy": ("--save_strategy bogus", "bogus"),
    "two_precisions": ("--bf16 --fp16", "--bf16 和 --fp16 只能选一种"),
    "fp16_on_cpu": ("--fp16", "--fp16 要显卡"),
    "prefetch_without_workers": ("--dataloader_prefetch_factor 2", "要与 --dataloader_num_workers 一起用"),
    "context_without_workers": (
        "--dataloader_multiprocessing_context spawn",
        "要与 --dataloader_num_workers 一起用",
    ),
    "best_without_evaluation": ("--load_best_model_at_end --eval_strategy no", "都要看验证损失"),
    "best_at_other_steps": (
        "--load_best_model_at_end --eval_strategy steps --save_strategy epoch",
        "--save_strategy 与 --eval_strategy 要相同",
    ),
    "best_between_evaluations": (
        "--load_best_model_at_end --eval_strategy steps --eval_steps 4 --save_strategy steps --save_steps 6",
        "--save_steps 要是 --eval_steps 的整数倍",
    ),
    "eval_strategy": ("--eval_strategy step", "--eval_strategy 的值只能是 no、steps、epoch 之一，实际是 step"),
    "save_strategy": ("--save_strategy never", "--save_strategy 的值只能是 no、steps、epoch、best 之一"),
    "greater_is_better": ("--load_best_model_at_end --greater_is_better true", "--greater_is_better 在这里没有意义"),
    "late_evaluation": ("--load_best_model_at_end --eval_delay 3", "--eval_delay"),
    "no_patience": ("--early_stopping_patience 0", "--early_stopping_patience 至少是 1"),
    "pissa_and_dora": ("--init_lora_weights pissa --method dora", "pissa 只能与 --method lora 一起用"),
    "loraplus_ratio": ("--loraplus_lr_ratio 0", "--loraplus_lr_ratio 应该是大于 0"),
    "rslora_prefix": ("--use_rslora --method prefix", "前缀微调里没有 A 和 B"),
    "switch": ("--bf16 maybe", "--bf16 的值应该是 true 或 false，实际是 maybe"),
    "no_questions": ("--max_test_prompts 0", "--max_test_prompts 至少是 1，实际是 0"),
    "negative_questions": ("--max_test_prompts -1", "--max_test_prompts 至少是 1，实际是 -1"),
    "rank_zero": ("--lora_r 0", "--lora_r 至少是 1，实际是 0"),
    "rank_not_whole": ("--lora_r 1.5", "--lora_r 的值应该是整数"),
    "alpha_zero": ("--lora_alpha 0", "--lora_alpha 应该大于 0，实际是 0.0"),
    "dropout_one": ("--lora_dropout 1", "--lora_dropout 应在 0 和 1 之间，实际是 1.0"),
    "dropout_nan": ("--lora_dropout nan", "--lora_dropout 应在 0 和 1 之间，实际是 nan"),
    "unknown_method": ("--method adalora", "--method 的值只能是 'lora', 'dora'"),
    "no_prefix": ("--num_virtual_tokens 0", "--num_virtual_tokens 至少是 1"),
    "no_modules": ("--target_modules", "--target_modules 后面缺少值"),
    "no_value": ("--train_file", "--train_file 后面缺少值"),
    "no_output": ("--output_dir=", "--output_dir 是空的"),
    "one_dash": ("-x", "不认识 -x"),
}


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_argument(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        parse_arguments("", DEFAULTS, AdapterArguments, argv=arguments.split())
    output = capsys.readouterr()
    assert stop.value.code == 2
    assert output.out == ""
    assert output.err.startswith("参数有误：")
    assert_one_sentence(output.err.removesuffix("\n"), words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output_dir", ["taken", "taken/below"])
def test_output_dir_is_a_file(tmp_path, monkeypatch, refusal, output_dir):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("原来的内容", encoding="utf-8")
    *parts, args = parse_arguments("", {}, argv=["--output_dir", output_dir])
    sentence = refusal(OutputDir("full", *parts, args).__enter__)
    assert_one_sentence(sentence, f"不能创建输出目录 {Path(output_dir)}", "--output_dir 换一个")
    assert Path("taken").read_text(encoding="utf-8") == "原来的内容"


def test_bad_rows_into_a_file_as_a_directory(tmp_path, refusal):
    (tmp_path / "taken").write_bytes(b"")
    place = tmp_path / "taken" / "bad.jsonl"
    sentence = refusal(load_conversations, [CONVERSATION, 3], on_bad_rows="skip", bad_rows_path=place)
    assert_one_sentence(sentence, f"坏行写不进 {place}", "请换一个可以写的位置")


# ----------------------------------------------------------------------------------------------------------------------
# 真正的命令行

PROCESSES = {
    "bad_rows": (["--train_file", "bad.jsonl"], 1, "bad.jsonl 第 2 行：不是合法的 JSON", 2),
    "missing_data": (["--train_file", "gone.jsonl"], 1, "找不到数据文件 gone.jsonl", 1),
    "broken_model": (["--model_name_or_path", "broken"], 1, "broken 里没有 safetensors 格式的权重", 1),
    "output_is_a_file": (["--output_dir", "bad.jsonl"], 1, "不能创建输出目录 bad.jsonl", 1),
    "output_is_the_data": (["--output_dir", "train.jsonl"], 1, "数据文件 train.jsonl 与输出目录 train.jsonl", 1),
    "resume_from_nothing": (["--resume_from_checkpoint", "true"], 1, "out 里没有检查点", 1),
    "bad_argument": (["--max_length", "很长"], 2, "--max_length 的值应该是整数，实际是 '很长'", 1),
}


@pytest.mark.parametrize(("flags", "code", "words", "lines"), PROCESSES.values(), ids=PROCESSES)
def test_process(tmp_path, flags, code, words, lines):
    save_toy(tmp_path / "base")
    shutil.copytree(tmp_path / "base", tmp_path / "broken")
    (tmp_path / "broken" / WEIGHTS).unlink()
    (tmp_path / "train.jsonl").write_bytes((GOOD + b"\n") * 4)
    (tmp_path / "bad.jsonl").write_bytes(GOOD + b"\n{oops\n" + GOOD)
    common = ("--model_name_or_path", "base", "--train_file", "train.jsonl", "--output_dir", "out")
    result = run_command("train_sft_solution.py", *common, *flags, cwd=tmp_path)
    assert result.returncode == code
    assert result.stdout == ""
    said = without_notices(result.stderr)
    assert said.startswith("参数有误：" if code == 2 else "错误：")
    assert words in said
    assert said.count("\n") == lines
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
