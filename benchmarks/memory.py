"""``plan_memory.py`` 的预测准不准：真的训练三步，与只凭配置的预测比较。

    uv run python -m benchmarks.memory

每种情况在单独的进程里训练两次。第一次让各个库把头一次用到时才做的都做好：装入代码，oneDNN 为每种形状编译一份算子
（自带的基座上约 30 MB，预测不算它）。然后记下物理内存，把峰值清零；第二次看峰值比那时多了多少。

预测的是活着的张量。glibc 默认把放掉的中小块留着备用，物理内存因此多出不少；这里让它立刻还给系统
（``MALLOC_MMAP_THRESHOLD_``）。这个设置和清零峰值的办法只有 Linux 才有，所以只在 Linux 上测。

一批拼成一行、一个线程，和一批分成两个微批次、两个线程，都测；不能首尾相接的模型也测：forward 没有 logits_to_keep 的
、有线性注意力层的（Qwen3-Next）、前缀微调；还有词表很大、另外训练新添的标记的（Gemma 3）。
"""

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, cast

from transformers import Gemma3TextConfig, PretrainedConfig, Qwen3Config, Qwen3NextConfig

from benchmarks.models import EMBEDDED, PlainConfig, load_tokenizer
from finetuning.plan.memory import Method, load_config, plan


def _qwen3(
    hidden_size: int, layers: int, intermediate_size: int, vocab_size: int, kind: type[Qwen3Config] = Qwen3Config
) -> Qwen3Config:
    return kind(
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


class Case(NamedTuple):
    """一种情况；一半的 token 要学。"""

    config: PretrainedConfig
    batch_size: int
    length: int
    methods: tuple[Method, ...] = ("full", "lora")
    threads: int = 1
    new_tokens: int = 0


def cases() -> dict[str, Case]:
    """名字 → 情况：自带的基座，和几个随机的模型。"""
    base = load_config(EMBEDDED)
    hybrid = Qwen3NextConfig(
        vocab_size=8000, hidden_size=384, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, head_dim=64, linear_num_value_heads=6, linear_num_key_heads=6, linear_key_head_dim=64,
        linear_value_head_dim=64, num_experts=0, mlp_only_layers=[0, 1, 2, 3], dtype="bfloat16",
    )  # fmt: skip
    gemma = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
        num_key_value_heads=1, head_dim=256, sliding_window=512, dtype="bfloat16",
    )  # fmt: skip
    return {
        "自带的基座（2M）": Case(base, 16, 256),
        "自带的基座，两个微批次": Case(base, 16, 256, threads=2),
        "自带的基座，前缀": Case(base, 16, 256, ("prefix",)),
        "25M": Case(_qwen3(512, 6, 1280, 16_000), 8, 128),
        "25M，两个微批次": Case(_qwen3(512, 6, 1280, 16_000), 8, 128, ("lora",), threads=2),
        "100M": Case(_qwen3(768, 10, 2048, 32_000), 4, 128),
        "25M，没有 logits_to_keep": Case(_qwen3(512, 6, 1280, 16_000, PlainConfig), 8, 128),
        "Qwen3-Next，线性注意力": Case(hybrid, 8, 128),
        "Gemma 3 270M 的形状，新添两个标记": Case(gemma, 2, 64, ("lora",), new_tokens=2),
    }


def predicted(case: Case, method: Method, bf16: bool) -> int:
    """预测的峰值，字节。"""
    import torch

    torch.set_num_threads(case.threads)
    return plan(
        case.config, method, batch_size=case.batch_size, max_length=case.length, supervised_share=0.5, bf16=bf16,
        new_tokens=case.new_tokens, device="cpu",
    ).total  # fmt: skip


def measured(name: str, method: Method, bf16: bool) -> int:
    """在新的进程里实测的增长，字节。"""
    limits = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--measure", name, method, str(int(bf16))],
        env=os.environ | limits | {"OMP_NUM_THREADS": str(cases()[name].threads), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def measure_here(case: Case, method: Method, bf16: bool) -> int:
    """在当前的进程里实测。"""
    train_steps(case, method, bf16)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 把峰值（VmHWM）清零，见 proc(5)
    before = status_bytes("VmRSS")
    train_steps(case, method, bf16)
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """这个进程的内存，见 proc(5)：``VmRSS`` 是现在，``VmHWM`` 是峰值。"""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None, field
    return int(match[1]) * 1024


def train_steps(case: Case, method: Method, bf16: bool) -> None:
    """随机的权重、长度都一样的对话，由本项目的 Trainer 训练三步。"""
    import torch
    from peft import LoraConfig, PrefixTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from finetuning.adapter import embedding_rows, new_adapter
    from finetuning.arguments import parse_arguments
    from finetuning.data import Splits
    from finetuning.training import build_trainer

    # 与从 bf16 的检查点读入的一样
    model = AutoModelForCausalLM.from_config(case.config, dtype=torch.bfloat16).float()
    if method == "lora":
        rows = embedding_rows(model, list(range(case.new_tokens)))
        config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=rows)
        model = new_adapter(model, config)
    elif method == "prefix":
        model = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=16))
    context = case.length // 2
    example = {"input_ids": [1] * case.length, "labels": [-100] * context + [1] * (case.length - context)}
    with tempfile.TemporaryDirectory() as output_dir:
        flags = ["--max_steps", "3", "--save_strategy", "no", "--disable_tqdm", "true", "--output_dir", output_dir]
        flags += ["--per_device_train_batch_size", str(case.batch_size), "--bf16", str(bf16).lower()]
        _, _, args = parse_arguments("", {}, argv=[*flags, "--use_cpu", "true"])
        examples: Any = [example] * case.batch_size
        data = Splits(examples, None, examples, [])
        build_trainer(model, load_tokenizer(EMBEDDED), data, args, padding_free=True).train()


def main() -> None:
    """逐个比较并打印。"""
    from finetuning.device import fastest_dtype

    if sys.argv[1:2] == ["--measure"]:
        name, method, precision = sys.argv[2:]
        print(measure_here(cases()[name], cast(Method, method), bf16=precision == "1"))
        return
    bf16 = fastest_dtype(use_cpu=True) is not None
    print("| 模型 | 方法 | 预测，MB | 实测，MB | 误差 |\n|---|---|---|---|---|")
    for name, case in cases().items():
        for method in case.methods:
            expected, actual = predicted(case, method, bf16), measured(name, method, bf16)
            print(
                f"| {name} | {method} | {expected / 1e6:,.0f} | {actual / 1e6:,.0f} | {expected / actual - 1:+.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
