"""用户能自己解决的错误：只说一句话，不给调用栈。"""

import errno
import io
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from finetuning.terminal import abandon_stdout, current_stage, forget_stage

# 内存不够时，CUDA、MPS、Linux 与 Windows 的 CPU 分配器、cuBLAS 各有各的说法。
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED")
# 磁盘满了、超出配额、超出文件大小的上限；torch.save 只说它的写入器失败了。
_NO_SPACE = re.compile(
    r"No space left|not enough space|quota exceeded|File too large|PytorchStreamWriter failed|unexpected pos"
)

TRAINING, EVALUATION, READING, LOADING, MERGING = "训练", "检验", "读数据", "读入模型", "合并"
# 内存不够时该怎么办，要看是在做哪一件事时不够的。
_MEMORY_REMEDIES = {  # “训练前的检验”里也有“训练”两个字，所以检验在前
    EVALUATION: "请减小 --max_length 或 --max_test_prompts，或加上 --exact_match false",
    TRAINING: "请减小 --per_device_train_batch_size（可以加大 --gradient_accumulation_steps 来补）或 --max_length，"
    "加上 --gradient_checkpointing，或换小一些的模型",
    READING: "请减小数据，或把一整个 JSON 数组改存成 JSON Lines（一行一段对话，逐行读，不全部放进内存）",
    LOADING: "请换小一些的模型，或用 --method qlora（基座存成 4 bit）；先用 plan_memory.py 算一算要多少",
    MERGING: "适配器自己已经存好；合并要放得下整个模型，请去掉 --merge_and_save，或换一台内存大的机器来合并",
}

# 换了 torch，先装好的 torchvision 还是为旧的那个编译的：transformers 一导入它就失败。
# Notebook 的第 0 节也说这一句。
WRONG_TORCHVISION = (
    "torchvision 与装的 torch 不配套，一导入就失败；这里用不着它，请卸载："
    f'uv pip uninstall --python "{sys.executable}" torchvision torchaudio'
)


class UserError(Exception):
    """由用户的输入引起的错误；消息是一句完整的中文：哪里错了，在什么位置，怎么办。"""


class Interrupted(UserError):
    """用户按了 Ctrl-C，或程序收到了停下的信号；消息说停在哪里，怎么接着做。"""

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number


class Terminated(KeyboardInterrupt):
    """收到了 SIGTERM 或 SIGHUP：与 Ctrl-C 一样处理，只是退出码不同。"""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


# 关掉终端、任务调度器到了时限，发的都是这些信号；Windows 没有 SIGHUP。
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


@contextmanager
def stop_signals_handled(handler: Callable[[int, FrameType | None], None], *also: int) -> Iterator[None]:
    """``with`` 之内，要程序停下的信号交给 ``handler``，之后恢复原样。

    启动时就要求不理的（例如 ``nohup`` 之于 SIGHUP），照旧不理。

    Args:
        also: 另外要处理的信号，如 ``signal.SIGINT``。
    """
    numbers = [*also, *(number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN)]
    try:
        previous = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # 不在主线程里：信号归主线程管
        previous = {}
    try:
        yield
    finally:
        for number, original in previous.items():
            signal.signal(number, original)


_SAME_REQUEST_SECONDS = 1.0
_last_request = (0, 0.0)  # 信号的号码，什么时候来的


def is_repeated(number: int) -> bool:
    """刚来过的信号又来了一个，算同一个要求，不必再理；所有的处理函数都先问它。

    ``timeout``、``uv run`` 和任务调度器一层层转发 SIGTERM，同一个要求几毫秒之内会到两三次，这时程序多半正在收拾。
    Ctrl-C 是人按的，不算：按两次就是要立即停下。
    """
    global _last_request
    now = time.monotonic()
    before, at = _last_request
    if number == before != signal.SIGINT and now - at < _SAME_REQUEST_SECONDS:
        return True
    _last_request = (number, now)
    return False


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    """与 Ctrl-C 一样抛异常，``finally`` 才有机会收拾。"""
    if not is_repeated(number):
        raise Terminated(number)


def run_main(main: Callable[[], None]) -> None:
    """运行 ``main``；遇到用户能解决的错误，只把那一句话写到标准错误。

    退出码：:class:`UserError`，以及内存、磁盘、权限不够，是 1；按了 Ctrl-C 是 130，收到 SIGTERM 是 143，SIGHUP 是 129
    （128 加信号的号码，与 shell 的惯例相同）。
    """
    # 有的终端和管道（尤其在 Windows 上）编码不了某些字符：用问号代替，不要中断。
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    forget_stage()
    with stop_signals_handled(_raise_terminated):
        try:
            main()
        except (Interrupted, KeyboardInterrupt) as stop:
            print(f"\n{str(stop) or '已中断。'}", file=sys.stderr)
            raise SystemExit(128 + getattr(stop, "number", signal.SIGINT)) from None
        except BrokenPipeError:  # 读的人走了（| head）：不是错误，也没有人要听
            abandon_stdout()
            raise SystemExit(1) from None
        except Exception as error:
            message = str(error) if isinstance(error, UserError) else _remedy(error)
            if message is None:
                raise
            print(f"错误：{message}", file=sys.stderr)
            raise SystemExit(1) from None


def _remedy(error: Exception) -> str | None:
    """内存、磁盘、权限不够，显卡用不了，库不配套时的一句话；别的错误是 None。"""
    text = str(error)
    if any("torchvision::" in str(cause) for cause in _causes(error)):
        return f"{WRONG_TORCHVISION}。"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        doing = current_stage()
        remedy = next((advice for name, advice in _MEMORY_REMEDIES.items() if name in doing), "请换小一些的模型或数据")
        return f"{doing}时内存（显存）不够；{remedy}。" if doing else f"内存（显存）不够；{remedy}。"
    if "no kernel image" in text:
        return (
            "装的 torch 里没有给这块显卡编译的算子（显卡太旧，或太新）；加上 --use_cpu 可以先用 CPU，"
            "怎样换一个 torch，见 docs/where_to_run.md。"
        )
    if _NO_SPACE.search(text):
        return (
            "磁盘满了，或超出了配额，没有写完；以前的结果和完整的检查点都在，"
            "请腾出空间，再用 --resume_from_checkpoint true 接着训练，还没有检查点的就重新开始。"
        )
    if (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)) or "Too many open files" in text:
        return (
            "打开的文件太多，超出了系统的上限；请先运行 ulimit -n 4096 再试，或减小 --dataloader_num_workers，"
            "关掉别的占着很多文件的程序。"
        )
    if isinstance(error, FileNotFoundError) and "temporary directory" in text:
        return "没有能写的临时目录；请设环境变量 TMPDIR，指到一个可以写、有空间的目录。"
    if isinstance(error, PermissionError) or "Read-only file system" in text:
        return f"没有权限读写文件（{text}）；请检查权限，或用 --output_dir 换一个目录。"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """这个异常，引起它的，引起引起它的……"""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
