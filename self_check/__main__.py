"""``python -m self_check 文件``：与 ``python 文件`` 同样的检查，只是不先由 Python 来运行这个文件。

文件是空的、有语法错误时，``python 文件`` 由 Python 自己说（英文），甚至什么也不说、退出码 0；这里总有一份诊断。
批改的程序、CI 用它。参数与 ``python data_exercise.py`` 的相同。
"""

import sys
from pathlib import Path

from self_check.cli import run


def main() -> None:
    """命令行：第一个参数是文件，其余的照旧。"""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print("用法：python -m self_check data_exercise.py [--json | --watch | --hint]", file=sys.stderr)
        raise SystemExit(2)
    path = Path(sys.argv[1])
    if not path.is_file():
        print(f"没有 {path} 这个文件。", file=sys.stderr)
        raise SystemExit(2)
    del sys.argv[1]
    name = path.name.lower()
    run(next((todo for todo in ("lora", "debug") if todo in name), "data"), path)


if __name__ == "__main__":
    main()
