"""这台机器有什么、用哪个设备、用什么精度和注意力、该对人说什么：状态是数据，决定是纯函数。

问 torch 和驱动的在 :mod:`finetuning.device` 和 :mod:`finetuning.nvidia_driver`；这里只看它们问来的，所以没有显卡也能
逐种试过（``tests/test_accelerators.py``；各种状态的表在 ``docs/where_to_run.md``）。
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

# 装好的 torch 用不上显卡时，换一个。每个参数都要：
# -r pyproject.toml：版本仍在项目的范围之内。
# --no-config：不看 [tool.uv] 的 exclude-newer，PyTorch 自己的索引里许多文件没有上传日期，会被当作太新。
# --reinstall-package：装着的 torch 满足版本的要求，不说就什么也不做。
# --python：没有虚拟环境时，uv pip 不写它就不装。
_INSTALL = 'uv pip install --python "{}" --no-config -r pyproject.toml --reinstall-package torch --torch-backend={}'
_AFTERWARDS = "（以后的命令都用 uv run --no-sync …，不然 uv 又换回去）"
# 旧的显卡、旧的驱动用的：CUDA 13 起不再为 7.5 以前的卡编译，也不收 12.x 的驱动（torch 2.15 自己的名单里还有 12.6）。
_OLD_BUILD = "cu126"
_OLDEST_DRIVER = (12, 0)
# cu126 里没有 50 系、B200 的算子；给它们的、12.x 的驱动用得上的，是 cu128（torch 到 2.10 为止有这一种）。
_BLACKWELL_BUILD = "cu128"
_BLACKWELL_DRIVER = (12, 8)
_RENTED = "（租来的：换一台驱动新的机器）"

BLACKWELL, AMPERE, VOLTA = (10, 0), (8, 0), (7, 0)

# 登记在 torch.accelerator 里、Trainer 也会选的，但我们没有在上面试过的。
_NAMES = {"xpu": "Intel 显卡（XPU）", "npu": "昇腾 NPU"}


@dataclass(frozen=True)
class Driver:
    """NVIDIA 的驱动（driver）自己报的；与装了什么 torch 无关。

    Attributes:
        version: 驱动的版本，如 ``"550.54.15"``。
        cuda: 这个驱动最高支持的 CUDA，如 ``(12, 4)``。
        cards: 各块显卡的名字。
        capability: 第一块显卡的计算能力（compute capability），如 ``(7, 5)``；None 是没有问出来。
    """

    version: str
    cuda: tuple[int, int]
    cards: tuple[str, ...]
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Machine:
    """torch 在这台机器上看到的。

    Attributes:
        torch: torch 的版本，如 ``"2.15.0+cu132"``。
        cuda: 它是为哪个 CUDA 编译的，如 ``"13.2"``；None 是没有 CUDA 的（CPU 版、苹果、ROCm……）。
        hip: 它是为哪个 ROCm 编译的（AMD 显卡，在 torch 里也叫 ``cuda``）。
        accelerator: 现在用得上的加速器：``"cuda"``、``"mps"``、``"xpu"``、``"npu"``……；None 是没有。
        count: 有几块。
        name: 显卡的名字。
        capability: NVIDIA 显卡的计算能力，如 ``(7, 5)``。
        kernels: 这个 torch 里有为哪些计算能力编译的算子，如 ``("sm_75", "compute_120")``；空的是不知道。
        cpu_has_bf16: CPU 有 bf16 的点积指令（AVX512-BF16 或 AMX）。
        hidden: 显卡是用户藏起来的（``CUDA_VISIBLE_DEVICES`` 是空的或 -1）。
        torch_npu: 装了 torch_npu。
        driver: torch 没有找到加速器时，问 NVIDIA 的驱动；None 是没有驱动，或没有问。
        python: 这个 Python 的路径：换库的命令要写明装到哪里。
        by_uv: 是由 ``uv run`` 启动的。
    """

    torch: str
    cuda: str | None = None
    hip: str | None = None
    accelerator: str | None = None
    count: int = 0
    name: str = ""
    capability: tuple[int, int] | None = None
    kernels: tuple[str, ...] = ()
    cpu_has_bf16: bool = False
    hidden: bool = False
    torch_npu: bool = False
    driver: Driver | None = None
    python: str = ".venv/bin/python"
    by_uv: bool = True


def usable_device(machine: Machine) -> str:
    """用哪个设备：找得到、又有算子的加速器，否则 ``"cpu"``。"""
    return machine.accelerator if machine.accelerator and _has_kernels(machine) else "cpu"


def autocast_dtype(machine: Machine, device: str) -> torch.dtype | None:
    """自动混合精度（autocast）用哪种半精度在这个设备上最快；None 是不用，一律 fp32。

    要训练的权重始终是 fp32，只有矩阵乘法用半精度，所以学到的东西几乎一样。

    - CPU 要有 bf16 的点积指令，不然 bf16 是用 fp32 模拟的，反而更慢。
      在一颗 AVX512-BF16 的 CPU 上，两百万参数的模型一步的时间是 fp32 的三分之二。
    - NVIDIA 显卡的计算能力 8.0 起用 bf16；7.x（V100、T4、20 系）没有 bf16，它的张量核心（tensor core）只认 fp16；
      更早的没有张量核心，fp16 在有些卡上比 fp32 慢几十倍。
    - 其余的（MPS、XPU、NPU）没有验证过，用 fp32。
    """
    if device == "cpu":
        return torch.bfloat16 if machine.cpu_has_bf16 else None
    if device != "cuda":
        return None
    if machine.hip is not None:
        return torch.bfloat16
    if machine.capability is None or machine.capability < VOLTA:
        return None
    return torch.bfloat16 if machine.capability >= AMPERE else torch.float16


def has_varlen_attention(machine: Machine, device: str, dtype: torch.dtype | None) -> bool:
    """首尾相接的一行，能不能用 torch 自带的变长注意力（``varlen_attn``）；不能就一段一段地算。

    真正用的时候，见 :mod:`finetuning.shortcuts.attention`。
    """
    return device == "cuda" and dtype is not None and is_ampere_or_newer(machine)


def is_ampere_or_newer(machine: Machine) -> bool:
    """NVIDIA 显卡的计算能力是不是 8.0 或更高：bf16、TF32、变长注意力的算子都要它。"""
    return machine.hip is None and machine.capability is not None and machine.capability >= AMPERE


def trouble(machine: Machine) -> str | None:
    """有显卡却用不上、或用得不好时的一句话：是什么，为什么，用哪一条命令改；都好是 None。"""
    if machine.accelerator:
        return _about_the_card(machine)
    if machine.hidden:
        return None
    if machine.driver and machine.driver.cards:
        return _about_the_driver(machine, machine.driver)
    if machine.torch_npu:
        return (
            "装了 torch_npu，torch 却没有找到昇腾 NPU，这一次用 CPU；请查对 torch_npu 与 torch 的版本是不是配套，"
            "CANN 的 set_env.sh 有没有 source。"
        )
    return None


def idle_cards(machine: Machine, processes: int) -> str | None:
    """一个进程只用一块显卡：还有别的闲着，就说怎样都用上。"""
    if processes > 1 or machine.count < 2 or usable_device(machine) == "cpu":
        return None
    uv_run = "uv run " if machine.by_uv else ""
    return (
        f"有 {machine.count} 块显卡，这一次只用第一块；"
        f"要都用上，把 {uv_run}python 换成 {uv_run}torchrun --nproc_per_node {machine.count}。"
    )


def faster_precision(machine: Machine) -> str | None:
    """没有试过的加速器用 fp32，训练时可以自己要 bf16；已经要了的不必问。"""
    return "精度用 fp32；想快一些，可以试试 --bf16 true。" if machine.accelerator in _NAMES else None


def _about_the_card(machine: Machine) -> str | None:
    if machine.accelerator in _NAMES:
        return f"{_NAMES[machine.accelerator]}：这个项目没有在这种设备上试过。"
    if _has_kernels(machine):
        return None
    assert machine.capability is not None
    major, minor = machine.capability
    too_old = machine.capability < min(map(_capability, machine.kernels))
    return (
        f"这块显卡（{machine.name}，计算能力 {major}.{minor}）太{'旧' if too_old else '新'}，"
        f"装的 torch（{machine.torch}）里没有给它编译的算子，这一次用 CPU；请换一个有的："
        f"{_install(machine, _OLD_BUILD if too_old else 'auto')}。"
    )


def _about_the_driver(machine: Machine, driver: Driver) -> str:
    card = f"这台机器有 NVIDIA 显卡（{driver.cards[0]}），"
    able = f"驱动（{driver.version}）最高支持 CUDA {driver.cuda[0]}.{driver.cuda[1]}"
    if driver.cuda < _OLDEST_DRIVER:
        return f"{card}但{able}，现在的 torch 都用不上它，只会用 CPU；请升级驱动{_RENTED}。"
    # 同一个大版本的 CUDA 之内，旧的驱动也能用新的库（minor version compatibility），所以 12.x 的都能用 cu126。
    backend = _OLD_BUILD if driver.cuda[0] == _OLDEST_DRIVER[0] else "auto"
    if backend == _OLD_BUILD and driver.capability is not None and driver.capability >= BLACKWELL:
        if driver.cuda < _BLACKWELL_DRIVER:
            return f"{card}但{able}，有它的算子的 torch 都要 12.8 起的驱动，所以只会用 CPU；请升级驱动{_RENTED}。"
        backend = _BLACKWELL_BUILD
    if machine.cuda is None:
        return (
            f"{card}但装的 torch（{machine.torch}）是没有 CUDA 的，只会用 CPU；请换一个有的："
            f"{_install(machine, backend)}。"
        )
    if driver.cuda[0] < int(machine.cuda.split(".")[0]):
        return (
            f"{card}但{able}，装的 torch（{machine.torch}）要 CUDA {machine.cuda}，所以只会用 CPU；"
            f"请升级驱动{_RENTED}，或换一个配得上驱动的 torch：{_install(machine, backend)}。"
        )
    return (
        f"{card}驱动（{driver.version}）也够新，torch（{machine.torch}）却没有找到它，只会用 CPU；"
        "设过 CUDA_VISIBLE_DEVICES 的请查对号码（从 0 数起），刚升级过驱动的请重启机器，"
        "在容器里的请用 --gpus all 启动它（租来的：换一台机器）。"
    )


def _install(machine: Machine, backend: str) -> str:
    """换一个 torch 的命令；由 ``uv run`` 启动的，还要说以后怎样运行。"""
    return _INSTALL.format(machine.python, backend) + (_AFTERWARDS if machine.by_uv else "")


def _has_kernels(machine: Machine) -> bool:
    """torch 里有没有给这块 NVIDIA 显卡编译的算子；不是 NVIDIA 的、不知道的，当作有。

    ``sm_75`` 是编译好的，同一个大版本里不比它旧的卡都能用；``compute_75`` 是中间代码（PTX），不比它旧的卡都能当场编译。
    """
    if machine.capability is None or not machine.kernels or machine.hip is not None:
        return True
    return any(
        _capability(kernel) <= machine.capability
        and (kernel.startswith("compute") or _capability(kernel)[0] == machine.capability[0])
        for kernel in machine.kernels
    )


def _capability(kernel: str) -> tuple[int, int]:
    """``"sm_120"``、``"sm_90a"`` → ``(12, 0)``、``(9, 0)``。"""
    number = int(kernel.split("_")[1].rstrip("af"))
    return number // 10, number % 10


def state_table(states: Sequence[tuple[str, Machine]]) -> str:
    """各种状态下的设备、精度、注意力和要说的话，写成 Markdown 的表（``docs/where_to_run.md``）。"""
    lines = ["| 状态 | 设备 | 精度 | 首尾相接时的注意力 | 打印什么 |", "|---|---|---|---|---|"]
    for title, machine in states:
        device = usable_device(machine)
        dtype = autocast_dtype(machine, device)
        precision = "fp32" if dtype is None else {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
        attention = "变长注意力" if has_varlen_attention(machine, device, dtype) else "一段一段地算"
        said = "".join(filter(None, (trouble(machine), idle_cards(machine, 1), faster_precision(machine))))
        lines.append(f"| {title} | {device} | {precision} | {attention} | {said or '（不另外说）'} |")
    return "\n".join(lines)
