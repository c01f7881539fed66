"""输出目录：不是我们的一个字节也不动，要读的东西毁不了，同时只有一次训练，换上新结果的每一步断了都接得上。"""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from child_processes import fork_trainings, run_command, run_script, start, start_script
from dying_processes import Countdown, die_in
from test_nothing_lost import FULL, LORA, assert_same_weights, flags, log_of, wait_for
from test_training_run import write
from toy_models import save_toy
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetuning.adapter import load_for_chat
from finetuning.errors import UserError
from finetuning.output.checkpoints import is_complete
from finetuning.output.claim import acquire, finish_publishing, leave, move_into_place

ROOT = Path(__file__).parents[1]
SHORT = ["--max_steps", "2"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work")
    save_toy(path / "base")
    write(path / "train.jsonl", range(60))
    write(path / "test.jsonl", range(100, 102))
    return path


def run(workplace: Path, script: str, output_dir: str | Path, *more: str, code: int = 0) -> str:
    """运行训练脚本，返回它说的话；要拒绝的，只能是一句话。"""
    assert run_script(script, flags(str(output_dir), *SHORT, *more), workplace, workplace / "log") == code, log_of(
        workplace
    )
    said = log_of(workplace)
    assert "Traceback" not in said
    if code:
        assert said.startswith("错误："), said
        assert said.count("\n") == 1, said
    return said


def everything(directory: Path) -> dict[str, bytes | None]:
    """目录里的一切：文件是内容，目录是 None。"""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


# ----------------------------------------------------------------------------------------------------------------------
# 不是我们的目录

FOREIGN = {
    "readme": ["README.md"],
    "another_programs_result": ["metrics.json", "config.json", "checkpoint-500/model.safetensors"],
    "folders_named_like_ours": ["unfinished/thesis.txt", "merged/model.safetensors", "publishing/a"],
    "hidden": [".git/HEAD"],
    "runs": ["runs/lora_1/notes.txt"],
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("script", [FULL, LORA])
def test_a_directory_that_is_not_ours_is_refused(workplace, tmp_path, script, files):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("别人的", encoding="utf-8")
    before = everything(tmp_path)
    # 坏的数据也在后面等着：还没有读，就拒绝了。
    said = run(workplace, script, tmp_path, "--train_file", "no_such_file.jsonl", code=1)
    assert "不是训练脚本的输出目录" in said
    assert "--output_dir" in said
    assert everything(tmp_path) == before


def test_the_project_itself_is_not_an_output_directory(workplace):
    """``--output_dir .``：工作目录里有基座和数据。"""
    before = everything(workplace)
    said = run(workplace, FULL, ".", code=1)
    assert "与输出目录 . 是同一个，或一个在另一个里面" in said
    after = everything(workplace)
    after.pop("log"), before.pop("log", None)
    assert after == before


def test_compare_methods_keeps_what_is_not_its_own(workplace, tmp_path):
    (tmp_path / "runs" / "full_1").mkdir(parents=True)
    (tmp_path / "runs" / "full_1" / "thesis.txt").write_text("别人的", encoding="utf-8")
    before = everything(tmp_path)
    flags = ["--methods", "full", "--seeds", "1", "--model_name_or_path", "base", "--output_dir", tmp_path]
    result = run_command("compare_methods.py", *flags, cwd=workplace, before=fork_trainings)
    assert result.returncode == 1
    assert "不是训练脚本的输出目录" in result.stderr
    assert everything(tmp_path) == before


def test_an_empty_directory_and_the_systems_own_files_are_fine(workplace, tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"")
    run(workplace, FULL, tmp_path)
    assert (tmp_path / "metrics.json").exists()


def test_files_put_beside_our_result_survive(workplace, tmp_path):
    """在我们的目录里加的笔记，后来的训练不动；与结果同名的，改名让开，说出来。"""
    out = tmp_path / "out"
    run(workplace, LORA, out)
    notes = {"notes.txt": "笔记", "README.md": "我写的模型卡片", "checkpoint-9/a.txt": "我放的", "runs/x": "曲线"}
    for name, text in notes.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
    (out / "merged").mkdir()
    (out / "merged" / "mine.txt").write_text("不是合并的结果", encoding="utf-8")
    said = run(workplace, LORA, out, "--merge_and_save")
    assert {name: (out / name).read_text(encoding="utf-8") for name in notes} == notes
    assert (out / "merged.bak" / "mine.txt").read_text(encoding="utf-8") == "不是合并的结果"
    assert (out / "merged" / "model.safetensors").exists()
    assert "merged 不是训练脚本写的，改名为 merged.bak" in said


def test_a_checkpoint_of_another_program_is_moved_aside_not_mixed(workplace, tmp_path):
    out = tmp_path / "out"
    run(workplace, FULL, out)
    shutil.rmtree(out / "checkpoint-2")
    (out / "checkpoint-2").mkdir()
    (out / "checkpoint-2" / "weights.bin").write_bytes(b"theirs")
    run(workplace, FULL, out)
    assert (out / "checkpoint-2.bak" / "weights.bin").read_bytes() == b"theirs"
    assert is_complete(out / "checkpoint-2")


def test_files_put_inside_our_folders_survive(workplace, tmp_path):
    """在 merged 里转的格式，在检查点里写的笔记：整个目录改名让开，不删。"""
    out = tmp_path / "out"
    run(workplace, LORA, out, "--merge_and_save")
    (out / "merged" / "my.gguf").write_bytes(b"gguf")
    (out / "checkpoint-2" / "note.txt").write_text("笔记", encoding="utf-8")
    run(workplace, LORA, out)
    assert (out / "merged.bak" / "my.gguf").read_bytes() == b"gguf"
    assert (out / "merged.bak" / "model.safetensors").exists()
    assert (out / "checkpoint-2.bak" / "note.txt").read_text(encoding="utf-8") == "笔记"
    assert not (out / "merged").exists()
    assert is_complete(out / "checkpoint-2")


@pytest.mark.parametrize("name", ["unfinished", "publishing"])
def test_a_users_folder_with_one_of_our_names(workplace, tmp_path, monkeypatch, name):
    monkeypatch.chdir(workplace)
    out = tmp_path / "out"
    run(workplace, FULL, out)
    (out / name).mkdir()
    for file in ("article.md", "metrics.json"):
        (out / name / file).write_text("{}", encoding="utf-8")
    before = everything(out)
    load_for_chat(str(out))
    assert everything(out) == before
    assert f"{name} 不是训练脚本写的" in run(workplace, FULL, out, code=1)
    assert everything(out) == before


def test_a_half_written_marker_is_not_a_dead_end(workplace, tmp_path):
    (tmp_path / ".sft_output.json.part").write_bytes(b"{")
    run(workplace, FULL, tmp_path)


def test_resuming_from_elsewhere_does_not_delete_unfinished_work(workplace, tmp_path):
    """这里有没训练完的，却从别处的检查点接着训练到这里：会毁掉这里的，先问。"""
    mine, other = tmp_path / "mine", tmp_path / "other"
    save = ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "9"]
    killed = partial(die_in, "training", 3)
    assert run_script(LORA, flags(str(mine), *save, "--seed", "5"), workplace, workplace / "log", killed) < 0
    run(workplace, LORA, other, *save)
    before = everything(mine / "checkpoint-2")
    said = run(workplace, LORA, mine, *save, "--resume_from_checkpoint", str(other / "checkpoint-2"), code=1)
    assert "没有完成的训练（checkpoint-2）" in said
    assert everything(mine / "checkpoint-2") == before


def test_a_half_written_merge_is_not_published(workplace, tmp_path):
    """合并到一半被终止，接着做时不再合并：那一半不是结果。"""
    out = tmp_path / "out"
    command = flags(str(out), *SHORT, "--merge_and_save")
    assert run_script(LORA, command, workplace, workplace / "log", partial(die_in, "merging", 3)) < 0
    (out / "unfinished" / "merged").mkdir(exist_ok=True)
    (out / "unfinished" / "merged" / "model.safetensors").write_bytes(b"half")
    run(workplace, LORA, out, "--resume_from_checkpoint", "true")
    assert not (out / "merged").exists()
    assert (out / "metrics.json").exists()


@pytest.mark.parametrize("other", ["dora", "prefix"])
def test_results_of_two_methods_are_never_mixed(workplace, tmp_path, other):
    out = tmp_path / "out"
    run(workplace, LORA, out)
    before = everything(out)
    said = run(workplace, LORA, out, "--method", other, code=1)
    assert "另一种方法（lora）" in said
    assert everything(out) == before


ODD: dict[str, Callable[[Path], object]] = {
    "unfinished_is_a_link": lambda out: (out / "unfinished").symlink_to(out.parent / "elsewhere"),
    "publishing_is_a_file": lambda out: (out / "publishing").write_text("x"),
    "checkpoint_is_a_file": lambda out: (out / "checkpoint-2").write_text("x"),
    "checkpoint_is_a_link": lambda out: (out / "checkpoint-2").symlink_to(out.parent / "elsewhere"),
    "lock_is_a_directory": lambda out: (out / ".lock").unlink() or (out / ".lock").mkdir(),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows 上要有权限才能建符号链接")
@pytest.mark.parametrize("spoil", ODD.values(), ids=ODD)
def test_our_names_taken_by_something_odd(workplace, tmp_path, spoil):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    run(workplace, FULL, out, "--save_strategy", "no")
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("别人的", encoding="utf-8")
    spoil(out)
    before = everything(tmp_path)
    assert "移走它" in run(workplace, FULL, out, code=1)
    assert everything(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows 上要有权限才能建符号链接")
def test_a_result_name_taken_by_a_directory_or_a_link(workplace, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    run(workplace, LORA, out)
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("别人的", encoding="utf-8")
    (out / "merged").symlink_to(elsewhere)
    (out / "metrics.json").unlink()
    (out / "metrics.json").mkdir()  # 结果被换成了同名的目录：它在 files 里，算我们的
    run(workplace, LORA, out, "--merge_and_save")
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["method"] == "lora"
    assert (out / "merged.bak").readlink() == elsewhere
    assert (elsewhere / "thesis.txt").read_text(encoding="utf-8") == "别人的"


def test_a_marker_cannot_make_us_delete_elsewhere(tmp_path):
    """别人发来的目录，标记里写着外面的文件。"""
    (tmp_path / "victim.txt").write_text("别人的", encoding="utf-8")
    out = tmp_path / "out"
    (out / "publishing").mkdir(parents=True)
    for name in ("metrics.json", "arguments.json"):
        (out / "publishing" / name).write_text('{"run": "x", "method": "lora", "base": {}}', encoding="utf-8")
    marker = {"files": ["../victim.txt", str(tmp_path / "victim.txt"), "..", "."], "method": "lora"}
    (out / ".sft_output.json").write_text(json.dumps(marker), encoding="utf-8")
    finish_publishing(out)
    assert (tmp_path / "victim.txt").exists()
    (out / "publishing").mkdir()
    (out / "publishing" / ".moving.json").write_text(json.dumps(marker), encoding="utf-8")
    finish_publishing(out)
    assert (tmp_path / "victim.txt").exists()


# ----------------------------------------------------------------------------------------------------------------------
# 要读的东西


def with_link(target: Path, link: Path) -> Path:
    link.symlink_to(target)
    return link


@pytest.mark.skipif(os.name == "nt", reason="Windows 上要有权限才能建符号链接")
@pytest.mark.parametrize("place", ["same", "inside", "around", "link"])
@pytest.mark.parametrize("script", [FULL, LORA])
@pytest.mark.parametrize("sharded", [False, True], ids=["one_file", "sharded"])
def test_the_base_is_never_overwritten(workplace, tmp_path, script, place, sharded):
    base = tmp_path / "models" / "base"
    save_toy(base)
    if sharded:
        model = AutoModelForCausalLM.from_pretrained(base)
        (base / "model.safetensors").unlink()
        model.save_pretrained(base, max_shard_size="20KB")
        assert (base / "model.safetensors.index.json").exists()
    out = {
        "same": base,
        "inside": base / "out",
        "around": base.parent,
        "link": tmp_path / "link",
    }[place]
    if place == "link":
        out.symlink_to(base)
    before = everything(tmp_path)
    said = run(workplace, script, out, "--model_name_or_path", str(base), code=1)
    assert "--output_dir 换一个目录，例如" in said
    assert everything(tmp_path) == before


def test_data_and_checkpoints_inside_are_not_replaced(workplace, tmp_path):
    out = tmp_path / "out"
    run(workplace, FULL, out)
    shutil.copy(workplace / "train.jsonl", out / "train.jsonl")
    shutil.copytree(out / "checkpoint-2", out / "kept" / "checkpoint-2")
    before = everything(out)
    assert "数据文件" in run(workplace, FULL, out, "--train_file", str(out / "train.jsonl"), code=1)
    resume = ["--resume_from_checkpoint", str(out / "kept" / "checkpoint-2")]
    assert "检查点" in run(workplace, FULL, out, *resume, code=1)
    base = ["--model_name_or_path", str(out / "checkpoint-2")]
    assert "基座" in run(workplace, FULL, out, *base, code=1)
    assert everything(out) == before


def test_round_two_from_the_merged_model(workplace, tmp_path, monkeypatch):
    """合并，再从合并好的目录接着训练：写在原来的目录里会毁掉自己的基座，拒绝；换一个目录就行。"""
    monkeypatch.chdir(workplace)
    one, two = tmp_path / "lora", tmp_path / "lora_2"
    run(workplace, LORA, one, "--merge_and_save")
    before = everything(one)
    merged = ["--model_name_or_path", str(one / "merged")]
    for more in ([], ["--merge_and_save"]):
        assert f"--output_dir {two}" in run(workplace, LORA, one, *merged, *more, code=1)
        assert everything(one) == before
    run(workplace, LORA, two, *merged)
    assert load_for_chat(str(two))

    # 后来又在那里训练、合并了一次：第二轮的适配器不能悄悄坐在别的基座上
    run(workplace, LORA, one, "--merge_and_save", "--seed", "7")
    with pytest.raises(UserError, match="内容变了"):
        load_for_chat(str(two))


def test_round_two_from_the_adapter(workplace, tmp_path, monkeypatch):
    """直接接着训练适配器：从它出发，不是从基座；存下来的仍是一个适配器，坐在原来的基座上。"""
    monkeypatch.chdir(workplace)
    one, two = tmp_path / "lora", tmp_path / "lora_2"
    run(workplace, LORA, one, "--lora_r", "4")
    before = everything(one)
    start = ["--model_name_or_path", str(one)]
    assert "与输出目录" in run(workplace, LORA, one, *start, code=1)
    for wrong, words in (
        (["--lora_r", "16"], "lora_r 是 4"),
        (["--method", "dora"], "--method lora"),
        (["--target_modules", "q_proj"], "target_modules"),
    ):
        assert words in run(workplace, LORA, two, *start, *wrong, code=1)
        assert not two.exists()
    assert "接着训练它，请用 train_lora_solution.py" in run(workplace, FULL, two, *start, code=1)
    run(workplace, LORA, two, *start)
    assert everything(one) == before
    metrics = [json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in (one, two)]
    assert metrics[1]["before"]["loss"] == pytest.approx(metrics[0]["after"]["loss"], rel=1e-5)
    assert metrics[1]["after"]["loss"] < metrics[0]["after"]["loss"]
    config = json.loads((two / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["r"]) == ("base", 4)
    record = json.loads((two / "arguments.json").read_text(encoding="utf-8"))
    assert (record["continues"]["name"], record["base"]["name"]) == (str(one), "base")
    load_for_chat(str(two))


@pytest.mark.parametrize("method", ["lora", "dora", "prefix", "qlora"])
def test_continuing_equals_training_on(workplace, tmp_path, method):
    """第二轮没有走之前，就是第一轮的模型：损失一样；可训练的参数也一样多。"""
    if method == "qlora" and find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes 是可选的依赖")
    one, two = tmp_path / "one", tmp_path / "two"
    run(workplace, LORA, one, "--method", method)
    run(workplace, LORA, two, "--method", method, "--model_name_or_path", str(one))
    metrics = [json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in (one, two)]
    assert metrics[1]["before"]["loss"] == pytest.approx(metrics[0]["after"]["loss"], rel=1e-5)
    assert metrics[1]["trainable_parameters"] == metrics[0]["trainable_parameters"]


# ----------------------------------------------------------------------------------------------------------------------
# 同时只有一次训练


def test_two_runs_at_once(workplace, tmp_path):
    out = tmp_path / "out"
    first = start_script(FULL, flags(str(out), "--num_train_epochs", "20"), workplace, workplace / "log")
    wait_for(first, workplace, "'loss'")
    log = tmp_path / "second.log"
    assert run_script(FULL, flags(str(out), *SHORT), workplace, log) == 1
    assert "正被另一个训练使用" in log_of(log.parent, log.name)
    assert log_of(log.parent, log.name).count("\n") == 1
    assert first.is_alive()
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    time.sleep(0.1)
    shutil.rmtree(out / "unfinished")
    for checkpoint in out.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    run(workplace, FULL, out)  # 进程没了，锁就没了


def test_a_refused_run_leaves_nothing(workplace, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "问", "output": "答"}\n{oops\n', encoding="utf-8")
    for wrong in (["--train_file", str(bad)], ["--model_name_or_path", "./no_such_model"]):
        run_script(FULL, flags(str(tmp_path / "a" / "b"), *wrong), workplace, workplace / "log")
        assert not (tmp_path / "a").exists()


def test_a_refused_run_keeps_the_bad_rows_of_the_last(workplace, tmp_path):
    out, data = tmp_path / "out", tmp_path / "train.jsonl"
    write(data, range(20))
    data.write_text(data.read_text(encoding="utf-8") + "\n{oops\n", encoding="utf-8")
    skip = ["--train_file", str(data), "--on_bad_rows", "skip"]
    run(workplace, FULL, out, *skip)
    recorded = (out / "bad_rows_train.jsonl").read_text(encoding="utf-8")
    assert "oops" in recorded
    run_script(FULL, flags(str(out), *skip, "--test_file", "no_such_file.jsonl"), workplace, workplace / "log")
    run_script(LORA, flags(str(out), *skip), workplace, workplace / "log")
    assert (out / "bad_rows_train.jsonl").read_text(encoding="utf-8") == recorded


# ----------------------------------------------------------------------------------------------------------------------
# 换上新的结果


def publish(path: Path, count: int) -> None:
    """与 ``OutputDir.publish`` 同样的几步，第 ``count`` 次改动文件系统之前被终止。"""
    countdown = Countdown(count)
    countdown.armed = True
    if (path / "unfinished").exists():
        (path / "unfinished").rename(path / "publishing")
    move_into_place(path, quiet=True)


@pytest.fixture(scope="module", params=[FULL, LORA])
def about_to_publish(request, workplace, tmp_path_factory):
    """旧的结果，和正要换上去的新的：``(目录, 旧的结果, 新的结果)``。"""
    script, out = request.param, tmp_path_factory.mktemp("publish") / "out"
    more = ["--save_strategy", "no", *(["--merge_and_save"] if script == LORA else [])]
    run(workplace, script, out, *more)
    (out / "notes.txt").write_text("笔记", encoding="utf-8")
    old = result(out)
    command = flags(str(out), *SHORT, *more, "--seed", "9")
    code = run_script(script, command, workplace, workplace / "log", partial(die_in, "publishing", 1))
    assert code == -signal.SIGKILL
    assert result(out) == old
    straight = out.with_name("straight")
    run(workplace, script, straight, *more, "--seed", "9")
    return out, old, result(straight)


def result(out: Path) -> dict[str, bytes | None]:
    """结果的各个文件；每次都不同的（编号、时间、图）只看有没有。"""
    own = (".lock", ".sft_output.json", ".sft_output.json.part", "notes.txt")  # 标记可能写到一半
    files = everything(out)
    varying = ("arguments.json", "metrics.json", "loss_curve.png", "adapter_config.json")
    return {
        name: b"" if name in varying else content
        for name, content in files.items()
        if name not in own and not name.startswith(("unfinished", "publishing"))
    }


def test_killed_at_every_file_operation_of_publishing(about_to_publish, tmp_path):
    """每一步终止一次；接着换的时候再终止一次。什么时候看，都不会把一半新一半旧当成结果。"""
    prepared, old, new = about_to_publish
    randomness, kills, count = random.Random(0), 0, 0
    while True:
        count += 1
        out = tmp_path / str(count)
        shutil.copytree(prepared, out)
        process = start(publish, out, count)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        looks_finished(out, old, new)
        if process.exitcode == 0:
            break
        kills += 1
        again = start(publish, out, randomness.randint(1, 12))
        again.join()
        kills += again.exitcode != 0
        looks_finished(out, old, new)
        start(publish, out, 10**9).join()  # 这次没有人打断
        assert result(out) == new
        assert (out / "notes.txt").read_text(encoding="utf-8") == "笔记"
        assert not (out / "publishing").exists()
    assert count > len(new)
    print(f"\n换上新的结果要 {count - 1} 次文件操作，每次之前都终止过；共终止 {kills} 次")


def looks_finished(out: Path, old: dict[str, bytes | None], new: dict[str, bytes | None]) -> None:
    """有 ``metrics.json``，就或者全是旧的，或者全是新的。"""
    if (out / "metrics.json").exists():
        assert result(out) in (old, new)


def test_reading_a_half_published_result_puts_it_in_place(about_to_publish, workplace, tmp_path, monkeypatch):
    """换到一半被终止的，chat.py 一读就接着换完。"""
    monkeypatch.chdir(workplace)
    prepared, _, new = about_to_publish
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    process = start(publish, out, 6)
    process.join()
    assert not (out / "metrics.json").exists()
    load_for_chat(str(out))
    assert result(out) == new


def test_a_reader_waits_for_a_writer(about_to_publish, tmp_path):
    prepared, _, _ = about_to_publish
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    (out / "unfinished").rename(out / "publishing")
    lock, created = acquire(out, {})
    before = everything(out)
    with pytest.raises(UserError, match="正被另一个训练使用"):
        load_for_chat(str(out))
    assert everything(out) == before
    leave(out, lock, created)


def test_full_and_adapter_load_elsewhere(about_to_publish, workplace, monkeypatch):
    """多出来的几个文件，不碍别的工具读。"""
    monkeypatch.chdir(workplace)
    prepared, _, _ = about_to_publish
    assert AutoTokenizer.from_pretrained(prepared).eos_token == "<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained(prepared)
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[1, 2]])).logits).all()


def test_same_arguments_same_weights(workplace, tmp_path):
    run(workplace, LORA, tmp_path / "a")
    run(workplace, LORA, tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")
