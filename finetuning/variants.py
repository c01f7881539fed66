"""LoRA 的变体里，不只是换一份 PEFT 配置的两种：PiSSA 和 LoRA+。"""

from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, cast

from peft.optimizers import create_loraplus_optimizer
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import Trainer

from finetuning.errors import UserError


class PissaStart:
    """PiSSA（arXiv 2404.02948）的适配器，存成加在原来的基座上的普通的 LoRA。

    PiSSA 从 W 最大的几个奇异值开始：W = W_res + s·B0·A0（s 是 alpha / r），训练时基座换成了 W_res。只存 A、B 的话，
    读的人要把 W 再分解一次，关掉适配器也回不到基座。所以最后存的是改动 s·(BA - B0·A0)：它的秩是两倍，加在 W 上。
    训练途中的检查点仍是 PiSSA 自己的样子，接着训练才能一样。

    Args:
        model: 刚添上适配器的模型；A、B 还是 A0、B0。

    Raises:
        UserError: 有的层分解不出这么多个奇异值，或是 PiSSA 用不了的嵌入层。
    """

    def __init__(self, model: Any):
        _check_pissa(model)
        self._model, self._directory = model, TemporaryDirectory()
        config = model.active_peft_config
        config.init_lora_weights = True  # A0、B0 当作普通的两个矩阵来存，读的时候不要再分解
        model.save_pretrained(self._directory.name)
        config.init_lora_weights = "pissa"

    def convert_when_saved(self) -> None:
        """从此存下来的是普通的 LoRA。"""
        save = partial(self._model.save_pretrained, path_initial_model_for_weight_conversion=self._directory.name)
        self._model.save_pretrained = save


def _check_pissa(model: Any) -> None:
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        short, base = name.rsplit(".", 1)[-1], cast(Any, layer.get_base_layer())
        if isinstance(base, nn.Embedding):
            raise UserError(
                f"PiSSA 不能用在嵌入层 {short} 上；请从 --target_modules 里去掉它，或去掉 --init_lora_weights。"
            )
        narrow, r = min(base.weight.shape), max(layer.r.values())
        if r > narrow:
            raise UserError(
                f"PiSSA 的秩不能超过矩阵窄的一边：{short} 的是 {narrow}，--lora_r 是 {r}；请减小 --lora_r。"
            )


def use_loraplus(trainer: Trainer, ratio: float) -> None:
    """LoRA+（arXiv 2402.12354）：B 的学习率是 A 的 ``ratio`` 倍。

    Raises:
        UserError: 权重要切分在几张卡上（FSDP、DeepSpeed）：优化器由它们来造。
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise UserError("--loraplus_lr_ratio 不能与 FSDP、DeepSpeed 一起用；请去掉它，或改用数据并行（torchrun）。")
    model: Any = trainer.model
    optimizer, settings = Trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
    trainer.optimizer = create_loraplus_optimizer(
        model,
        optimizer,
        loraplus_lr_ratio=ratio,
        loraplus_weight_decay=trainer.args.weight_decay,
        **settings,
    )
