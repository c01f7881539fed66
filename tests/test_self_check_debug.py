"""TODO 4 的检查：半成品说得出还剩的症状，改好的都通过；练习里恰好有那五处错。"""

import difflib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from zoo.debug_programs import MISTAKES, OTHERS, RIGHT, SOLUTION, program

from self_check.debug.exercise import DEBUG
from self_check.runner import run_suite

ROOT = Path(__file__).parents[1]


def diagnose(text, tmp_path):
    """在这个进程里检查一个程序；代号，没有错是 None。"""
    path = tmp_path / "debug_exercise.py"
    path.write_text(text, encoding="utf-8")
    module = ModuleType("learners_program")
    module.__file__ = str(path)
    exec(compile(text, str(path), "exec"), module.__dict__)
    diagnosis = run_suite(DEBUG, module).diagnosis
    return diagnosis and diagnosis.slug


@pytest.mark.parametrize("slug", MISTAKES)
def test_one_mistake_is_its_symptom(slug, tmp_path):
    assert diagnose(program(MISTAKES[slug]), tmp_path) == slug


@pytest.mark.parametrize("slug", OTHERS)
def test_other_mistakes(slug, tmp_path):
    assert diagnose(program(OTHERS[slug]), tmp_path) == slug


@pytest.mark.parametrize("changes", RIGHT.values(), ids=RIGHT)
def test_other_right_programs_pass(changes, tmp_path):
    assert diagnose(program(*changes), tmp_path) is None


def test_the_first_symptom_that_remains_is_said(tmp_path):
    """几处错一起留着，说最先看见的；改好它，就说下一处。"""
    for left in (list(MISTAKES)[1:], list(MISTAKES)[3:]):
        assert diagnose(program(*(MISTAKES[slug] for slug in left)), tmp_path) == left[0]


def test_the_exercise_has_exactly_the_five_mistakes():
    exercise = (ROOT / "debug_exercise.py").read_text(encoding="utf-8")
    assert len(exercise.splitlines()) <= 80
    matcher = difflib.SequenceMatcher(None, SOLUTION.splitlines(), exercise.splitlines(), autojunk=False)
    first_line = SOLUTION.splitlines().index("import copy")  # 前面是文件的说明
    changed = [block for block in matcher.get_opcodes() if block[0] != "equal" and block[1] > first_line]
    assert len(changed) == len(MISTAKES)


@pytest.mark.parametrize(("name", "passed", "diagnosis"), [("exercise", False, "first_loss"), ("solution", True, None)])
def test_the_command_line(name, passed, diagnosis):
    command = [sys.executable, ROOT / f"debug_{name}.py", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=ROOT)
    assert result.returncode == (0 if passed else 1), result.stderr
    report = json.loads(result.stdout)
    assert (report["passed"], report["diagnosis"], report["delegates"]) == (passed, diagnosis, False)


def test_hints_do_not_give_the_answer():
    for hint in DEBUG.hints:
        assert not any(right.strip() in hint for right, _ in MISTAKES.values() if right.strip())
