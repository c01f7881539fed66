"""组装 ``transformers.Trainer`` 并训练。"""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_callback import ProgressCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy, get_last_checkpoint

from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.data import Splits
from finetuning.errors import UserError
from finetuning.packing import enable_packing
from finetuning.report import METRICS_FILE, say
from finetuning.trainer_arguments import SFTArguments

MERGED_DIR = "merged"  # 输出目录里，适配器与基座合并成的整个模型


class Progress(ProgressCallback):
    """进度条的末尾显示损失；自带的版本每次都在进度条之间打印一行字典。"""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix_str(f"loss={float(logs['loss']):.3f}")

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """验证只要一两秒，不另画一条进度条。"""


def prepare_output_dir(args: SFTArguments, weights_file: str) -> None:
    """开始之前看好输出目录，免得训练完了才发现旧结果与新结果混在一起。

    Args:
        weights_file: 这次训练要写的权重文件的名字。

    Raises:
        UserError: 目录里有没训练完的检查点，或是另一种方法的结果，或不能写。
    """
    output_dir = Path(args.output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"不能创建输出目录 {output_dir}（{error.strerror}）；请用 --output_dir 换一个。") from error
    other = {"model.safetensors", "adapter_model.safetensors"} - {weights_file}
    if any((output_dir / name).exists() for name in other):
        raise UserError(f"{output_dir} 里是另一种方法训练的结果，写在一起会分不清；请用 --output_dir 换一个目录。")
    if args.resume_from_checkpoint:
        return
    checkpoint = get_last_checkpoint(str(output_dir))
    finished = (output_dir / METRICS_FILE).exists()
    if checkpoint and not finished:
        raise UserError(
            f"{output_dir} 里有一次没有完成的训练（{Path(checkpoint).name}）：接着训练请加 "
            "--resume_from_checkpoint true，重新开始请先删除这个目录，或用 --output_dir 换一个。"
        )
    if finished:
        say(f"{output_dir} 里有上一次的结果，这一次的会覆盖它。")
        (output_dir / METRICS_FILE).unlink()
        # 不删的话，旧检查点的步数可能比新的大，Trainer 会以为它才是最新的；旧的合并结果会被当成新的。
        for old in (*output_dir.glob("checkpoint-*"), *output_dir.glob(MERGED_DIR)):
            shutil.rmtree(old)


def build_trainer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Splits, args: SFTArguments, padding_free: bool
) -> Trainer:
    """组装 Trainer，把模型移到训练用的设备上。

    优化器、学习率、日志、检查点、多卡都是 Trainer 的；我们只给批次的拼法（collator）和逐段的注意力。
    """
    if data.validation is None:
        args.eval_strategy = IntervalStrategy.NO
    if isinstance(model, PeftModel):
        # 添过标记时，PEFT 默认连整个嵌入矩阵一起保存；要训练的那几行本来就在适配器里，不必保存其余的。
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=tokenizer,
        data_collator=PaddedCollator(tokenizer.pad_token_id),
    )
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(Progress)
    if padding_free:
        problem = enable_packing(model, autocast=bool(args.bf16))
        if problem is None:
            trainer.data_collator = PackedCollator()
        else:
            say(f"这个模型不能用免填充的批次（{problem}），改用普通的填充批次：结果相同，只是慢一些。")
    return trainer


def train(trainer: Trainer) -> float:
    """训练，返回秒数。

    Raises:
        UserError: 检查点读不到，或用户按了 Ctrl-C。
    """
    checkpoint = trainer.args.resume_from_checkpoint
    if checkpoint and not Path(checkpoint, "trainer_state.json").is_file():
        raise UserError(
            f"{checkpoint} 不是检查点目录（里面没有 trainer_state.json）；请检查 --resume_from_checkpoint。"
        )
    started = time.perf_counter()
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except KeyboardInterrupt:
        saved = get_last_checkpoint(trainer.args.output_dir)
        advice = "加上 --resume_from_checkpoint true 可以接着训练" if saved else "还没有检查点，下次从头开始"
        raise UserError(f"训练在第 {trainer.state.global_step} 步被中断；{advice}。") from None
    return time.perf_counter() - started


def save(trainer: Trainer) -> None:
    """把权重（safetensors）、配置和分词器存到输出目录。"""
    trainer.save_model()
    # Trainer 顺手存的训练参数是 pickle 格式；结果是可以发给别人的，里面不放要 unpickle 的东西。
    Path(cast(str, trainer.args.output_dir), "training_args.bin").unlink(missing_ok=True)
