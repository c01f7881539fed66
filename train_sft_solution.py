"""全参数微调（full fine-tuning）：基座的每一个参数都训练。

    uv run python train_sft_solution.py

在自带的基座模型（base_model/）和对话数据（data/）上训练，结果写到 outputs/sft。换成真实的模型和自己的数据：

    uv run python train_sft_solution.py --model_name_or_path Qwen/Qwen3-0.6B-Base --train_file my.jsonl \\
        --learning_rate 1e-5 --per_device_train_batch_size 4 --gradient_accumulation_steps 8 --output_dir outputs/my_sft
"""

from data_solution import SFTDataset
from finetuning.arguments import parse_arguments
from finetuning.errors import run_main

# ----------------------------------------------------------------------------------------------------------------------
# 参数：全参数微调没有自己的参数；学习率比 LoRA 的小，因为每个权重都直接被改动

DEFAULTS = {"output_dir": "outputs/sft", "learning_rate": 4e-4, "per_device_train_batch_size": 32}


def main() -> None:
    """训练一次。"""
    model_args, data_args, args = parse_arguments(__doc__, DEFAULTS)

    # 放在解析参数之后：导入这些库要好几秒，--help 和写错的参数不必等。
    from transformers import set_seed

    from finetuning.data import load_splits
    from finetuning.model import load_model, max_positions
    from finetuning.model_checks import refuse_quantized, saved_dtype
    from finetuning.output.directory import OutputDir
    from finetuning.quiet import quiet_libraries
    from finetuning.report import Report
    from finetuning.training import build_trainer, save, train

    quiet_libraries()
    set_seed(args.seed)

    with OutputDir("full", model_args, data_args, args) as output:  # 先看好输出目录，占住它，不合适就停在这里
        # --------------------------------------------------------------------------------------------------------------
        # 基座模型、分词器、数据：与 LoRA 完全相同

        start = model_args.model_name_or_path
        refuse_quantized(start, "做全参数微调")
        model, tokenizer, _ = load_model(start, template=model_args.chat_template)
        data = load_splits(
            data_args, SFTDataset, tokenizer, output.unfinished, max_positions(model), args.needs_validation
        )

        # --------------------------------------------------------------------------------------------------------------
        # 训练：读入的参数本来就都要梯度（requires_grad），优化器（AdamW）为每个参数另存两个数，
        # 所以内存至少是权重的四倍

        trainer = build_trainer(model, tokenizer, data, args, model_args.padding_free, output)
        report = Report("full", model_args, data_args, data, trainer)
        report.announce()
        before = report.evaluate("训练前")
        seconds = train(trainer)

        # --------------------------------------------------------------------------------------------------------------
        # 保存：整个模型（model.safetensors），不再需要基座，精度与基座的检查点相同；先存好，再检验，
        # 都做完了才换掉输出目录里旧的结果

        save(trainer, saved_dtype(start, model_args.save_dtype))
        after = report.evaluate("训练后")
        report.finish(before, after, seconds)
        output.publish()
        trainer.accelerator.end_training()  # 有几个进程时，一起结束


if __name__ == "__main__":
    run_main(main)
