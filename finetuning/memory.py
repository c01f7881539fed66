"""训练要用多少内存：不用权重，也不用显卡，只凭模型的配置就能算。

办法是把训练的一步真的走一遍，只是每个张量都没有数据：``FakeTensor`` 记得形状、类型和设备，却不占内存。
模型的代码、PEFT、自动求导（autograd）都是训练时用的那些，所以每一层为反向传播留下什么、何时放掉，都与真的训练一样，
不必为每种结构另写公式。我们只数：任何时刻还活着的张量一共多少字节。

以 Qwen3 这样的模型、bf16 自动混合精度（autocast）为例，数出来的是这些：

- 权重是 fp32，每个参数 4 字节；全参数微调时梯度也是。AdamW 为每个要训练的参数存两个 fp32（动量和二阶动量），8 字节。
- autocast 为每个矩阵另做一份 bf16 的副本，每个参数 2 字节，前向传播时做好，到反向传播用完才放掉。
- LoRA 冻结的矩阵，梯度也要穿过它们才能到前面的层，也要 bf16 的一份；检查点若是 bf16 的，训练期间就只存这一份
  （见 finetuning.frozen），每个参数一共 2 字节。训练开始以前，整个模型是以 fp32 读入的；那一刻若更多，峰值就是那一刻。
- 每一层留下的激活（activation）：线性层留 bf16 的输入；RMSNorm 在 fp32 里算，留 fp32 的；SwiGLU 留三个中间维那么宽的；
  注意力用 SDPA，只留 q、k、v、输出和每行一个数，不留 长度×长度 的分数矩阵。
  开了梯度检查点（gradient checkpointing），每层就只留输入。
- logits 是 位置数×词表：只有一份 bf16，梯度写在它原来的地方，损失的 fp32 中间结果一次只有几行（见 finetuning.loss）；
  填充的批次没有这样省，另有几份 fp32。词表有十几万时，这一项可能最大。

峰值出现在哪里也一起得出：反向传播从后往前，一边放掉激活，一边生出梯度，所以两者不会同时最多。
"""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args
from weakref import finalize

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PrefixTuningConfig, get_peft_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from finetuning.attention import PER_DOCUMENT
from finetuning.collator import IGNORE_INDEX, PackedCollator, PaddedCollator
from finetuning.embedding import add_embedding_gradient_in_place
from finetuning.errors import UserError
from finetuning.frozen import frozen_linears
from finetuning.loss import chunk_size, chunked_causal_lm_loss

Method = Literal["full", "lora", "dora", "qlora", "prefix"]
METHODS: tuple[Method, ...] = get_args(Method)
CARDS_GB = (8, 12, 16, 24, 48, 80)
GIB = 2**30

