"""LoRA 微调：冻结基座，只训练每个线性层旁边的两个小矩阵（PEFT 库）。

    uv run python train_lora_solution.py

在自带的基座模型（base_model/）和对话数据（data/）上训练，结果写到 outputs/lora。换成真实的模型和自己的数据：

    uv run python train_lora_solution.py --model_name_or_path Qwen/Qwen3-0.6B-Base --train_file my.jsonl \\
        --learning_rate 2e-4 --output_dir outputs/my_lora
"""

from dataclasses import dataclass, field
from pathlib import Path

from data_solution import SFTDataset
from finetuning.arguments import option, parse_arguments
from finetuning.errors import UserError, run_main

# ----------------------------------------------------------------------------------------------------------------------
# 参数：LoRA 有哪些可以调的（Hu 等，LoRA: Low-Rank Adaptation of Large Language Models，arXiv 2106.09685）


@dataclass
class LoraArguments:
    """LoRA"""

    lora_r: int = option(8, "秩（rank）r：小矩阵 A、B 的窄边有多宽；越大，参数越多，能表示的改动越复杂")
    lora_alpha: float = option(16, "改动乘以 alpha / r 再加到原来的输出上")
    lora_dropout: float = option(0.0, "训练时随机丢掉 LoRA 支路输入的比例（dropout）")
    target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"],
        metadata={"help": "给哪些层加 LoRA：all-linear 是所有线性层；q_proj v_proj 是论文里的做法"},
    )
    merge: bool = option(False, "另外保存一份合并好的整个模型，在输出目录的 merged 里")

    def __post_init__(self) -> None:
        if self.lora_r < 1:
            raise ValueError(f"--lora_r 至少是 1，实际是 {self.lora_r}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"--lora_dropout 应在 0 和 1 之间，实际是 {self.lora_dropout}")


DEFAULTS = {"output_dir": "outputs/lora", "learning_rate": 6e-3, "num_train_epochs": 2.0}


def main() -> None:
    """训练一次。"""
    model_args, data_args, lora_args, args = parse_arguments(__doc__, DEFAULTS, LoraArguments)

    # 放在解析参数之后：导入这些库要好几秒，--help 和写错的参数不必等。
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    from finetuning.data import load_splits
    from finetuning.model import embedding_rows, load_model
    from finetuning.quiet import quiet_libraries
    from finetuning.report import Report
    from finetuning.training import build_trainer, prepare_output_dir, save, train

    quiet_libraries()
    set_seed(args.seed)

    # ------------------------------------------------------------------------------------------------------------------
    # 基座模型、分词器、数据

    model, tokenizer, new_token_ids = load_model(model_args.model_name_or_path)
    data = load_splits(data_args, SFTDataset, tokenizer, args.output_dir)
    prepare_output_dir(args, "adapter_model.safetensors")

    # ------------------------------------------------------------------------------------------------------------------
    # 加上 LoRA：y = Wx 变成 y = Wx + (alpha / r)·BAx。W 冻结；A 随机，B 是零，所以训练开始时模型与基座完全相同。

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora_args.lora_r,
        lora_alpha=lora_args.lora_alpha,
        lora_dropout=lora_args.lora_dropout,
        target_modules="all-linear" if lora_args.target_modules == ["all-linear"] else lora_args.target_modules,
        # 分词器原来没有的对话标记，嵌入是新的，LoRA 又不碰嵌入，所以要另外训练这几行（自带的基座没有这种情况）。
        trainable_token_indices=embedding_rows(model, new_token_ids),
    )
    try:
        model = get_peft_model(model, config)  # type: ignore[assignment]
    except ValueError as error:
        names = sorted({name.rsplit(".", 1)[-1] for name, _ in model.named_modules() if name.endswith("_proj")})
        raise UserError(
            f"不能给 {' '.join(lora_args.target_modules)} 加 LoRA，可选的层有 {' '.join(names)}。"
        ) from error

    # ------------------------------------------------------------------------------------------------------------------
    # 训练：要训练的只有 A、B；前后各检验一次

    trainer = build_trainer(model, tokenizer, data, args, model_args.padding_free)
    report = Report("lora", model_args, data_args, data, trainer)
    report.announce()
    before = report.evaluate()
    seconds = train(trainer)
    after = report.evaluate()

    # ------------------------------------------------------------------------------------------------------------------
    # 保存：只有 A、B（adapter_model.safetensors），用的时候再加到基座上

    save(trainer)
    if lora_args.merge and trainer.is_world_process_zero():
        # W + (alpha / r)·BA 就是一个普通的矩阵：合并以后与全参数微调的结果一样用，推理时没有额外的计算。
        merged_dir = Path(args.output_dir, "merged")
        model.merge_and_unload().save_pretrained(merged_dir)  # type: ignore[operator]
        tokenizer.save_pretrained(merged_dir)
    report.finish(before, after, seconds)


if __name__ == "__main__":
    run_main(main)
