"""什么也不会丢：随时被终止、按 Ctrl-C、磁盘满、内存不够，以前的结果都在，接着训练得到的与没有中断过的一个比特不差。

终止（SIGKILL）的次数由环境变量 ``KILLS`` 决定::

    KILLS=24 uv run pytest -n0 tests/test_nothing_lost.py -k killed -s
"""

import json
import os
import random
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from child_processes import run_script, start_script
from safetensors.torch import load_file
from test_training_run import write
from toy_models import save_toy

from finetuning.arguments import parse_arguments
from finetuning.checkpoints import is_complete, last_complete, list_checkpoints
from finetuning.errors import UserError, run_main
from finetuning.output_dir import prepare_output_dir

KILLS = int(os.environ.get("KILLS", "4"))
FULL, LORA = "train_sft_solution", "train_lora_solution"
RESUME = ["--resume_from_checkpoint", "true"]
# 一步只要几毫秒，每步之后都保存：大半的时间在保存，所以随机的终止多半落在保存的时候。
EVERY_STEP = ["--max_steps", "40", "--save_strategy", "steps", "--save_steps", "1"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """一个小模型和几十行数据；``full`` 里是一次完成了的训练的结果。"""
    path = tmp_path_factory.mktemp("work")
    save_toy(path / "base")
    write(path / "train.jsonl", range(60))
    write(path / "test.jsonl", range(100, 102))
    assert run_script(FULL, flags("full", "--max_steps", "2"), path, path / "log") == 0, log_of(path)
    return path


def flags(output_dir: str, *more: str) -> list[str]:
    common = "--model_name_or_path base --train_file train.jsonl --test_file test.jsonl --bf16 false"
    common += " --per_device_train_batch_size 4 --exact_match false --disable_tqdm true --logging_steps 1"
    return [*common.split(), "--output_dir", output_dir, *more]


def log_of(workplace: Path) -> str:
    return (workplace / "log").read_text(encoding="utf-8")


def assert_same_weights(left: Path, right: Path) -> None:
    (name,) = {"model.safetensors", "adapter_model.safetensors"} & {path.name for path in left.iterdir()}
    expected, actual = load_file(left / name), load_file(right / name)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(value, actual[key]) for key, value in expected.items())


def contents(directory: Path) -> dict[str, bytes]:
    """结果的每个文件的内容；检查点不是结果。"""
    files = (path for path in directory.iterdir() if path.is_file())
    return {path.name: path.read_bytes() for path in files}


def wait_for(process: BaseProcess, workplace: Path, words: str) -> None:
    """等到子进程说了这几个字，或者它结束了。"""
    while words not in log_of(workplace) and process.is_alive():
        time.sleep(0.005)


# ----------------------------------------------------------------------------------------------------------------------
# 终止


@pytest.mark.parametrize("name", [FULL, LORA])
def test_killed_and_resumed_equals_never_stopped(workplace, tmp_path, name):
    # LoRA 带上 dropout：随机数的状态也要接得上。
    more = [*EVERY_STEP, *(["--lora_dropout", "0.1"] if name == LORA else [])]
    straight, work = tmp_path / "straight", tmp_path / "work"
    assert run_script(name, flags(str(straight), *more), workplace, workplace / "log") == 0, log_of(workplace)

    randomness, kills, half_saved, finished = random.Random(0), 0, 0, 0
    while kills < KILLS // 2 or not finished:
        if last_complete(work) is None:  # 还没有完整的检查点，只好从头开始
            shutil.rmtree(work, ignore_errors=True)
            resume = []
        else:
            resume = RESUME
        process = start_script(name, flags(str(work), *more, *resume), workplace, workplace / "log")
        if kills < KILLS // 2:
            wait_for(process, workplace, "'loss'")
            process.join(randomness.uniform(0, 0.4))
            process.kill()
        process.join()
        if process.exitcode == 0:
            assert_same_weights(straight, work)
            shutil.rmtree(work)
            finished += 1
        else:
            assert process.exitcode < 0, log_of(workplace)
            kills += 1
            half_saved += any(not is_complete(path) for path in list_checkpoints(work))
    print(f"\n{name}：终止 {kills} 次，其中 {half_saved} 次留下了不完整的检查点；训练完 {finished} 次，结果都相同")


DAMAGES = {
    "weights_cut": ("model.safetensors", 0.5),
    "optimizer_cut": ("optimizer.pt", 0.9),
    "optimizer_missing": ("optimizer.pt", None),
    "scheduler_missing": ("scheduler.pt", None),
    "rng_state_missing": ("rng_state.pth", None),
    "trainer_state_missing": ("trainer_state.json", None),
    "trainer_state_cut": ("trainer_state.json", 0.5),
    "trainer_state_empty": ("trainer_state.json", 0.0),
    "manifest_missing": ("complete.json", None),
    "manifest_cut": ("complete.json", 0.5),
}


