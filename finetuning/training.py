"""组装 ``transformers.Trainer`` 并训练。"""

import time
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ProgressCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy

from finetuning.checkpoints import CheckpointKeeper, last_complete
from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.data import Splits
from finetuning.embedding import add_embedding_gradient_in_place
from finetuning.errors import Interrupted, say
from finetuning.frozen import FrozenWeightsInBf16
from finetuning.interrupt import GracefulInterrupt, resume_command
from finetuning.output_dir import unfinished_dir
from finetuning.packing import enable_packing
from finetuning.precision import PlainAutocast, remove_autocast
from finetuning.threads import RowTrainer, rows_per_step
from finetuning.trainer_arguments import SFTArguments


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


class _AlreadyTrained(Exception):
    """检查点已经是最后一步。"""


class StopBeforeExtraStep(TrainerCallback):
    """接着训练的检查点已经是最后一步（在最后的检验中断了）时，不再训练。

    这一步若不在一轮的末尾（``--max_steps``，或 1.5 轮），transformers 5.23 的 Trainer 会先走一步再看该不该停。
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """见 :class:`transformers.TrainerCallback`；检查点已经读入，还没有走第一步。"""
        if state.global_step >= state.max_steps:
            raise _AlreadyTrained


def build_trainer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Splits, args: SFTArguments, padding_free: bool
) -> Trainer:
    """组装 Trainer，把模型移到训练用的设备上。

    优化器、学习率、日志、检查点、多卡都是 Trainer 的；我们只给批次的拼法（collator）、逐段的注意力和线程的分工。
    """
    if data.validation is None:
        args.eval_strategy = IntervalStrategy.NO
    if isinstance(model, PeftModel):
        # 添过标记时，PEFT 默认连整个嵌入矩阵一起保存；要训练的那几行本来就在适配器里，不必保存其余的。
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    # 旧的检查点由 CheckpointKeeper 来删，不由 Trainer。
    limit, args.save_total_limit = args.save_total_limit, None
    trainer = RowTrainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=tokenizer,
        data_collator=PaddedCollator(tokenizer.pad_token_id),
        callbacks=[CheckpointKeeper(limit), StopBeforeExtraStep()],
    )
    shards_weights = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if args.bf16 and not shards_weights:
        trainer.add_callback(PlainAutocast())
        if isinstance(model, PeftModel):
            trainer.add_callback(FrozenWeightsInBf16())
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(Progress)
    if padding_free:
        problem = enable_packing(model, autocast=bool(args.bf16))
        if problem is None:
            trainer.data_collator = PackedCollator()
            trainer.rows = rows_per_step(model, args)
        else:
            say(f"这个模型不能用免填充的批次（{problem}），改用普通的填充批次：结果相同，只是慢一些。")
    if args.device.type == "cpu" and args.world_size == 1 and trainer.rows == 1 and not shards_weights:
        add_embedding_gradient_in_place(model)
    return trainer


def train(trainer: Trainer) -> float:
    """训练，返回秒数。

    Raises:
        Interrupted: 用户按了 Ctrl-C；单个进程时，检查点已经存好。
    """
    interrupt = GracefulInterrupt()
    trainer.add_callback(interrupt)
    started = time.perf_counter()
    try:
        with interrupt.installed() if trainer.args.world_size == 1 else nullcontext(), suppress(_AlreadyTrained):
            trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
        stopped = interrupt.requested and trainer.state.global_step < trainer.state.max_steps
    except KeyboardInterrupt:
        stopped = True
    if stopped:
        saved = last_complete(Path(cast(str, trainer.args.output_dir)))
        advice = f"从 {saved.name} 接着训练：{resume_command()}" if saved else "还没有检查点，下次从头开始。"
        raise Interrupted(f"训练在第 {trainer.state.global_step} 步被中断；{advice}")
    remove_autocast(cast(PreTrainedModel, trainer.model))  # 没有走一步的，PlainAutocast 还来不及拆
    return time.perf_counter() - started


def save(trainer: Trainer) -> Path:
    """把权重（safetensors）、配置和分词器存好，返回所在的目录；:func:`publish` 以后才移到输出目录。"""
    directory = unfinished_dir(cast(SFTArguments, trainer.args))
    trainer.save_model(str(directory))
    # Trainer 顺手存的训练参数是 pickle 格式；结果是可以发给别人的，里面不放要 unpickle 的东西。
    (directory / "training_args.bin").unlink(missing_ok=True)
    return directory