_ADAMW_BYTES = 8  # 每个要训练的参数：动量和二阶动量，各一个 fp32
_NF4_BYTES = 1 / 2 + 1 / 64 + 4 / (64 * 256)  # 4 bit；每 64 个数一个 8 bit 的系数；每 256 个系数再共用一个 fp32


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
    """

    trainable_parameters: int
    total_parameters: int
    weights: int
    gradients: int
    optimizer: int
    autocast_copies: int
    activations: int
    logits: int

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
        return AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except Exception as error:  # 不是 JSON、结构不认识、网络不通……类型取决于各个库，列不全
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if path.exists():
            raise UserError(f"{path} 里的配置读不出来：{reason}") from error
        raise UserError(
            f"读不到模型 {name_or_path} 的配置：当前目录（{Path.cwd()}）下没有它，也没能从 hub 得到它（{reason}）。"
            "连不上 hub 时，可以设环境变量 HF_ENDPOINT（例如 https://hf-mirror.com）改用镜像，"
            "或下载它的 config.json，改写这个文件的路径。"
        ) from error


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
    device: Literal["cuda", "cpu"] = "cuda",
) -> MemoryPlan:
    """训练一步的内存。

    Args:
        batch_size, max_length: 一步几段对话，每段多少个 token；按每段都有这么长来算，这是最坏的情况。
        supervised_share: 要学的（算 logits 的）位置占多少；1 是最坏的情况。填充的批次总是算全部位置。
        target_modules: 给哪些层加 LoRA；None 是所有线性层。
        device: 在哪里训练。CPU 上短对话的注意力用 fp32 算（见 :mod:`finetuning.attention`），多用一些；
            共用的嵌入矩阵少一份梯度（见 :mod:`finetuning.embedding`）。

    Raises:
        UserError: 这个配置不是因果语言模型，没有 ``target_modules`` 里的层，或几个选项不能一起用。
    """
    if method == "prefix" and gradient_checkpointing:
        raise UserError("前缀微调不能与 --gradient_checkpointing 一起用：前缀放在 KV 缓存里，梯度检查点不保留它。")
    stored_in_bf16 = config.dtype == torch.bfloat16
    model = _build_base(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    if method == "qlora":
        _quantize(model, torch.bfloat16 if bf16 else torch.float32)
    if method != "full":
        base_parameters = sum(parameter.numel() for parameter in model.parameters())
        model = _add_adapter(model, _adapter_config(method, lora_r, target_modules, num_virtual_tokens))
        total += sum(parameter.numel() for parameter in model.parameters()) - base_parameters
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    loading = _storage_bytes(model)
    if method != "full" and bf16 and stored_in_bf16:
        for linear in frozen_linears(model):
            linear.weight.data = linear.weight.data.to(torch.bfloat16)

    padding_free = padding_free and method != "prefix"  # 前缀在 KV 缓存里，首尾相接的一行不能有缓存
    if padding_free:
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        base.loss_function = partial(chunked_causal_lm_loss, chunk=chunk_size(device))
        if device == "cpu":
            model.set_attn_implementation(PER_DOCUMENT)
    if device == "cpu":
        add_embedding_gradient_in_place(model)
    if gradient_checkpointing:
        # 同一个方法，transformers 5.18 起换了名字
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    peak = _simulate(
        model,
        _batch(batch_size, max_length, supervised_share, padding_free, device),
        passes=min(gradient_accumulation_steps, 2),  # 从第二次起，前向传播时就已经有梯度；以后每次都一样
        bf16=bf16,
        vocab_size=config.get_text_config().vocab_size,
    )
    training = MemoryPlan(
        trainable_parameters=trainable,
        total_parameters=total,
        weights=_storage_bytes(model),
        gradients=peak["gradients"],
        optimizer=_ADAMW_BYTES * trainable,
        autocast_copies=peak["autocast_copies"],
        activations=peak["activations"],
        logits=peak["logits"],
    )
    if training.total >= loading:
        return training
    nothing = dict.fromkeys(("gradients", "optimizer", "autocast_copies", "activations", "logits"), 0)
    return replace(training, weights=loading, **nothing)


# ----------------------------------------------------------------------------------------------------------------------
# 模型：在 meta 设备上造，只有形状


def _build_base(config: PretrainedConfig) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            # 训练时权重总是 fp32，不管检查点里是什么（见 finetuning.model）。
            return AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.float32, trust_remote_code=False)
    except ValueError as error:
        raise UserError(f"{config.model_type} 不是因果语言模型（causal LM），不能这样微调。") from error


def _adapter_config(
    method: Method, lora_r: int, target_modules: list[str] | None, num_virtual_tokens: int
) -> PeftConfig:
    if method == "prefix":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=num_virtual_tokens)
    return LoraConfig(
        task_type="CAUSAL_LM", r=lora_r, target_modules=target_modules or "all-linear", use_dora=method == "dora"
    )


def _add_adapter(model: PreTrainedModel, config: PeftConfig) -> Any:
    """参数由 PEFT 自己来添，所以个数就是它的个数。"""
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        names = sorted(
            {name.rsplit(".", 1)[-1] for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        )
        raise UserError(
            f"不能给 {' '.join(cast(LoraConfig, config).target_modules or ())} 加 LoRA，可选的层有 {' '.join(names)}。"
        ) from error


class _NF4Linear(nn.Linear):
    """bitsandbytes 的 ``Linear4bit`` 的替身：占的字节、留给反向传播的东西都与它相同，只是没有数。"""

    def __init__(self, linear: nn.Linear, compute_dtype: torch.dtype):
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.compute_dtype = compute_dtype
        packed = torch.empty(int(linear.weight.numel() * _NF4_BYTES), dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(…, in_features)`` → ``(…, out_features)``。"""
        shape = (self.out_features, self.in_features)
        output = _NF4MatMul.apply(x.to(self.compute_dtype), self.weight, shape).to(x.dtype)
        return output if self.bias is None else output + self.bias


class _NF4MatMul(torch.autograd.Function):
    """前向和反向各把 4 bit 还原成一个临时的矩阵；权重没有梯度，所以输入不必留。"""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, packed: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        ctx.save_for_backward(packed)
        ctx.shape = shape
        return nn.functional.linear(x, packed.new_empty(shape, dtype=x.dtype))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (packed,) = ctx.saved_tensors
        (grad,) = grad_outputs
        return grad @ packed.new_empty(ctx.shape, dtype=grad.dtype), None, None


