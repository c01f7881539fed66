"""训练的一步，每个张量都没有数据：数任何时刻还活着的张量一共多少字节。"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast
from weakref import finalize

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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


class _Progress:
    """走到了哪里：前向按走过的层数，反向按算出的梯度，各占一半。"""

    def __init__(self, model: Any, passes: int, report: Callable[[float], None]):
        lists = [part for part in model.get_decoder().children() if isinstance(part, nn.ModuleList)]
        layers = max(lists, key=len, default=nn.ModuleList())
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.halves = {"forward": len(layers) * passes, "backward": len(trained) * passes}
        self.done = Counter[str]()
        self.report = report
        for layer in layers:
            layer.register_forward_hook(lambda *_: self._step("forward"))
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(lambda _: self._step("backward"))

    def _step(self, half: str) -> None:
        self.done[half] += 1
        # 梯度检查点在反向时把前向又走一遍
        self.report(sum(min(1.0, self.done[half] / most) for half, most in self.halves.items() if most) / 2)


def simulate(
    model: Any,
    batch: dict[str, Any],
    passes: int,
    autocast: torch.dtype | None,
    vocab_size: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Counter[str]:
    """前向、反向传播 ``passes`` 次；返回权重和优化器之外，最多的那一刻各类有多少字节。

    Args:
        progress: 每走一点就告诉它做完了多少，0 到 1。
    """
    # 走不通的，由调用的人来说；torch 自己先往日志里写几十行调用栈。
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    # 批次是真的张量（注意力要读出每段的边界），权重是假的。
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        _replace_meta_tensors(model)
    model.train()
    tracker = _LiveBytes(model, (batch["labels"].numel(), vocab_size))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(tracker.is_gradient)
    _Progress(model, passes, progress)
    for _ in range(passes):
        with fake, tracker:
            # 与训练时一样，自动混合精度只管前向传播。
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                loss = model(**batch).loss
            loss.backward()
            del loss
    return tracker.peak


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def storage_bytes(model: nn.Module) -> int:
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