def damage(checkpoint: Path, file: str, kept: float | None) -> None:
    """删掉一个文件（None），或只留下它的前一部分。"""
    content = (checkpoint / file).read_bytes()
    (checkpoint / file).unlink()
    if kept is not None:
        (checkpoint / file).write_bytes(content[: int(len(content) * kept)])


@pytest.fixture(scope="module")
def checkpoints(workplace) -> Path:
    """停在半路的输出目录：检查点 2、4、6。"""
    args = flags(
        "three", "--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "9"
    )
    assert run_script(FULL, args, workplace, workplace / "log") == 0, log_of(workplace)
    return workplace / "three"


@pytest.mark.parametrize(("file", "kept"), DAMAGES.values(), ids=DAMAGES)
def test_an_incomplete_checkpoint_is_passed_over(checkpoints, tmp_path, capsys, file, kept):
    shutil.copytree(checkpoints, tmp_path / "out")
    damage(tmp_path / "out" / "checkpoint-6", file, kept)
    *_, args = parse_arguments("", {}, argv=["--output_dir", str(tmp_path / "out"), *RESUME])
    assert Path(args.resume_from_checkpoint).name == "checkpoint-4"
    said = capsys.readouterr().out
    assert said == "跳过不完整的检查点 checkpoint-6（保存时被打断了），从 checkpoint-4 接着训练。\n"


def test_the_manifest_is_written_last(checkpoints):
    """别的文件都写完了才有清单，所以在哪个文件上断了都看得出来。"""
    checkpoint = checkpoints / "checkpoint-6"
    manifest = checkpoint / "complete.json"
    others = {path.name: path.stat() for path in checkpoint.iterdir() if path != manifest}
    assert json.loads(manifest.read_text()) == {name: stat.st_size for name, stat in others.items()}
    assert max(stat.st_mtime_ns for stat in others.values()) <= manifest.stat().st_mtime_ns
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= set(others)


def test_resuming_after_an_incomplete_checkpoint(checkpoints, workplace, tmp_path):
    """接着训练时又写到同一个检查点；中间的残余不会混进去，旧的检查点最多留一个。"""
    shutil.copytree(checkpoints, tmp_path / "out")
    damage(tmp_path / "out" / "checkpoint-4", "optimizer.pt", 0.5)
    damage(tmp_path / "out" / "checkpoint-6", "scheduler.pt", None)
    args = flags(str(tmp_path / "out"), "--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2", *RESUME)
    assert run_script(FULL, args, workplace, workplace / "log") == 0, log_of(workplace)
    assert "跳过不完整的检查点 checkpoint-4、checkpoint-6" in log_of(workplace)
    assert_same_weights(checkpoints, tmp_path / "out")
    assert [path.name for path in list_checkpoints(tmp_path / "out")] == ["checkpoint-6"]
    assert is_complete(tmp_path / "out" / "checkpoint-6")


