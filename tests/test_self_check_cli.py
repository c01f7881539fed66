"""``python data_exercise.py``：真的进程、真的文件、退出码和输出。"""

import json
import os
import subprocess
import sys
import threading

import pytest
from desk import EXERCISE, FIRST_LINE, NOTHING_MASKED, SOLUTION, STUB, make_desk, run, write, write_todo, write_top


@pytest.fixture
def desk(tmp_path):
    return make_desk(tmp_path)


def test_unsolved_is_a_friendly_start(desk):
    done = run(desk)
    assert done.returncode == 1
    assert "还没有写" in done.stdout
    assert "--hint" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_solved_says_what_was_learnt_and_what_is_next(desk):
    write(desk, SOLUTION)
    done = run(desk)
    assert (done.returncode, done.stderr) == (0, "")
    assert "全部通过" in done.stdout
    assert "你学到了" in done.stdout
    assert "train_sft_solution.py" in done.stdout


def test_wrong_solution_is_diagnosed_without_colors_when_not_a_terminal(desk):
    write_todo(desk, NOTHING_MASKED)
    done = run(desk)
    assert (done.returncode, done.stderr) == (1, "")
    assert "nothing_masked" in done.stdout
    assert "正在处理 2" in done.stdout
    assert "\033" not in done.stdout
    assert "data_exercise.py 第" in done.stdout


@pytest.mark.parametrize(
    ("body", "code", "slug"), [(STUB, 1, "not_implemented"), (NOTHING_MASKED, 1, "nothing_masked"), (None, 0, None)]
)
def test_json_is_one_object_even_when_the_learner_prints(desk, body, code, slug):
    write(desk, SOLUTION) if body is None else write_todo(desk, body)
    done = run(desk, "--json")
    assert (done.returncode, done.stderr) == (code, "")
    report = json.loads(done.stdout)
    assert set(report) == {"passed", "diagnosis", "delegates", "checks"}
    assert report["delegates"] is False
    assert (report["passed"], report["diagnosis"]) == (code == 0, slug)
    assert all(set(check) == {"name", "passed", "message"} for check in report["checks"])
    assert all(check["passed"] for check in report["checks"]) == (code == 0)
    failed = [check for check in report["checks"] if not check["passed"]]
    assert not failed or slug in failed[0]["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("        while True:\n            pass\n", "死循环"),
        ("        import sys\n        sys.exit(0)\n", "sys.exit"),
        ("        exit()\n", "exit"),
        ("        return int('三')\n", "return int('三')"),
        ("        return self._format_conversation(conversation)\n", "RecursionError"),
    ],
)
def test_code_that_does_not_return(desk, body, says):
    write_todo(desk, body)
    done = run(desk)
    assert (done.returncode, done.stderr) == (1, "")
    assert "raises" in done.stdout
    assert says in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--jsno"], "是不是 --json"),
        (["abc"], "--watch、--hint、--json、--help"),
        (["--json", "--watch"], "一次只能用一个"),
        (["--json=1"], "是不是 --json"),
    ],
)
def test_bad_arguments_give_one_sentence(desk, arguments, says):
    done = run(desk, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help(desk):
    done = run(desk, "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--watch", "--hint", "--json"))


def test_hints_come_one_at_a_time_and_are_remembered(desk):
    outputs = [run(desk, "--hint").stdout for _ in range(4)]
    assert [[f"提示 {n}/3" in output for n in (1, 2, 3)] for output in outputs] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
        [True, True, True],
    ]
    assert run(desk).returncode == 1, "看提示不影响检查"


def test_a_broken_hint_file_is_not_an_obstacle(desk):
    (desk / ".self_check_cache").mkdir()
    (desk / ".self_check_cache" / "hints.json").write_text("[]", encoding="utf-8")
    done = run(desk, "--hint")
    assert (done.returncode, done.stderr) == (0, "")
    assert "提示 1/3" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk"])
def test_consoles_that_cannot_show_every_character(desk, encoding):
    write_todo(desk, NOTHING_MASKED)
    done = run(desk, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (1, "")
    assert "nothing_masked" in done.stdout


def test_missing_base_model_is_one_sentence(desk):
    write(desk, SOLUTION)
    (desk / "base_model" / "tokenizer.json").unlink()
    done = run(desk)
    assert (done.returncode, done.stdout) == (2, "")
    assert "tokenizer.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_renamed_method_is_one_sentence(desk):
    write(desk, EXERCISE.replace("_format_conversation", "_format"))
    done = run(desk)
    assert done.returncode == 2
    assert "SFTDataset._format_conversation" in done.stderr


def test_no_heavy_imports_before_the_verdict(desk):
    """检查的进程里也没有：学习者的代码自己来看。"""
    heavy = "        print('大的库', {'torch', 'transformers', 'datasets', 'numpy', 'peft'} & set(sys.modules))\n"
    write(
        desk,
        SOLUTION.replace(FIRST_LINE, heavy + FIRST_LINE, 1),
    )
    text = (desk / "data_exercise.py").read_text(encoding="utf-8").replace("import os\n", "import os\nimport sys\n", 1)
    write(desk, text)
    done = run(desk)
    assert done.returncode == 0, done.stdout
    assert "大的库 set()" in done.stdout


def test_watch_checks_again_after_every_save(desk):
    process = subprocess.Popen(
        [sys.executable, str(desk / "data_exercise.py"), "--watch"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()

    def read_report():
        lines = []
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, "--watch 提前结束了"
            lines.append(line)
        return "".join(lines)

    try:
        assert "还没有写" in read_report()
        write_todo(desk, "        return (\n")
        assert "语法错误" in read_report()
        write(desk, "")
        assert "找不到 SFTDataset" in read_report()
        (desk / "data_exercise.py").write_bytes(SOLUTION.encode("utf-16"))
        assert "UTF-8" in read_report()
        write_top(desk, "import sys\nsys.exit(0)\n")
        assert "sys.exit" in read_report()
        write_top(desk, "while True:\n    pass\n")
        assert "死循环" in read_report()
        write_todo(desk, NOTHING_MASKED)
        assert "nothing_masked" in read_report()
        write(desk, SOLUTION)
        assert "全部通过" in read_report()
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
