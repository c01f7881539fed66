"""装得下吗：训练之前，先算每种方法要用多少内存。

    uv run python plan_memory.py base_model                               自带的基座
    uv run python plan_memory.py Qwen/Qwen3-0.6B-Base --batch_size 4      hub 上的模型，只下载配置和分词器

只读模型的配置，不读权重，也不用显卡。按最坏的情况算：一步里每段对话都有 max_length 那么长。

参数：
  模型                              hub 上的名字、本地目录，或一个 config.json 文件
  --method 方法 …                   full lora dora qlora prefix 中的一个或几个；默认都算
  --batch_size 整数                 一步几段对话（默认 8）
  --max_length 整数                 一段对话多少个 token（默认 512）
  --supervised_share 数字           要学的 token 占多少，0 到 1（默认 1，最坏的情况）
  --padding_free true|false         首尾相接成一行，只在要学的位置算 logits（默认 true；prefix 总是 false）
  --gradient_accumulation_steps 整数 梯度累积（默认 1）
  --gradient_checkpointing          梯度检查点：用时间换内存
  --bf16 true|false                 bf16 自动混合精度（默认 true）
  --lora_r 整数                     lora、dora、qlora 的秩（默认 8）
  --target_modules 层 …             给哪些层加 LoRA（默认所有线性层）
  --num_virtual_tokens 整数         prefix 的前缀有多长（默认 16）
  --device cuda|cpu                 在哪里训练（默认 cuda）
  --json                            输出 JSON，单位是字节
"""

import argparse
import json
import sys
import time
import unicodedata
from dataclasses import asdict
from typing import TYPE_CHECKING

from finetuning.arguments import Parser
from finetuning.arguments.options import PREFIX_WITHOUT_CHECKPOINTING
from finetuning.errors import UserError, run_main
from finetuning.terminal import stage

if TYPE_CHECKING:
    from finetuning.plan.memory import MemoryPlan, Method
    from finetuning.shortcuts import Shortcuts

METHODS = ("full", "lora", "dora", "qlora", "prefix")
COLUMNS = ("方法", "训练的参数", "占比", "权重", "优化器", "梯度", "bf16 副本", "激活", "logits", "峰值", "显卡")
WIDTHS = (6, 14, 7, 9, 9, 9, 9, 9, 9, 9, 13)


