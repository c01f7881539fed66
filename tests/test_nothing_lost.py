"""什么也不会丢：随时被终止、按 Ctrl-C、磁盘满、内存不够，以前的结果都在，接着训练得到的与没有中断过的一个比特不差。

每种方法终止（SIGKILL）几次由环境变量 ``KILLS`` 决定::

    KILLS=10 uv run --extra qlora pytest -n0 tests/test_nothing_lost.py -k killed -s
"""

import hashlib
import io
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from child_processes import run_script, start_script, without_notices
from dying_processes import PHASES, die_in
from safetensors.torch import load_file
from test_training_run import write
from toy_models import save_toy

import train_sft_solution
from finetuning import errors, terminal
from finetuning.arguments import parse_arguments
from finetuning.errors import UserError, run_main
from finetuning.output.checkpoints import is_complete, last_complete, list_checkpoints
from finetuning.output.directory import OutputDir
from finetuning.terminal import stage

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("KILLS", "3"))
FULL, LORA = "train_sft_solution", "train_lora_solution"
RESUME = ["--resume_from_checkpoint", "true"]


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


def log_of(workplace: Path, name: str = "log") -> str:
    return without_notices((workplace / name).read_text(encoding="utf-8"))


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    """结果里的全部权重；合并好的也算。"""
    files = [*directory.glob("*.safetensors"), *directory.glob("merged/*.safetensors")]
    assert files
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


def assert_same_weights(left: Path, right: Path) -> None:
    expected, actual = weights_of(left), weights_of(right)
    names = {name.partition("/")[2] for name in expected}
    assert names == {name.partition("/")[2] for name in actual}
    assert all(map(torch.equal, expected.values(), actual.values()))


def contents(directory: Path) -> dict[str, bytes]:
    """结果的每个文件的内容；检查点不是结果，锁也不是。"""
    files = (path for path in directory.iterdir() if path.is_file() and path.name != ".lock")
    return {path.name: path.read_bytes() for path in files}


def wait_for(process: BaseProcess, workplace: Path, words: str) -> None:
    """等到子进程说了这几个字，或者它结束了。"""
    while words not in log_of(workplace) and process.is_alive():
        time.sleep(0.005)


# ----------------------------------------------------------------------------------------------------------------------
# 终止

METHODS = {
    "full": (FULL, []),
    # LoRA 带上 dropout：随机数的状态也要接得上。
    "lora": (LORA, ["--lora_dropout", "0.1", "--merge_and_save"]),
    "dora": (LORA, ["--method", "dora", "--merge_and_save"]),
    "prefix": (LORA, ["--method", "prefix"]),
    "qlora": (LORA, ["--method", "qlora", "--merge_and_save"]),
}


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_equals_never_stopped(workplace, tmp_path, method):
    """在训练、保存、检验、合并、换上新结果的各个地方终止；每次之后，旧的结果完整，或者一看就没有完成。"""
    if method == "qlora" and find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes 是可选的依赖")
    script, more = METHODS[method]
    more = [*more, "--max_steps", "5", "--save_strategy", "steps", "--save_steps", "1"]
    straight, work, log = tmp_path / "straight", tmp_path / "work", workplace / "log"
    assert run_script(script, flags(str(straight), *more), workplace, log) == 0, log_of(workplace)
    # 目录里先有一次别的种子的结果：无论何时终止，它或者还完整，或者已经没有 metrics.json。
    assert run_script(script, flags(str(work), *more, "--seed", "1"), workplace, log) == 0, log_of(workplace)
    earlier = contents(work)

    randomness = random.Random(method)
    phases = [phase for phase in PHASES if phase != "merging" or "--merge_and_save" in more]
    randomness.shuffle(phases)
    done = []
    resume: list[str] = []
    for number in range(KILLS):
        phase, count = phases[number % len(phases)], randomness.randint(1, 12)
        code = run_script(script, flags(str(work), *more, *resume), workplace, log, partial(die_in, phase, count))
        done.append(f"{phase} {count}{'' if code else '（没有轮到）'}")
        assert code in (0, -signal.SIGKILL), log_of(workplace)
        if code == 0:  # 这个阶段没有那么多次文件操作，训练完了
            assert_same_weights(straight, work)
            earlier, resume = contents(work), []
        elif (work / "metrics.json").exists() and {name: (work / name).read_bytes() for name in earlier} != earlier:
            assert_same_weights(straight, work)  # 上次换到一半的，这次先换完了
            earlier = contents(work)
        started = is_complete(work / "unfinished") or any(
            is_complete(path) and record_of(path) != record_of(work) for path in list_checkpoints(work)
        )
        resume = RESUME if code and started else []
    code = run_script(script, flags(str(work), *more, *resume), workplace, log)
    assert code == 0, (done, log_of(workplace))
    assert_same_weights(straight, work)
    assert not (work / "unfinished").exists()
    assert not (work / "publishing").exists()
    print(f"\n{method}：{'，'.join(done)}；最后都与没有终止过的相同")


