"""用户能自己解决的错误：只说一句话，不给调用栈。"""

import io
import os
import re
import sys
from collections.abc import Callable

# 内存不够时，CUDA、MPS、Linux 与 Windows 的 CPU 分配器、cuBLAS 各有各的说法。
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED")
# 磁盘满了、超出配额、超出文件大小的上限；torch.save 只说它的写入器失败了。
_NO_SPACE = re.compile(
    r"No space left|not enough space|quota exceeded|File too large|PytorchStreamWriter failed|unexpected pos"
)


class UserError(Exception):
    """由用户的输入引起的错误；消息是一句完整的中文：哪里错了，在什么位置，怎么办。"""


class Interrupted(UserError):
    """用户按了 Ctrl-C；消息说停在哪里，怎么接着做。"""


def say(text: str = "") -> None:
    """打印一行；多卡训练（torchrun、accelerate launch）时只由第一个进程打印。"""
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)


def run_main(main: Callable[[], None]) -> None:
    """运行 ``main``；遇到用户能解决的错误，只把那一句话写到标准错误。

    退出码：:class:`UserError`，以及内存、磁盘、权限不够，是 1；按了 Ctrl-C 是 130（与 shell 的惯例相同）。
    """
    # 有的终端和管道（尤其在 Windows 上）编码不了某些字符：用问号代替，不要中断。
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        main()
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"\n{stop or '已中断。'}", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else _out_of_resources(error)
        if message is None:
            raise
        print(f"错误：{message}", file=sys.stderr)
        raise SystemExit(1) from None


def _out_of_resources(error: Exception) -> str | None:
    """内存、磁盘、权限不够时的一句话；别的错误是 None。"""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        return (
            "内存（显存）不够；请减小 --per_device_train_batch_size（可以加大 --gradient_accumulation_steps 来补）或 "
            "--max_length，加上 --gradient_checkpointing，或换小一些的模型。"
        )
    if _NO_SPACE.search(text):
        return (
            "磁盘满了，或超出了配额，没有写完；以前的结果和完整的检查点都在，"
            "请腾出空间，再用 --resume_from_checkpoint true 接着训练，还没有检查点的就重新开始。"
        )
    if isinstance(error, PermissionError) or "Read-only file system" in text:
        return f"没有权限读写文件（{text}）；请检查权限，或用 --output_dir 换一个目录。"
    return None
