"""设备和精度：这台机器有什么，用什么最快，用了多少内存。"""

import sys
from contextlib import suppress
from pathlib import Path

import torch


def best_device() -> torch.device:
    """CUDA、MPS、CPU 中的第一个可用的；训练时由 Trainer 同样地选。"""
    name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name)


def is_ampere_or_newer() -> bool:
    """NVIDIA 显卡的计算能力（compute capability）是不是 8.0 或更高：bf16、TF32、变长注意力的算子都要它。"""
    return torch.cuda.is_available() and torch.version.hip is None and torch.cuda.get_device_capability() >= (8, 0)


def fastest_dtype(use_cpu: bool) -> torch.dtype | None:
    """自动混合精度（autocast）用哪种半精度在这台机器上最快；None 是不用，一律 fp32。

    要训练的权重始终是 fp32，只有矩阵乘法用半精度，所以学到的东西几乎一样。

    - CPU 要有 bf16 的点积指令（AVX512-BF16 或 AMX），不然 bf16 是用 fp32 模拟的，反而更慢。
      在一颗 AVX512-BF16 的 CPU 上，两百万参数的模型一步的时间是 fp32 的三分之二。
    - NVIDIA 显卡的计算能力 8.0 起用 bf16；7.x（V100、T4、20 系）没有 bf16，它的张量核心（tensor core）只认 fp16；
      更早的没有张量核心，fp16 在有些卡上比 fp32 慢几十倍。
    - MPS 上没有验证过，用 fp32。
    """
    if use_cpu:
        # torch 2.10 以前没有这个查询函数，那时就用 fp32。
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None
    if not torch.cuda.is_available():
        return None
    if torch.version.hip is not None:
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if is_ampere_or_newer():
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability() >= (7, 0) else None


def evaluation_dtype(device: str) -> torch.dtype | None:
    """检验用哪种自动混合精度：显卡支持 bf16 就用它加快；None 是不用，照权重的精度（fp32）。"""
    return torch.bfloat16 if device == "cuda" and fastest_dtype(use_cpu=False) == torch.bfloat16 else None


def avoid_cudnn_attention() -> None:
    """注意力不用 cuDNN 的算子，用 FlashAttention 或 torch 自带的。

    Hopper 起的显卡上，torch 优先用 cuDNN，它为每一种形状当场编译一份代码。微调时每一批的长度都不同，
    时间就全花在编译上了：``benchmarks.gpu`` 的 ``shapes`` 部分量的就是这个。
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def describe_device(device: torch.device) -> str:
    """给人看的设备名。"""
    if device.type == "cuda":
        return f"CUDA（{torch.cuda.get_device_name(device)}）"
    return {"mps": "MPS（苹果显卡）", "cpu": f"CPU（{torch.get_num_threads()} 线程）"}.get(device.type, str(device))


def peak_memory_mb(device: torch.device) -> float:
    """到现在为止的内存峰值，单位 MB（10⁶ 字节）：CUDA 是显存，其余是进程占用的物理内存。"""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
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