def parse_arguments() -> argparse.Namespace:
    """解析命令行；不导入 torch。"""
    parser = Parser(__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--supervised_share", type=float, default=1.0)
    parser.add_argument("--padding_free", nargs="?", choices=("true", "false"), const="true", default="true")
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--bf16", nargs="?", choices=("true", "false"), const="true", default="true")
    parser.add_argument("--lora_r", type=int, default=8)
    parser.add_argument("--target_modules", nargs="+")
    parser.add_argument("--num_virtual_tokens", type=int, default=16)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.model is None:
        parser.error("请给出模型，例如 base_model 或 Qwen/Qwen3-0.6B-Base")
    for name in ("batch_size", "gradient_accumulation_steps", "lora_r", "num_virtual_tokens"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} 至少是 1，实际是 {getattr(arguments, name)}")
    if arguments.max_length < 2:
        parser.error(f"--max_length 至少是 2，实际是 {arguments.max_length}")
    if not 0 < arguments.supervised_share <= 1:
        parser.error(f"--supervised_share 应大于 0，不超过 1，实际是 {arguments.supervised_share}")
    if arguments.target_modules == ["all-linear"]:  # 与训练脚本一样的写法
        arguments.target_modules = None
    if arguments.gradient_checkpointing and "prefix" in arguments.method:
        if arguments.method != METHODS:
            parser.error(PREFIX_WITHOUT_CHECKPOINTING)
        arguments.method = METHODS[:-1]
    return arguments


def main() -> None:
    """每种方法算一次，各占一行。"""
    arguments = parse_arguments()

    # 放在解析参数之后：导入这些库要好几秒。
    from finetuning.adapter import with_experts
    from finetuning.plan.memory import CARDS_GB, load_config, missing_markers, plan
    from finetuning.quiet import quiet_libraries

    quiet_libraries()
    options = {name: value for name, value in vars(arguments).items() if name not in ("model", "method", "json")}
    for name in ("padding_free", "bf16"):
        options[name] = options[name] == "true"
    config = load_config(arguments.model)
    options["new_tokens"] = missing_markers(arguments.model)

    def try_plan(method: "Method") -> "MemoryPlan | UserError":
        """只问一种方法时，算不出就停下；问几种时，算不出的那一行说原因，其余的照算。"""
        try:
            with stage(f"算 {method}"):
                return plan(config, method, progress=Percent(method), **options)
        except UserError as error:
            if len(arguments.method) == 1:
                raise
            return error

    if arguments.json:
        described = {
            method: {"error": str(result)}
            if isinstance(result := try_plan(method), UserError)
            else asdict(result) | {"total": result.total, "cards_gb": result.cards}
            for method in arguments.method
        }
        answer = {"model": arguments.model, **options, "listed_cards_gb": CARDS_GB, "methods": described}
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return

    print(f"{arguments.model}：一步 {arguments.batch_size} 段对话，每段 {arguments.max_length} 个 token\n")
    columns = len(COLUMNS) if arguments.device == "cuda" else len(COLUMNS) - 1
    print(aligned(COLUMNS[:columns]))
    assumed: dict[str, list[str]] = {}  # 假设 → 哪些方法
    with_lora: dict[int, list[str]] = {}  # LoRA 加在多少个专家上 → 哪些方法
    for method in arguments.method:  # 大模型要算好几秒，算完一种就打印一种
        result = try_plan(method)
        if isinstance(result, UserError):
            print(f"{method:<{WIDTHS[0]}}  {result}", flush=True)
            continue
        print(aligned(cells(method, result)[:columns]), flush=True)
        assumed.setdefault(assumption(result.shortcuts), []).append(method)
        if result.lora_experts:
            with_lora.setdefault(result.lora_experts, []).append(method)
    print(
        "\n各列是内存用得最多的那一刻的组成，加起来就是峰值。反向传播一边放掉激活，一边生出梯度：\n"
        "峰值在反向传播刚开始时，梯度还没有几个；在它结束时，激活所剩无几。只有权重一项时，是刚以 fp32 读入的那一刻。\n"
        "训练前后的检验另算，一般比这少。"
    )
    for sentence, methods in assumed.items():
        print(f"假设（{'、'.join(methods)}）：{sentence}")
    if options["new_tokens"] and arguments.method != ["full"]:
        print(f"分词器没有对话标记：适配器另外训练新添的 {options['new_tokens']} 个标记在嵌入里的行，已经算在内。")
    for experts, methods in with_lora.items():
        print(f"专家（{'、'.join(methods)}）：{with_experts(experts)}。")
    if arguments.device == "cuda":
        listed = "、".join(map(str, CARDS_GB))
        print(f"显卡：从多大的起装得下（只看 {listed} GB 的）；已留出 1 GiB 给 CUDA 环境，再加一成给显存碎片。")
    else:
        print("各个库自己占的（约 0.8 GB）、分词器（词表有二十六万个时约 0.3 GB）和内存的碎片不在表里。")


class Percent:
    """大模型一种方法要算几十秒：过一会儿就往标准错误里说一句算到了哪里。"""

    _EVERY_SECONDS = 10.0

    def __init__(self, method: str):
        self.method, self.said = method, time.monotonic()

    def __call__(self, share: float) -> None:
        """做完了 ``share``，0 到 1。"""
        if time.monotonic() - self.said >= self._EVERY_SECONDS:
            self.said = time.monotonic()
            print(f"正在算 {self.method}：{share:.0%}", file=sys.stderr, flush=True)


def assumption(shortcuts: "Shortcuts") -> str:
    """这样算的是哪一种做法，一句话。"""
    if shortcuts.packed:
        sentence = "各段对话首尾相接成一行"
    else:
        sentence = "填充的批次" + (f"（{shortcuts.why_not}）" if shortcuts.why_not else "")
    if shortcuts.micro_batches > 1:
        sentence += f"，分给 {shortcuts.micro_batches} 个线程"
    if shortcuts.frozen_in_bf16:
        sentence += "，冻结的权重存成 bf16"
    return sentence + "。"


def cells(method: str, result: "MemoryPlan") -> tuple[str, ...]:
    """表里的一行。"""
    parts = (
        result.weights,
        result.optimizer,
        result.gradients,
        result.autocast_copies,
        result.activations,
        result.logits,
    )
    return (
        method,
        f"{result.trainable_parameters:,}",
        f"{result.trainable_parameters / result.total_parameters:.2%}",
        *(readable(part) for part in (*parts, result.total)),
        result.smallest_card,
    )


def readable(size: int) -> str:
    """字节数 → 给人看的大小；与显卡的“GB”一样以 1024 进位。"""
    return f"{size / 2**30:.2f} GB" if size >= 2**30 else f"{size / 2**20:.1f} MB"


def aligned(row: tuple[str, ...]) -> str:
    """对齐的一行：中文占两格，``str.rjust`` 不知道。"""
    padded: list[str] = []
    for text, width in zip(row, WIDTHS, strict=False):
        display = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
        padding = " " * (width - display)
        padded.append(text + padding if not padded else padding + text)
    return "  ".join(padded).rstrip()


if __name__ == "__main__":
    run_main(main)