def record_of(directory: Path) -> str | None:
    file = directory / "arguments.json"
    return json.loads(file.read_text(encoding="utf-8"))["run"] if file.exists() else None


FLIPPED = -1.0  # 长短不变，中间一个字节变了
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
    "weights_flipped": ("model.safetensors", FLIPPED),
    "optimizer_flipped": ("optimizer.pt", FLIPPED),
    "record_flipped": ("arguments.json", FLIPPED),
}


def damage(checkpoint: Path, file: str, kept: float | None) -> None:
    """删掉一个文件（None），只留下它的前一部分，或改掉一个字节。"""
    content = (checkpoint / file).read_bytes()
    (checkpoint / file).unlink()
    if kept == FLIPPED:
        middle = len(content) // 2
        (checkpoint / file).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif kept is not None:
        (checkpoint / file).write_bytes(content[: int(len(content) * kept)])


@pytest.fixture(scope="module")
def checkpoints(workplace) -> Path:
    """停在半路的输出目录：检查点 2、4、6。"""
    args = flags(
        "three", "--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "9"
    )
    assert run_script(FULL, args, workplace, workplace / "log") == 0, log_of(workplace)
    return workplace / "three"


def three(out: Path, *more: str) -> OutputDir:
    """与 ``checkpoints`` 同样的训练，输出目录是 ``out``。"""
    argv = flags(str(out), "--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2", *more)
    *parts, args = parse_arguments("", train_sft_solution.DEFAULTS, argv=argv)
    return OutputDir("full", *parts, args)


@pytest.mark.parametrize(("file", "kept"), DAMAGES.values(), ids=DAMAGES)
def test_an_incomplete_checkpoint_is_passed_over(checkpoints, workplace, monkeypatch, tmp_path, capsys, file, kept):
    monkeypatch.chdir(workplace)
    shutil.copytree(checkpoints, tmp_path / "out")
    damage(tmp_path / "out" / "checkpoint-6", file, kept)
    with three(tmp_path / "out", *RESUME) as output:
        assert Path(output.args.resume_from_checkpoint).name == "checkpoint-4"
    said = capsys.readouterr().out
    assert said.startswith("跳过不完整的检查点 checkpoint-6（保存时被打断了，或已损坏），从 checkpoint-4 接着训练。\n")


def test_the_manifest_is_written_last(checkpoints):
    """别的文件都写完了才有清单，所以在哪个文件上断了都看得出来。"""
    checkpoint = checkpoints / "checkpoint-6"
    manifest = checkpoint / "complete.json"
    others = {path.name: path.stat() for path in checkpoint.iterdir() if path != manifest}
    assert json.loads(manifest.read_text()) == {
        name: [stat.st_size, hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()]
        for name, stat in others.items()
    }
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


def test_nothing_to_resume_can_always_be_started_again(checkpoints, workplace, monkeypatch, tmp_path):
    """第一个检查点写到一半就断了：不能接着训练，但能重新开始；没有两头都不让的目录。"""
    monkeypatch.chdir(workplace)
    out = tmp_path / "out"
    with three(out) as output:  # 占住这个目录，放上标记
        shutil.copytree(checkpoints / "checkpoint-2", out / "checkpoint-2")
        (out / "checkpoint-2" / "complete.json").unlink()
    for wanted, words in (("true", "没有完整的检查点"), (str(out / "checkpoint-2"), "不完整")):
        with pytest.raises(UserError, match=words), three(out, "--resume_from_checkpoint", wanted):
            pass
    with three(out) as output:
        assert output.unfinished.is_dir()
        assert (out / "checkpoint-2" / "optimizer.pt").exists()  # 新的检查点写完以前，旧的一个也不删
    assert run_script(FULL, flags(str(out), "--max_steps", "2"), workplace, workplace / "log") == 0, log_of(workplace)
    assert is_complete(out / "checkpoint-2")


def test_a_damaged_checkpoint_is_not_thrown_away(checkpoints, workplace, monkeypatch, tmp_path):
    """写完过、后来坏了的，里面也许还有救得回来的东西：不替用户删。"""
    monkeypatch.chdir(workplace)
    out = tmp_path / "out"
    with three(out):
        shutil.copytree(checkpoints / "checkpoint-2", out / "checkpoint-2")
        damage(out / "checkpoint-2", "optimizer.pt", FLIPPED)
    with pytest.raises(UserError, match="已经损坏"), three(out):
        pass
    assert (out / "checkpoint-2" / "model.safetensors").exists()


