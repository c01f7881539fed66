"""显卡那一天的命令，在 CPU 上用很小的尺寸走一遍。"""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import gpu, gpu_parts
from finetuning.arguments.trainer import SFTArguments


@pytest.mark.parametrize("part", ["equality", "fp16", "memory", "loss_chunks"])
def test_each_part_runs_and_finds_nothing_wrong(part):
    """``main_job``、``qlora``、``resume``、``shapes`` 用的是与 ``fp16``、``equality`` 同样的代码。"""
    for table in gpu_parts.PARTS[part](True):
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert table.problems == []


def test_a_wrong_attention_is_found(monkeypatch):
    """把每段的边界丢掉一个，两段就互相看见。"""
    from finetuning.shortcuts import attention

    original = attention.per_document_attention

    def leaking(*args, cu_seq_lens_q, **kwargs):
        return original(*args, cu_seq_lens_q=cu_seq_lens_q[[0, 1, 2, 4]], **kwargs)

    monkeypatch.setattr(attention, "per_document_attention", leaking)
    assert any("看见了另一段" in problem for problem in gpu_parts._attention_errors(True).problems)


def test_the_command_skips_what_is_not_installed(tmp_path):
    """bitsandbytes 不在测试的环境里：说没有装，其余照做，退出码 0。"""
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry_run", "--parts", "qlora", "loss_chunks"]
    finished = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert "没有装 bitsandbytes" in finished.stdout
    assert "一次几行" in finished.stdout


def test_a_failing_part_is_not_a_result():
    assert "退出码" in gpu.run_part("没有这个部分", True, 60)["problem"]
    assert "超过" in gpu.run_part("equality", True, 0.5)["problem"]


def test_results_of_the_same_card_and_versions_are_kept_together(tmp_path):
    record = {"card": "NVIDIA Test 9", "python": "3", "versions": {"torch": "1"}}
    part = {"seconds": 1.0, "tables": []}
    gpu.write(record | {"parts": {"memory": part}}, tmp_path)
    gpu.write(record | {"parts": {"equality": part}}, tmp_path)
    path = tmp_path / "gpu_nvidia-test-9.json"
    assert list(json.loads(path.read_text("utf-8"))["parts"]) == ["equality", "memory"]
    gpu.write(record | {"versions": {"torch": "2"}, "parts": {"speed": part}}, tmp_path)
    assert list(json.loads(path.read_text("utf-8"))["parts"]) == ["speed"]


def test_fp16_is_the_default_where_it_is_fastest(monkeypatch, tmp_path):
    from finetuning.arguments import trainer as trainer_arguments

    monkeypatch.setattr(trainer_arguments, "fastest_dtype", lambda use_cpu: torch.float16)
    args = SFTArguments(output_dir=str(tmp_path))
    assert (args.fp16, args.bf16, args.autocast) == (True, False, torch.float16)
    args = SFTArguments(output_dir=str(tmp_path), bf16=False)
    assert (args.fp16, args.bf16, args.autocast) == (False, False, None)


@pytest.mark.skipif(sys.platform != "linux", reason="别的系统的峰值本来就只算自己")
def test_the_memory_peak_does_not_include_the_parent():
    """由很大的进程启动时，getrusage 报的是父进程的峰值。"""
    code = "import torch; from finetuning.device import peak_memory_mb as peak; print(peak(torch.device('cpu')))"
    small = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    parent = f"""
import subprocess, sys
x = bytearray(10**9)
x[::4096] = x[1::4096]
subprocess.run([sys.executable, '-c', {code!r}])
"""
    beside_a_large_one = float(subprocess.run([sys.executable, "-c", parent], capture_output=True, check=True).stdout)
    assert beside_a_large_one < small + 200
