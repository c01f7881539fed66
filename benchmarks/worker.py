"""在单独的进程里训练一次并测量：``python -m benchmarks.worker '{"contender": "ours", …}'``，结果写成一行 JSON。

由 ``benchmarks.training`` 和 ``benchmarks.scaling`` 来启动；也可以单独运行，看一种情况。
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import finetuning  # noqa: F401  要在 torch 之前：与脚本一样，OpenMP 的线程怎样等

_RESULT_MARK = "BENCHMARK_RESULT "


@dataclass(frozen=True)
class Spec:
    """测量哪一种情况。

    Attributes:
        contender: ``contenders.CONTENDERS`` 里的名字。
        model: ``models.SHAPES`` 里的名字，或模型目录、hub 上的名字。
        lora: 训练 LoRA，还是全部参数。
        bf16: bf16 自动混合精度，还是 fp32。
        steps: 训练多少步；前 ``warmup`` 步不计时。
        length: 每段对话的长度；None 表示有长有短。
        train_file: 用真实的对话；None 表示随机的 token。
        checkpointing: 本项目和普通的 Trainer 用不用梯度检查点；TRL 的由 ``contenders`` 来定。
        shape_changes: 改动随机模型的形状，如 ``{"vocab_size": 8192}``。
    """

    contender: str
    model: str
    lora: bool = False
    bf16: bool = False
    steps: int = 4
    warmup: int = 1
    batch_size: int = 8
    length: int | None = None
    train_file: str | None = None
    lora_r: int = 8
    learning_rate: float = 2e-5
    device: str = "cpu"
    checkpointing: bool = False
    threads: int = 1
    shape_changes: dict[str, int] = field(default_factory=dict)


def run(spec: Spec) -> dict[str, Any]:
    """在新的进程里测量一种情况，返回 :func:`measure` 所说的结果。

    Raises:
        RuntimeError: 进程没有正常结束。
    """
    results, problem = run_all([spec])
    if problem or results[0] is None:
        raise RuntimeError(problem)
    return results[0]


def run_all(specs: Sequence[Spec], timeout: float | None = None) -> tuple[list[dict[str, Any] | None], str | None]:
    """在同一个新的进程里，一种一种地测量：省下每次启动的时间。显存的峰值每次清零；内存的峰值不清零。

    Returns:
        各种情况的结果（没有测成的是 None），和没有测成的原因（None 表示都测成了）。
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(specs[0].threads), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "benchmarks.worker", *(json.dumps(asdict(spec)) for spec in specs)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
    ):
        try:
            finished = subprocess.run(command, stdout=output, stderr=log, env=environment, timeout=timeout)
            ended = f"退出码 {finished.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"超过 {timeout:.0f} 秒"
        output.seek(0)
        log.seek(0)
        lines = [line.removeprefix(_RESULT_MARK) for line in output if line.startswith(_RESULT_MARK)]
        results = [json.loads(line) for line in lines] + [None] * (len(specs) - len(lines))
        failed = [spec for spec, result in zip(specs, results, strict=True) if result is None]
        problem = f"{failed[0]} 等 {len(failed)} 种没有测完（{ended}）：\n{log.read()[-3000:]}" if failed else None
    return results, problem