def test_a_failing_resume_deletes_nothing(checkpoints, workplace, tmp_path):
    """从更早的检查点接着训练，换了设置、读不了数据：后面的检查点都还在。"""
    out, log = tmp_path / "out", workplace / "log"
    shutil.copytree(checkpoints, out)
    (workplace / "bad.jsonl").write_text("{oops\n", encoding="utf-8")
    three_steps = ["--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2"]
    three_steps += ["--resume_from_checkpoint", str(out / "checkpoint-2")]
    for wrong in (["--learning_rate", "1"], ["--train_file", "bad.jsonl"], ["--test_file", "bad.jsonl"]):
        assert run_script(FULL, flags(str(out), *three_steps, *wrong), workplace, log) == 1
        assert "Traceback" not in log_of(workplace)
        assert [path.name for path in list_checkpoints(out)] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
        assert contents(out) == contents(checkpoints)


# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


@pytest.mark.skipif(os.name == "nt", reason="不能只给一个子进程发 Ctrl-C")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_saves_and_says_how_to_go_on(workplace, tmp_path, number):
    number = getattr(signal, number)
    out, log = tmp_path / "out dir", workplace / "log"
    shutil.copytree(workplace / "full", out)  # 目录里已有一次完成了的结果
    earlier = contents(out)
    long = ["--num_train_epochs", "20"]
    assert run_script(FULL, flags(str(tmp_path / "straight"), *long), workplace, log) == 0

    process = start_script(FULL, flags(str(out), *long), workplace, log)
    wait_for(process, workplace, "'loss'")
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number, log_of(workplace)
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
    command = flags(str(tmp_path / "out"), "--num_train_epochs", "20")
    process = start_script(FULL, command, workplace, log, ignore_flag)
    wait_for(process, workplace, "'loss'")
    os.kill(process.pid, signal.SIGINT)
    wait_for(process, workplace, "再按一次立即停下")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130, log_of(workplace)
    assert "还没有检查点，下次从头开始。" in log_of(workplace)
    assert "Traceback" not in log_of(workplace)


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有 SIGTERM 的转发")
def test_one_request_forwarded_three_times_is_one(workplace, tmp_path):
    """``timeout 60 uv run …``：同一个 SIGTERM 由 timeout 和 uv 各送一次；照样存下检查点，只说一句。"""
    out, log = tmp_path / "out", workplace / "log"
    process = start_script(FULL, flags(str(out), "--num_train_epochs", "20"), workplace, log)
    wait_for(process, workplace, "'loss'")
    for _ in range(3):
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.002)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM, log_of(workplace)
    assert "Traceback" not in log_of(workplace)
    assert log_of(workplace).count("收到 SIGTERM") == 1
    assert f"从 {last_complete(out).name} 接着训练" in log_of(workplace)


class Telling(io.StringIO):
    """说话的时候，又收到一个 SIGTERM。"""

    def write(self, text: str) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().write(text)


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有 SIGTERM 的转发")
def test_the_same_signal_while_ending_changes_nothing(monkeypatch):
    """收拾到一半、正在说最后一句时又来一个：照样收拾完，只说那一句。过了一秒的是另一个要求，不再等。"""
    said, tidied = Telling(), []
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(errors, "_last_request", (0, 0.0))

    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            tidied.append(True)

    with pytest.raises(SystemExit) as stop:
        run_main(main)
    assert (stop.value.code, tidied, said.getvalue()) == (143, [True], "\n已中断。\n")
    monkeypatch.setattr(errors, "_last_request", (signal.SIGTERM, time.monotonic() - 1.1))
    assert not errors.is_repeated(signal.SIGTERM)
    assert errors.is_repeated(signal.SIGTERM)
    assert [errors.is_repeated(signal.SIGINT) for _ in range(2)] == [False, False]


def ignore_flag() -> None:
    """让第一次 Ctrl-C 之后的那一步一直做不完。"""
    from finetuning.interrupt import GracefulInterrupt

    GracefulInterrupt.on_step_end = lambda self, *_, **__: time.sleep(60) if self.received else None


def slow_evaluation() -> None:
    """训练后的检验一直做不完。"""
    from finetuning import report

    evaluate = report.Report.evaluate

    def slow(self: report.Report, moment: str) -> report.Score:
        if moment == "训练后":
            print("开始检验", flush=True)
            time.sleep(60)
        return evaluate(self, moment)

    report.Report.evaluate = slow


