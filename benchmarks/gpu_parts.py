"""在显卡上要查、要量的各个部分；由 ``benchmarks.gpu`` 在单独的进程里一个一个地运行。

每个部分是一个函数：收下 ``dry_run``（在 CPU 上用很小的尺寸走同样的代码），返回几张表（:class:`Table`）。
用不着的库不在开头导入：缺了哪个库，只有用它的部分做不成。
"""

import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, cast
from unittest.mock import patch

from benchmarks.worker import Spec, measure, run_all
from finetuning.device import avoid_cudnn_attention

Row = list[str | float]


@dataclass
class Table:
    """一张表。

    Attributes:
        record: 没有四舍五入的数字。
        problems: 哪里不对，一条一句；空的就是都对。
    """

    title: str
    columns: list[str]
    rows: list[Row]
    record: Any = None
    problems: list[str] = field(default_factory=list)

    def expect(self, good: bool, problem: str) -> None:
        """不对就记下来。"""
        if not good:
            self.problems.append(problem)


def device_name(dry_run: bool) -> str:
    """在哪里算。"""
    return "cpu" if dry_run else "cuda"


# ----------------------------------------------------------------------------------------------------------------------
# 相同：快的算法与慢的参照，结果差多少


def equality(dry_run: bool) -> list[Table]:
    """逐段的注意力、免填充的批次、分块的损失、存成 bf16 的冻结权重，各与它的参照比。"""
    return [
        _attention_errors(dry_run),
        _packing_errors(dry_run),
        _loss_errors(dry_run),
        _frozen_difference(dry_run),
        _training_losses(dry_run),
    ]


# 舍入误差的上限：(字节数, 是不是 bf16)。
_ROUNDING = {(4, False): 1e-5, (2, False): 2e-3, (2, True): 1e-2}


def _relative(ours: Any, reference: Any) -> float:
    return ((ours.double() - reference).norm() / reference.norm()).item()


