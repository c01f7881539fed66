"""显卡、驱动、torch 的各种状态：用哪个设备、精度、注意力，说什么；没有显卡也逐种试过。"""

import ctypes
import re
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from finetuning import device as device_module
from finetuning import nvidia_driver
from finetuning.accelerators import (
    Driver,
    Machine,
    autocast_dtype,
    faster_precision,
    has_varlen_attention,
    idle_cards,
    state_table,
    trouble,
    usable_device,
)
from finetuning.arguments.trainer import SFTArguments
from finetuning.device import find_trouble, look, peak_memory_mb

PAGE = Path(__file__).parents[1] / "docs" / "where_to_run.md"
BUILD = "2.15.0+cu132"
KERNELS = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")  # PyPI 上给 Linux 的 torch 2.15，没有 PTX
OLD_DRIVER = Driver("550.54.15", (12, 4), ("Tesla T4",))
OLDEST_DRIVER = Driver("470.82.01", (11, 4), ("Tesla V100",))
BLACKWELL_DRIVER = Driver("570.124.06", (12, 8), ("NVIDIA GeForce RTX 5090",), (12, 0))
TOO_OLD_FOR_BLACKWELL = Driver("550.54.15", (12, 4), ("NVIDIA GeForce RTX 5090",), (12, 0))
NEW_DRIVER = Driver("595.10", (13, 2), ("NVIDIA GeForce RTX 4090",))


def card(name: str, capability: tuple[int, int], **changes) -> Machine:
    """torch 用得上的 NVIDIA 显卡。"""
    found = {"accelerator": "cuda", "count": 1, "name": name, "capability": capability, "kernels": KERNELS}
    return Machine(**{"torch": BUILD, "cuda": "13.2", **found, **changes})


