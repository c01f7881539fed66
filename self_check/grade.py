"""批改一个班：很多人的练习文件，每个在自己的进程里检查，写成一张表。

    uv run python -m self_check.grade 作业目录
    uv run python -m self_check.grade 作业目录 --json --output 成绩.json

一人一个目录（作业目录的下一层，名字就是它，里面有多少层都行），或者一人一个文件
（zhang_data_exercise.py，名字是 zhang）。哪一道练习由文件里的类来认（SFTDataset、
LoRALinear），没有类的看文件名；*_solution.py 和别的 .py 文件不管。

参数：
  --csv | --json     表的格式，默认 CSV（用 Excel 打得开）
  --output 文件      写到文件，默认打印出来
  --jobs 个数        同时检查几个，默认是核数的一半
  --seed 整数        随机的用例的种子，全班相同，默认 0：同样的文件总是同样的结果

每个文件一行：
  file, name, todo   哪个文件，谁的，哪一道练习（data、lora）
  passed, diagnosis  通过没有，错误的代号（与自查里说的相同）
  delegates          装入了参考答案、自查程序，或替他做好了的库；抄来的文字认不出来
  hints              看过几条提示；他的目录里有 .self_check_cache 才知道
  message            给学习者看的第一句
退出码：0 检查完了（不论通过没有），2 命令写错了。

每个人的文件先全部读进内存，各自拷到一个临时目录里检查，有时限和内存的上限，
打印的东西收走，启动的别的程序一起结束：写得再糟，也不影响别人的结果。
拷的只是这一个文件：要用的别的模块，请写在同一个文件里。
它不是防恶意代码的沙箱：不信任的人交来的代码，请在容器里批改。
"""

import argparse
import ast
import csv
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from finetuning.terminal import as_started, say
from self_check.sandbox import SetupError
from self_check.supervisor import check_file

# 有这些类、函数的，就是那道练习
_DEFINITIONS = {"data": {"SFTDataset"}, "lora": {"LoRALinear"}, "debug": {"train", "answer"}}
_EXERCISE = re.compile(r"(data|lora|debug)[-_ ]?exercise", re.IGNORECASE)
_HINTS = Path(".self_check_cache", "hints.json")
_SKIPPED = {".venv", "__pycache__", "site-packages", ".git", "self_check", "tests"}