def test_without_a_complete_checkpoint_there_is_no_resuming(checkpoints, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(checkpoints / "checkpoint-2", out / "checkpoint-2")
    (out / "checkpoint-2" / "complete.json").unlink()
    for wanted, words in (("true", "没有完整的检查点"), (str(out / "checkpoint-2"), "不完整")):
        with pytest.raises(SystemExit) as stop:
            parse_arguments("", {}, argv=["--output_dir", str(out), "--resume_from_checkpoint", wanted])
        said = capsys.readouterr()
        assert (stop.value.code, said.err.count("\n"), said.out) == (2, 1, "")
        assert words in said.err
    *_, args = parse_arguments("", {}, argv=["--output_dir", str(out)])
    with pytest.raises(UserError, match="不能接着训练"):
        prepare_output_dir(args, "model.safetensors")
    assert (out / "checkpoint-2" / "optimizer.pt").exists()


# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


@pytest.mark.skipif(os.name == "nt", reason="不能只给一个子进程发 Ctrl-C")
def test_ctrl_c_saves_and_says_how_to_go_on(workplace, tmp_path):
    out, log = tmp_path / "out dir", workplace / "log"
    shutil.copytree(workplace / "full", out)  # 目录里已有一次完成了的结果
    earlier = contents(out)
    long = ["--num_train_epochs", "20"]
    assert run_script(FULL, flags(str(tmp_path / "straight"), *long), workplace, log) == 0

    process = start_script(FULL, flags(str(out), *long), workplace, log)
    wait_for(process, workplace, "'loss'")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130, log_of(workplace)
    assert "Traceback" not in log_of(workplace)
    last = log_of(workplace).splitlines()[-1]
    sentence, _, command = last.partition("接着训练：")
    saved = last_complete(out)
    step = saved.name.removeprefix("checkpoint-")
    assert sentence == f"训练在第 {step} 步被中断；从 {saved.name} "
    assert 0 < int(step) < 300
    assert contents(out) == earlier

    *start, script = shlex.split(command)[:4]
    assert [*start, script] == ["uv", "run", "python", f"{FULL}.py"]
    assert run_script(FULL, shlex.split(command)[4:], workplace, log) == 0, log_of(workplace)
    assert_same_weights(tmp_path / "straight", out)
    assert not (out / "unfinished").exists()


@pytest.mark.skipif(os.name == "nt", reason="不能只给一个子进程发 Ctrl-C")
def test_a_second_ctrl_c_stops_at_once(workplace, tmp_path):
    log = workplace / "log"
    process = start_script(FULL, flags(str(tmp_path), "--num_train_epochs", "20"), workplace, log, ignore_flag)
    wait_for(process, workplace, "'loss'")
    os.kill(process.pid, signal.SIGINT)
    wait_for(process, workplace, "再按一次立即停下")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130, log_of(workplace)
    assert "还没有检查点，下次从头开始。" in log_of(workplace)
    assert "Traceback" not in log_of(workplace)


def ignore_flag() -> None:
    """让第一次 Ctrl-C 之后的那一步一直做不完。"""
    from finetuning.interrupt import GracefulInterrupt

    GracefulInterrupt.on_step_end = lambda self, *_, **__: time.sleep(60) if self.requested else None


# ----------------------------------------------------------------------------------------------------------------------
# 磁盘、权限、内存


def limit_file_size(size: int) -> None:
    """文件最多写到这么大；再写就与磁盘满了一样失败。"""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有 RLIMIT_FSIZE")
@pytest.mark.parametrize(("place", "size"), [("weights", 60_000), ("optimizer", 150_000)])
def test_a_full_disk(workplace, tmp_path, place, size):
    """保存检查点时，写模型权重（safetensors）失败，或写优化器状态（torch.save）失败。"""
    out = tmp_path / "out"
    shutil.copytree(workplace / "full", out)
    earlier = contents(out)
    command = flags(str(out), "--max_steps", "2")
    assert run_script(FULL, command, workplace, workplace / "log", partial(limit_file_size, size)) == 1
    assert "Traceback" not in log_of(workplace)
    assert log_of(workplace).splitlines()[-1].startswith("错误：磁盘满了")
    assert log_of(workplace).count("错误：") == 1
    assert contents(out) == earlier
    assert (out / "checkpoint-2" / "optimizer.pt").exists() == (place == "optimizer")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root 什么都能写")
@pytest.mark.parametrize("place", ["parent", "existing"])
def test_an_unwritable_output_directory(workplace, tmp_path, place):
    directory = tmp_path / "read_only"
    directory.mkdir(mode=0o500)
    out = directory / "out" if place == "parent" else directory
    assert run_script(FULL, flags(str(out)), workplace, workplace / "log") == 1
    assert log_of(workplace).startswith("错误：不能创建输出目录" if place == "parent" else "错误：输出目录")
    assert log_of(workplace).count("\n") == 1
    assert str(out) in log_of(workplace)


def too_large() -> None:
    torch.empty(2**55, dtype=torch.uint8)


def raising(error: Exception) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


RESOURCES = {
    "cpu_memory": (too_large, "内存（显存）不够"),
    "cuda_memory": (
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")),
        "内存（显存）不够",
    ),
    "python_memory": (raising(MemoryError()), "内存（显存）不够"),
    "disk": (raising(OSError(28, "No space left on device", "x")), "磁盘满了"),
    "permission": (raising(PermissionError(13, "Permission denied", "x")), "没有权限"),
}


@pytest.mark.parametrize(("main", "words"), RESOURCES.values(), ids=RESOURCES)
def test_out_of_resources_is_one_sentence(capsys, main, words):
    with pytest.raises(SystemExit) as stop:
        run_main(main)
    said = capsys.readouterr()
    assert (stop.value.code, said.err.count("\n"), said.out) == (1, 1, "")
    assert said.err.startswith(f"错误：{words}")


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError):
        run_main(raising(KeyError("程序的错误不能藏起来")))