@pytest.mark.skipif(os.name == "nt", reason="不能只给一个子进程发 Ctrl-C")
@pytest.mark.parametrize(("script", "number"), [(FULL, "SIGINT"), (LORA, "SIGTERM"), (LORA, "SIGKILL")])
def test_stopped_in_the_last_evaluation(workplace, tmp_path, script, number):
    """权重已经训练好：不存检查点也丢不了；接着做，只检验，不再训练。"""
    log, out, straight = workplace / "log", tmp_path / "out", tmp_path / "straight"
    more = ["--max_steps", "4", "--save_strategy", "no"]
    assert run_script(script, flags(str(straight), *more), workplace, log) == 0, log_of(workplace)
    process = start_script(script, flags(str(out), *more), workplace, log, slow_evaluation)
    wait_for(process, workplace, "开始检验")
    os.kill(process.pid, getattr(signal, number))
    process.join()
    assert not (out / "metrics.json").exists()
    if number != "SIGKILL":
        assert process.exitcode == 128 + getattr(signal, number)
        assert "只差检验；接着检验：uv run python" in log_of(workplace).splitlines()[-1]

    assert run_script(script, flags(str(out), *more), workplace, log) == 1  # 重新开始会毁掉它：先问
    assert "只差检验" in log_of(workplace)
    assert run_script(script, flags(str(out), *more, *RESUME), workplace, log) == 0, log_of(workplace)
    assert_same_weights(straight, out)
    metrics = [json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in (straight, out)]
    assert metrics[0]["after"] == metrics[1]["after"]
    assert metrics[1]["train_seconds"] > 0
    assert not (out / "unfinished").exists()
    answers = (out / "answers.jsonl").read_text(encoding="utf-8")
    assert answers == (straight / "answers.jsonl").read_text(encoding="utf-8")
    # 没有逐字核对的，是那几个固定的问题的回答
    assert [json.loads(line)["right"] for line in answers.splitlines()] == [None, None]


def slow_first_evaluation() -> None:
    from finetuning import report

    evaluate = report.Report.evaluate
    report.Report.evaluate = lambda self, moment: (time.sleep(3), evaluate(self, moment))[1]


def test_only_the_training_is_timed(workplace, tmp_path):
    """读数据、前后的检验、存权重都不算在训练用时里；接着做的，加上中断以前的。"""
    out, log = tmp_path / "out", workplace / "log"
    more = ["--max_steps", "4", "--save_strategy", "no"]
    assert run_script(FULL, flags(str(out), *more), workplace, log, slow_first_evaluation) == 0, log_of(workplace)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    record = json.loads((out / "arguments.json").read_text(encoding="utf-8"))
    assert 0 < metrics["train_seconds"] < 3
    assert record["train_seconds"] == pytest.approx(metrics["train_seconds"], abs=0.01)


def stop_while_saving() -> None:
    """存检查点时连着来两次 Ctrl-C。"""
    from finetuning.training import CheckedTrainer

    save = CheckedTrainer._save_optimizer_and_scheduler

    def interrupted(self: CheckedTrainer, output_dir: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        save(self, output_dir)

    CheckedTrainer._save_optimizer_and_scheduler = interrupted


@pytest.mark.skipif(os.name == "nt", reason="不能只给一个子进程发 Ctrl-C")
def test_a_second_ctrl_c_while_saving_leaves_no_dead_end(workplace, tmp_path):
    log, out = workplace / "log", tmp_path / "out"
    more = ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "2"]
    assert run_script(FULL, flags(str(out), *more), workplace, log, stop_while_saving) == 130, log_of(workplace)
    assert "Traceback" not in log_of(workplace)
    assert not is_complete(out / "checkpoint-2")
    assert run_script(FULL, flags(str(out), *more), workplace, log) == 0, log_of(workplace)


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有 nohup")
def test_nohup_is_respected(workplace, tmp_path):
    """启动时就要求不理 SIGHUP 的（nohup），关掉终端也接着训练。"""
    log = workplace / "log"
    command = flags(str(tmp_path / "out"), "--num_train_epochs", "3")
    process = start_script(FULL, command, workplace, log, partial(signal.signal, signal.SIGHUP, signal.SIG_IGN))
    wait_for(process, workplace, "'loss'")
    os.kill(process.pid, signal.SIGHUP)
    process.join()
    assert process.exitcode == 0, log_of(workplace)


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
    "open_files": (raising(OSError(24, "Too many open files", "x")), "打开的文件太多"),
    "temporary": (
        raising(FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")),
        "没有能写的临时目录",
    ),
}