@dataclass(frozen=True)
class Submission:
    """一个人交的一个文件。

    Attributes:
        file: 相对作业目录的路径。
        name: 名字：文件名去掉 ``data_exercise`` 之类剩下的，没有剩下的就是作业目录下一层的目录。
        todo: ``"data"``、``"lora"`` 或 ``"debug"``；没有该有的类、函数（空的、语法错误）的看文件名。
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
        _fail(
            f"{arguments.folder} 里没有练习文件"
            "（有 SFTDataset、LoRALinear 这两个类，或 train、answer 这两个函数的 .py 文件）。"
        )
    grades: list[Grade] = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for number, grade in enumerate(pool.map(partial(grade_one, seed=arguments.seed), submissions), 1):
            grades.append(grade)
            verdict = ("通过" + "（装入了参考答案之类）" * grade.delegates) if grade.passed else grade.diagnosis
            _tell(f"{number}/{len(submissions)}  {grade.name}  {grade.todo}  {verdict}")
    passed = sum(grade.passed for grade in grades)
    _tell(f"共 {len(grades)} 个文件：通过 {passed}，没有通过 {len(grades) - passed}")
    if missing := without_submissions(arguments.folder, submissions):
        _tell(f"没有练习文件的目录：{'、'.join(missing)}")
    text = to_json(grades) if arguments.json else to_csv(grades)
    if arguments.output is None:
        say(text.rstrip("\n"))
        return
    try:
        # utf-8-sig：Excel 靠它认出编码
        arguments.output.write_text(text, encoding="utf-8" if arguments.json else "utf-8-sig", newline="")
    except OSError as error:
        _fail(f"写不了 {arguments.output}（{error.strerror}）。")


def find_submissions(folder: Path) -> Iterator[Submission]:
    """作业目录里的练习文件，按路径的次序。"""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_python = path.suffix.lower() == ".py" and path.is_file() and not path.is_symlink()
        if not is_python or _SKIPPED & set(relative.parts):
            continue
        content = path.read_bytes()
        todo = _todo_of(path.name, content)
        if todo is not None:
            name = _readable(_name_of(relative) or folder.resolve().name)
            yield Submission(_readable(relative.as_posix()), name, todo, content, _hints_of(path, folder, todo))


def without_submissions(folder: Path, submissions: Sequence[Submission]) -> list[str]:
    """作业目录下一层里，一个练习文件也没有的目录。"""
    found = {submission.file.split("/")[0] for submission in submissions} | _SKIPPED
    names = [_readable(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(name for name in names if name not in found and not name.startswith("."))


def grade_one(submission: Submission, seed: int) -> Grade:
    """检查一个文件。"""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, f"{submission.todo}_exercise.py")
        path.write_bytes(submission.content)
        row = {key: value for key, value in asdict(submission).items() if key != "content"}
        try:
            report = check_file(submission.todo, path, cwd=Path(folder), seed=seed)
        except SetupError as error:
            return Grade(**row, passed=False, diagnosis="setup_error", delegates=False, message=str(error))
    found = report.diagnosis
    first_lines = [] if found is None else [found.likely.split("\n")[0]]
    if found is not None and found.slug == "raises":
        first_lines.insert(0, found.came.split("\n")[0])
    message = "：".join(" ".join(line.split()) for line in first_lines)
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
    if name.endswith("_solution.py"):
        return None
    try:
        body = ast.parse(content).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        body = []
    defined = {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    by_definition = next((todo for todo, needed in _DEFINITIONS.items() if needed <= defined), None)
    named = _EXERCISE.search(name)
    return by_definition or (named[1].lower() if named else None)


def _name_of(relative: Path) -> str:
    """文件名里 data_exercise 之外的，或作业目录下一层的目录；都没有是空的。"""
    rest = re.sub(r"\(\d+\)", "", _EXERCISE.sub("", relative.stem))
    rest = re.sub(r"([-_ .])[-_ .]+", r"\1", rest).strip("_- .")
    if rest and rest != relative.stem:
        return rest
    return relative.parts[0] if len(relative.parts) > 1 else rest


def _readable(name: str) -> str:
    """文件名写得进表格：在 Windows 上压缩、在 Linux 上解开的，名字常是 GBK 的字节；换行之类写成空格。"""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("gb18030", errors="replace")
    return "".join(char if char.isprintable() else " " for char in name)


def _hints_of(path: Path, folder: Path, todo: str) -> int | None:
    """他自己的目录里（不算作业目录，那是大家的）记着的提示条数。"""
    for parent in path.parents:
        if parent == folder:
            return None
        try:
            return int(json.loads((parent / _HINTS).read_text("utf-8")).get(todo, 0))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            return None
    return None


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    arguments = parser.parse_args()
    if arguments.help:
        print(as_started((__doc__ or "").strip()))
        raise SystemExit(0)
    if arguments.folder is None:
        _fail("请写出作业目录：python -m self_check.grade 作业目录。")
    if not arguments.folder.is_dir():
        _fail(f"没有 {arguments.folder} 这个目录。")
    if arguments.csv and arguments.json:
        _fail("--csv 和 --json 只能用一个。")
    if arguments.output is not None and (arguments.output.is_dir() or not arguments.output.absolute().parent.is_dir()):
        _fail(f"写不了 {arguments.output}：它是目录，或者它所在的目录不存在。")
    if arguments.jobs < 1:
        _fail(f"--jobs 至少是 1，实际是 {arguments.jobs}。")
    return arguments


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("批改被中断了，没有写出表。", file=sys.stderr)
        os._exit(130)  # 不等还在检查的几个