OLD_BUILD = {"torch": "2.15.0+cu126", "cuda": "12.6", "kernels": ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_90")}

BF16, FP16 = torch.bfloat16, torch.float16
NO_CUDA = Machine("2.15.0+cpu", driver=NEW_DRIVER)

# 名字、状态；设备、精度、有没有变长注意力、说的话里要有的（空的是什么也不说）
CASES = [
    ("没有显卡", Machine(BUILD, "13.2"), "cpu", None, False, ""),
    ("没有显卡，CPU 有 bf16 指令", Machine(BUILD, "13.2", cpu_has_bf16=True), "cpu", BF16, False, ""),
    ("A100、30 系、40 系（8.x）", card("NVIDIA A100", (8, 0)), "cuda", BF16, True, ""),
    ("H100、H200（9.0）", card("NVIDIA H200", (9, 0)), "cuda", BF16, True, ""),
    ("50 系（12.0）", card("NVIDIA GeForce RTX 5090", (12, 0)), "cuda", BF16, True, ""),
    ("T4、20 系（7.5）", card("Tesla T4", (7, 5)), "cuda", FP16, False, ""),
    ("V100（7.0），torch 是 cu126 的", card("Tesla V100", (7, 0), **OLD_BUILD), "cuda", FP16, False, ""),
    ("P100、10 系（6.x），torch 是 cu126 的", card("Tesla P100", (6, 0), **OLD_BUILD), "cuda", None, False, ""),
    ("两块 T4，一个进程", card("Tesla T4", (7, 5), count=2), "cuda", FP16, False, "--nproc_per_node 2"),
    ("显卡比 torch 里的算子旧", card("Tesla V100", (7, 0)), "cpu", None, False, "太旧.*=cu126"),
    ("显卡比 torch 里的算子新", card("RTX 5090", (12, 0), **OLD_BUILD), "cpu", None, False, "太新.*=auto"),
    ("torch 是 CPU 版（PyPI 上给 Windows 的）", NO_CUDA, "cpu", None, False, "4090.*=auto"),
    ("驱动比 torch 旧", Machine(BUILD, "13.2", driver=OLD_DRIVER), "cpu", None, False, "CUDA 12.4.*13.2.*=cu126"),
    ("50 系，12.8 起的 12.x 驱动", Machine(BUILD, "13.2", driver=BLACKWELL_DRIVER), "cpu", None, False, "12.8.*=cu128"),
    (
        "50 系，更旧的驱动",
        Machine(BUILD, "13.2", driver=TOO_OLD_FOR_BLACKWELL),
        "cpu",
        None,
        False,
        "12.8 起.*请升级驱动",
    ),
    ("驱动太旧", Machine(BUILD, "13.2", driver=OLDEST_DRIVER), "cpu", None, False, "11.4.*请升级驱动（.*换一台.*）。"),
    (
        "驱动够新，torch 找不到显卡",
        Machine(BUILD, "13.2", driver=NEW_DRIVER),
        "cpu",
        None,
        False,
        "CUDA_VISIBLE.*重启.*--gpus",
    ),
    ("自己藏起来的（`CUDA_VISIBLE_DEVICES=-1`）", Machine(BUILD, "13.2", hidden=True), "cpu", None, False, ""),
    ("AMD 显卡（ROCm）", Machine("2.15.0+rocm7.1", hip="7.1", accelerator="cuda", count=1), "cuda", BF16, False, ""),
    ("苹果（MPS）", Machine("2.15.0", accelerator="mps", count=1), "mps", None, False, ""),
    ("Intel 显卡（XPU）", Machine("2.15.0+xpu", accelerator="xpu", count=1), "xpu", None, False, "Intel.*没有.*bf16"),
    ("昇腾 NPU", Machine("2.10.0", accelerator="npu", count=1, torch_npu=True), "npu", None, False, "昇腾.*没有.*bf16"),
    ("装了 torch_npu，找不到 NPU", Machine("2.10.0", torch_npu=True), "cpu", None, False, "CANN"),
]
STATES = [case[:2] for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_each_state(case):
    _, state, device, dtype, varlen, said = case
    assert usable_device(state) == device
    assert autocast_dtype(state, device) == dtype
    assert has_varlen_attention(state, device, dtype) == varlen
    sentences = "".join(filter(None, (trouble(state), idle_cards(state, 1), faster_precision(state))))
    if not said:
        assert sentences == ""
        return
    assert re.search(said, sentences)
    assert "\n" not in sentences
    assert sentences.endswith("。")


def test_the_page_shows_these_states():
    assert state_table(STATES) in PAGE.read_text(encoding="utf-8")


def test_only_training_offers_a_flag_of_training():
    """chat.py 和教程的第 0 节也说 trouble 的那一句，它们没有 --bf16。"""
    assert all("--bf16" not in (trouble(state) or "") for _, state in STATES)


def test_a_new_card_with_an_old_driver_is_not_sent_to_another_torch():
    assert "uv pip" not in str(trouble(Machine(BUILD, "13.2", driver=TOO_OLD_FOR_BLACKWELL)))
    assert "uv pip" not in str(trouble(Machine("2.15.0+cpu", driver=TOO_OLD_FOR_BLACKWELL)))
    assert "=cu128" in str(trouble(Machine("2.15.0+cpu", driver=BLACKWELL_DRIVER)))


def test_ptx_runs_on_newer_cards():
    """自己编译的 torch 里可以有中间代码（``compute_120``），不比它旧的卡都能用。"""
    assert usable_device(card("NVIDIA X", (13, 0))) == "cpu"
    assert usable_device(card("NVIDIA X", (13, 0), kernels=(*KERNELS, "compute_120"))) == "cuda"


def test_without_uv_run_nothing_is_said_of_it():
    """照着做就会另装一个环境。"""
    here = {"by_uv": False, "python": "/opt/my conda/bin/python"}
    old = str(trouble(Machine(BUILD, "13.2", driver=OLD_DRIVER, **here)))
    assert 'uv pip install --python "/opt/my conda/bin/python" ' in old
    assert "uv run" not in old
    cards = idle_cards(card("Tesla T4", (7, 5), count=2, **here), 1)
    assert cards == "有 2 块显卡，这一次只用第一块；要都用上，把 python 换成 torchrun --nproc_per_node 2。"


def test_several_processes_use_all_cards():
    assert idle_cards(card("Tesla T4", (7, 5), count=2), 2) is None


# ----------------------------------------------------------------------------------------------------------------------
# 问 torch


def test_what_torch_sees_here():
    machine = look()
    assert machine.torch == torch.__version__
    assert device_module.best_device().type == usable_device(machine)
    assert machine.python == sys.executable
    assert (machine.accelerator is None) == (torch.accelerator.current_accelerator(check_available=True) is None)


def test_the_driver_is_asked_only_when_torch_finds_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(device_module, "ask_driver", lambda: asked.append(1) or OLD_DRIVER)
    monkeypatch.setattr(device_module, "look", lambda: Machine(BUILD, "13.2"))
    assert "12.4" in str(find_trouble())
    monkeypatch.setattr(device_module, "look", lambda: Machine(BUILD, "13.2", hidden=True))
    assert find_trouble() is None
    monkeypatch.setattr(device_module, "look", lambda: card("Tesla T4", (7, 5)))
    assert find_trouble() is None
    assert len(asked) == 1


@pytest.mark.parametrize("value", ["", "-1"])
def test_cards_hidden_by_the_user(monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert look().hidden


def test_torch_s_own_warning_is_not_repeated(monkeypatch):
    def old_driver(check_available):
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old", stacklevel=2)

    monkeypatch.setattr(torch.accelerator, "current_accelerator", old_driver)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert look().accelerator is None


def test_a_card_without_kernels_is_not_left_to_the_trainer(monkeypatch, tmp_path):
    from finetuning.arguments import trainer as arguments

    monkeypatch.setattr(arguments, "best_device", lambda: torch.device(usable_device(card("Tesla V100", (7, 0)))))
    args = SFTArguments(output_dir=str(tmp_path))
    assert (args.use_cpu, args.asked_for_cpu, args.device.type) == (True, False, "cpu")


def test_an_unknown_accelerator_is_left_to_the_trainer(monkeypatch, tmp_path):
    """XPU、NPU：不再强要 CPU；用哪个由 Trainer 选，打印的也是它选的。"""
    from finetuning.arguments import trainer as arguments

    monkeypatch.setattr(arguments, "best_device", lambda: torch.device("xpu"))
    args = SFTArguments(output_dir=str(tmp_path), bf16=False)
    assert not args.use_cpu


def test_one_process_uses_one_card(monkeypatch, tmp_path):
    """Trainer 默认用 DataParallel 把一批切给看得见的几块显卡；首尾相接的一行切不开。"""
    args = SFTArguments(output_dir=str(tmp_path), per_device_train_batch_size=3)
    args._n_gpu = 2
    assert (args.n_gpu, args.train_batch_size) == (1, 3)


def test_the_memory_peak_of_the_cpu():
    assert peak_memory_mb(torch.device("cpu")) > 1


# ----------------------------------------------------------------------------------------------------------------------
# 问驱动：装作 NVML 的库


class FakeNVML:
    """NVML 的几个函数；``failing`` 里的返回错误。"""

    def __init__(self, *failing: str, cards: int = 2):
        self.failing, self.cards, self.open = failing, cards, 0

    def result(self, name: str) -> int:
        return 999 if name in self.failing else 0

    def nvmlInit_v2(self):
        self.open += not self.result("init")
        return self.result("init")

    def nvmlShutdown(self):
        self.open -= 1
        return 0

    def nvmlSystemGetDriverVersion(self, buffer, size):
        buffer.value = b"550.54.15"
        return self.result("driver")

    def nvmlSystemGetCudaDriverVersion_v2(self, number):
        number._obj.value = 12040
        return self.result("cuda")

    def nvmlDeviceGetCount_v2(self, number):
        number._obj.value = self.cards
        return self.result("count")

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = index.value + 1
        return self.result("handle")

    def nvmlDeviceGetName(self, handle, buffer, size):
        buffer.value = f"Card {handle.value}".encode()
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):
        major._obj.value, minor._obj.value = 11 + handle.value, 0
        return self.result("capability")


def test_reading_the_driver():
    nvml = FakeNVML()
    assert nvidia_driver.read_driver(nvml) == Driver("550.54.15", (12, 4), ("Card 1", "Card 2"), (12, 0))
    assert nvml.open == 0


@pytest.mark.parametrize("old", [FakeNVML("capability"), FakeNVML(cards=0)])
def test_a_driver_without_the_capability(old):
    assert nvidia_driver.read_driver(old).capability is None


@pytest.mark.parametrize("failing", ["init", "driver", "cuda", "count"])
def test_a_driver_that_answers_with_an_error(failing):
    nvml = FakeNVML(failing)
    assert nvidia_driver.read_driver(nvml) is None
    assert nvml.open == 0


def test_a_card_that_cannot_be_asked():
    assert nvidia_driver.read_driver(FakeNVML("handle", cards=1)).cards == ("第 0 块",)


def missing(name):
    raise OSError(name)


def hanging(name):
    time.sleep(1)


def outdated(name):
    return object()


@pytest.mark.parametrize("library", [missing, hanging, outdated])
def test_asking_never_fails_and_never_hangs(monkeypatch, library):
    monkeypatch.setattr(nvidia_driver, "_TIMEOUT", 0.05)
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert nvidia_driver.ask_driver() is None
