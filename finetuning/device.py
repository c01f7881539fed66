"""设备和精度：这台机器有什么，用什么最快，用了多少内存。"""

import sys

import torch


def best_device() -> torch.device:
    """CUDA、MPS、CPU 中的第一个可用的；训练时由 Trainer 同样地选。"""
    name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name)


def supports_tf32() -> bool:
    """TF32 要 Ampere（计算能力 8.0）或更新的 NVIDIA 显卡。"""
    return torch.cuda.is_available() and torch.version.hip is None and torch.cuda.get_device_capability()[0] >= 8


def bf16_is_faster(use_cpu: bool) -> bool:
    """bf16 自动混合精度（autocast）在这台机器上快不快。

    权重始终是 fp32，只有矩阵乘法用 bf16，所以学到的东西几乎一样。CPU 要有 bf16 的点积指令（AVX512-BF16 或 AMX），
    不然 bf16 是用 fp32 模拟的，反而更慢。在一颗 AVX512-BF16 的 CPU 上，两百万参数的模型一步的时间是 fp32 的三分之二。
    """
    if use_cpu:
        # torch 2.10 以前没有这个查询函数，那时就用 fp32。
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


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
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS 以字节计，Linux 以 KiB 计
