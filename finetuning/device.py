"""设备和精度：这台机器有什么，用什么最快，用了多少内存。"""

import os
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from finetuning.accelerators import AMPERE, Machine, autocast_dtype, trouble, usable_device
from finetuning.nvidia_driver import ask_driver
from finetuning.terminal import launched_by_uv


def look() -> Machine:
    """现在 torch 看到的这台机器（不问驱动，很快）。"""
    # 驱动太旧时，torch 用英文警告；该说的由 finetuning.accelerators.trouble 来说。
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.accelerator.current_accelerator(check_available=True)
        nvidia = found is not None and found.type == "cuda" and torch.version.hip is None
        # torch 2.10 以前没有这个查询函数，那时就当作没有 bf16 的指令。
        cpu = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return Machine(
            torch=torch.__version__,
            cuda=torch.version.cuda,
            hip=torch.version.hip,
            accelerator=found.type if found else None,
            count=torch.accelerator.device_count() if found else 0,
            name=_card_name(found) if found else "",
            capability=torch.cuda.get_device_capability() if nvidia else None,
            kernels=tuple(torch.cuda.get_arch_list()) if nvidia else (),
            cpu_has_bf16=bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16")),
            hidden=os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"),
            torch_npu=find_spec("torch_npu") is not None,
            python=sys.executable,
            by_uv=launched_by_uv(),
        )


def find_trouble() -> str | None:
    """有显卡却用不上时的一句话（见 :func:`finetuning.accelerators.trouble`）；torch 没有找到加速器，才去问驱动。"""
    machine = look()
    if machine.accelerator is None and not machine.hidden:
        machine = replace(machine, driver=ask_driver())
    return trouble(machine)


def best_device() -> torch.device:
    """找得到、也用得上的加速器，否则 CPU；训练时由 Trainer 同样地选。"""
    return torch.device(usable_device(look()))


def is_ampere_or_newer() -> bool:
    """这块 NVIDIA 显卡的计算能力是不是 8.0 或更高；每一层的注意力都要问，所以只问这一样。"""
    return torch.cuda.is_available() and torch.version.hip is None and torch.cuda.get_device_capability() >= AMPERE


def fastest_dtype(use_cpu: bool) -> torch.dtype | None:
    """自动混合精度（autocast）用哪种半精度在这台机器上最快，见 :func:`finetuning.accelerators.autocast_dtype`。"""
    machine = look()
    return autocast_dtype(machine, "cpu" if use_cpu else usable_device(machine))


def evaluation_dtype(device: str, large: bool = False) -> torch.dtype | None:
    """检验用哪种自动混合精度：显卡支持 bf16 就用它加快；None 是不用，照权重的精度（fp32）。

    Args:
        large: 大的模型，CPU 上也用（有 bf16 的指令时），快得多，见 ``benchmarks/README.md`` 的“真实的基座”。
            小的只差一两秒，用 fp32，检验出的就不随机器有没有这样的指令而变。
    """
    useful = device == "cuda" or (device == "cpu" and large)
    return torch.bfloat16 if useful and fastest_dtype(use_cpu=device == "cpu") == torch.bfloat16 else None


def avoid_cudnn_attention() -> None:
    """注意力不用 cuDNN 的算子，用 FlashAttention 或 torch 自带的。

    Hopper 起的显卡上，torch 优先用 cuDNN，它为每一种形状当场编译一份代码。微调时每一批的长度都不同，
    时间就全花在编译上了：``benchmarks.gpu`` 的 ``shapes`` 部分量的就是这个。
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def describe_device(device: torch.device) -> str:
    """给人看的设备名。"""
    if device.type == "cpu":
        return f"CPU（{torch.get_num_threads()} 线程）"
    return "MPS（苹果显卡）" if device.type == "mps" else f"{device.type.upper()}（{_card_name(device)}）"


def _card_name(device: torch.device) -> str:
    module = torch.get_device_module(device)
    return str(module.get_device_name(device.index)) if hasattr(module, "get_device_name") else device.type.upper()


def peak_memory_mb(device: torch.device) -> float:
    """到现在为止的内存峰值，单位 MB（10⁶ 字节）：CUDA、XPU、NPU 是显存，其余是进程占用的物理内存。"""
    module = torch.get_device_module(device)
    if hasattr(module, "max_memory_allocated"):
        return float(module.max_memory_allocated(device)) / 1e6
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    with suppress(OSError, StopIteration):
        # Linux 的 getrusage 在启动新程序以后不清零：由别的程序（notebook、测试）启动时，报的是它的峰值。
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS 以字节计，Linux 以 KiB 计
