"""自查把学习者的代码放在另一个进程里：不论它做什么，都有一份诊断，都会结束。"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from desk import (
    EXERCISE,
    FIRST_LINE,
    SOLUTION,
    STUB,
    make_desk,
    message_of,
    run,
    run_json,
    write,
    write_todo,
    write_top,
)

posix = pytest.mark.skipif(os.name != "posix", reason="这个系统没有这样的上限")


@pytest.fixture
def desk(tmp_path):
    return make_desk(tmp_path)


def assert_raises(desk, *words):
    report = run_json(desk)
    assert report["diagnosis"] == "raises"
    message = message_of(report)
    assert not [word for word in words if word not in message], message
    assert "Traceback" not in message
    return message


# ------------------------------------------------------------------ 卡住


@pytest.mark.parametrize(
    "line",
    [
        "import itertools; 10**10 in itertools.count(0.5)",
        "import re; re.match('(a+)+$', 'a' * 40 + '!')",
        "numbers = [1]; numbers.extend(iter(numbers.copy, None))",
    ],
)
def test_code_that_never_returns_to_python_is_ended(desk, line):
    """占着解释器锁的 C 代码：线程停不下它，进程可以；停在哪一行也说得出来。"""
    write_todo(desk, f"        {line}\n        return [], []\n")
    started = time.monotonic()
    message = assert_raises(desk, "data_exercise.py 第 ")
    assert line.split(";")[-1].strip()[:20] in message
    assert time.monotonic() - started < 60


@posix
def test_ctrl_c_ends_even_that(desk):
    write_todo(desk, "        import itertools; 10**10 in itertools.count(0.5)\n")
    process = subprocess.Popen(
        [sys.executable, str(desk / "data_exercise.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "中断" in err


def test_a_sleep_is_named_at_once(desk):
    write_todo(desk, "        import time\n        time.sleep(3600)\n")
    started = time.monotonic()
    assert_raises(desk, "sleep", "time.sleep(3600)")
    assert time.monotonic() - started < 20


def test_a_short_sleep_is_no_mistake(desk):
    write(
        desk,
        SOLUTION.replace(
            FIRST_LINE,
            "        import time\n        time.sleep(1e-4)\n" + FIRST_LINE,
            1,
        ),
    )
    assert run_json(desk)["passed"]


def test_an_endless_loop_while_loading(desk):
    write_top(desk, "while True:\n    pass\n")
    assert_raises(desk, "装入 data_exercise.py", "死循环")


@posix
def test_memory_has_a_limit(desk):
    if sys.platform != "linux":
        pytest.skip("只有 Linux 有这个上限")
    write_todo(desk, "        return [bytearray(10**9) for _ in range(40)], []\n")
    assert_raises(desk, "MemoryError", "内存不够")


# ------------------------------------------------------------------ 退出、崩溃


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("import sys\nsys.exit(0)\n", "sys.exit"),
        ("import os\nos._exit(0)\n", "os._exit"),
        ("exit()\n", "exit()"),
        ("raise SystemExit\n", "raise SystemExit"),
        ("import data_missing\n", "import data_missing"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", "程序" if os.name != "posix" else "崩溃"),
        ("import ctypes\nctypes.string_at(0)\n", "崩溃"),
    ],
)
def test_a_file_that_ends_the_program_while_loading(desk, lines, says):
    """退出码 0、什么也不说，学习者（和批改的程序）会以为通过了。"""
    write_top(desk, lines)
    assert_raises(desk, says)
    assert run(desk).returncode == 1


@pytest.mark.parametrize(
    "body", ["import os\n        os._exit(0)", "import os, signal\n        os.kill(os.getpid(), 9)"]
)
def test_a_method_that_ends_the_process(desk, body):
    write_todo(desk, f"        {body}\n")
    assert_raises(desk, "_format_conversation(conversation)")


def test_the_end_of_the_file_is_not_needed(desk):
    write(desk, SOLUTION.split('if __name__ == "__main__":')[0])
    assert run_json(desk)["passed"]


def test_a_file_without_the_first_lines_still_works(desk):
    """以前发下去的练习文件：只有末尾的几行。"""
    text = SOLUTION.replace(
        'self_check.guard("data", __name__)  # 直接运行时，其余的在另一个进程里装入、检查：卡住了也能停下\n', ""
    )
    assert text != SOLUTION
    write(desk, text)
    assert run_json(desk)["passed"]
    write(desk, text.replace(FIRST_LINE, "        return [], []\n", 1))
    assert run_json(desk)["diagnosis"] == "wrong_input_ids"


def test_children_of_the_learner_are_ended_too(desk, tmp_path):
    mark = tmp_path / "mark"
    child = f"import time, pathlib; time.sleep(1.5); pathlib.Path({str(mark)!r}).touch()"
    write_top(desk, f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n")
    assert run_json(desk)["passed"]
    time.sleep(2)
    assert not mark.exists() or os.name != "posix"


# ------------------------------------------------------------------ 打印


@pytest.mark.parametrize(
    "line",
    [
        "print('你好')",
        "import os; os.system('echo 你好')",
        "import sys; print('你好', file=sys.__stdout__, flush=True)",
        "import sys; print('你好', file=sys.stderr)",
        "import os; os.write(1, '你好\\n'.encode())",
    ],
)
def test_json_is_one_object_whatever_is_printed(desk, line):
    write_top(desk, line + "\n")
    assert run_json(desk)["passed"]
    assert "你好" in run(desk).stdout


def test_long_prints_and_messages_are_cut(desk):
    write_todo(desk, "        print('长' * 10**6)\n        raise ValueError('\\x1b[2J\\x07' + '长' * 10**6)\n")
    text = run(desk).stdout
    assert len(text) < 5000
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "共 1,000,0" in text


def test_a_warning_of_python_is_not_shown(desk):
    write_todo(desk, "        import warnings\n        warnings.warn('旧的写法')\n        return [], []\n")
    assert "旧的写法" not in run(desk).stdout


# ------------------------------------------------------------------ 不是自己写的


@pytest.mark.parametrize(
    ("lines", "delegates"),
    [
        ("from data_solution import SFTDataset as _S\n", True),
        ("import importlib\n_S = importlib.import_module('data_solution').SFTDataset\n", True),
        ("_T = open('DESK/data_solution.py', encoding='utf-8').read()\n", True),
        ("from self_check.data.cases import Case\n", True),
        ("import self_check.data.trials\n", True),
        ("_NOTE = '卡住了再看 data_solution'\n", False),
        ("print('all tests ok, not like trl', 'Where is the zoo ?')\n", False),
        ("import json, re, collections\n", False),
    ],
)
def test_a_borrowed_solution_is_told_apart(desk, lines, delegates):
    (desk / "data_solution.py").write_text(SOLUTION, encoding="utf-8")
    write_top(desk, lines.replace("DESK", desk.as_posix()))
    report = run_json(desk)
    assert report["passed"]
    assert report["delegates"] is delegates
    assert ("不过，你的文件装入了参考答案" in run(desk).stdout) is delegates


# ------------------------------------------------------------------ 奇怪的文件


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (SOLUTION.encode("utf-16"), "UTF-8"),
        (SOLUTION.replace("三点。", "三点。").encode("gbk", errors="ignore"), "UTF-8"),
        (b"def f(:\n", "第 1 行有语法错误"),
        (
            SOLUTION.replace("        return input_ids, labels\n", "       return input_ids, labels\n", 1).encode(),
            "语法错误",
        ),
    ],
)
def test_unreadable_files_without_running_python_on_them(desk, content, says):
    """直接 ``python 文件``，Python 自己就停了；由我们来读（--watch、批改）时，说得出来。"""
    path = desk / "data_exercise.py"
    path.write_bytes(content)
    code = "import self_check, sys; sys.exit(not self_check.check_file('data', sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=desk, capture_output=True, encoding="utf-8", timeout=60
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert says in done.stdout


def test_the_module_of_today_is_checked_not_a_cached_one(desk):
    write(desk, SOLUTION)
    assert run_json(desk)["passed"]
    write(desk, EXERCISE)
    assert run_json(desk)["diagnosis"] == "not_implemented"
    assert STUB in EXERCISE


def test_a_broken_project_is_still_one_json_object(desk):
    write(desk, SOLUTION)
    (desk / "base_model" / "tokenizer.json").unlink()
    done = run(desk, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["diagnosis"] == "setup_error"


@pytest.mark.parametrize(
    ("content", "code", "diagnosis"),
    [(SOLUTION, 0, None), ("x = 1\n", 2, "setup_error"), ("", 2, "setup_error"), ("def f(:\n", 1, "raises")],
)
def test_the_check_from_outside_never_lets_python_run_the_file(desk, content, code, diagnosis):
    write(desk, content)
    done = subprocess.run(
        [sys.executable, "-m", "self_check", "data_exercise.py", "--json"],
        cwd=desk,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == code
    assert json.loads(done.stdout)["diagnosis"] == diagnosis


def test_the_line_quoted_is_the_one_that_ran(desk):
    """检查还没有做完，文件又改了：引用的是运行的那一份。"""
    write_todo(desk, "        while True: pass  # 旧的\n")
    process = subprocess.Popen(
        [sys.executable, str(desk / "data_exercise.py")], stdout=subprocess.PIPE, encoding="utf-8"
    )
    time.sleep(1)
    write(desk, SOLUTION)
    out, _ = process.communicate(timeout=60)
    assert "while True: pass  # 旧的" in out


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--hint"]])
def test_a_reader_who_leaves_is_no_error(desk, arguments):
    process = subprocess.Popen(
        [sys.executable, str(desk / "data_exercise.py"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait(60)


@pytest.mark.parametrize("content", ["[]", '{"data": null}', '{"data": 1e999}', "[" * 10**5])
def test_a_broken_hint_file_starts_again(desk, content):
    (desk / ".self_check_cache").mkdir()
    (desk / ".self_check_cache" / "hints.json").write_text(content, encoding="utf-8")
    done = run(desk, "--hint")
    assert (done.returncode, done.stderr) == (0, "")
    assert "提示 1/3" in done.stdout


def test_a_wrong_seed_is_not_blamed_on_the_learner(desk):
    write(desk, SOLUTION)
    done = run(desk, SELF_CHECK_SEED="abc")
    assert done.returncode == 2
    assert "SELF_CHECK_SEED" in done.stderr
