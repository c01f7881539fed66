"""组装 ``transformers.Trainer`` 并训练。"""

import math
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_scheduler,
)
from transformers.integrations import SwanLabCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState
from transformers.trainer_pt_utils import LabelSmoother
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy

from finetuning import shortcuts
from finetuning.adapter import base_of, only_lora_that_adds_nothing
from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PaddedCollator
from finetuning.data import Splits, TokenizedDataset
from finetuning.errors import TRAINING, Interrupted, UserError
from finetuning.evaluate import mean_loss
from finetuning.interrupt import GracefulInterrupt, resume_command, uninterrupted
from finetuning.model import cast_parameters, fits_in
from finetuning.model_checks import check_weights, explained
from finetuning.output.checkpoints import is_complete, last_complete
from finetuning.output.directory import OutputDir
from finetuning.shortcuts.micro_batches import MicroBatchTrainer
from finetuning.stopping import AlreadyTrained, EarlyStopping, StopBeforeExtraStep, is_over
from finetuning.terminal import say, stage
from finetuning.watching import SkippedSteps, Watch


class Progress(ProgressCallback):
    """进度条的末尾显示损失；自带的版本每次都在进度条之间打印一行字典。"""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix_str(f"loss={float(logs['loss']):.3f}")


class Printer(PrinterCallback):
    """没有进度条时（``--disable_tqdm true``），每次一行日志；与自带的版本不同的是，读的人走了也不停下。"""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`。"""
        say(str({name: value for name, value in (logs or {}).items() if name != "total_flos"}))


class OwnForward(TrainerCallback):
    """拆掉 accelerate 给 ``model.forward`` 加的包装：autocast 由 :class:`CheckedTrainer` 自己打开。

    那层包装除了 autocast，还把模型输出的每个张量转回 fp32。训练只用损失，损失本来就是 fp32；转出来的 logits 没有人看，
    却是一步里最大的张量之一，而且造在内存最紧的时候（前向刚完，反向还没有开始）。
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.forward = vars(model).get("forward")

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；accelerate 已经包装好模型。"""
        vars(self.model).pop("forward", None)
        vars(self.model).pop("_original_forward", None)
        if self.forward is not None:
            vars(self.model)["forward"] = self.forward


class CheckedTrainer(MicroBatchTrainer):
    """损失不是有限的数就停下；检查点由 :class:`finetuning.output.checkpoints.CheckpointWriter` 看着写。"""

    output: OutputDir | None = None
    early_stopping: EarlyStopping | None = None
    skipped_steps: SkippedSteps | None = None
    sizes_before: dict[str, tuple[float, float]]

    @property
    def sharded(self) -> bool:
        """权重切分在几张卡上（FSDP、DeepSpeed）：它们自己管精度和检查。"""
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    @property
    def own_autocast(self) -> torch.dtype | None:
        """由我们打开的自动混合精度，见 :class:`OwnForward`；None 是不用，或由 FSDP、DeepSpeed 来管。"""
        return None if self.sharded else cast(SFTArguments, self.args).autocast

    def compute_loss_context_manager(self) -> ExitStack:
        """见 :class:`transformers.Trainer`；自动混合精度在这里打开。"""
        stack = super().compute_loss_context_manager()
        if self.own_autocast is not None:
            stack.enter_context(torch.autocast(self.args.device.type, self.own_autocast))
        return stack

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *_: Any, metric_key_prefix: str = "eval", **__: Any
    ) -> EvalLoopOutput:
        """见 :class:`transformers.Trainer`；验证损失是每个要学的 token 的平均，与检验用的是同一个函数。

        Trainer 自己的先求每批的平均，再按段数平均：一批几段不同，结果就不同；几个 token 的回答与几百个的算得一样重。
        """
        dataset = cast(TokenizedDataset, dataloader.dataset)
        loss = mean_loss(
            cast(PreTrainedModel, self.model),
            dataset,
            self.data_collator,
            self.args.per_device_eval_batch_size,
            self.own_autocast,
            self.accelerator,
        )
        return EvalLoopOutput(cast(Any, None), None, {f"{metric_key_prefix}_loss": loss}, len(dataset))

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """见 :class:`transformers.Trainer`。它遇到 NaN 只在日志里换成以前的平均，训练照旧。"""
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            step = self.state.global_step + 1
            overflow = (
                "，或是 fp16 溢出了（它最大只到 65504；--bf16 false --fp16 false 改用 fp32）" if self.args.fp16 else ""
            )
            raise UserError(
                f"第 {step} 步的损失不是有限的数（{loss.item()}），再训练也没有用，停在这里；多半是学习率太大"
                f"（--learning_rate 现在是 {self.args.learning_rate:g}），请减小到十分之一再试{overflow}；"
                f"{_NOTHING_REPLACED}"
            )
        return loss

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Trainer 没有“保存之前”的回调，所以包住它的保存。"""
        if self.output is None:
            super()._save_checkpoint(model, trial)
            return
        self.check_finite()
        if self.args.should_save:
            self.output.checkpoints.begin(self.state.global_step)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # 每个进程都写完了它的那一份
        if self.args.should_save:
            self.output.checkpoints.finish(self.state.global_step, self.state.best_model_checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """见 :class:`transformers.Trainer`；接着训练时读入权重。"""
        if Path(resume_from_checkpoint, "tokenizer_config.json").is_file():
            then = AutoTokenizer.from_pretrained(resume_from_checkpoint, trust_remote_code=False)
            if then.get_vocab() != cast(PreTrainedTokenizerBase, self.processing_class).get_vocab():
                raise UserError(
                    f"{resume_from_checkpoint} 的词表与这一次的不同（多半是旧版程序训练的，对话标记用的是别的 token），"
                    "不能接着训练；请用当时的程序接着做，或用 --output_dir 换一个目录重新开始。"
                )
        if self._reads_whole_model:
            self._read_weights(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        """见 :class:`transformers.Trainer`；换成最好的检查点的权重。"""
        if self._reads_whole_model:
            self._read_weights(cast(str, self.state.best_model_checkpoint))
        else:
            super()._load_best_model()

    @property
    def _reads_whole_model(self) -> bool:
        return not self.sharded and isinstance(self.model, PreTrainedModel)

    def _read_weights(self, directory: str) -> None:
        """用 ``from_pretrained`` 读整个模型的权重。

        有的结构（混合专家，看图的模型）存下来的名字与内存里的不同。transformers 5.23 的 Trainer 按内存里的名字去找，
        找不到只警告一句：权重还是基座的，训练却接着走。
        """
        model = cast(PreTrainedModel, self.model)
        with explained(directory):
            loaded: Any = type(model).from_pretrained(
                directory, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            trained, loading_info = loaded
            check_weights(directory, loading_info)
        model.load_state_dict(trained.state_dict())

    def load_best(self) -> None:
        """换成验证损失最小的检查点：训练循环没有走到最后，Trainer 自己就不换。"""
        if self.state.best_model_checkpoint is None or not is_complete(Path(self.state.best_model_checkpoint)):
            raise UserError(
                f"最好的检查点（{self.state.best_model_checkpoint}）不在了，或已损坏，不能接着做；"
                "请换一个更早的检查点（--resume_from_checkpoint 目录），或重新开始。"
            )
        self._load_best_model()

    def check_finite(self) -> None:
        """训练的参数里有 NaN 或无穷大的模型，什么也不会说：不存。"""
        broken = [name for name, sizes in self.parameter_sizes().items() if not all(map(math.isfinite, sizes))]
        if broken:
            raise UserError(
                f"第 {self.state.global_step} 步以后，参数里有不是有限的数（{broken[0]} 等 {len(broken)} 个矩阵），"
                f"这个模型已经坏了；多半是学习率太大（--learning_rate 现在是 {self.args.learning_rate:g}），"
                f"请减小到十分之一再试；{_NOTHING_REPLACED}"
            )

    def refuse_unchanged(self) -> None:
        """要训练的参数没有变，或变得太小、加到权重上都舍入掉了：什么也没有学到，不算结果。"""
        if (skipped := self.skipped_steps) is not None and skipped.steps and skipped.skipped == skipped.steps:
            raise UserError(
                f"训练了 {self.state.global_step} 步，每一步的梯度都超出了 fp16 的范围（它最大只到 65504），"
                "都没有更新参数：什么也没有学到，不算结果；请改用 fp32（--bf16 false --fp16 false），"
                f"或换一块支持 bf16 的显卡；{_NOTHING_REPLACED}"
            )
        sizes = self.parameter_sizes()
        changed = [name for name, before in self.sizes_before.items() if sizes[name] != before]
        if self.sizes_before and only_lora_that_adds_nothing(cast(PreTrainedModel, self.model), changed):
            raise UserError(
                f"训练了 {self.state.global_step} 步，模型没有变：什么也没有学到，不算结果；"
                f"请检查 --learning_rate（现在是 {self.args.learning_rate:g}）"
                f"和 --warmup_steps（现在是 {self.args.warmup_steps:g}）；"
                f"{_NOTHING_REPLACED}"
            )

    def parameter_sizes(self) -> dict[str, tuple[float, float]]:
        """每个要训练的参数的和与长度：变了没有，坏了没有，一看就知道。切分到几张卡上的（FSDP、DeepSpeed）不看。"""
        if self.sharded:
            return {}
        parameters = cast(torch.nn.Module, self.model).named_parameters()
        trained = {name: parameter.detach() for name, parameter in parameters if parameter.requires_grad}
        sums = torch.stack([parameter.float().sum() for parameter in trained.values()]).tolist()
        norms = torch.stack([torch.linalg.vector_norm(parameter.float()) for parameter in trained.values()]).tolist()
        return dict(zip(trained, zip(sums, norms, strict=True), strict=True))


_NOTHING_REPLACED = "输出目录里以前的结果没有动。"


class CausalLabelSmoother(LabelSmoother):
    """标签平滑（label smoothing）：填充的批次要错开一位，免填充的已经错过位了，不能再错一次。

    transformers 自己的版本总错一位，而且只认得名单里的模型类，名单外的就不错位。
    """

    def __init__(self, epsilon: float, packed: bool):
        super().__init__(epsilon)
        self.packed = packed

    def __call__(
        self, model_output: Any, labels: Any, shift_labels: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """见 :class:`transformers.trainer_pt_utils.LabelSmoother`。"""
        # logits 留在半精度里（见 OwnForward）；几万个数的 log_softmax 和相加要用 fp32。
        model_output = {"logits": model_output["logits"].float()}
        return super().__call__(model_output, labels, not self.packed, num_items_in_batch)


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Splits,
    args: SFTArguments,
    padding_free: bool,
    output: OutputDir | None = None,
) -> CheckedTrainer:
    """组装 Trainer，把模型移到训练用的设备上。

    优化器、学习率、日志、多卡都是 Trainer 的；我们看着损失和检查点，并且装上省时间、省内存的捷径。

    Args:
        output: 输出目录；None 是不存检查点的短训练（测量用）。

    Raises:
        UserError: 有的参数合在一起做不成训练，或这么多数据一步也走不了。
    """
    if data.validation is None:
        args.eval_strategy = IntervalStrategy.NO
    early_stopping = None if args.early_stopping_patience is None else EarlyStopping(args.early_stopping_patience)
    if isinstance(model, PeftModel):
        # 添过标记时，PEFT 默认连整个嵌入矩阵一起保存；要训练的那几行本来就在适配器里，不必保存其余的。
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    trainer = CheckedTrainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=tokenizer,
        data_collator=PaddedCollator(tokenizer.pad_token_id),  # 能首尾相接的，shortcuts 换成 PackedCollator
        callbacks=[GracefulInterrupt()],
    )
    trainer.output = output
    if trainer.own_autocast is not None:
        trainer.add_callback(OwnForward(model))
    trainer.add_callback(StopBeforeExtraStep(early_stopping))
    trainer.early_stopping = early_stopping
    if early_stopping is not None:
        trainer.add_callback(early_stopping)
    chosen = shortcuts.apply(model, trainer, shortcuts.Setting.of(args, padding_free, trainer.sharded))
    for original, ours in ((ProgressCallback, Progress), (PrinterCallback, Printer)):
        if trainer.pop_callback(original):
            trainer.add_callback(ours)
    _open_reports(trainer)
    if trainer.label_smoother is not None:
        trainer.label_smoother = CausalLabelSmoother(args.label_smoothing_factor, chosen.packed)
    _check_schedule(trainer, model, data)
    if args.fp16:
        trainer.skipped_steps = SkippedSteps(lambda: trainer.accelerator.scaler)
        trainer.add_callback(trainer.skipped_steps)
    if output is not None:
        trainer.add_callback(Watch(trainer.refuse_unchanged))
        _check_savable(model, tokenizer)
    return trainer


def _open_reports(trainer: CheckedTrainer) -> None:
    """``--report_to`` 的各处现在就打开：没有登录之类，不必等做完训练前的检验才知道。"""
    if trainer.pop_callback(SwanLabCallback):
        # transformers 5.23 自带的遇到 SwanLab 0.10 一开始就失败（No active Run）；SwanLab 自己的可以。
        from swanlab.integration.transformers import SwanLabCallback as SwanLabsOwn

        trainer.add_callback(SwanLabsOwn())
    for callback in trainer.callback_handler.callbacks:
        open_it = getattr(callback, "setup", None)
        if open_it is None:
            continue
        try:
            open_it(trainer.args, trainer.state, trainer.model)
        except Exception as error:  # 没有登录、连不上、版本不合……类型取决于各个库，列不全
            name = type(callback).__name__.removesuffix("Callback")
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"--report_to 里的 {name} 打不开（{reason.rstrip('.')}）；请照它的说明登录，或设成离线的模式，"
                "或去掉 --report_to。"
            ) from error


def _check_savable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """权重以外的先存一遍试试：存不了的，训练之前就说。"""
    base = base_of(model)
    with TemporaryDirectory() as directory:
        try:
            base.config.save_pretrained(directory)
            base.generation_config.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{base.name_or_path} 的配置或分词器读得进来，却存不了（{reason}），训练完也得不到结果；"
                "请改正它的 config.json、generation_config.json 或分词器的文件。"
            ) from error


def planned_steps(trainer: Trainer) -> int:
    """一共要走多少步（优化器更新多少次）。"""
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps
    batches = len(trainer.get_train_dataloader())
    return math.ceil(args.num_train_epochs * math.ceil(batches / args.gradient_accumulation_steps))


def _check_schedule(trainer: Trainer, model: PreTrainedModel, data: Splits) -> None:
    """优化器、学习率的各个参数合不合用，训练之前就知道。"""
    args = trainer.args
    if len(trainer.get_train_dataloader()) == 0:
        raise UserError(
            f"一步要 {args.train_batch_size * args.world_size} 段对话，训练数据只有 {len(data.train)} 段，"
            "又加了 --dataloader_drop_last，一步也走不了；请减小 --per_device_train_batch_size，或去掉它。"
        )
    steps = planned_steps(trainer)
    every = args.eval_steps or 0
    if args.load_best_model_at_end and args.eval_strategy == IntervalStrategy.STEPS and every > steps:
        raise UserError(f"一共只有 {steps} 步，--eval_steps 是 {every:g}，一次也不会验证，挑不出最好的；请减小它。")
    try:
        Trainer.get_optimizer_cls_and_kwargs(args, model)
        get_scheduler(
            args.lr_scheduler_type,
            torch.optim.SGD([torch.zeros(1, requires_grad=True)]),
            args.get_warmup_steps(steps),
            steps,
            scheduler_specific_kwargs=dict(cast(Any, args.lr_scheduler_kwargs) or {}),
        )
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        raise UserError(
            f"优化器或学习率的设置不合用（{str(error).strip().splitlines()[0]}）；请检查 --optim、--optim_args、"
            "--lr_scheduler_type 和 --lr_scheduler_kwargs。"
        ) from error


def train(trainer: CheckedTrainer) -> float:
    """训练，返回秒数（中断以前的也算）。

    Raises:
        Interrupted: 用户按了 Ctrl-C；单个进程时，检查点已经存好。
        UserError: 损失不是有限的数，或者停在了半路。
    """
    assert trainer.output is not None
    interrupt = next(each for each in trainer.callback_handler.callbacks if isinstance(each, GracefulInterrupt))
    trainer.sizes_before = trainer.parameter_sizes()
    clock = trainer.output.checkpoints
    state, number = trainer.state, None
    try:
        with (
            stage(TRAINING, announced=bool(trainer.args.disable_tqdm)),  # 不然有进度条
            interrupt.installed() if trainer.args.world_size == 1 else nullcontext(),
        ):
            clock.start_clock()
            try:
                trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
            except AlreadyTrained:
                clock.start_clock()  # 刚才只是读了检查点，不算训练的时间
                if trainer.args.load_best_model_at_end and not trainer.output.trained:
                    trainer.load_best()
            clock.stop_clock()
        state = trainer.state
        if not is_over(state, trainer.early_stopping):
            number = interrupt.received
    except KeyboardInterrupt as error:
        state, number = trainer.state, interrupt.received or getattr(error, "number", signal.SIGINT)
    if number is not None:
        saved = last_complete(trainer.output.path)
        advice = f"从 {saved.name} 接着训练：{resume_command()}" if saved else "还没有检查点，下次从头开始。"
        raise Interrupted(f"训练在第 {state.global_step} 步被中断；{advice}", number)
    if not is_over(state, trainer.early_stopping):
        raise UserError(
            f"训练在第 {state.global_step} 步就停下了，本来要走 {state.max_steps} 步；没有训练完的不算结果，"
            f"请加上 --resume_from_checkpoint true 接着训练。"
        )
    if state.global_step < state.max_steps:
        assert trainer.early_stopping is not None
        say(f"验证损失连续 {trainer.early_stopping.patience} 次没有变小，在第 {state.global_step} 步提前停下。")
    if trainer.args.load_best_model_at_end and state.best_model_checkpoint is not None:
        best = Path(state.best_model_checkpoint).name.removeprefix("checkpoint-")
        say(f"用验证损失最小的第 {best} 步的（{state.best_metric:.3f}）。")
    if trainer.skipped_steps is not None and (sentence := trainer.skipped_steps.told()):
        say(sentence)
    if interrupt.received is not None:
        say("训练刚好做完；接着存权重、检验，要停下请再按一次 Ctrl-C。")
    return clock.seconds


def save(trainer: CheckedTrainer, dtype: torch.dtype | None = None) -> None:
    """把权重（safetensors）、配置和分词器存到 ``output.unfinished``；检验完，由 ``output.publish`` 移到输出目录。

    Args:
        dtype: 整个模型存成哪种精度；None 是训练时的 fp32。适配器总是 fp32 的。存的时候舍入了，模型也换成舍入以后的：
            后面的检验量的就是存下来的这一个。

    Raises:
        UserError: 模型坏了（参数里有不是有限的数），或什么也没有学到（参数一个也没有变）。
    """
    output = trainer.output
    assert output is not None
    trainer.check_finite()
    if output.trained:  # 权重就是从那里读来的
        return
    trainer.refuse_unchanged()
    with stage("存权重"), uninterrupted("存权重"), _rounded(trainer, dtype):
        trainer.save_model(str(output.unfinished))
        if trainer.is_world_process_zero():
            # 适配器的目录里，PEFT 不放它；没有它，别处就照基座的来停
            base_of(cast(PreTrainedModel, trainer.model)).generation_config.save_pretrained(output.unfinished)
            output.keep_trained(trainer.state)


@contextmanager
def _rounded(trainer: CheckedTrainer, dtype: torch.dtype | None) -> Iterator[None]:
    """``with`` 之内，整个模型是 ``dtype`` 的，之后变回 fp32，数是舍入过的。"""
    model = cast(torch.nn.Module, trainer.model)
    if dtype is None or dtype == torch.float32 or isinstance(model, PeftModel) or trainer.sharded:
        yield
        return
    if not fits_in(model, dtype):
        say(f"有的权重超出了 {str(dtype).removeprefix('torch.')} 能表示的范围（--save_dtype），改存 fp32。")
        yield
        return
    cast_parameters(model, dtype)
    yield
    cast_parameters(model, torch.float32)