@pytest.mark.parametrize(("main", "words"), RESOURCES.values(), ids=RESOURCES)
def test_out_of_resources_is_one_sentence(capsys, main, words):
    with pytest.raises(SystemExit) as stop:
        run_main(main)
    said = capsys.readouterr()
    assert (stop.value.code, said.err.count("\n"), said.out) == (1, 1, "")
    assert said.err.startswith(f"错误：{words}")


REMEDIES = {
    "训练": "--per_device_train_batch_size",
    "做训练前的检验": "--max_test_prompts",
    "读数据": "JSON Lines",
    "读入模型 base": "plan_memory.py",
    "合并": "--merge_and_save",
}


@pytest.mark.parametrize(("doing", "remedy"), REMEDIES.items())
def test_the_remedy_fits_the_stage(capsys, doing, remedy):
    def main() -> None:
        with stage(doing):
            raise MemoryError

    with pytest.raises(SystemExit):
        run_main(main)
    said = capsys.readouterr().err
    assert said.startswith(f"错误：{doing}时内存（显存）不够")
    assert remedy in said


def test_out_of_memory_where_it_happens(workplace, tmp_path):
    """真的在检验时不够：说的是检验，不是训练的批次。"""
    assert run_script(FULL, flags(str(tmp_path / "out"), *RESUME[:0]), workplace, workplace / "log", no_memory) == 1
    assert log_of(workplace).splitlines()[-1].startswith("错误：做训练前的检验时内存（显存）不够；请减小 --max_length")


def no_memory() -> None:
    from finetuning import report

    report.mean_loss = lambda *_, **__: torch.empty(2**55, dtype=torch.uint8)


def no_temporary_directory() -> None:
    import tempfile

    tempfile.tempdir = None
    tempfile._candidate_tempdir_list = lambda: ["/no/such/directory"]


def test_no_temporary_directory(workplace, tmp_path):
    log = workplace / "log"
    assert run_script(FULL, flags(str(tmp_path / "out")), workplace, log, no_temporary_directory) == 1
    assert log_of(workplace).startswith("错误：没有能写的临时目录")
    assert log_of(workplace).count("\n") == 1
    assert "TMPDIR" in log_of(workplace)


def few_open_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))


@pytest.mark.skipif(os.name == "nt", reason="Windows 没有 RLIMIT_NOFILE")
def test_too_many_open_files(workplace, tmp_path):
    assert run_script(FULL, flags(str(tmp_path / "out")), workplace, workplace / "log", few_open_files) == 1
    assert "Traceback" not in log_of(workplace)
    assert log_of(workplace).count("错误：") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows 的管道不是这样关的")
def test_a_reader_that_leaves_does_not_stop_the_training(workplace, tmp_path):
    """``python train_sft_solution.py | head -1``：训练做完，结果在，没有调用栈。"""
    command = [sys.executable, ROOT / f"{FULL}.py", *flags(str(tmp_path / "out"), "--max_steps", "2")]
    process = subprocess.Popen(
        command, cwd=workplace, stdout=-1, stderr=-1, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"}
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 0, said
    assert "Error" not in said, said
    assert (tmp_path / "out" / "metrics.json").exists()


def test_a_long_stage_says_what_it_is_doing(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "_QUIET_SECONDS", 0.05)
    with stage("读入模型 big"):
        time.sleep(0.3)
    assert capsys.readouterr().err == "正在读入模型 big……\n"
    with stage("读入模型 small"):
        pass
    with stage("训练", announced=False):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError):
        run_main(raising(KeyError("程序的错误不能藏起来")))


def test_bad_rows_half_written_do_not_cost_the_weights(workplace, tmp_path):
    """训练完、只差检验；接着检验时读数据读到一半又断了：跳过的坏行只写了一半，权重还是完整的。"""
    data, out = tmp_path / "train.jsonl", tmp_path / "out"
    write(data, range(20))
    data.write_text(data.read_text(encoding="utf-8") + "{oops\n", encoding="utf-8")
    more = ["--train_file", str(data), "--on_bad_rows", "skip", "--save_strategy", "no", "--max_steps", "2"]
    command = flags(str(out), *more)
    assert run_script(FULL, command, workplace, workplace / "log", partial(die_in, "evaluation", 1)) < 0
    (out / "unfinished" / "bad_rows_train.jsonl").write_text("", encoding="utf-8")
    status = run_script(FULL, [*command, "--resume_from_checkpoint", "true"], workplace, workplace / "log")
    assert status == 0, log_of(workplace)
    assert "oops" in (out / "bad_rows_train.jsonl").read_text(encoding="utf-8")