def measure(spec: Spec) -> dict[str, Any]:
    """在当前的进程里训练。

    Returns:
        ``loss``（每一步的损失）、``cpu_seconds`` 与 ``wall_seconds``（计时的各步之和）、
        ``step_seconds``（计时的各步）、``real_tokens``、
        ``padding_share``（一批里填充占的比例）、``peak_memory_mb``、``trainable_parameters``。
    """
    import torch
    from transformers import PreTrainedModel, TrainerCallback, set_seed

    from benchmarks import models
    from benchmarks.contenders import CONTENDERS, Job, lora_config
    from benchmarks.conversations import random_conversations, real_conversations
    from finetuning.device import peak_memory_mb
    from finetuning.quiet import quiet_libraries
    from finetuning.report import count_parameters

    class Recorder(TrainerCallback):
        """每一步结束时的时刻；每一步的损失。"""

        def __init__(self) -> None:
            self.cpu: list[float] = []
            self.wall: list[float] = []
            self.loss: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if spec.device == "cuda":
                torch.cuda.synchronize()
            self.cpu.append(time.process_time())
            self.wall.append(time.perf_counter())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                self.loss.append(float(logs["loss"]))

    class CountingCollator:
        """照原来的办法拼批次，并数一数真的 token 和一共的格子。"""

        def __init__(self, collate: Any):
            self.collate = collate
            self.real: list[int] = []
            self.cells: list[int] = []

        def __call__(self, examples: Any) -> Any:
            self.real.append(sum(len(example["input_ids"]) for example in examples))
            batch = self.collate(examples)
            self.cells.append(batch["input_ids"].numel())
            return batch

    quiet_libraries()
    torch.set_num_threads(spec.threads)
    set_seed(0)
    model = models.load(spec.model, spec.device, **spec.shape_changes)
    tokenizer = models.load_tokenizer(spec.model)
    count = spec.steps * spec.batch_size
    if spec.train_file:
        data = real_conversations(Path(spec.train_file), tokenizer, count)
    else:
        data = random_conversations(count, model.config.vocab_size, spec.length, max_length=spec.length or 512)
    lora = lora_config(spec.lora_r) if spec.lora else None
    recorder = Recorder()
    if spec.device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # 造模型时多用的不算；同一个进程里也可以测几种情况
    with tempfile.TemporaryDirectory() as output_dir:
        options = {
            "output_dir": output_dir,
            "per_device_train_batch_size": spec.batch_size,
            "max_steps": spec.steps,
            "learning_rate": spec.learning_rate,
            "lr_scheduler_type": "constant",
            "bf16": spec.bf16,
            "use_cpu": spec.device == "cpu",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": 0,
            "adam_beta2": 0.999,
            "warmup_steps": 0,
        }
        if spec.checkpointing:
            options["gradient_checkpointing"] = True
        if spec.device == "cuda":
            options["tf32"] = False  # 写的是 fp32，就真的是 fp32
        trainer = CONTENDERS[spec.contender].build(Job(model, tokenizer, data, options, lora))
        trainer.add_callback(recorder)
        collator = CountingCollator(trainer.data_collator)
        trainer.data_collator = collator
        trainer.train()
    rows = getattr(trainer, "micro_batches", 1)  # 一步分成几个微批次，就拼几次
    timed = slice(rows * spec.warmup, rows * spec.steps)
    trainable, total = count_parameters(cast(PreTrainedModel, trainer.model))
    return {
        "loss": recorder.loss,
        "cpu_seconds": recorder.cpu[-1] - recorder.cpu[spec.warmup - 1],
        "wall_seconds": recorder.wall[-1] - recorder.wall[spec.warmup - 1],
        "step_seconds": [end - start for start, end in pairwise(recorder.wall[spec.warmup - 1 :])],
        "real_tokens": sum(collator.real[timed]),
        "padding_share": 1 - sum(collator.real[timed]) / sum(collator.cells[timed]),
        "peak_memory_mb": peak_memory_mb(trainer.args.device),
        "trainable_parameters": trainable,
        # 一个权重在前向里乘一次、加一次；反向里对输入的梯度同样，要训练的权重还有对权重的梯度。
        "flops_per_token": 4 * total + 2 * trainable,
        "matmul_flops": matmul_flops() if spec.device == "cuda" else None,
    }


def matmul_flops() -> float:
    """显卡做 bf16 矩阵乘法实际能到每秒多少次浮点运算：8192 阶方阵，取五次里最快的。"""
    import torch

    size = 8192
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(6):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(10):
            left @ right
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 10 * 2 * size**3 / min(seconds[1:])


def main() -> None:
    """命令行：一个或几个 JSON 的 ``Spec``，每个的结果占一行。"""
    for argument in sys.argv[1:]:
        try:
            result = measure(Spec(**json.loads(argument)))
        except Exception:  # 一种做不成（例如显存不够），其余照做；由 run_all 来说
            traceback.print_exc()
            result = None
        print(_RESULT_MARK + json.dumps(result), flush=True)
        gc.collect()  # Trainer 与模型互相引用，不回收，下一种情况的显存里还有这一种的模型


if __name__ == "__main__":
    main()
