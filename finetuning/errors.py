"""用户能自己解决的错误：只说一句话，不给调用栈。"""

import io
import sys
from collections.abc import Callable


class UserError(Exception):
    """由用户的输入引起的错误；消息是一句完整的中文：哪里错了，在什么位置，怎么办。"""


def run_main(main: Callable[[], None]) -> None:
    """运行 ``main``；遇到 :class:`UserError` 时只把那一句话写到标准错误，并以退出码 1 结束。

    按了 Ctrl-C 也只说一句，退出码是 130（与 shell 的惯例相同）。
    """
    # 有的终端和管道（尤其在 Windows 上）编码不了某些字符：用问号代替，不要中断。
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        main()
    except UserError as error:
        print(f"错误：{error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\n已中断。", file=sys.stderr)
        raise SystemExit(130) from None
