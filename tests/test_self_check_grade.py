"""批改一个班：``python -m self_check.grade``。"""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from desk import EXERCISE, FIRST_LINE, NOTHING_MASKED, ROOT, SOLUTION, STUB

from self_check.grade import find_submissions, without_submissions

LORA = (ROOT / "lora_solution.py").read_text(encoding="utf-8")


def todo(body):
    return EXERCISE.replace(STUB, body)


@pytest.fixture(scope="module")
def homework(tmp_path_factory):
    """一个班的作业：一人一个目录，或一人一个文件；对的，错的，捣乱的。"""
    folder = tmp_path_factory.mktemp("作业")
    victim = folder / "王五" / "data_exercise.py"
    files = {
        "张三/data_exercise.py": SOLUTION,
        "张三/lora_exercise.py": LORA,
        "李四/data_exercise.py": EXERCISE,
        "王五/data_exercise.py": todo(NOTHING_MASKED),
        "flat/zhao_data_exercise.py": SOLUTION.replace(
            "IGNORE_INDEX = -100\n", "IGNORE_INDEX = -100\nimport data_solution as _\n"
        ),
        "flat/qian_data_exercise.py": todo("        import itertools\n        10**10 in itertools.count(0.5)\n"),
        "孙六/data_exercise.py": SOLUTION.replace(
            FIRST_LINE, f"        open({str(victim)!r}, 'w').write('')\n        print('=1+1')\n{FIRST_LINE}", 1
        ),
        "周七/data_exercise.py": "import os\nos._exit(0)\n" + SOLUTION,
        "吴八/data_exercise.py": "def f(:\n",
        "郑九/notes.py": "print('不是作业')\n",
        "冯十/step4/deep/data_exercise.py": SOLUTION,
        "冯十/step4/data_solution.py": SOLUTION,
        "陈一/data_exercise (1).py": "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "王五" / ".self_check_cache").mkdir()
    (folder / "王五" / ".self_check_cache" / "hints.json").write_text('{"data": 1e999}', encoding="utf-8")
    (folder / "李四" / ".self_check_cache").mkdir()
    (folder / "李四" / ".self_check_cache" / "hints.json").write_text('{"data": 2}', encoding="utf-8")
    return folder


def grade(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "self_check.grade", str(folder), *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONUTF8": "1"}, capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(homework):
    done = grade(homework, "--json", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return {(row["name"], row["todo"]): row for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("name", "todo", "passed", "diagnosis"),
    [
        ("张三", "data", True, None),
        ("张三", "lora", True, None),
        ("李四", "data", False, "not_implemented"),
        ("王五", "data", False, "nothing_masked"),
        ("zhao", "data", True, None),
        ("qian", "data", False, "raises"),
        ("孙六", "data", True, None),
        ("周七", "data", False, "raises"),
        ("吴八", "data", False, "raises"),
        ("冯十", "data", True, None),
        ("陈一", "data", False, "setup_error"),
    ],
)
def test_each_learner_gets_an_own_result(rows, name, todo, passed, diagnosis):
    """孙六的代码把王五的文件清空了；王五的结果仍是他自己的。"""
    row = rows[name, todo]
    assert (row["passed"], row["diagnosis"]) == (passed, diagnosis), row


def test_only_exercises_are_graded(rows):
    assert len(rows) == 11


def test_the_first_sentence_is_enough_to_go_on(rows):
    assert "超过了时限" in rows["qian", "data"]["message"]
    assert "有语法错误" in rows["吴八", "data"]["message"]
    assert "文件是空的" in rows["陈一", "data"]["message"]


def test_hints_are_read_where_they_were_handed_in(rows):
    assert rows["李四", "data"]["hints"] == 2
    assert rows["张三", "data"]["hints"] is None
    assert rows["王五", "data"]["hints"] is None, "写坏了的，当作不知道"


@pytest.mark.skipif(os.name != "posix", reason="这个系统的文件名总是 Unicode")
def test_names_from_a_windows_archive(tmp_path):
    """在 Windows 上压缩的，名字是 GBK 的字节。"""
    folder = tmp_path / os.fsdecode("王五".encode("gbk"))
    folder.mkdir()
    (folder / "data_exercise.py").write_text(EXERCISE, encoding="utf-8")
    done = grade(tmp_path, "--json")
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["diagnosis"]) == ("王五", "not_implemented")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("wang/step4/data_exercise.py", "wang"),
        ("wang/data_exercise (1).py", "wang"),
        ("flat/李四_data_exercise_v2.py", "李四_v2"),
        ("chen-data-exercise.py", "chen"),
        ("DATA_EXERCISE.PY", "作业"),
    ],
)
def test_names(tmp_path, file, name):
    path = tmp_path / "作业" / file
    path.parent.mkdir(parents=True)
    path.write_text(EXERCISE, encoding="utf-8")
    assert [each.name for each in find_submissions(tmp_path / "作业")] == [name]


def test_the_same_file_always_gets_the_same_result(tmp_path):
    """只在十分之一的对话上错：各人的种子不同，结果就不同；全班用同一个种子。"""
    rare = "        if len(str(conversation)) % 10 == 3 and len(conversation) > 2:\n            return [], []\n"
    rare += FIRST_LINE
    for number in range(4):
        (tmp_path / f"s{number}_data_exercise.py").write_text(SOLUTION.replace(FIRST_LINE, rare, 1), encoding="utf-8")
    seeds = [[row["passed"] for row in json.loads(grade(tmp_path, "--json", "--seed", s).stdout)] for s in ("1", "2")]
    assert all(len(set(results)) == 1 for results in seeds)


def test_who_handed_in_nothing_is_said(homework):
    missing = without_submissions(homework, list(find_submissions(homework)))
    assert missing == ["郑九"]


def test_a_borrowed_solution_is_marked(tmp_path):
    folder = tmp_path / "赵"
    folder.mkdir()
    (folder / "data_exercise.py").write_text(
        f"from data_solution import SFTDataset as Given\n{SOLUTION}", encoding="utf-8"
    )
    (row,) = json.loads(grade(tmp_path, "--json").stdout)
    assert (row["name"], row["passed"], row["delegates"]) == ("赵", True, True)


def test_csv_opens_in_a_spreadsheet(tmp_path):
    (tmp_path / "=SUM_A1_data_exercise.py").write_text(SOLUTION, encoding="utf-8")
    output = tmp_path / "成绩.csv"
    done = grade(tmp_path, "--output", str(output))
    assert (done.returncode, done.stdout) == (0, "")
    assert output.read_bytes().startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(output.read_text(encoding="utf-8-sig")))
    assert row["name"] == "'=SUM_A1"
    assert row["passed"] == "True"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no/such/folder"], "没有"),
        ([str(Path(__file__).parent / "zoo"), "--jobs", "0"], "--jobs"),
        ([], "作业目录"),
        (["--xyz"], "--help"),
    ],
)
def test_wrong_commands_are_one_sentence(arguments, says):
    done = subprocess.run(
        [sys.executable, "-m", "self_check.grade", *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
