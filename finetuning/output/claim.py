"""占用一个输出目录：标记（归我们管）、锁（只有一个进程在用）；把完成了的结果移到位，断在哪一步都接得上。"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetuning.errors import UserError
from finetuning.output.fingerprint import RECORD_FILE, read_record, write_json
from finetuning.terminal import say

METRICS_FILE, ANSWERS_FILE, SYMPTOMS_FILE = "metrics.json", "answers.jsonl", "symptoms.json"
TRAINER_STATE, MANIFEST = "trainer_state.json", "complete.json"
UNFINISHED_DIR, PUBLISHING_DIR = "unfinished", "publishing"
BAD_ROWS = "bad_rows_"  # 跳过的坏行记在这样的文件里
CHECKPOINT = re.compile(r"checkpoint-(\d+)")  # Trainer 起的名字
_MARKER, _LOCK, _PLAN = ".sft_output.json", ".lock", ".moving.json"
_NOT_PUBLISHED = {MANIFEST, TRAINER_STATE}  # 只为接着检验而存的
_CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # 系统自己放的，不算有东西
_ABOUT = (
    "这个目录归 SFT 教程的脚本管理：训练完以后，files 里的文件会被新的结果换掉。删掉这个文件，脚本就不再写这个目录。"
)


# ----------------------------------------------------------------------------------------------------------------------
# 标记和锁


def acquire(path: Path, marker: dict[str, Any]) -> tuple[FileLock, list[Path]]:
    """占用一个输出目录：没有就建立；是空的，放上标记；已经是我们的，上锁。

    Args:
        marker: 新建的标记里另外写的内容。

    Returns:
        锁，和这一次新建的各级目录（从里到外）。

    Raises:
        UserError: 不是我们的，有人在用，或不能写。
    """
    with writable(path):
        created = [directory for directory in (path, *path.parents) if not directory.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"不能创建输出目录 {path}（{error.strerror}）；请用 --output_dir 换一个。") from error
        names = {child.name for child in path.iterdir()} - _CLUTTER - {_LOCK, f"{_MARKER}.part"}
        if names and not is_ours(path):
            example = min(names)
            raise UserError(
                f"{path} 里已有别的文件（如 {example}），不是训练脚本的输出目录，训练会与它们混在一起，甚至盖掉它们；"
                "请用 --output_dir 换一个新的或空的目录。"
            )
        for name in (UNFINISHED_DIR, PUBLISHING_DIR, _LOCK, _MARKER):
            expected = Path.is_dir if name in (UNFINISHED_DIR, PUBLISHING_DIR) else Path.is_file
            place = path / name
            if place.is_symlink() or (place.exists() and not expected(place)):
                raise UserError(
                    f"{place} 是符号链接，或类型不对，不是训练脚本写的；请移走它，或用 --output_dir 换一个目录。"
                )
        for place in (path / UNFINISHED_DIR, path / PUBLISHING_DIR):
            if place.is_dir() and any(place.iterdir()) and not _is_our_work(place):
                raise UserError(f"{place} 不是训练脚本写的；请移走它，或用 --output_dir 换一个目录。")
        for place in path.glob("checkpoint-*"):
            if place.is_symlink() or not place.is_dir():
                raise UserError(f"{place} 不是目录，检查点写不进去；请移走它，或用 --output_dir 换一个目录。")
        lock = FileLock(path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"{path} 正被另一个训练使用；请等它结束，或用 --output_dir 换一个目录。") from error
        except NotImplementedError:  # 有的网络文件系统不支持锁
            say(f"{path} 所在的文件系统不支持锁；请自己保证没有别的训练在用这个目录。")
        if not is_ours(path):
            write_json(path / _MARKER, {"about": _ABOUT, "files": [], **marker})
    return lock, created


def _is_our_work(place: Path) -> bool:
    """``unfinished`` 或 ``publishing`` 是我们写的：有记录，有要移的名单，或只剩下不必移的。"""
    names = {child.name for child in place.iterdir()}
    return (
        bool(read_record(place)) or _PLAN in names or names <= {*_NOT_PUBLISHED, f"{_PLAN}.part", f"{RECORD_FILE}.part"}
    )


def is_ours(path: Path) -> bool:
    """目录里有我们的标记。"""
    return read_marker(path) is not None


def read_marker(path: Path) -> dict[str, Any] | None:
    """标记的内容：``method``；``files``，结果的各个文件和目录；``inside``，这些目录里有什么。不是我们的，是 None。"""
    try:
        marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
        inside = marker.get("inside") if isinstance(marker.get("inside"), dict) else {}
        return {"method": marker.get("method"), "files": _inside_only(marker["files"]), "inside": inside}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _inside_only(names: list[str]) -> list[str]:
    """去掉不在这个目录里的名字：标记可能是别人连同目录一起发来的，不能照它说的去动外面的文件。"""
    return [name for name in names if name not in ("", ".", "..") and name == Path(name).name]


def files_of(path: Path) -> list[str]:
    """目录里的结果有哪些文件。"""
    marker = read_marker(path)
    return marker["files"] if marker else []


def leave(path: Path, lock: FileLock, created: list[Path]) -> None:
    """不再占用；目录是这一次新建的，又什么也没有留下，就不留空目录。"""
    with suppress(OSError):
        unfinished = path / UNFINISHED_DIR
        if unfinished.is_dir() and {child.name for child in unfinished.iterdir()} <= {RECORD_FILE}:
            remove(unfinished)
    nothing_left = bool(created) and {child.name for child in path.iterdir()} <= {_MARKER, _LOCK}
    if nothing_left:
        remove(path / _MARKER)
    lock.release()
    with suppress(OSError):
        if nothing_left:
            remove(path / _LOCK)
            for directory in created:
                directory.rmdir()


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """写不进去的原因，变成一句话。"""
    try:
        yield
    except OSError as error:
        raise UserError(f"输出目录 {path} 不能写（{error.strerror}）；请用 --output_dir 换一个。") from error


def set_aside(path: Path) -> Path:
    """把不是我们的东西改个名字让开：``a`` → ``a.bak``，``a.bak2``……，返回新的路径。"""
    number, aside = 1, path.with_name(f"{path.name}.bak")
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = path.with_name(f"{path.name}.bak{number}")
    path.rename(aside)
    return aside


def remove(path: Path) -> None:
    """删掉一个文件或目录（符号链接只删链接自己）；没有就算了。"""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files_in(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())


def _remove_unless_added_to(path: Path, known: list[str]) -> None:
    """删掉我们写的文件或目录；目录里若有别人放进去的，整个改名让开。"""
    if path.is_dir() and not path.is_symlink() and set(_files_in(path)) - set(known):
        say(f"{path} 里有不是训练脚本写的文件，改名为 {set_aside(path).name}。")
    else:
        remove(path)


def remove_checkpoint(checkpoint: Path) -> None:
    """删掉一个检查点；写完以后有别人放了东西进去的，改名让开。"""
    try:
        known = [MANIFEST, *json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # 写到一半的，没有清单
        known = _files_in(checkpoint)
    _remove_unless_added_to(checkpoint, known)


# ----------------------------------------------------------------------------------------------------------------------
# 换上新的结果


def finish_publishing(path: Path) -> None:
    """上一次的结果完成了、却没有全部移到位的，接着移完；别的情况什么也不做。

    Raises:
        UserError: 有别的进程正在移。
    """
    if (path / PUBLISHING_DIR).is_dir() and is_ours(path) and _is_our_work(path / PUBLISHING_DIR):
        lock, _ = acquire(path, {})
        try:
            move_into_place(path)
        finally:
            lock.release()


def replace_results(path: Path, names: list[str]) -> None:
    """要直接写几个小文件的：先记下它们是结果；那里若有别人的同名文件，改名让开。"""
    marker, known = read_marker(path), files_of(path)
    for name in set(names) - set(known):
        if (path / name).exists():
            say(f"{path / name} 不是训练脚本写的，改名为 {set_aside(path / name).name}。")
    write_json(path / _MARKER, {"about": _ABOUT, **(marker or {}), "files": sorted({*known, *names})})


def move_into_place(path: Path, quiet: bool = False) -> None:
    """``publishing`` 里的移到上一级。断在任何一步，再来一次都能接上：

    1. 删掉旧的结果，``metrics.json`` 头一个：从此到最后，这里都没有“完成了的结果”。
    2. 在 ``publishing`` 里写下要移的名字；有了它，就说明旧的已经删完，不能再删（同名的已经是新的了）。
    3. 一个个移过去，``metrics.json`` 最后：有了它，就说明其余的都在。
    """
    ready, plan = path / PUBLISHING_DIR, path / PUBLISHING_DIR / _PLAN
    if not ready.is_dir():
        return
    if not plan.exists() and (ready / METRICS_FILE).exists():
        if not quiet:
            say(f"{path} 里上一次的训练已经完成，只是结果还没有放好；现在接着放。")
        marker = read_marker(path)
        for name in sorted(files_of(path), key=lambda name: name != METRICS_FILE):
            _remove_unless_added_to(path / name, marker["inside"].get(name, []) if marker else [])
        names = sorted(child.name for child in ready.iterdir() if child.name not in _NOT_PUBLISHED)
        inside = {name: _files_in(ready / name) for name in names if (ready / name).is_dir()}
        write_json(plan, {"method": read_record(ready).get("method"), "files": names, "inside": inside})
    if plan.exists():
        contents = json.loads(plan.read_text(encoding="utf-8"))
        write_json(path / _MARKER, {"about": _ABOUT, **contents})
        for name in sorted(_inside_only(contents["files"]), key=lambda name: name == METRICS_FILE):
            if not (ready / name).exists():  # 上次已经移过去了
                continue
            place = path / name
            if place.exists() or place.is_symlink():
                say(f"{place} 不是训练脚本写的，改名为 {set_aside(place).name}。")
            (ready / name).rename(place)
        run = read_record(path).get("run")
        for checkpoint in path.glob("checkpoint-*"):
            if CHECKPOINT.fullmatch(checkpoint.name) and read_record(checkpoint).get("run", run) != run:
                remove_checkpoint(checkpoint)  # 属于刚刚换掉的那个结果
        plan.unlink()
    remove(ready)
