"""没有装好的环境，打不开的 --report_to，路径里有空格：说的话能照着做。"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_training_run import trainer_for, write
from toy_models import save_toy
from transformers import TrainerCallback

from finetuning import training
from finetuning.errors import UserError
from finetuning.interrupt import command_line

ROOT = Path(__file__).parents[1]
SCRIPTS = ["train_sft_solution.py", "train_lora_solution.py", "chat.py", "merge.py", "plan_memory.py"]
SCRIPTS += ["compare_methods.py", "data_exercise.py", "data_solution.py", "lora_exercise.py", "lora_solution.py"]
SCRIPTS += ["debug_exercise.py", "debug_solution.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_without_the_libraries(script):
    """-S：看不见 site-packages，就像没有用 uv run 的系统 Python。"""
    command = [sys.executable, "-S", "-E", str(ROOT / script)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"})
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "没有装 torch、transformers" in result.stderr
    assert f"uv run python {script}" in result.stderr


def test_a_module_without_the_libraries():
    command = [sys.executable, "-S", "-E", "-m", "self_check", "data_exercise.py"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "uv run python -m self_check" in result.stderr


def test_elsewhere_it_is_an_import_error():
    """不是从项目的脚本来的（例如 notebook）：不能把整个进程结束掉。"""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\ntry:\n    import finetuning\nexcept ImportError as e: print(e)"
    )
    result = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, encoding="utf-8")
    assert "uv run jupyter lab tutorial.ipynb" in result.stdout


class NotLoggedIn(TrainerCallback):
    """像 wandb、SwanLab 的回调：要先登录。"""

    def setup(self, args, state, model):
        raise RuntimeError("No API key configured.\n第二行")


def test_a_report_that_cannot_be_opened_is_said_before_training(tmp_path):
    save_toy(tmp_path / "base")
    write(tmp_path / "train.jsonl", range(12))
    write(tmp_path / "test.jsonl", range(100, 102))
    with trainer_for(tmp_path, tmp_path / "out") as trainer:
        trainer.add_callback(NotLoggedIn())
        with pytest.raises(UserError, match=r"NotLoggedIn 打不开（No API key configured）.*--report_to"):
            training._open_reports(trainer)


@pytest.mark.skipif(os.name == "nt", reason="Windows 的引号是另一套")
def test_printed_commands_can_be_pasted():
    words = ["chat.py", "outputs/我的 模型 (新)/a'b"]
    assert shlex.split(command_line(words)) == ["uv", "run", "python", *words]
