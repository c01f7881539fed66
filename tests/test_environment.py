"""没有装好的环境，打不开的 --report_to，路径里有空格：说的话能照着做。"""

import html
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import notebook_runs
import pytest
from nbclient import NotebookClient
from test_training_run import trainer_for, write
from toy_models import save_toy
from transformers import TrainerCallback

from finetuning import training
from finetuning.errors import UserError
from finetuning.interrupt import command_line
from finetuning.terminal import how_to_add
from notebook_helpers import environment, places
from notebook_helpers.shell import run_python

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
    """不是从项目的脚本来的（别人的程序）：不能把整个进程结束掉。"""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\ntry:\n    import finetuning\nexcept ImportError as e: print(e)"
    )
    result = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, encoding="utf-8")
    assert "uv run jupyter lab tutorial.ipynb" in result.stdout


def run_in_a_kernel(source: str, folder: Path = ROOT) -> nbformat.NotebookNode:
    """在一个真的内核里运行一格；内核死了就抛 ``DeadKernelError``。"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True, resources=resources).execute()
    return notebook.cells[0]


def section_0() -> str:
    return next(cell.source for cell in notebook_runs.read().cells if cell.id == "env")


def test_a_kernel_without_a_library_is_not_ended(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['peft'] = None\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (output,) = run_in_a_kernel("import finetuning").outputs
    assert output.ename == "ImportError"
    assert "没有装 peft；请照教程的第 0 节装好" in output.evalue
    (output,) = run_in_a_kernel(section_0()).outputs
    assert "没有 peft" in output.text


def test_section_0_without_the_project_s_files(tmp_path):
    """只下载了 notebook 的：说到哪里去拿其余的。"""
    said = "".join(output.text for output in run_in_a_kernel(section_0(), tmp_path).outputs)
    assert "下载整个项目" in said
    assert "docs/where_to_run.md" in said


@pytest.fixture
def old_transformers(tmp_path):
    """放在最前面的一个旧版本的记录：像 Colab 里先装好的。"""
    place = tmp_path / "transformers-4.57.1.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.1\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUTF8": "1"}


def test_libraries_that_are_too_old(old_transformers):
    command = [sys.executable, str(ROOT / "chat.py"), "--help"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", env=old_transformers)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "transformers 4.57.1 太旧，要 5." in result.stderr
    assert "uv run python chat.py" in result.stderr


def test_the_card_is_measured_with_what_is_there(old_transformers):
    command = [sys.executable, "-m", "benchmarks.gpu", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=old_transformers)
    assert (result.returncode, result.stderr) == (0, "")


def test_section_0_tells_of_libraries_that_are_too_old(old_transformers, monkeypatch):
    """在真的内核里：导入时不停下，表里说得更清楚。"""
    monkeypatch.setenv("PYTHONPATH", old_transformers["PYTHONPATH"])
    (output,) = run_in_a_kernel(section_0()).outputs
    assert re.search(r"✗ 要 >=5\.\d+,<6：", html.unescape(output.data["text/html"]))


@pytest.fixture
def wrong_torchvision(tmp_path):
    """torch 换过以后的 torchvision：导入时报的错与真的相同。"""
    record = tmp_path / "torchvision-0.23.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.23.0\n", encoding="utf-8")
    code = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    (tmp_path / "torchvision.py").write_text(code, encoding="utf-8")
    return tmp_path


UNINSTALL = f'uv pip uninstall --python "{sys.executable}" torchvision torchaudio'


def test_a_torchvision_for_another_torch_is_one_sentence(wrong_torchvision):
    command = [sys.executable, "train_lora_solution.py", "--output_dir", str(wrong_torchvision / "out")]
    variables = {**os.environ, "PYTHONPATH": str(wrong_torchvision), "PYTHONUTF8": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=variables)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert UNINSTALL in result.stderr.splitlines()[-1]


def test_section_0_tells_of_a_torchvision_for_another_torch(wrong_torchvision, monkeypatch):
    monkeypatch.syspath_prepend(wrong_torchvision)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(environment, "find_trouble", lambda: None)
    assert f"✗ torchvision 与装的 torch 不配套，一导入就失败；这里用不着它，请卸载：{UNINSTALL}" in html.unescape(
        environment.show().data
    )


PLACES = {
    "COLAB_RELEASE_TAG": "Colab",
    "KAGGLE_KERNEL_RUN_TYPE": "Kaggle",
    "MODELSCOPE_ENVIRONMENT": "ModelScope",
}


@pytest.mark.parametrize(("variable", "name"), PLACES.items(), ids=PLACES.values())
def test_hosted_notebooks_are_recognised(variable, name):
    here = {variable: "1"}
    assert places.hosted(here) == name
    assert f"这里是 {name}" in places.how_to_install(here)
    assert f"uv pip install -q --python {sys.executable} -r pyproject.toml" in places.how_to_install(here)
    assert "git clone" in places.how_to_enter(here)


def test_elsewhere_the_notebook_is_started_by_uv():
    assert places.hosted({"HOME": "/root"}) is None
    assert "uv run jupyter lab" in places.how_to_install({})


def test_section_0_in_a_hosted_notebook(monkeypatch, tmp_path):
    """没有 jupyterlab 也好；不在项目目录里，说怎样进去；不叫人用 uv run jupyter lab。"""
    versions = {"transformers": "4.57.1", "torch": "2.10.0+cu128"}

    def version(name):
        if name == "jupyterlab":
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or original(name)

    original = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setitem(os.environ, "COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "find_trouble", lambda: "这块显卡太旧。")
    page = html.unescape(environment.show().data)
    assert "Colab" in page
    assert "✓ 用不着" in page
    assert re.search(r"✗ 要 >=5\.\d+,<6：", page)
    assert "%cd" in page
    assert "训练真实的模型以前，请看：这块显卡太旧。" in page
    assert "uv run jupyter lab" not in page
    assert re.search(r"<td[^>]*>2.10.0\+cu128</td><td[^>]*>✓</td>", page)


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


def test_printed_commands_start_as_the_program_was_started(monkeypatch, capsys):
    """没有用 uv run 的（conda、Colab），照着做也不会另装一个环境。"""
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH")
    assert command_line(["chat.py", "outputs/lora"]) == "python chat.py outputs/lora"
    added = how_to_add("bitsandbytes", "--extra qlora")
    assert added == f'请运行 uv pip install --python "{sys.executable}" bitsandbytes'
    run_python("-c", "")
    assert capsys.readouterr().out.startswith("$ python -c")


@pytest.mark.parametrize(("variables", "start"), [({}, "uv run python"), ({"UV_RUN_RECURSION_DEPTH": ""}, "python")])
@pytest.mark.parametrize(
    "command",
    ["data_exercise.py", "train_lora_solution.py", "inspect_data.py", "-m self_check.grade"],
    ids=lambda command: command.split()[-1],
)
def test_help_starts_its_commands_the_same_way(command, variables, start):
    environment = {name: value for name, value in (os.environ | variables).items() if value}
    result = subprocess.run(
        [sys.executable, *command.split(), "--help"], cwd=ROOT, capture_output=True, encoding="utf-8", env=environment
    )
    assert f"  {start} {command}" in result.stdout
    assert ("uv run" in result.stdout) == (start != "python")


@pytest.mark.skipif(shutil.which("uv") is None, reason="没有 uv")
def test_uv_run_is_recognised():
    """问真的 uv；--no-project：不动这个项目的环境。"""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from finetuning.terminal import launcher; print(launcher())"
    bare = {name: value for name, value in os.environ.items() if name != "UV_RUN_RECURSION_DEPTH"}
    for start, printed in (([], "python"), (["uv", "run", "--no-project", "--offline"], "uv run python")):
        command = [*start, sys.executable, "-c", code]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=bare)
        assert result.stdout.strip() == printed, result.stderr
