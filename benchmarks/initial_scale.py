"""手写的 LoRA 里，A 的初值多大才好：自带的基座训练 120 步以后，dev 的损失。

    uv run python -m benchmarks.initial_scale

约定是标准差 1/√in_features；这里乘以几倍，另外试 PEFT 的 kaiming_uniform_、标准差总是 1 的和均值是 1 的。
每种两个种子，约半分钟。
自检（``self_check.lora.initial_values``）按这里的结果决定多大算太大。
"""

import contextlib
import io
import math
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import set_seed

import lora_solution
from data_solution import SFTDataset
from finetuning.arguments.trainer import SFTArguments
from finetuning.data import Splits
from finetuning.evaluate import mean_loss
from finetuning.model import load_model
from finetuning.quiet import quiet_libraries
from finetuning.training import build_trainer

Initialise = Callable[[Tensor], Tensor]
_STEPS = 120
_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _times(factor: float) -> Initialise:
    return lambda a: nn.init.normal_(a, std=factor / math.sqrt(a.shape[0]))


CASES: dict[str, Initialise] = {
    **{f"{factor:g} 倍": _times(factor) for factor in (0.01, 1, 2, 4, 5, 8)},
    "标准差 1": lambda a: nn.init.normal_(a),
    "均值 1": lambda a: nn.init.normal_(a, mean=1, std=a.shape[0] ** -0.5),
    "kaiming_uniform_(a=√5)": lambda a: nn.init.kaiming_uniform_(a, a=math.sqrt(5)),
}


def dev_loss(initialise: Initialise, seed: int, steps: int = _STEPS) -> float:
    """训练 ``steps`` 步以后，dev 的损失。"""
    set_seed(seed)
    model, tokenizer, _ = load_model("base_model")
    lora_solution.apply_lora(model, _TARGETS, r=8, alpha=16)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, lora_solution.LoRALinear):
                initialise(module.lora_A)
    train, dev = (SFTDataset(f"data/{name}.jsonl", tokenizer) for name in ("train", "dev"))
    with tempfile.TemporaryDirectory() as output_dir:
        args = SFTArguments(
            output_dir=output_dir, learning_rate=4e-3, per_device_train_batch_size=32, max_steps=steps,
            save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no",
            seed=seed,
        )  # fmt: skip
        data: Any = Splits(train, None, dev, [])
        trainer = build_trainer(model, tokenizer, data, args, padding_free=True)
        with contextlib.redirect_stdout(io.StringIO()):  # Trainer 结束时打印一行用时
            trainer.train()
        return mean_loss(model, dev, trainer.data_collator)


def main() -> None:
    """逐个测量并打印。"""
    quiet_libraries()
    print(f"| A 的初值 | {_STEPS} 步以后 dev 的损失，两个种子 |\n|---|---|")
    for name, initialise in CASES.items():
        losses = [dev_loss(initialise, seed) for seed in (0, 1)]
        print(f"| {name} | {'、'.join(f'{loss:.3f}' for loss in losses)} |", flush=True)


if __name__ == "__main__":
    main()