def _quantize(model: PreTrainedModel, compute_dtype: torch.dtype) -> None:
    """把 lm_head 以外的线性层换成 4 bit 的；嵌入、归一化层和 lm_head 仍是 fp32，与 transformers 的做法相同。"""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and layer is not model.get_output_embeddings():
            model.set_submodule(name, _NF4Linear(layer, compute_dtype))


# ----------------------------------------------------------------------------------------------------------------------
# 批次：每段都是 max_length 长


def _batch(batch_size: int, length: int, supervised_share: float, padding_free: bool, device: str) -> dict[str, Any]:
    context = length - round(length * supervised_share)
    example = {"input_ids": [0] * length, "labels": [IGNORE_INDEX] * context + [0] * (length - context)}
    examples = [example] * batch_size
    if not padding_free:
        return PaddedCollator(0)(examples)
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


# ----------------------------------------------------------------------------------------------------------------------
# 没有数据的一步


class _LiveBytes(TorchDispatchMode):
    """数每一刻活着的张量有多少字节，分类记下最多的那一刻。

    每个算子的输出都从这里经过。以存储（storage）为单位：转置、切片等视图（view）与原来的张量共用一个，只数一次；
    最后一个用它的张量没有了，它就没有了。
    """

    def __init__(self, model: nn.Module, logits_shape: tuple[int, int]):
        super().__init__()
        self.logits_shape = logits_shape  # (位置数, 词表)
        self.weights = {id(weight.untyped_storage()) for weight in _tensors(model)}
        self.gradient_shapes = {parameter.shape for parameter in model.parameters() if parameter.requires_grad}
        self.category: dict[int, str] = {}
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_cast = func is torch.ops.aten._to_copy.default and id(args[0].untyped_storage()) in self.weights
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor, "autocast_copies" if is_cast else self._category_of(tensor))
        return result

    def _category_of(self, tensor: torch.Tensor) -> str:
        # 反向传播时不记录计算图，由此认出它。权重的梯度先是 bf16，再转成 fp32；共用的嵌入有两份，最后才加起来。
        if tensor.shape in self.gradient_shapes and not torch.is_grad_enabled():
            return "gradients"
        rows, vocab_size = self.logits_shape
        is_logits = tensor.shape[-1:] == (vocab_size,) and tensor.numel() == rows * vocab_size
        return "logits" if is_logits else "activations"

    def _add(self, tensor: torch.Tensor, category: str) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self.weights or key in self.category:
            return
        self.category[key] = category
        self.live[category] += size
        finalize(storage, self._remove, key, size)
        if self.live.total() > self.peak.total():
            self.peak = self.live.copy()

    def _remove(self, key: int, size: int) -> None:
        self.live[self.category.pop(key)] -= size

    def is_gradient(self, parameter: torch.Tensor) -> None:
        """梯度算好了：从此它不再是反向传播中的临时结果。"""
        gradient = cast(torch.Tensor, parameter.grad).untyped_storage()
        key, size = id(gradient), gradient.nbytes()
        self.live[self.category[key]] -= size
        self.category[key] = "gradients"
        self.live["gradients"] += size


def _simulate(model: Any, batch: dict[str, Any], passes: int, bf16: bool, vocab_size: int) -> Counter[str]:
    """前向、反向传播 ``passes`` 次；返回权重和优化器之外，最多的那一刻各类有多少字节。"""
    # 批次是真的张量（注意力要读出每段的边界），权重是假的。
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        _replace_meta_tensors(model)
    model.train()
    rows = batch["labels"].numel()
    tracker = _LiveBytes(model, (rows, vocab_size))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(tracker.is_gradient)
    for _ in range(passes):
        with fake, tracker:
            # 与训练时一样，自动混合精度只管前向传播。
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model(**batch).loss
            loss.backward()
            del loss
    return tracker.peak


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _storage_bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(model))


def _replace_meta_tensors(model: nn.Module) -> None:
    """meta 设备上的权重换成 CPU 上的：autocast 和注意力要看设备。在 ``FakeTensorMode`` 里，它们仍然没有数据。"""
    replaced: dict[int, torch.Tensor] = {}  # 共用的矩阵换了以后仍然共用
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in replaced:
                empty = torch.empty_like(parameter, device="cpu", requires_grad=False)
                replaced[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
            setattr(module, name, replaced[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty_like(buffer, device="cpu"))