def _attention_errors(dry_run: bool) -> Table:
    """参照：同样的数，float64，整行的注意力加上分开各段的掩码。"""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from finetuning.shortcuts.attention import per_document_attention

    device = device_name(dry_run)
    lengths = [1, 7, 30, 2] if dry_run else [1, 7, 130, 32, 300, 554]
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)
    total = sum(lengths)
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device)
    mask = (document[:, None] == document) & torch.ones(total, total, dtype=torch.bool, device=device).tril()
    table = Table(
        "逐段的注意力，与 float64 的掩码相比的相对误差",
        ["头、kv 头、宽", "精度", "输出", "对 q", "对 k", "对 v", "另一段变了，这段"],
        [],
    )
    for heads, kv_heads, width in ((4, 2, 32), (16, 8, 128), (9, 3, 64)):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            torch.manual_seed(0)
            shapes = ((heads, total, width), (kv_heads, total, width), (kv_heads, total, width))
            states: Any = [torch.randn(1, *shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes]
            exact: Any = [state.detach().double().requires_grad_() for state in states]
            weight = torch.randn(1, total, heads, width, device=device)

            def attend(states: Any) -> Any:
                query, key, value = states
                return per_document_attention(
                    torch.nn.Identity(), query, key, value, None, cu_seq_lens_q=bounds, max_length_q=max(lengths)
                )[0]

            query, key, value = exact
            reference = scaled_dot_product_attention(query, key, value, mask, enable_gqa=True).transpose(1, 2)
            output = attend(states)
            expected = torch.autograd.grad((reference * weight).sum(), exact)
            gradients = torch.autograd.grad((output.float() * weight).sum(), states)
            changed = [torch.where(document[:, None] == 2, torch.randn_like(state), state) for state in states]
            with torch.no_grad():
                moved = attend(changed)[0, document != 2] - output[0, document != 2]
            errors = [_relative(a, b) for a, b in zip((output, *gradients), (reference, *expected), strict=True)]
            row: Row = [f"{heads}、{kv_heads}、{width}", str(dtype).removeprefix("torch.")]
            table.expect(max(errors) < _ROUNDING[dtype.itemsize, dtype == torch.bfloat16], f"{row}：误差太大")
            table.expect(not moved.any(), f"{row}：一段看见了另一段")
            table.rows.append([*row, *(f"{error:.1e}" for error in errors), f"最多差 {moved.abs().max().item():.1e}"])
    return table


def _packing_errors(dry_run: bool) -> Table:
    """自带的基座，真实的对话：损失与全部梯度，参照是 fp32 的填充批次（不用 TF32）。"""
    import torch

    from benchmarks import models
    from benchmarks.conversations import real_conversations
    from finetuning.collator import PackedCollator, PaddedCollator
    from finetuning.shortcuts.packing import enable_packing

    device = device_name(dry_run)
    torch.backends.cuda.matmul.allow_tf32 = False
    examples = real_conversations(Path("data/test.jsonl"), models.load_tokenizer(models.EMBEDDED), 4 if dry_run else 16)

    def step(packed: bool, autocast: Any) -> tuple[float, Any]:
        model = models.load(models.EMBEDDED, device)
        if packed:
            assert (problem := enable_packing(model, autocast)) is None, problem
        batch = (PackedCollator() if packed else PaddedCollator(0))(examples)
        batch = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
        with torch.autocast(device, autocast, enabled=autocast is not None):
            loss = model(**batch).loss
        loss.backward()
        return loss.item(), torch.cat([cast(Any, parameter.grad).flatten() for parameter in model.parameters()])

    expected, gradient = step(False, None)
    reference = gradient.double()
    table = Table("免填充的一行，与 fp32 的填充批次相比", ["批次", "精度", "损失差", "全部梯度的相对误差"], [])
    for packed in (False, True):
        for dtype in (None, torch.bfloat16):
            if packed or dtype is not None:
                loss, gradient = step(packed, dtype)
                error = _relative(gradient, reference)
                row: Row = ["免填充" if packed else "填充", "bf16" if dtype else "fp32"]
                table.expect(error < (5e-2 if dtype else 1e-4), f"{row}：梯度差得太多")
                table.rows.append([*row, f"{loss - expected:+.1e}", f"{error:.1e}"])
    return table


def _loss_errors(dry_run: bool) -> Table:
    """分块的损失，参照是 float64 的交叉熵。"""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers.loss.loss_utils import ForCausalLMLoss

    from finetuning.shortcuts.loss import chunked_causal_lm_loss

    device = device_name(dry_run)
    rows, vocab_size = (40, 500) if dry_run else (1000, 151_936)
    table = Table(
        "分块的损失，与 float64 的交叉熵相比的相对误差",
        ["精度", "损失", "损失的梯度", "自带的：损失", "自带的：梯度"],
        [],
    )
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        torch.manual_seed(0)
        logits = (3 * torch.randn(1, rows, vocab_size, device=device)).to(dtype)
        labels = torch.randint(vocab_size, (1, rows), device=device)
        labels[0, ::7] = -100
        exact = logits.double().requires_grad_()
        expected = cross_entropy(exact[0], labels[0])
        (expected_gradient,) = torch.autograd.grad(expected, exact)
        cells: Row = [str(dtype).removeprefix("torch.")]
        for compute in (chunked_causal_lm_loss, ForCausalLMLoss):
            leaf = logits.clone().requires_grad_()
            options: dict[str, Any] = {"chunk": 10 * vocab_size} if compute is chunked_causal_lm_loss else {}
            loss = compute(leaf * 1, labels, vocab_size, shift_labels=labels, **options)
            (gradient,) = torch.autograd.grad(loss, leaf)
            errors = (abs(loss.item() / expected.item() - 1), _relative(gradient, expected_gradient))
            table.expect(max(errors) < _ROUNDING[dtype.itemsize, dtype == torch.bfloat16], f"{cells}：误差太大")
            cells += [f"{error:.1e}" for error in errors]
        table.rows.append(cells)
    return table


def _frozen_difference(dry_run: bool) -> Table:
    """LoRA，bf16：冻结的权重存成 bf16，与不存成 bf16 的，几步以后的损失差多少；同样的做两次又差多少。"""
    from transformers import TrainerCallback

    from finetuning import shortcuts

    spec = _embedded(dry_run, steps=3 if dry_run else 20, lora=True, bf16=True)
    kept = measure(spec)["loss"]
    again = measure(spec)["loss"]
    with patch.object(shortcuts, "FrozenWeightsInBf16", lambda model: TrainerCallback()):  # 换成什么也不做的回调
        without = measure(spec)["loss"]
    difference, noise = (max(abs(a - b) for a, b in zip(kept, other, strict=True)) for other in (without, again))
    rows: list[Row] = [["不存成 bf16", f"{difference:.1e}"], ["同样的再做一次", f"{noise:.1e}"]]
    table = Table(f"冻结的权重存成 bf16，{spec.steps} 步的损失最多差多少", ["与谁比", "损失差"], rows)
    table.expect(difference <= noise, "存成 bf16 的与不存的学到的不同")
    return table


def _training_losses(dry_run: bool) -> Table:
    """同样的数据和步数，本项目与填充的 Trainer 每一步的损失。"""
    table = Table("训练的每一步，损失与填充的 Trainer 最多差多少", ["方法", "精度", "步数", "损失差"], [])
    for lora in (False, True):
        for bf16 in (False, True):
            spec = _embedded(dry_run, steps=3 if dry_run else 50, lora=lora, bf16=bf16)
            ours, padded = (measure(replace(spec, contender=name))["loss"] for name in ("ours", "padded"))
            difference = max(abs(a - b) for a, b in zip(ours, padded, strict=True))
            row: Row = ["LoRA" if lora else "全参数", "bf16" if bf16 else "fp32", spec.steps, f"{difference:.1e}"]
            table.expect(difference < (0.1 if bf16 else 1e-3), f"{row}：损失差得太多")
            table.rows.append(row)
    return table


def _embedded(dry_run: bool, **changes: Any) -> Spec:
    """自带的基座和数据。"""
    spec = Spec("ours", "base_model", train_file="data/dev.jsonl", learning_rate=4e-4, device=device_name(dry_run))
    return replace(spec, **changes)


# ----------------------------------------------------------------------------------------------------------------------
# 主要的训练：两个脚本自己


@contextlib.contextmanager
def _script_flags(dry_run: bool) -> Iterator[list[str]]:
    """``dry_run`` 时，几十段对话、几步就够了。"""
    if not dry_run:
        yield []
        return
    with tempfile.TemporaryDirectory() as directory:
        flags = ["--max_steps", "4", "--use_cpu", "true", "--per_device_train_batch_size", "4"]
        for name, count in (("train", 40), ("validation", 4), ("test", 8)):
            path = Path(directory, f"{name}.jsonl")
            source = "data/train.jsonl" if name == "train" else "data/test.jsonl"
            lines = Path(source).read_text("utf-8").splitlines(keepends=True)
            path.write_text("".join(lines[:count]), "utf-8")
            flags += [f"--{name}_file", str(path)]
        yield flags


def run_script(name: str, output_dir: Path, *flags: str) -> dict[str, Any]:
    """在这个进程里运行一个训练脚本，返回它的 ``metrics.json``，加上总共的秒数和 ``varlen_attn`` 调用了几次。"""
    import torch

    from finetuning.shortcuts import attention

    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return original(*args, **kwargs)

    original: Any = getattr(attention, "varlen_attn", None)
    script = importlib.import_module(name)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    with (
        patch.object(sys, "argv", [f"{name}.py", *flags, "--output_dir", str(output_dir), "--disable_tqdm", "true"]),
        patch.object(attention, "varlen_attn", counted, create=True),
    ):
        script.main()
    metrics = json.loads(Path(output_dir, "metrics.json").read_text("utf-8"))
    return metrics | {"all_seconds": time.perf_counter() - started, "varlen_calls": calls}


_MAIN_COLUMNS = ["方法", "训练，秒", "连同检验，秒", "显存峰值，MB", "检验损失", "逐字匹配", "varlen_attn 调用"]


def _main_row(label: str, metrics: dict[str, Any]) -> Row:
    before, after = metrics["before"], metrics["after"]
    return [
        label,
        metrics["train_seconds"],
        round(metrics["all_seconds"], 1),
        round(metrics["peak_memory_mb"]),
        f"{before['loss']:.3f} → {after['loss']:.3f}",
        f"{before['exact_match']:.1%} → {after['exact_match']:.1%}" if after["exact_match"] is not None else "",
        metrics["varlen_calls"],
    ]


def main_job(dry_run: bool) -> list[Table]:
    """README 里的两个命令，默认的设置。"""
    return [_main_jobs("两个脚本，默认的设置", dry_run, ["train_sft_solution", "train_lora_solution"])]


def _main_jobs(title: str, dry_run: bool, scripts: list[str], *extra: str) -> Table:
    table = Table(title, _MAIN_COLUMNS, [], [])
    with tempfile.TemporaryDirectory() as directory, _script_flags(dry_run) as flags:
        for script in scripts:
            metrics = run_script(script, Path(directory, script), *flags, *extra)
            label = " ".join([script, *extra])
            table.record.append(metrics)
            table.rows.append(_main_row(label, metrics))
            table.expect(metrics["after"]["loss"] < metrics["before"]["loss"], f"{label}：什么也没有学到")
    return table


def shapes(dry_run: bool) -> list[Table]:
    """注意力的算子：每一步的长度都不同的训练，用不用 cuDNN 的（见 ``finetuning.device.avoid_cudnn_attention``）。

    没有变长注意力的算子时，一段一段地算。每种做两次：第二次的形状与第一次相同，要编译的都编译好了。
    """
    from benchmarks import contenders
    from finetuning.shortcuts import attention

    spec = _embedded(dry_run, steps=3 if dry_run else 20, warmup=1, lora=True, bf16=True)
    table = Table(
        "每一步的长度都不同的训练，每步多少毫秒（最快–最慢）", ["cuDNN 的注意力", "头一次", "同样的形状再做一次"], []
    )
    for allowed in (False, True):
        row: Row = ["可以用" if allowed else "不用（本项目）"]
        choose = _allow_cudnn_attention if allowed else avoid_cudnn_attention
        with (
            patch.object(contenders, "avoid_cudnn_attention", choose),
            patch.object(attention, "_VARLEN_OPTIONS", set()),
        ):
            for _ in range(2):
                steps = [1000 * seconds for seconds in measure(spec)["step_seconds"]]
                row.append(f"{median(steps):.1f}（{min(steps):.1f}–{max(steps):.1f}）")
        table.rows.append(row)
    return [table]


def _allow_cudnn_attention() -> None:
    import torch

    torch.backends.cuda.enable_cudnn_sdp(True)


def qlora(dry_run: bool) -> list[Table]:
    """4 bit 的基座；没有 bitsandbytes 就说没有。"""
    importlib.import_module("bitsandbytes")
    return [_main_jobs("QLoRA", dry_run, ["train_lora_solution"], "--method", "qlora")]


def fp16(dry_run: bool) -> list[Table]:
    """把计算能力说成 7.5（T4）：没有 bf16，没有变长注意力，默认用 fp16。"""
    import torch

    scripts = ["train_sft_solution", "train_lora_solution"]
    title = "计算能力当作 7.5（T4）：默认的精度和注意力"
    with patch.object(torch.cuda, "get_device_capability", lambda device=None: (7, 5)):
        table = _main_jobs(title, dry_run, scripts)
    table.expect(not any(metrics["varlen_calls"] for metrics in table.record), "T4 上没有的算子也用了")
    return [table]


def resume(dry_run: bool) -> list[Table]:
    """从一半接着训练，与不中断的相比；同样的不中断地做两次，又差多少。"""
    table = Table(
        "从检查点接着训练，与不中断的相比：权重最多差多少（0 是一个比特不差）",
        ["方法", "不中断地再做一次", "从一半接着做"],
        [],
    )
    with tempfile.TemporaryDirectory() as directory, _script_flags(dry_run) as flags:
        steps = 4 if dry_run else 60
        for script in ("train_sft_solution", "train_lora_solution"):
            root = Path(directory, script)
            common = [*flags, "--max_steps", str(steps), "--save_strategy", "steps", "--save_steps", str(steps // 2)]
            common += ["--save_total_limit", "5", "--max_test_prompts", "8"]
            run_script(script, root / "once", *common)
            run_script(script, root / "twice", *common)
            half = root / "once" / f"checkpoint-{steps // 2}"
            run_script(script, root / "resumed", *common, "--resume_from_checkpoint", str(half))
            weights = "adapter_model.safetensors" if "lora" in script else "model.safetensors"
            differences = [
                _largest_difference(root / "once" / weights, root / name / weights) for name in ("twice", "resumed")
            ]
            table.rows.append([script, *(f"{difference:.1e}" for difference in differences)])
            table.expect(differences[1] <= differences[0], f"{script}：从一半接着做的，与不中断的不同")
    return [table]


def _largest_difference(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    first, second = load_file(one), load_file(other)
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first)


# ----------------------------------------------------------------------------------------------------------------------
# 真实的尺寸：速度、显存


def _real_size(dry_run: bool, **changes: Any) -> Spec:
    if dry_run:
        small = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "vocab_size": 500}
        changes |= {"batch_size": 2, "steps": 3, "warmup": 1, "length": min(changes["length"], 32)}
        return Spec("ours", bf16=True, shape_changes=small, **changes)
    return Spec("ours", bf16=True, device="cuda", threads=4, **{"steps": 8, "warmup": 3} | changes)


def memory(dry_run: bool) -> list[Table]:
    """``plan_memory.py`` 的预测，与 ``torch.cuda.max_memory_allocated`` 相比。"""
    import torch

    from benchmarks import models
    from finetuning.plan.memory import plan

    table = Table(
        "显存：预测与实测的峰值", ["模型", "方法", "段数×长度", "梯度检查点", "预测，MB", "实测，MB", "误差"], []
    )
    shapes = ((8, 1024), (2, 4096))
    specs = [
        _real_size(
            dry_run, model=model, lora=lora, checkpointing=checkpointing, batch_size=batch_size, length=length, steps=3,
            warmup=1,
        )
        for model in (("qwen3-0.6b",) if dry_run else ("qwen3-0.6b", "qwen3-1.7b"))
        for lora in (False, True)
        for checkpointing in (False, True)
        for batch_size, length in (shapes if model == "qwen3-0.6b" else shapes[:1])
    ]  # fmt: skip
    results, problem = run_all(specs)  # 测完一种就回收：前一种的模型还占着的显存，会算进这一种的峰值
    table.expect(problem is None, str(problem))
    for spec, result in zip(specs, results, strict=True):
        row: Row = [spec.model, "LoRA" if spec.lora else "全参数", f"{spec.batch_size}×{spec.length}"]
        row.append("开" if spec.checkpointing else "")
        if result is None:
            table.rows.append([*row, "", "没有测成", ""])
            continue
        config = models.config(spec.model, **spec.shape_changes)
        config.dtype = torch.bfloat16
        length = cast(int, spec.length)
        expected = plan(
            config, "lora" if spec.lora else "full", batch_size=spec.batch_size, max_length=length,
            supervised_share=round(length * 0.53) / length, gradient_checkpointing=spec.checkpointing,
            device=cast(Any, spec.device),
        ).total / 1e6  # fmt: skip
        measured = result["peak_memory_mb"]
        table.rows.append([*row, f"{expected:,.0f}", f"{measured:,.0f}", f"{expected / measured - 1:+.1%}"])
        table.expect(dry_run or abs(expected / measured - 1) < 0.12, f"{row}：差得太多")
    return [table]


_SPEED_SECONDS = 165


def speed(dry_run: bool) -> list[Table]:
    """本项目与 TRL 的几种设置：每秒多少 token，显存峰值，占矩阵乘法实测峰值的多少（MFU）。

    每种程序一个进程，各种情况做完再换下一种（Liger 会改动模型的代码，不能与别的同在一个进程）；
    本项目首尾各测一次，看机器变了没有。
    """
    from benchmarks.contenders import CONTENDERS

    cases = [
        _real_size(dry_run, model=model, lora=lora, length=length, batch_size=batch_size)
        for model in (("qwen3-0.6b",) if dry_run else ("qwen3-0.6b", "qwen3-1.7b"))
        for lora in (False, True)
        for length, batch_size in ((512, 16), (2048, 4), (None, 64))
        if not (dry_run and length is None)
    ]
    names = ("ours", "trl_rows") if dry_run else ("ours", "trl_rows", "trl_liger", "trl_best", "ours")
    deadline = time.monotonic() + _SPEED_SECONDS
    measured: dict[str, list[dict[str, Any] | None]] = {}
    record = []
    for turn, name in enumerate(names):
        specs = [replace(case, contender=name) for case in cases]
        missing = [library for library in CONTENDERS[name].libraries if find_spec(library) is None]
        nothing: list[Any] = [None] * len(specs)
        problem: str | None
        left = deadline - time.monotonic()
        if missing or left < 30:
            results, problem = nothing, (f"没有装 {missing[0]}" if missing else "没有时间了")
        else:
            results, problem = run_all(specs, timeout=left)
        if problem:
            print(problem, file=sys.stderr, flush=True)
        label = CONTENDERS[name].label + ("（再测一次）" if name in names[:turn] else "")
        measured[label] = results
        record += [{"spec": asdict(spec), "result": result} for spec, result in zip(specs, results, strict=True)]
        print(f"{label}：测成了 {len(specs) - results.count(None)} 种情况，共 {len(specs)} 种", flush=True)
    table = Table(
        "bf16，形状像 Qwen3、权重随机的模型",
        ["模型", "方法", "每段", "段数", "程序", "token/秒（最慢–最快的一步）", "显存峰值，MB", "MFU"],
        [],
        record,
    )
    for number, case in enumerate(cases):
        for label, results in measured.items():
            row: Row = [
                case.model,
                "LoRA" if case.lora else "全参数",
                case.length or "长短不一",
                case.batch_size,
                label,
            ]
            result = results[number]
            row += ["没有测成", "", ""] if result is None else _speed_cells(case, result)
            table.rows.append(row)
    return [table]


def _speed_cells(case: Spec, result: dict[str, Any]) -> Row:
    tokens = result["real_tokens"] / (case.steps - case.warmup)
    seconds = result["step_seconds"]
    speed = tokens / median(seconds)
    spread = f"{tokens / max(seconds):,.0f}–{tokens / min(seconds):,.0f}"
    share = f"{speed * result['flops_per_token'] / result['matmul_flops']:.0%}" if result["matmul_flops"] else ""
    return [f"{speed:,.0f}（{spread}）", f"{result['peak_memory_mb']:,.0f}", share]


def loss_chunks(dry_run: bool) -> list[Table]:
    """分块的损失，一次展开多少行最快（``finetuning.shortcuts.loss.chunk_size``）。"""
    import torch

    from finetuning.device import peak_memory_mb
    from finetuning.shortcuts.loss import chunked_causal_lm_loss

    device = device_name(dry_run)
    rows, vocab_size = (64, 500) if dry_run else (4352, 151_936)
    torch.manual_seed(0)
    logits = torch.randn(1, rows, vocab_size, device=device, dtype=torch.bfloat16)
    labels = torch.randint(vocab_size, (1, rows), device=device)
    table = Table(
        f"损失的前向加反向，{rows:,} 个位置，词表 {vocab_size:,}，bf16", ["一次几行", "毫秒", "另占的显存峰值，MB"], []
    )
    for chunk in (8, 27, 110, 440, rows - 1):
        seconds = []
        for _ in range(2 if dry_run else 6):
            leaf = logits.clone().requires_grad_()
            if not dry_run:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            before = 0.0 if dry_run else torch.cuda.memory_allocated() / 1e6
            started = time.perf_counter()
            chunked_causal_lm_loss(
                leaf * 1, labels, vocab_size, shift_labels=labels, chunk=chunk * vocab_size
            ).backward()
            if not dry_run:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        used = 0.0 if dry_run else peak_memory_mb(torch.device(device)) - before
        table.rows.append([chunk, f"{1000 * min(seconds[1:]):.1f}", f"{used:,.0f}"])
    return [table]


PARTS: dict[str, Callable[[bool], list[Table]]] = {
    "equality": equality,
    "shapes": shapes,
    "main_job": main_job,
    "fp16": fp16,
    "qlora": qlora,
    "resume": resume,
    "memory": memory,
    "speed": speed,
    "loss_chunks": loss_chunks,
}
