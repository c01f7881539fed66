"""在 notebook 里运行一个脚本，边运行边显示它打印的东西。"""

import codecs
import os
import subprocess
import sys

from finetuning.terminal import launcher


def run_python(*arguments: str) -> None:
    """相当于在终端里运行 ``python …``；用的就是这个内核的 Python，输出一律按 UTF-8 读写。"""
    print("$", launcher(), *arguments)
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    # 来多少显示多少，不等一行写完：进度条只用回车（\r）重画同一行，没有换行。一个汉字可能分两次到，所以要增量解码。
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while piece := os.read(process.stdout.fileno(), 4096):
        print(decoder.decode(piece), end="", flush=True)
    if process.wait() != 0:
        print(f"（没有成功，退出码 {process.returncode}：请照上面那句话改正，再运行这一格。）")
