"""问 NVIDIA 的驱动有没有显卡：NVML，随驱动一起装的库（``nvidia-smi`` 用的也是它），不经过 torch。"""

import ctypes
import sys
import threading
from contextlib import suppress
from typing import Any

from finetuning.accelerators import Driver

_TIMEOUT = 3.0  # 秒：驱动坏了时，它可能一直不回来
_SIZE = 96  # NVML 的字符串最长 96 字节


def ask_driver() -> Driver | None:
    """驱动和显卡；没有驱动、驱动没有装好、问不出来，都是 None，从不报错。"""
    found: list[Driver | None] = []
    asking = threading.Thread(target=lambda: found.append(_ask()), daemon=True)
    asking.start()
    asking.join(_TIMEOUT)
    return found[0] if found else None


def _ask() -> Driver | None:
    # 没有这个库是 OSError；很旧的驱动里没有其中的函数，是 AttributeError。
    with suppress(OSError, AttributeError):
        return read_driver(ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"))
    return None


def read_driver(nvml: Any) -> Driver | None:
    """从 NVML 读出驱动和各块显卡。

    Args:
        nvml: 装入的 NVML 库；它的函数返回 0 是成功。
    """
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        version = ctypes.create_string_buffer(_SIZE)
        cuda, count = ctypes.c_int(), ctypes.c_uint()
        if (
            nvml.nvmlSystemGetDriverVersion(version, ctypes.c_uint(_SIZE)) != 0
            or nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda)) != 0
            or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0
        ):
            return None
        names = tuple(_name(nvml, index) for index in range(count.value))
        capability = _capability(nvml) if count.value else None
    finally:
        nvml.nvmlShutdown()
    # 12040 是 12.4
    return Driver(_text(version), (cuda.value // 1000, cuda.value % 1000 // 10), names, capability)


def _name(nvml: Any, index: int) -> str:
    handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(_SIZE)
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != 0:
        return f"第 {index} 块"
    nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(_SIZE))
    return _text(name)


def _capability(nvml: Any) -> tuple[int, int] | None:
    """第一块显卡的计算能力；问不出来是 None。"""
    handle, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    with suppress(AttributeError):  # 很旧的驱动里没有这个函数
        if (
            nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(0), ctypes.byref(handle)) == 0
            and nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor)) == 0
        ):
            return major.value, minor.value
    return None


def _text(buffer: Any) -> str:
    return str(buffer.value.decode("utf-8", "replace"))
