"""训练要用多少内存：不用权重，也不用显卡，只凭模型的配置就能算。

办法是把训练的一步真的走一遍，只是每个张量都没有数据：``FakeTensor`` 记得形状、类型和设备，却不占内存。
模型的代码、PEFT、自动求导（autograd）都是训练时用的那些，所以每一层为反向传播留下什么、何时放掉，都与真的训练一样，
不必为每种结构另写公式。用哪几样省内存的捷径，也由训练时用的同一个函数来定（finetuning.shortcuts.choose）。
我们只数：任何时刻还活着的张量一共多少字节。

以 Qwen3 这样的模型、bf16 自动混合精度（autocast）为例，数出来的是这些：

- 权重是 fp32，每个参数 4 字节；全参数微调时梯度也是。AdamW 为每个要训练的参数存两个 fp32（动量和二阶动量），8 字节。
- autocast 为每个矩阵另做一份 bf16 的副本，每个参数 2 字节，前向传播时做好，到反向传播用完才放掉。
- LoRA 冻结的矩阵，梯度也要穿过它们才能到前面的层，也要 bf16 的一份；检查点若是 bf16 的，就只存这一份，每个参数 2 字节：
  显卡上从读入起就是（见 finetuning.bf16_base）；CPU 上只在训练期间（见 finetuning.shortcuts.frozen），整个模型先以 fp32
  读入，那一刻若更多，峰值就是那一刻。DoRA 不能这样，QLoRA 留下的输出层也先读成 fp32。
- 每一层留下的激活（activation）：线性层留 bf16 的输入；RMSNorm 在 fp32 里算，留 fp32 的；SwiGLU 留三个中间维那么宽的；
  注意力用 SDPA，只留 q、k、v、输出和每行一个数，不留 长度×长度 的分数矩阵。
  开了梯度检查点（gradient checkpointing），每层就只留输入。
- logits 是 位置数×词表：只有一份 bf16，梯度写在它原来的地方，损失的 fp32 中间结果一次只有几行
  （见 finetuning.shortcuts.loss）；填充的批次没有这样省，另有几份 fp32。词表有十几万时，这一项可能最大。

峰值出现在哪里也一起得出：反向传播从后往前，一边放掉激活，一边生出梯度，所以两者不会同时最多。
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from peft import LoraConfig, PeftConfig, PrefixTuningConfig
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from finetuning.adapter import adapted_experts, base_of, embedding_rows, innermost, new_adapter
from finetuning.arguments.options import PREFIX_WITHOUT_CHECKPOINTING, PREFIX_WITHOUT_MARKERS
from finetuning.bf16_base import can_stay_bf16
from finetuning.chatml import CHATML_TOKENS
from finetuning.collator import IGNORE_INDEX, PackedCollator, PaddedCollator
from finetuning.errors import UserError
from finetuning.model import freeze_other_modalities
from finetuning.model_checks import quantization_of
from finetuning.plan.quantized import quantize
from finetuning.plan.simulation import simulate, storage_bytes
from finetuning.shortcuts import Setting, Shortcuts, choose
from finetuning.shortcuts.attention import PER_DOCUMENT
from finetuning.shortcuts.embedding import add_embedding_gradient_in_place
from finetuning.shortcuts.frozen import frozen_linears, output_to_copy
from finetuning.shortcuts.loss import chunk_size, chunked_causal_lm_loss

Method = Literal["full", "lora", "dora", "qlora", "prefix"]
METHODS: tuple[Method, ...] = get_args(Method)
CARDS_GB = (8, 12, 16, 24, 32, 40, 48, 80, 94, 141, 180)  # 94 也代表 96 的，180 也代表 192 的
GIB = 2**30

_ADAMW_BYTES = 8  # 每个要训练的参数：动量和二阶动量，各一个 fp32


@dataclass(frozen=True)
class MemoryPlan:
    """训练一步的内存，单位都是字节：用得最多的那一刻，各有多少。

    Attributes:
        trainable_parameters, total_parameters: 参数个数；共用的矩阵（tied embeddings）只数一次，量化的按原来的个数数。
        weights: 权重。
        gradients: 那一刻已经生出来的权重的梯度，包括还没有转成 fp32 的、还没有加到一起的。峰值若在反向传播刚开始时，
            大部分梯度还没有，激活却最多。
        optimizer: AdamW 的状态。
        autocast_copies: 自动混合精度给权重做的 bf16 副本。
        activations: 为反向传播留下的，和那一刻正在算的。
        logits: 输出层的分数，连同它的 fp32 副本和梯度。
        shortcuts: 假设用了哪几样捷径，与训练时同样地选；``frozen_in_bf16`` 还要检查点本来就是 bf16 的。
        lora_experts: LoRA 也加在混合专家的矩阵上的，每层有多少个专家；没有是 0。
    """

    trainable_parameters: int
    total_parameters: int
    weights: int
    gradients: int
    optimizer: int
    autocast_copies: int
    activations: int
    logits: int
    shortcuts: Shortcuts
    lora_experts: int = 0

    @property
    def total(self) -> int:
        """峰值。"""
        return self.weights + self.gradients + self.optimizer + self.autocast_copies + self.activations + self.logits

    @property
    def cards(self) -> list[int]:
        """装得下的显卡，单位 GB。

        留出 1 GiB 给 CUDA 环境（context）、矩阵库的工作区和桌面，再留一成给显存碎片；这两个数是经验，不是算出来的。
        """
        return [card for card in CARDS_GB if 1.1 * self.total + GIB <= card * GIB]

    @property
    def smallest_card(self) -> str:
        """最小的、装得下的显卡；:data:`CARDS_GB` 里的都装不下时，说最大的也不够。"""
        return f"{min(self.cards)} GB" if self.cards else f"{max(CARDS_GB)} GB 也不够"


def load_config(name_or_path: str) -> PretrainedConfig:
    """读模型的配置：目录、``config.json`` 文件，或 hub 上的名字（只下载配置，不下载权重）。

    Raises:
        UserError: 没有这个目录或文件，读不出来，或连不上 hub。
    """
    path = Path(name_or_path)
    if path.is_dir() and not (path / "config.json").is_file():
        raise UserError(f"{path} 不是模型目录：里面没有 config.json。")
    if not path.exists() and (path.is_absolute() or path.suffix == ".json" or name_or_path.startswith((".", "~"))):
        raise UserError(f"找不到 {path}；请检查路径。")
    try:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except Exception as error:  # 不是 JSON、结构不认识、网络不通……类型取决于各个库，列不全
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if path.exists():
            raise UserError(f"{path} 里的配置读不出来：{reason}") from error
        raise UserError(
            f"读不到模型 {name_or_path} 的配置：当前目录（{Path.cwd()}）下没有它，也没能从 hub 得到它（{reason}）。"
            "连不上 hub 时，可以设环境变量 HF_ENDPOINT（例如 https://hf-mirror.com）改用镜像，"
            "或下载它的 config.json，改写这个文件的路径。"
        ) from error
    if quantized := quantization_of(config):
        raise UserError(
            f"{name_or_path} 的权重已经用 {quantized} 量化过，算不出；"
            "请给没有量化的原版，要 4 bit 就看它的 qlora 一行。"
        )
    return config


def missing_markers(name_or_path: str) -> int:
    """分词器缺几个对话标记，训练时要新添；只有一个配置、看不到分词器的，当作不缺。"""
    path = Path(name_or_path)
    if path.exists() and not any((path / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        return 0
    try:
        vocabulary = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False).get_vocab()
    except Exception:  # 读不出来的，训练时自会说；这里只差几行嵌入，不为它停下
        return 0
    return sum(token not in vocabulary for token in CHATML_TOKENS)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """没有料到的异常也变成一句话：一种方法算不出，不该让别的也看不到。"""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # 各种结构、各个库，列不全
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"这种方法在这个模型上算不出（{type(error).__name__}: {reason.rstrip('.')}）。") from error


@_one_sentence()
def plan(
    config: PretrainedConfig,
    method: Method,
    *,
    batch_size: int = 8,
    max_length: int = 512,
    supervised_share: float = 1.0,
    padding_free: bool = True,
    gradient_accumulation_steps: int = 1,
    gradient_checkpointing: bool = False,
    bf16: bool = True,
    lora_r: int = 8,
    target_modules: list[str] | None = None,
    num_virtual_tokens: int = 16,
    new_tokens: int = 0,
    device: Literal["cuda", "cpu"] = "cuda",
    progress: Callable[[float], None] = lambda _: None,
) -> MemoryPlan:
    """训练一步的内存。

    Args:
        batch_size, max_length: 一步几段对话，每段多少个 token；按每段都有这么长来算，这是最坏的情况。
        supervised_share: 要学的（算 logits 的）位置占多少；1 是最坏的情况。填充的批次总是算全部位置。
        target_modules: 给哪些层加 LoRA；None 是所有线性层。
        new_tokens: 新添几个对话标记，见 :func:`missing_markers`；适配器另外训练它们在嵌入里的行。
        progress: 大模型要算好几十秒，每走一点就告诉它做完了多少，0 到 1。
        device: 在哪里训练。显卡当作支持 bf16 的。CPU 上短对话的注意力用 fp32 算（见
            :mod:`finetuning.shortcuts.attention`），多用一些；共用的嵌入矩阵少一份梯度（见
            :mod:`finetuning.shortcuts.embedding`）。

    Raises:
        UserError: 这个配置不是因果语言模型，没有 ``target_modules`` 里的层，这种方法用不了，或几个选项不能一起用。
    """
    if method == "prefix" and gradient_checkpointing:
        raise UserError(f"{PREFIX_WITHOUT_CHECKPOINTING}。")
    if method == "prefix" and new_tokens:
        raise UserError(f"{PREFIX_WITHOUT_MARKERS}。")
    autocast = torch.bfloat16 if bf16 else None
    model: Any = _build_base(config)
    freeze_other_modalities(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    stays_bf16 = False
    if method == "qlora":
        quantize(model, autocast or torch.float32)
    if method != "full":
        base_parameters = sum(parameter.numel() for parameter in model.parameters())
        adapter = _adapter_config(
            method, lora_r, target_modules, num_virtual_tokens, embedding_rows(model, list(range(new_tokens)))
        )
        stays_bf16 = method != "qlora" and can_stay_bf16(
            adapter, autocast, torch.bfloat16 if device == "cuda" else None
        )
        model = new_adapter(model, adapter)
        total += sum(parameter.numel() for parameter in model.parameters()) - base_parameters
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    loading = storage_bytes(model)

    chosen = choose(model, Setting(device, batch_size, autocast, padding_free))
    holds = chosen.frozen_in_bf16
    chosen = replace(chosen, frozen_in_bf16=chosen.frozen_in_bf16 and config.dtype == torch.bfloat16)
    if chosen.frozen_in_bf16:
        # 新添的行是平均值，bf16 放不下：有这样的行的输出层仍是 fp32，与共用嵌入的、
        # 检查点是 fp32 的一样，训练时另有一份 bf16 的
        kept = innermost(base_of(model).get_output_embeddings()) if new_tokens else None
        for linear in frozen_linears(model):
            if linear is not kept:
                linear.weight.data = linear.weight.data.to(torch.bfloat16)
        if stays_bf16:
            loading = storage_bytes(model)
    weights = storage_bytes(model)
    output = output_to_copy(model) if holds else None
    if output is not None:
        output.weight = torch.nn.Parameter(output.weight.to(torch.bfloat16), requires_grad=False)
    copied = output.weight.nbytes if output is not None else 0
    if chosen.chunked_loss:
        base_of(model).loss_function = partial(chunked_causal_lm_loss, chunk=chunk_size(device))
    if chosen.packed and device == "cpu":
        model.set_attn_implementation(PER_DOCUMENT)
    if chosen.one_embedding_gradient:
        add_embedding_gradient_in_place(model)
    if gradient_checkpointing:
        # 同一个方法，transformers 5.18 起换了名字
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    try:
        peak = simulate(
            model,
            _batch(batch_size, max_length, supervised_share, chosen, device),
            passes=min(gradient_accumulation_steps, 2),  # 从第二次起，前向传播时就已经有梯度；以后每次都一样
            autocast=autocast,
            vocab_size=config.get_text_config().vocab_size,
            progress=progress,
        )
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        # 模型的代码走不通：前缀与它的缓存对不上，或要看张量里的值
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{config.model_type} 用 {method} 走不完一步，算不出（{reason.rstrip('.')}）。") from error
    training = MemoryPlan(
        trainable_parameters=trainable,
        total_parameters=total,
        weights=weights,
        optimizer=_ADAMW_BYTES * trainable,
        # 几个线程各算一个微批次，梯度、bf16 副本也各有一份。
        gradients=chosen.micro_batches * peak["gradients"],
        autocast_copies=chosen.micro_batches * peak["autocast_copies"] + copied,
        activations=chosen.micro_batches * peak["activations"],
        logits=chosen.micro_batches * peak["logits"],
        shortcuts=chosen,
        lora_experts=adapted_experts(model),
    )
    if training.total >= loading:
        return training
    return replace(training, weights=loading, gradients=0, optimizer=0, autocast_copies=0, activations=0, logits=0)


# ----------------------------------------------------------------------------------------------------------------------
# 模型：在 meta 设备上造，只有形状


def _build_base(config: PretrainedConfig) -> PreTrainedModel:
    config = deepcopy(config)
    config.get_text_config().pad_token_id = None  # 有的模型要看输入里有没有它，而这里的张量没有值
    try:
        with torch.device("meta"):
            # 不管检查点里是什么，先都当作 fp32；哪些是 bf16 的，后面再换。
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except ValueError as error:
        raise UserError(f"{config.model_type} 不是因果语言模型（causal LM），不能这样微调。") from error


def _adapter_config(
    method: Method,
    lora_r: int,
    target_modules: list[str] | None,
    num_virtual_tokens: int,
    new_token_rows: dict[str, list[int]] | None,
) -> PeftConfig:
    if method == "prefix":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=num_virtual_tokens)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora_r,
        target_modules=target_modules or "all-linear",
        use_dora=method == "dora",
        trainable_token_indices=new_token_rows,
    )


# ----------------------------------------------------------------------------------------------------------------------
# 批次：每段都是 max_length 长


def _batch(batch_size: int, length: int, supervised_share: float, chosen: Shortcuts, device: str) -> dict[str, Any]:
    """一批；分成几个微批次的，是最大的那一个。"""
    context = length - round(length * supervised_share)
    example = {"input_ids": [0] * length, "labels": [IGNORE_INDEX] * context + [0] * (length - context)}
    examples = [example] * -(-batch_size // chosen.micro_batches)
    if not chosen.packed:
        # 每段一样长，没有填充，掩码里都是 1；有的模型要看它的值，而这里的张量没有值。
        return {name: value for name, value in PaddedCollator(0)(examples).items() if name != "attention_mask"}
    if device == "cpu":
        return PackedCollator()(examples)
    # 显卡上逐段的注意力（varlen_attn）只有 CUDA 才能运行；几行等长的 SDPA 留下的是同样多的东西。
    kept = PackedCollator()([example])["logits_to_keep"]
    labels = torch.zeros(batch_size, len(kept), dtype=torch.long)
    return {
        "input_ids": torch.zeros(batch_size, length, dtype=torch.long),
        "logits_to_keep": kept,
        "labels": labels,
        "shift_labels": labels,
        "use_cache": False,
    }
