"""输出的文件：从不覆盖已有的，写到一半停下的不留下。"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from finetuning.errors import UserError


def check_outputs(outputs: dict[str, Path], inputs: Iterable[str]) -> None:
    """开始之前就看好：都还没有，互不相同，也不是输入的文件。

    Args:
        outputs: 参数的名字 → 要写的文件。

    Raises:
        UserError: 不合适的。
    """
    places = {os.path.realpath(name): name for name in inputs}
    seen: dict[str, str] = {}
    for option, path in outputs.items():
        real = os.path.realpath(path)
        if real in places:
            raise UserError(f"{option} {path} 就是要看的 {places[real]}；请换一个名字，原来的数据不动。")
        if real in seen:
            raise UserError(f"{option} 与 {seen[real]} 写到同一个文件 {path}；请换一个名字。")
        seen[real] = option
        if os.path.lexists(path):
            raise UserError(f"{option} 的 {path} 已经有了；请换一个名字，或先把它移走。")
        if not path.parent.is_dir():
            raise UserError(f"{option} 的目录 {path.parent} 不存在；请先建好它，或换一个目录。")


@contextmanager
def published(paths: Iterable[Path]) -> Iterator[list[IO[str]]]:
    """打开几个要写的文件；``with`` 里没有出错，才一起换成真正的名字，不然都不留下。

    Raises:
        UserError: 写不了；写的时候别人先写了同名的文件。
    """
    finals = list(paths)
    drafts = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in finals]
    files: list[IO[str]] = []
    try:
        try:
            for draft in drafts:
                # 文件名可以不是 UTF-8（里面有单独的代理项）；写成 \udXXX，这恰好就是 JSON 的转义
                files.append(draft.open("w", encoding="utf-8", errors="backslashreplace", newline="\n"))
        except OSError as error:
            raise UserError(
                f"写不进 {drafts[len(files)].parent}（{error.strerror}）；请换一个可以写的目录。"
            ) from error
        yield files
        for file in files:
            file.close()
        for draft, final in zip(drafts, finals, strict=True):
            if os.path.lexists(final):
                raise UserError(f"{final} 刚刚有了别的内容，没有覆盖它；请换一个名字再来。")
            draft.rename(final)
    finally:
        for file in files:
            file.close()
        for draft in drafts:
            draft.unlink(missing_ok=True)
