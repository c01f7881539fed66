"""用户能自己解决的错误：只说一句话，不给调用栈。"""

import sys
from collections.abc import Callable


class UserError(Exception):
    """由用户的输入引起的错误；消息是一句完整的中文：哪里错了，在什么位置，怎么办。"""


def run_main(main: Callable[[], None]) -> None:
    """运行 ``main``；遇到 :class:`UserError` 时只把那一句话写到标准错误，并以退出码 1 结束。"""
    try:
        main()
    except UserError as error:
        print(f"错误：{error}", file=sys.stderr)
        raise SystemExit(1) from None
