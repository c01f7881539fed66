"""检查点（checkpoint）：训练到一半的全部状态，断了可以从它接着训练；写到一半的、坏了的不算数。

一个检查点是一个目录里的好几个文件，写的过程中随时可能被终止。所以先写 ``arguments.json``（它是哪一次训练的，
参数、数据、基座是什么），最后写一个清单 ``complete.json``：每个文件的字节数和 SHA-256。有清单，而且与文件相符，
才是完整的检查点；旧的检查点等新的完整了才删。没有 ``arguments.json`` 的不是我们写的，从来不删。
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from finetuning.output.claim import BAD_ROWS, CHECKPOINT, MANIFEST, remove, remove_checkpoint, set_aside
from finetuning.output.fingerprint import RECORD_FILE, read_record, write_json
from finetuning.output.record import Record


def list_checkpoints(output_dir: Path) -> list[Path]:
    """输出目录里我们写的检查点，完整的和不完整的，按步数从小到大。"""
    found = [path for path in output_dir.glob("checkpoint-*") if CHECKPOINT.fullmatch(path.name)]
    return sorted((path for path in found if (path / RECORD_FILE).is_file()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """检查点是第几步之后存的。"""
    match = CHECKPOINT.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match[1])


def write_manifest(directory: Path) -> None:
    """写下 ``directory`` 里每个文件的字节数和 SHA-256；以后 :func:`is_complete` 据此核对。

    跳过的坏行不算：每次读数据都重新写，读到一半断了，训练好的权重仍是完整的。
    """
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(BAD_ROWS)
    )
    manifest = {path.relative_to(directory).as_posix(): [path.stat().st_size, _sha256(path)] for path in files}
    write_json(directory / MANIFEST, manifest)


def is_complete(directory: Path) -> bool:
    """清单里的文件都在，而且一个字节也没有变。"""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return (
            all((directory / name).stat().st_size == size for name, (size, _) in manifest.items())  # 先看快的
            and all(_sha256(directory / name) == digest for name, (_, digest) in manifest.items())
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def remove_unlisted(directory: Path) -> None:
    """删掉清单里没有的：写完清单以后又写进去的，不知道写完了没有。"""
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    kept = {MANIFEST, *(Path(name).parts[0] for name in manifest)}
    for child in directory.iterdir():
        if child.name not in kept:
            remove(child)


def is_damaged(directory: Path) -> bool:
    """写完过，后来坏了（不是写到一半）。"""
    return (directory / MANIFEST).exists() and not is_complete(directory)


def last_complete(output_dir: Path) -> Path | None:
    """最新的一个完整的检查点；没有就是 None。"""
    return next((path for path in reversed(list_checkpoints(output_dir)) if is_complete(path)), None)


class CheckpointWriter:
    """一次训练写的检查点：写之前先声明是谁的，写完以后写清单，然后才删旧的。

    Args:
        output_dir: 检查点所在的目录。
        record: 这次训练的记录，见 :mod:`finetuning.output.record`。
        limit: 最多留几个完整的检查点；None 是全留。
    """

    def __init__(self, output_dir: Path, record: Record, limit: int | None):
        self.output_dir, self.record, self.limit = output_dir, record, limit
        self._started: float | None = None

    def start_clock(self) -> None:
        """训练开始了。"""
        self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """训练结束了，以后的时间不算。"""
        self.record.seconds_before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """到现在为止训练了多少秒，中断以前的也算。"""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.record.seconds_before + running

    def begin(self, step: int) -> None:
        """Trainer 要写第 ``step`` 步的检查点了：那里若有旧的，清掉；若有别人的，让开。"""
        checkpoint = self._path(step)
        if checkpoint.exists() or checkpoint.is_symlink():
            remove_checkpoint(checkpoint) if (checkpoint / RECORD_FILE).is_file() else set_aside(checkpoint)
        checkpoint.mkdir(parents=True)
        self.record.write(checkpoint, self.seconds)

    def finish(self, step: int, best: str | None) -> None:
        """第 ``step`` 步的检查点写完了：写清单；多出来的、别的训练留下的、比它晚的，到这时才删。

        Args:
            best: 验证损失最小的检查点（``--load_best_model_at_end``），不删。
        """
        checkpoint = self._path(step)
        write_manifest(checkpoint)
        kept = {checkpoint, Path(best)} if best else {checkpoint}
        older = []
        for path in list_checkpoints(self.output_dir):
            if path in kept:
                continue
            if step_of(path) > step or self._run_of(path) != self.record.run:
                remove_checkpoint(path)  # 从更早的检查点接着训练时，后面的已经作废；或者是上一次训练的
            else:
                older.append(path)
        if self.limit:
            for path in older[: max(0, len(older) + len(kept) - self.limit)]:
                remove_checkpoint(path)

    def _path(self, step: int) -> Path:
        return self.output_dir / f"checkpoint-{step}"

    def _run_of(self, checkpoint: Path) -> Any:
        return read_record(checkpoint).get("run")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
