"""``python data_exercise.py``：真的进程、真的文件、退出码和输出。"""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUB = "        raise NotImplementedError\n"
SOLUTION = (ROOT / "data_solution.py").read_text(encoding="utf-8")
EXERCISE = (ROOT / "data_exercise.py").read_text(encoding="utf-8")
NOTHING_MASKED = """\
        print("正在处理", len(conversation))
        ids = []
        for message in conversation:
            for part in self.chatml.segments(message):
                ids += part
        return ids, list(ids)
"""


@pytest.fixture
def desk(tmp_path):
    """学习者的桌面：项目里自检用得到的文件，放在另一个目录。"""
    shutil.copytree(ROOT / "self_check", tmp_path / "self_check", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "finetuning").mkdir()
    for name in ("__init__", "chatml", "conversations", "disk_list", "errors", "reading", "terminal"):
        shutil.copy(ROOT / "finetuning" / f"{name}.py", tmp_path / "finetuning")
    (tmp_path / "base_model").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ROOT / "base_model" / name, tmp_path / "base_model")
    write(tmp_path, EXERCISE)
    return tmp_path


def write(desk, text):
    (desk / "data_exercise.py").write_text(text, encoding="utf-8")


def write_todo(desk, body):
    write(desk, EXERCISE.replace(STUB, body))


def run(desk, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(desk / "data_exercise.py"), *arguments],
        cwd=desk.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
    )


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
    assert set(report) == {"passed", "diagnosis", "checks"}
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


@pytest.mark.parametrize("body", [STUB, NOTHING_MASKED, None])
def test_no_heavy_imports_before_the_verdict(desk, body):
    write(desk, SOLUTION) if body is None else write_todo(desk, body)
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(desk / 'data_exercise.py')!r}]\n"
        f"sys.path.insert(0, {str(desk)!r})\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'peft'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=desk.parent, check=True, capture_output=True, timeout=300)


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
        write_todo(desk, NOTHING_MASKED)
        assert "nothing_masked" in read_report()
        write(desk, SOLUTION)
        assert "全部通过" in read_report()
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
