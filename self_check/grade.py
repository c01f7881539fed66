"""批改一个班：很多人的练习文件，每个在自己的进程里检查，写成一张表。

    uv run python -m self_check.grade 作业目录
    uv run python -m self_check.grade 作业目录 --json --output 成绩.json

作业目录里有多少层都行：一人一个目录（目录名就是名字），或者一人一个文件（zhang_data_exercise.py）。哪一道练习由文件里的类来认
（SFTDataset、LoRALinear），别的 .py 文件不管。

参数：
  --csv | --json     表的格式，默认 CSV（用 Excel 打得开）
  --output 文件      写到文件，默认打印出来
  --jobs 个数        同时检查几个，默认是核数的一半

每个文件一行：file、name、todo、passed、diagnosis（错误的代号）、delegates（用到了参考答案、自检程序或现成的库）、
hints（看过几条提示；只有连同 .self_check_cache 一起交来的才知道）、message（给学习者看的第一句）。
退出码：0 检查完了（不论通过没有），2 命令写错了。

每个人的文件先全部读进内存，各自拷到一个临时目录里检查，有时限和内存的上限，打印的东西收走，启动的别的程序一起结束：写得再糟，也不影响
别人的结果。它不是防恶意代码的沙箱：不信任的人交来的代码，请在容器里批改。
"""

import argparse
import ast
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from self_check.sandbox import SetupError
from self_check.supervisor import check_file

_CLASSES = {"SFTDataset": "data", "LoRALinear": "lora"}
_HINTS = Path(".self_check_cache", "hints.json")
_SKIPPED = {".venv", "__pycache__", "site-packages", ".git", "self_check", "tests"}


@dataclass(frozen=True)
class Submission:
    """一个人交的一个文件。

    Attributes:
        file: 相对作业目录的路径。
        name: 名字：文件名去掉 ``data_exercise`` 之类剩下的，没有剩下的就是它所在的目录。
        todo: ``"data"`` 或 ``"lora"``；认不出来（语法错误）时看文件名。
        content: 文件的内容，检查以前就读好。
        hints: 看过几条提示；不知道是 None。
    """

    file: str
    name: str
    todo: str
    content: bytes
    hints: int | None


@dataclass(frozen=True)
class Grade:
    """表里的一行。"""

    file: str
    name: str
    todo: str
    passed: bool
    diagnosis: str | None
    delegates: bool
    hints: int | None
    message: str


def main() -> None:
    """命令行。"""
    arguments = _parse()
    submissions = list(find_submissions(arguments.folder))
    if not submissions:
        _fail(f"{arguments.folder} 里没有练习文件：没有一个 .py 文件里有 SFTDataset 或 LoRALinear 这个类。")
    grades = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for number, grade in enumerate(pool.map(grade_one, submissions), 1):
            grades.append(grade)
            verdict = "通过" if grade.passed else grade.diagnosis
            print(f"{number}/{len(submissions)}  {grade.name}  {grade.todo}  {verdict}", file=sys.stderr, flush=True)
    text = to_json(grades) if arguments.json else to_csv(grades)
    if arguments.output is None:
        sys.stdout.write(text)
        return
    try:
        # utf-8-sig：Excel 靠它认出编码
        arguments.output.write_text(text, encoding="utf-8" if arguments.json else "utf-8-sig", newline="")
    except OSError as error:
        _fail(f"写不了 {arguments.output}（{error.strerror}）。")


def find_submissions(folder: Path) -> Iterator[Submission]:
    """作业目录里的练习文件，按路径的次序。"""
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        if _SKIPPED & set(relative.parts) or path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        todo = _todo_of(path.name, content)
        if todo is not None:
            yield Submission(relative.as_posix(), _name_of(relative), todo, content, _hints_of(path, folder, todo))


def grade_one(submission: Submission) -> Grade:
    """检查一个文件。"""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, f"{submission.todo}_exercise.py")
        path.write_bytes(submission.content)
        row = {key: value for key, value in asdict(submission).items() if key != "content"}
        try:
            report = check_file(submission.todo, path, cwd=Path(folder))
        except SetupError as error:
            return Grade(**row, passed=False, diagnosis="setup_error", delegates=False, message=str(error))
    found = report.diagnosis
    message = "" if found is None else " ".join(found.likely.split("\n")[0].split())
    return Grade(
        **row,
        passed=report.passed,
        diagnosis=found.slug if found else None,
        delegates=report.delegates,
        message=message,
    )


def to_csv(grades: list[Grade]) -> str:
    """一行表头，一个文件一行。"""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Grade.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in asdict(grade).items()} for grade in grades)
    return text.getvalue()


def _cell(value: object) -> object:
    """以 =、+、-、@ 开头的文字，Excel 会当作公式来算（CSV 注入）：前面加一个单引号。"""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def to_json(grades: list[Grade]) -> str:
    """一个列表，一个文件一个对象。"""
    return json.dumps([asdict(grade) for grade in grades], ensure_ascii=False, indent=1) + "\n"


def _todo_of(name: str, content: bytes) -> str | None:
    """这个文件是哪一道练习；都不是是 None。"""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return next((todo for todo in _CLASSES.values() if f"{todo}_exercise" in name), None)
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    return next((todo for name, todo in _CLASSES.items() if name in classes), None)


def _name_of(relative: Path) -> str:
    stem = relative.stem
    for words in ("data_exercise", "lora_exercise", "data_solution", "lora_solution", "exercise"):
        stem = stem.replace(words, "")
    return stem.strip("_- .") or (relative.parent.name or relative.stem)


def _hints_of(path: Path, folder: Path, todo: str) -> int | None:
    for parent in path.parents:
        try:
            return int(json.loads((parent / _HINTS).read_text("utf-8")).get(todo, 0))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError):
            return None
        if parent == folder:
            break
    return None


class _Parser(argparse.ArgumentParser):
    """参数写错时只说一句中文。"""

    def error(self, message: str) -> NoReturn:
        _fail(f"命令写错了（{message}）；--help 看用法。")


def _parse() -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--csv", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    arguments = parser.parse_args()
    if arguments.help:
        print((__doc__ or "").strip())
        raise SystemExit(0)
    if arguments.folder is None:
        _fail("请写出作业目录：python -m self_check.grade 作业目录。")
    if not arguments.folder.is_dir():
        _fail(f"没有 {arguments.folder} 这个目录。")
    if arguments.csv and arguments.json:
        _fail("--csv 和 --json 只能用一个。")
    if arguments.jobs < 1:
        _fail(f"--jobs 至少是 1，实际是 {arguments.jobs}。")
    return arguments


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
