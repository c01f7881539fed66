"""捷径：让训练便宜的几样做法，学到的都与普通的做法相同。

用哪几样，在 :func:`choose` 里定：它只看模型和设置，不运行模型；训练由 :func:`apply` 照着装上，内存的预测
（:mod:`finetuning.plan.memory`）也照它来算。只有试过才知道的（模型是不是真的能首尾相接），由 :func:`apply` 去试，
不行就照不能的重新选。一样一个文件，各自省了多少，见 ``benchmarks/README.md``。
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from finetuning import threads
from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PackedCollator
from finetuning.shortcuts.embedding import add_embedding_gradient_in_place, is_tied_and_trained
from finetuning.shortcuts.frozen import FrozenWeightsInBf16, frozen_linears
from finetuning.shortcuts.micro_batches import MicroBatchTrainer, is_small_and_repeatable
from finetuning.shortcuts.packing import enable_packing, takes_chunked_loss, visible_problem
from finetuning.terminal import say


@dataclass(frozen=True)
class Setting:
    """在哪里、怎样训练：模型之外，决定用哪几样捷径的就是这些。

    Attributes:
        device: ``"cpu"``、``"cuda"``……
        batch_size: 每个设备一步几段对话。
        autocast: 自动混合精度的类型；None 是不用。
        padding_free: 要不要首尾相接（``--padding_free``）。
        neftune: 用不用 NEFTune 的噪声。
        world_size: 一共几个进程。
        sharded: 权重切分在几张卡上（FSDP、DeepSpeed）。
    """

    device: str
    batch_size: int
    autocast: torch.dtype | None
    padding_free: bool = True
    neftune: bool = False
    world_size: int = 1
    sharded: bool = False

    @classmethod
    def of(cls, args: SFTArguments, padding_free: bool, sharded: bool) -> "Setting":
        """一次训练的。"""
        return cls(
            device=args.device.type,
            batch_size=args.per_device_train_batch_size,
            autocast=args.autocast,
            padding_free=padding_free,
            neftune=args.neftune_noise_alpha is not None,
            world_size=args.world_size,
            sharded=sharded,
        )


@dataclass(frozen=True)
class Shortcuts:
    """用哪几样。

    Attributes:
        packed: 几段对话首尾相接成一行，用逐段的注意力，只在要学的位置算 logits。
        why_not: 想首尾相接却不能的原因。
        micro_batches: 一批分成几个微批次，各由一个线程来算。
        chunked_loss: 损失一次只展开几行 logits。
        frozen_in_bf16: 训练时，冻结的权重存成 bf16；转成 bf16 会变的（要看权重才知道）不换，只给输出层另做一份。
        one_embedding_gradient: 查表的梯度直接加到输出层的那一份上。
    """

    packed: bool
    why_not: str | None
    micro_batches: int
    chunked_loss: bool
    frozen_in_bf16: bool
    one_embedding_gradient: bool


def choose(model: PreTrainedModel, setting: Setting, problem: str | None = None) -> Shortcuts:
    """用哪几样；只看，不运行模型，所以没有数据的（meta 设备上的）也能看。

    Args:
        model: 基座模型，或套了 PEFT 适配器的模型；要训练的参数已经定好。
        problem: 试过才知道的、不能首尾相接的原因。
    """
    # NEFTune 的噪声按一行的长度缩小，而首尾相接的一行有好几段那么长。
    noise = "NEFTune 的噪声按每段的长度来定" if setting.neftune else None
    why_not = (problem or noise or visible_problem(model)) if setting.padding_free else None
    packed = setting.padding_free and why_not is None
    alone_on_cpu = setting.device == "cpu" and setting.world_size == 1
    parallel = (
        packed
        and alone_on_cpu
        and threads.worthwhile("cpu")
        and setting.batch_size >= threads.WORKERS
        and threads.is_safe(model)
        and is_small_and_repeatable(model)
    )
    return Shortcuts(
        packed=packed,
        why_not=why_not,
        micro_batches=threads.WORKERS if parallel else 1,
        chunked_loss=packed and takes_chunked_loss(model),
        frozen_in_bf16=setting.autocast == torch.bfloat16 and not setting.sharded and bool(frozen_linears(model)),
        one_embedding_gradient=alone_on_cpu and not parallel and not setting.sharded and is_tied_and_trained(model),
    )


def apply(model: PreTrainedModel, trainer: MicroBatchTrainer, setting: Setting) -> Shortcuts:
    """装上；返回用上的（``frozen_in_bf16`` 是打算：每个权重换不换得，训练开始时再看）。"""
    chosen = choose(model, setting)
    if chosen.packed and (problem := enable_packing(model, setting.autocast, chosen.frozen_in_bf16)):
        chosen = choose(model, setting, problem)
    if chosen.why_not:
        say(f"不能用免填充的批次（{chosen.why_not}），改用普通的填充批次：结果相同，只是慢一些。")
    if chosen.packed:
        trainer.data_collator = PackedCollator()
        trainer.micro_batches = chosen.micro_batches
    if chosen.frozen_in_bf16:
        trainer.add_callback(FrozenWeightsInBf16(model))
    if chosen.one_embedding_gradient:
        add_embedding_gradient_in_place(model)
    return chosen
