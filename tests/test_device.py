"""设备：大页真的用上了。"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROGRAM = """
import sys, torch
from pathlib import Path
from finetuning.device import use_huge_pages
if sys.argv[1] == "huge":
    use_huge_pages()
tensor = torch.ones(64 * 2**20)
print(Path("/proc/self/smaps_rollup").read_text())
"""


def huge_megabytes(*flags: str) -> int:
    """新的进程里分配 256 MB 的张量，其中多少在大页里。"""
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", PROGRAM, *flags]
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    return int(re.search(r"AnonHugePages:\s+(\d+) kB", result.stdout)[1]) // 1024


@pytest.mark.skipif(not THP.exists() or "[madvise]" not in THP.read_text(), reason="系统不让程序自己要大页")
def test_large_tensors_are_on_huge_pages():
    assert huge_megabytes("plain") < 100
    assert huge_megabytes("huge") > 200
