"""数据集的样本放在磁盘上：内容在临时文件里，内存里只记每一项的位置。

每个样本的 token 若留在内存里，五十万条对话要几百 MB，几张卡的几个进程还要各留一份。

不用 ``datasets``（它也把表放在磁盘上）：写和读要三倍的时间，内存多两百 MB，还把缓存留在用户的目录里
（``python -m benchmarks.store``：十万个样本，写 0.65 对 2.07 秒，随机读两万个 0.09 对 0.33 秒，内存 7 对 221 MB）。
"""

import os
import tempfile
import threading
from array import array
from typing import Any

from finetuning.errors import UserError


class DiskList:
    """只能往后添的 ``bytes`` 列表；没有人用它时，临时文件自动删除。

    每一项在内存里占 8 字节。临时文件在系统的临时目录（``tempfile.gettempdir()``），环境变量 ``TMPDIR`` 可以改。

    Raises:
        UserError: 没有能写的临时目录。
    """

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  与列表共存亡
        except OSError as error:
            raise UserError(
                f"没有能写的临时目录（{error.strerror or error}）；请设环境变量 TMPDIR，指到一个可以写、有空间的目录。"
            ) from error
        self._ends = array("q", [0])
        self._reading = threading.Lock()

    def append(self, item: bytes) -> None:
        """添一项。

        Raises:
            UserError: 写不进临时目录。
        """
        try:
            self._file.seek(self._ends[-1])
            self._file.write(item)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"临时目录 {tempfile.gettempdir()} 写不进数据（{error.strerror}）；"
                "请腾出空间，或设环境变量 TMPDIR，换一个目录。"
            ) from error
        self._ends.append(self._ends[-1] + len(item))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> bytes:
        index = range(len(self))[index]  # 负数从后数起；越界是 IndexError
        start, end = self._ends[index], self._ends[index + 1]
        if hasattr(os, "pread"):  # 不移动文件的读写位置：fork 出来的几个进程共用同一个位置
            return os.pread(self._file.fileno(), end - start, start)
        with self._reading:  # 检验的各批由两个线程来算：不能在别人挪了位置以后才读
            self._file.seek(start)
            return self._file.read(end - start)

    # 读数据的子进程若不是 fork 出来的（Windows、macOS），列表要送过去；打开的文件送不了，送内容。

    def __getstate__(self) -> dict[str, Any]:
        self._file.seek(0)
        return {"content": self._file.read(), "ends": self._ends}

    def __setstate__(self, state: dict[str, Any]) -> None:
        DiskList.__init__(self)
        self._file.write(state["content"])
        self._file.flush()
        self._ends = state["ends"]


class ExampleStore:
    """样本（``input_ids`` 和 ``labels``，一样长）的列表，只能往后添；每个 token 占 8 字节磁盘。"""

    def __init__(self) -> None:
        self._rows = DiskList()

    def append(self, input_ids: list[int], labels: list[int]) -> None:
        """添一个样本。"""
        self._rows.append(array("i", input_ids + labels).tobytes())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        numbers = array("i", self._rows[index]).tolist()
        half = len(numbers) // 2
        return {"input_ids": numbers[:half], "labels": numbers[half:]}
