"""实测一步训练的内存，与 ``finetuning.memory`` 的预测比较；预测只凭配置，这里真的训练。

    uv run python tests/measure_memory.py                 全部（最大的模型有一亿参数，要几 GB 内存、几分钟）
    uv run python tests/measure_memory.py base full       一种

每种在自己的进程里：先导入各个库，用很小的模型训练三步（各个库头一次用到时才装入的代码，不算在模型的账上），
记下物理内存的峰值（``ru_maxrss``）；再用要测的模型，由本项目的 Trainer 训练三步，看峰值比那时多了多少。

预测的是活着的张量。glibc 默认把放掉的中小块留着备用，物理内存因此多出不少，多多少与分配的先后有关；这里让它立刻还给系统
（``MALLOC_MMAP_THRESHOLD_``）。只有 Linux 的 glibc 认这个设置，所以只在 Linux 上测。
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, Qwen3Config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# 名字 → (配置的改动, 几段对话, 每段几个 token)；base 是自带的基座
CASES: dict[str, tuple[dict[str, int], int, int]] = {
    "toy": ({"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "vocab_size": 512}, 2, 32),
    "base": ({}, 16, 256),
    "25M": ({"hidden_size": 512, "intermediate_size": 1280, "num_hidden_layers": 6, "vocab_size": 16000}, 8, 128),
    "100M": ({"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 10, "vocab_size": 32000}, 4, 128),
}
METHODS = ("full", "lora")
SUPERVISED_SHARE = 0.5


def config_of(case: str) -> PretrainedConfig:
    """要测的模型的配置。"""
    from finetuning.memory import load_config

    changes, _, _ = CASES[case]
    if case == "base":
        return load_config(str(ROOT / "base_model"))
    heads = {"num_attention_heads": changes["hidden_size"] // 64, "num_key_value_heads": 2, "head_dim": 64}
    return Qwen3Config(**changes, **heads, tie_word_embeddings=True)


def predicted(case: str, method: str, bf16: bool) -> int:
    """预测的峰值，字节。"""
    from finetuning.memory import plan

    _, batch_size, max_length = CASES[case]
    options: dict[str, Any] = {"supervised_share": SUPERVISED_SHARE, "bf16": bf16, "device": "cpu"}
    return plan(config_of(case), method, batch_size=batch_size, max_length=max_length, **options).total  # type: ignore[arg-type]


def train_steps(case: str, method: str, bf16: bool) -> None:
    """随机的权重、长度都一样的对话，由本项目的 Trainer 训练三步。"""
    import torch
    from peft import LoraConfig, get_peft_model
    from toy_models import toy_tokenizer
    from transformers import AutoModelForCausalLM

    from finetuning.arguments import parse_arguments
    from finetuning.data import Splits
    from finetuning.training import build_trainer

    _, batch_size, length = CASES[case]
    model = AutoModelForCausalLM.from_config(config_of(case), dtype=torch.float32)
    if method == "lora":
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    context = length // 2
    example = {"input_ids": [1] * length, "labels": [-100] * context + [1] * (length - context)}
    with tempfile.TemporaryDirectory() as output_dir:
        flags = ["--max_steps", "3", "--save_strategy", "no", "--disable_tqdm", "true", "--output_dir", output_dir]
        flags += ["--per_device_train_batch_size", str(batch_size), "--bf16", str(bf16).lower(), "--use_cpu", "true"]
        _, _, args = parse_arguments("", {}, argv=flags)
        data = Splits([example] * batch_size, None, [], [], False)  # type: ignore[arg-type, list-item]
        build_trainer(model, toy_tokenizer(), data, args, padding_free=True).train()


def measured(case: str, method: str, bf16: bool) -> int:
    """实测的增长，字节；在一个新的进程里。"""
    command = [sys.executable, __file__, "--measure", case, method, str(int(bf16))]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])["bytes"]


def measure_here(case: str, method: str, bf16: bool) -> int:
    """在这个进程里实测；一个进程只能测一次，因为峰值不会回落。"""
    import torch

    from finetuning.device import peak_memory_mb

    train_steps("toy", method, bf16)
    before = peak_memory_mb(torch.device("cpu"))
    train_steps(case, method, bf16)
    return round((peak_memory_mb(torch.device("cpu")) - before) * 1e6)


def main() -> None:
    from finetuning.device import bf16_is_faster

    if sys.argv[1:2] == ["--measure"]:
        case, method, bf16 = sys.argv[2:]
        print(json.dumps({"bytes": measure_here(case, method, bf16 == "1")}))
        return
    bf16 = bf16_is_faster(use_cpu=True)
    cases = sys.argv[1:2] or [case for case in CASES if case != "toy"]
    for case in cases:
        for method in sys.argv[2:] or METHODS:
            expected, actual = predicted(case, method, bf16), measured(case, method, bf16)
            print(
                f"{case:<5} {method:<5} 预测 {expected / 1e6:8.1f} MB  实测 {actual / 1e6:8.1f} MB  "
                f"误差 {expected / actual - 1:+.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
