"""LoRA 微调：冻结基座，只训练添上去的一点参数（PEFT 库）。

    uv run python train_lora_solution.py

在自带的基座模型（base_model/）和对话数据（data/）上训练，结果写到 outputs/lora。换成真实的模型和自己的数据：

    uv run python train_lora_solution.py --model_name_or_path Qwen/Qwen3-0.6B-Base --train_file my.jsonl \\
        --learning_rate 2e-4 --per_device_train_batch_size 4 --gradient_accumulation_steps 8 \\
        --output_dir outputs/my_lora

同一类的方法还有三种，只是添上去的参数不同，用 --method 来换：dora、qlora、prefix。
有了新的数据，接着训练上一次的适配器：--model_name_or_path outputs/lora --output_dir outputs/lora_2。
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, cast

from data_solution import SFTDataset
from finetuning.arguments import ByOption, option, parse_arguments
from finetuning.arguments.options import PREFIX_WITHOUT_CHECKPOINTING, PREFIX_WITHOUT_MARKERS, Rare
from finetuning.errors import MERGING, UserError, run_main
from finetuning.terminal import how_to_add, stage

if TYPE_CHECKING:
    from peft import PeftConfig

    from finetuning.arguments.trainer import SFTArguments

# ----------------------------------------------------------------------------------------------------------------------
# 参数：选哪种方法，每种方法有哪些可以调的


@dataclass
class AdapterArguments:
    """方法"""

    method: Literal["lora", "dora", "qlora", "prefix"] = option(
        "lora", "lora；dora：大小与方向分开学；qlora：4 bit 的基座加 LoRA；prefix：前缀微调"
    )
    lora_r: int = option(8, "秩（rank）r：小矩阵 A、B 的窄边有多宽；越大，参数越多，能表示的改动越复杂")
    lora_alpha: float = option(16, "改动乘以 alpha / r 再加到原来的输出上")
    lora_dropout: float = option(0.0, "训练时随机丢掉 LoRA 支路输入的比例（dropout）")
    target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"],
        metadata={"help": "给哪些层加 LoRA：all-linear 是所有线性层；q_proj v_proj 是论文里的做法"},
    )
    init_lora_weights: Literal["default", "pissa"] = option(
        "default", Rare("A、B 的初值：default 见 adapter_config；pissa 从 W 最大的几个奇异值开始（arXiv 2404.02948）")
    )
    use_rslora: bool = option(False, Rare("改动乘以 alpha / √r，不是 alpha / r：r 很大时也学得动（arXiv 2312.03732）"))
    loraplus_lr_ratio: float | None = option(
        None, Rare("LoRA+：B 的学习率是 A 的几倍，A 的是 --learning_rate（arXiv 2402.12354）")
    )
    merge_first: bool = option(
        False, Rare("--model_name_or_path 是适配器时：先合并成整个模型（存在输出目录的 base 里），再在上面添新的适配器")
    )
    num_virtual_tokens: int = option(16, "prefix 的前缀有多长，相当于多少个 token")
    merge_and_save: bool = option(False, "另外保存一份合并好的整个模型，在输出目录的 merged 里")

    def __post_init__(self) -> None:
        if self.lora_r < 1:
            raise ValueError(f"--lora_r 至少是 1，实际是 {self.lora_r}")
        if not self.lora_alpha > 0:
            raise ValueError(f"--lora_alpha 应该大于 0，实际是 {self.lora_alpha}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"--lora_dropout 应在 0 和 1 之间，实际是 {self.lora_dropout}")
        if self.num_virtual_tokens < 1:
            raise ValueError(f"--num_virtual_tokens 至少是 1，实际是 {self.num_virtual_tokens}")
        if self.loraplus_lr_ratio is not None and not 0 < self.loraplus_lr_ratio < math.inf:
            raise ValueError(f"--loraplus_lr_ratio 应该是大于 0 的有限的数，实际是 {self.loraplus_lr_ratio}")
        for name in ("use_rslora", "loraplus_lr_ratio"):
            if self.method == "prefix" and getattr(self, name):
                raise ValueError(f"--{name} 是 LoRA 的，前缀微调里没有 A 和 B")
        if self.init_lora_weights == "pissa" and self.method != "lora":
            raise ValueError(f"--init_lora_weights pissa 只能与 --method lora 一起用，实际是 --method {self.method}")
        if self.method == "prefix" and self.merge_and_save:
            raise ValueError("prefix 的前缀不是权重的改动，不能用 --merge_and_save 合并进基座")


LEARNING_RATES = {"lora": 4e-3, "dora": 4e-3, "qlora": 4e-3, "prefix": 2e-1}
DEFAULTS = {
    "output_dir": ByOption("method", {method: f"outputs/{method}" for method in LEARNING_RATES}),
    "learning_rate": ByOption("method", LEARNING_RATES),
    "per_device_train_batch_size": 32,
}


def adapter_config(arguments: AdapterArguments, new_token_rows: dict[str, list[int]] | None) -> "PeftConfig":
    """一种方法就是一份 PEFT 的配置；``get_peft_model`` 照它冻结基座，添上要训练的参数。

    LoRA（arXiv 2106.09685）
        y = Wx 变成 y = Wx + (alpha / r)·BAx。W 冻结；A 随机，B 是零，所以训练开始时模型与基座完全相同。
    QLoRA（arXiv 2305.14314）
        添的与 LoRA 一样，只是冻结的 W 用 4 bit 存放（:func:`four_bit_options`）。
    DoRA（arXiv 2402.09353）
        把 W + (alpha / r)·BA 的每一行拆成长度和方向，长度 m 另外训练；m 的初值是 W 各行的长度，开始时也与基座相同。
        用的时候要经 PEFT 来读，或先合并：transformers 5.23 自己读 DoRA 的目录时会漏掉 m，而且不报错。
    前缀微调（prefix tuning，arXiv 2101.00190）
        W 不动。每一层的注意力前面添几对可训练的键和值，好像前面另有一段看不见的话。
        它们随机开始，所以一开始反而不如基座。用的时候要经 PEFT 来读；transformers 自己不读前缀。

    Args:
        new_token_rows: 嵌入里新添的行。分词器原来没有对话标记时，它们的嵌入是新的，LoRA 又不碰嵌入，
            所以要另外训练这几行（自带的基座没有这种情况）。

    Raises:
        UserError: 前缀微调、PiSSA 遇到新添的标记。
    """
    from peft import LoraConfig, PrefixTuningConfig

    if arguments.method == "prefix":
        if new_token_rows:
            raise UserError(f"{PREFIX_WITHOUT_MARKERS}。")
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=arguments.num_virtual_tokens)
    if arguments.init_lora_weights == "pissa" and new_token_rows:
        raise UserError(
            "这个基座的分词器没有对话标记，新添的标记要训练嵌入，而 PiSSA 存成普通的 LoRA 时会丢掉它们；"
            "请去掉 --init_lora_weights，或换一个有 <|im_start|> 和 <|im_end|> 的基座。"
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=arguments.lora_r,
        lora_alpha=cast(int, arguments.lora_alpha),  # PEFT 也收小数
        lora_dropout=arguments.lora_dropout,
        target_modules="all-linear" if arguments.target_modules == ["all-linear"] else arguments.target_modules,
        use_dora=arguments.method == "dora",
        use_rslora=arguments.use_rslora,
        init_lora_weights="pissa" if arguments.init_lora_weights == "pissa" else True,
        trainable_token_indices=new_token_rows,
    )


def four_bit_options(args: "SFTArguments") -> dict[str, Any]:
    """读入 QLoRA 的基座时的选项：除输出层外，线性层的权重存成 4 bit 的 NF4。

    NF4 的 16 个档位按正态分布来取；每 64 个数共用一个缩放系数，系数自己再量化一次。计算时一层一层地还原，
    所以省的是存放权重的内存，不是时间。
    """
    import torch
    from transformers import BitsAndBytesConfig

    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=args.autocast or torch.float32,
    )
    return {"device_map": {"": args.device}, "quantization_config": four_bit}


def continue_adapter(name_or_path: str, arguments: AdapterArguments) -> bool:
    """``--model_name_or_path`` 是上一轮训练好的适配器时，接着训练它：形状照它自己的。

    Returns:
        是不是接着训练。是的话，``arguments`` 里的秩、alpha 等都换成适配器自己的。

    Raises:
        UserError: 命令里要的与适配器自己的不同。
    """
    from finetuning.adapter import is_adapter, read_adapter_config

    if not is_adapter(name_or_path):
        return False
    config = read_adapter_config(name_or_path)
    own: dict[str, Any]
    if config.peft_type == "PREFIX_TUNING":
        method, own = "prefix", {"num_virtual_tokens": config.num_virtual_tokens}
    elif config.peft_type == "LORA":
        method = "dora" if config.use_dora else "lora"
        own = {"lora_r": config.r, "lora_alpha": config.lora_alpha, "lora_dropout": config.lora_dropout}
        own["target_modules"] = sorted(config.target_modules)
        own["use_rslora"] = config.use_rslora
    else:
        raise UserError(f"{name_or_path} 是 {config.peft_type} 适配器，不是这个脚本训练的，不能接着训练。")
    if method != ("lora" if arguments.method == "qlora" else arguments.method):
        raise UserError(f"{name_or_path} 是用 {method} 训练的适配器；接着训练它，请用 --method {method}。")
    if arguments.init_lora_weights != "default":
        raise UserError(f"{name_or_path} 已经训练过，不再需要初值；接着训练时请去掉 --init_lora_weights。")
    for name, value in own.items():
        asked, default = getattr(arguments, name), getattr(AdapterArguments(), name)
        same = sorted(asked) == sorted(value) if isinstance(asked, list) else asked == value
        if not same and asked != default:
            raise UserError(f"{name_or_path} 的 {name} 是 {value}，接着训练时不能改成 {asked}；请去掉 --{name}。")
        setattr(arguments, name, value)
    return True


def main() -> None:
    """训练一次。"""
    model_args, data_args, adapter_args, args = parse_arguments(__doc__, DEFAULTS, AdapterArguments)
    method = adapter_args.method
    if method == "qlora" and find_spec("bitsandbytes") is None:
        raise UserError(f"QLoRA 要用 bitsandbytes 库，现在没有装；{how_to_add('bitsandbytes', '--extra qlora')}。")
    if method == "prefix" and args.gradient_checkpointing:
        raise UserError(f"{PREFIX_WITHOUT_CHECKPOINTING}。")

    # 放在解析参数之后：导入这些库要好几秒，--help 和写错的参数不必等。
    from peft import prepare_model_for_kbit_training
    from transformers import set_seed

    from finetuning.data import load_splits
    from finetuning.adapter import (
        add_adapter,
        embedding_rows,
        is_adapter,
        load_base_of,
        load_for_chat,
        new_adapter,
        read_adapter_config,
    )
    from finetuning.bf16_base import can_stay_bf16
    from finetuning.device import evaluation_dtype
    from finetuning.merging import merge_to, save_merged
    from finetuning.model import load_model, max_positions
    from finetuning.model_checks import refuse_quantized
    from finetuning.output.directory import BASE_DIR, MERGED_DIR, OutputDir
    from finetuning.quiet import quiet_libraries
    from finetuning.report import Report
    from finetuning.training import build_trainer, save, train
    from finetuning.variants import PissaStart, use_loraplus

    quiet_libraries()
    set_seed(args.seed)
    start = model_args.model_name_or_path
    if adapter_args.merge_first and not is_adapter(start):
        raise UserError(f"--merge_first 要从一个适配器开始，{start} 不是；请去掉它。")
    continues = not adapter_args.merge_first and continue_adapter(start, adapter_args)

    with OutputDir(method, model_args, data_args, args, adapter_args) as output:  # 先看好输出目录，不合适就停在这里
        # --------------------------------------------------------------------------------------------------------------
        # 基座模型、分词器、数据；接着训练一个适配器时，基座就是它的基座，先合并的就是合并出来的

        options: dict[str, Any]
        if method != "qlora":
            config = read_adapter_config(start) if continues else adapter_config(adapter_args, None)
            evaluation = evaluation_dtype(args.device.type)
            options = {"keep_bf16": can_stay_bf16(config, args.autocast, evaluation, args.sharded)}
        else:
            options = four_bit_options(args)
        base = start
        if adapter_args.merge_first:
            base = output.own_base(partial(merge_to, start, save_dtype=model_args.save_dtype))
        model: Any  # 基座；添上适配器以后，是 PeftModel
        if continues:
            model, tokenizer, new_token_ids = load_base_of(base, model_args.chat_template, **options)
        else:
            model, tokenizer, new_token_ids = load_model(base, template=model_args.chat_template, **options)
        if method != "qlora" or adapter_args.merge_and_save:  # 检查点里就是 4 bit 的，只能用 QLoRA，也合并不了
            doing = f"用 --method {method}" if method != "qlora" else "合并（--merge_and_save）"
            refuse_quantized(str(model.name_or_path), doing)
        if method == "qlora":
            use_checkpointing = bool(args.gradient_checkpointing)
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=use_checkpointing)
        positions = max_positions(model)
        if positions is not None and method == "prefix":
            positions -= adapter_args.num_virtual_tokens  # 前缀也占位置
        data = load_splits(data_args, SFTDataset, tokenizer, output.unfinished, positions, args.needs_validation)

        # --------------------------------------------------------------------------------------------------------------
        # 冻结基座，添上要训练的参数：新的，或上一轮训练好的；PiSSA 训练完、只差检验的，存下来的已是普通的 LoRA

        pissa = adapter_args.init_lora_weights == "pissa"
        if continues or (pissa and output.trained):
            model = add_adapter(model, start if continues else str(output.unfinished), trainable=True)
        else:
            model = new_adapter(model, adapter_config(adapter_args, embedding_rows(model, new_token_ids)))
        if adapter_args.merge_first:  # 做完以后，它们一起移到输出目录
            model.active_peft_config.base_model_name_or_path = str(output.path / BASE_DIR)

        # --------------------------------------------------------------------------------------------------------------
        # 训练：要训练的只有添上去的；前后各检验一次

        trainer = build_trainer(model, tokenizer, data, args, model_args.padding_free, output)
        if adapter_args.loraplus_lr_ratio is not None:
            use_loraplus(trainer, adapter_args.loraplus_lr_ratio)
        report = Report(method, model_args, data_args, data, trainer)
        report.announce()
        pissa_start = PissaStart(model) if pissa and not output.trained else None
        # 训练前要检验的是出发的地方：基座自己（前缀一开始是随机的，不算），或上一轮的适配器；
        # PiSSA 把基座的一部分移到了适配器里，两者合起来才是基座
        with nullcontext() if continues or pissa_start else model.disable_adapter():
            before = report.evaluate("训练前")
        seconds = train(trainer)

        # --------------------------------------------------------------------------------------------------------------
        # 保存：只有添上去的参数（adapter_model.safetensors），用的时候再加到基座上；先存好，再检验，
        # 都做完了才换掉输出目录里旧的结果

        if pissa_start:
            pissa_start.convert_when_saved()
        save(trainer)
        after = report.evaluate("训练后")
        if adapter_args.merge_and_save and trainer.is_world_process_zero():
            # W + (alpha / r)·BA 就是一个普通的矩阵：合并以后与全参数微调的结果一样用，推理时没有额外的计算。
            # QLoRA 的 W 只剩 4 bit，合并进去还要再舍入一次；所以重新读入没有量化的基座来合并。
            with stage(MERGING):
                complete = load_for_chat(str(output.unfinished)).model if method == "qlora" else model
                save_merged(complete, tokenizer, output.unfinished / MERGED_DIR, model_args.save_dtype)
        report.finish(before, after, seconds)
        output.publish()
        trainer.accelerator.end_training()  # 有几个进程时，一起结束


if __name__ == "__main__":
    run_main(main)
