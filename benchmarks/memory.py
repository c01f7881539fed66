"""``plan_memory.py`` 的预测准不准：真的训练三步，与只凭配置的预测比较。

    uv run python -m benchmarks.memory

每种情况在单独的进程里：先用很小的模型训练三步，让各个库头一次用到时才装入的代码都装好；记下物理内存，把峰值清零；
再用要测的模型由本项目的 Trainer 训练三步，看峰值比那时多了多少。

预测的是活着的张量。glibc 默认把放掉的中小块留着备用，物理内存因此多出不少；这里让它立刻还给系统
（``MALLOC_MMAP_THRESHOLD_``）。这个设置和清零峰值的办法只有 Linux 才有，所以只在 Linux 上测。

只用一个线程：预测的是一批拼成一行的情形，两个线程各算一行时（CPU 上的小模型）要多一些。
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, cast, get_args

from transformers import PretrainedConfig, Qwen3Config

from benchmarks.models import EMBEDDED, load_tokenizer
from finetuning.memory import load_config, plan

_WARM_UP = "warm-up"
Method = Literal["full", "lora"]


def _qwen3(hidden_size: int, layers: int, intermediate_size: int, vocab_size: int) -> Qwen3Config:
    return Qwen3Config(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def cases() -> dict[str, tuple[PretrainedConfig, int, int]]:
    """名字 → (配置, 几段对话, 每段几个 token)：自带的基座，和两个大一些的随机模型；一半的 token 要学。"""
    return {
        _WARM_UP: (_qwen3(128, 2, 192, 512), 2, 32),
        "自带的基座（2M）": (load_config(EMBEDDED), 16, 256),
        "25M": (_qwen3(512, 6, 1280, 16_000), 8, 128),
        "100M": (_qwen3(768, 10, 2048, 32_000), 4, 128),
    }


def predicted(case: str, method: Method, bf16: bool) -> int:
    """预测的峰值，字节。"""
    config, batch_size, max_length = cases()[case]
    return plan(
        config, method, batch_size=batch_size, max_length=max_length, supervised_share=0.5, bf16=bf16, device="cpu"
    ).total


def measured(case: str, method: Method, bf16: bool) -> int:
    """在新的进程里实测的增长，字节。"""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--measure", case, method, str(int(bf16))],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def measure_here(case: str, method: Method, bf16: bool) -> int:
    """在当前的进程里实测。"""
    train_steps(_WARM_UP, method, bf16)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 把峰值（VmHWM）清零，见 proc(5)
    before = _status_bytes("VmRSS")
    train_steps(case, method, bf16)
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None, field
    return int(match[1]) * 1024


def train_steps(case: str, method: Method, bf16: bool) -> None:
    """随机的权重、长度都一样的对话，由本项目的 Trainer 训练三步。"""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from finetuning.arguments import parse_arguments
    from finetuning.data import Splits
    from finetuning.training import build_trainer

    config, batch_size, length = cases()[case]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).float()  # 与从 bf16 的检查点读入的一样
    if method == "lora":
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    context = length // 2
    example = {"input_ids": [1] * length, "labels": [-100] * context + [1] * (length - context)}
    with tempfile.TemporaryDirectory() as output_dir:
        flags = ["--max_steps", "3", "--save_strategy", "no", "--disable_tqdm", "true", "--output_dir", output_dir]
        flags += ["--per_device_train_batch_size", str(batch_size), "--bf16", str(bf16).lower(), "--use_cpu", "true"]
        _, _, args = parse_arguments("", {}, argv=flags)
        data = Splits([example] * batch_size, None, [], [], False)  # type: ignore[arg-type]
        build_trainer(model, load_tokenizer(EMBEDDED), data, args, padding_free=True).train()


def main() -> None:
    """逐个比较并打印。"""
    from finetuning.device import fastest_dtype

    if sys.argv[1:2] == ["--measure"]:
        case, method, precision = sys.argv[2:]
        print(measure_here(case, cast(Method, method), bf16=precision == "1"))
        return
    bf16 = fastest_dtype(use_cpu=True) is not None
    print("| 模型 | 方法 | 预测，MB | 实测，MB | 误差 |\n|---|---|---|---|---|")
    for case in cases():
        for name in get_args(Method):
            if case != _WARM_UP:
                expected, actual = predicted(case, name, bf16), measured(case, name, bf16)
                print(
                    f"| {case} | {name} | {expected / 1e6:,.0f} | {actual / 1e6:,.0f} | {expected / actual - 1:+.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
