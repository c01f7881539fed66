"""CPU 上的小模型：几件互不相干的活，各由一个线程从头做到尾。

小模型的一步是几千个很小的运算，由几个核来分一个运算很不划算：两个核空转着互相等，也只比一个核快三成，马上睡的和一个核
一样；旁边有别的程序占着一个核时，空转着的每个运算都要等被挤掉的那一半，慢好几倍。反过来，每个线程从头到尾做自己的一份，核就都用上了，
也不互相等（``benchmarks/README.md`` 里有测量）。训练的微批次（micro-batch）、检验的各批都这样做。
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from peft.tuners.lora.layer import ParamWrapper
from transformers import PreTrainedModel

WORKERS = 2

Work = TypeVar("Work")
Result = TypeVar("Result")


def worthwhile(device: str) -> bool:
    """这个设备（``"cpu"``、``"cuda"``……）上值不值得用几个线程：CPU，核又够分。"""
    return device == "cpu" and torch.get_num_threads() >= WORKERS


def is_safe(model: PreTrainedModel) -> bool:
    """几个线程可以同时用这个模型：它的 forward 不改动它自己。

    会改动的有三种：PEFT 给专家（MoE）的三维权重加的 LoRA，用的时候临时换掉权重；随长度而变的旋转位置编码
    （longrope、dynamic），频率存在共用的地方；有循环状态的（RecurrentGemma），状态存在层里。
    """
    return not any(
        isinstance(module, ParamWrapper)
        or hasattr(module, "recurrent_states")
        or {"longrope", "dynamic"} & set(_rope_types(module))
        for module in model.modules()
    )


def _rope_types(module: torch.nn.Module) -> list[str]:
    types = getattr(module, "rope_type", None)  # 各种层的位置编码不同时（Gemma 3），是字典
    return list(types.values()) if isinstance(types, dict) else [types] if types else []


@contextmanager
def worker_threads(leaving: threading.Event | None = None) -> Iterator[ThreadPoolExecutor]:
    """``WORKERS`` 个线程，每个线程里的运算只用自己那一份核。出错或中断时，还没有开始的不做了。

    Args:
        leaving: 离开 ``with`` 时置位：做到一半的看见了，可以早些停下。
    """
    cores = torch.get_num_threads()
    # 一个运算用几个核，是每个线程各自的设置，所以在那个线程里设。
    pool = ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(cores // WORKERS,))
    try:
        yield pool
    finally:
        if leaving is not None:
            leaving.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # 在别的线程里设过以后，新的线程也跟着变少


def each(
    do: Callable[[Work], Result], pieces: Iterable[Work], parallel: bool, leaving: threading.Event | None = None
) -> Iterator[Result]:
    """对每一件活做 ``do``，次序不变；``parallel`` 时用几个线程，见 :func:`worker_threads`。"""
    if not parallel:
        yield from map(do, pieces)
        return
    with worker_threads(leaving) as pool:
        yield from pool.map(do, pieces)
