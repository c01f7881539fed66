"""几个进程一起训练，与一个进程一样：总的批次（global batch）相同，每一步的损失就相同。

用真正的启动器 ``torchrun`` 和 ``accelerate launch``，两个 CPU 进程，gloo 通信，自带的基座。
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from child_processes import run_script, start, without_notices
from safetensors.torch import load_file
from toy_models import toy_model
from transformers import AutoModelForCausalLM

from finetuning.answers import read_answers
from finetuning.collator import PackedCollator
from finetuning.shortcuts.attention import PER_DOCUMENT

ROOT = Path(__file__).parents[1]
STEPS = 6
LAUNCHERS = {
    "torchrun": "torch.distributed.run --nproc_per_node 2 --master_port",
    "accelerate": "accelerate.commands.launch --config_file configs/fsdp.yaml --main_process_port",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """自带数据的开头几行。"""
    path = tmp_path_factory.mktemp("work")
    for name, count in (("train", 100), ("test", 2), ("dev", 33)):
        with (ROOT / "data" / f"{name}.jsonl").open(encoding="utf-8") as rows:
            (path / f"{name}.jsonl").write_text("".join(next(rows) for _ in range(count)), encoding="utf-8")
    return path


def flags(output_dir: str, batch_size: int) -> list[str]:
    flags = ["--model_name_or_path", str(ROOT / "base_model"), "--train_file", "train.jsonl"]
    flags += ["--test_file", "test.jsonl", "--output_dir", output_dir, "--bf16", "false", "--disable_tqdm", "true"]
    flags += ["--exact_match", "false", "--use_cpu", "true", "--validation_file", "dev.jsonl"]
    flags += ["--eval_strategy", "steps", "--eval_steps", str(STEPS), "--per_device_eval_batch_size", str(batch_size)]
    return [*flags, "--per_device_train_batch_size", str(batch_size), "--max_steps", str(STEPS), "--logging_steps", "1"]


def launch(launcher: str, script: str, workplace: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = LAUNCHERS[launcher].replace("configs", str(ROOT / "configs")).split(" ")
    return subprocess.run(
        [sys.executable, "-m", *command, str(free_port()), str(ROOT / f"{script}.py"), *flags],
        cwd=workplace,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def losses(output_dir: Path) -> list[float]:
    state = json.loads((output_dir / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def eval_losses(output_dir: Path) -> list[float]:
    state = json.loads((output_dir / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]


@pytest.mark.parametrize(
    ("launcher", "script"), [("torchrun", "train_lora_solution"), ("accelerate", "train_sft_solution")]
)
def test_two_processes_equal_one(workplace, launcher, script):
    one, two = workplace / f"one_{script}", workplace / f"two_{script}"
    log = workplace / "log"
    assert run_script(script, flags(str(one), 16), workplace, log) == 0, log.read_text(encoding="utf-8")
    result = launch(launcher, script, workplace, *flags(str(two), 8))
    assert result.returncode == 0, result.stderr
    assert without_notices(result.stderr) == ""
    assert result.stdout.count("和它聊天") == 1, "只有第一个进程说话"
    assert f"训练    {STEPS} 步，每步 16 段" in result.stdout

    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert len(losses(one)) == STEPS
    # 33 段，分不均匀：没有一段算两遍
    assert eval_losses(two) == pytest.approx(eval_losses(one), abs=1e-5)
    assert len(eval_losses(one)) == 1
    # 检查点里的是 fp32；最后存下来的舍入过，差一点就可能舍到另一边
    (weights,) = (path.relative_to(one) for path in one.glob(f"checkpoint-{STEPS}/*.safetensors"))
    expected = load_file(one / weights)
    for name, value in load_file(two / weights).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=name)
    before, after = (json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in (one, two))
    assert after["after"]["loss"] == pytest.approx(before["after"]["loss"], abs=1e-4)
    assert len(read_answers(two)) == 2, "只有第一个进程写，一个问题一行"
    manifest = json.loads((two / f"checkpoint-{STEPS}" / "complete.json").read_text(encoding="utf-8"))
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= manifest.keys(), "每个进程都写完了，才算完整"
    assert not (two / "unfinished").exists()


# ----------------------------------------------------------------------------------------------------------------------
# FSDP：accelerate 在 CPU 上不切分（忽略 configs/fsdp.yaml 里的 fsdp_config，按 DDP 运行）；torch 自己的 FSDP2 可以，
# 所以在这里直接用它，看我们的批次和逐段的注意力在切开的模型上对不对。


def packed_batch(rank: int) -> dict[str, Any]:
    numbers = torch.randint(400, (2, 11), generator=torch.Generator().manual_seed(rank)).tolist()
    rows = [numbers[0][:7], numbers[1]]
    return PackedCollator()([{"input_ids": row, "labels": row} for row in rows])


def sharded_training(rank: int, port: int, output: Path) -> None:
    """两个进程之一：切分模型，走三步，把完整的权重收回来存下。"""
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    torch.set_num_threads(1)
    init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = toy_model()
    model.set_attn_implementation(PER_DOCUMENT)
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model(**packed_batch(rank)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        model.save_pretrained(output, state_dict=weights)
    destroy_process_group()


def test_fsdp_equals_one_process(tmp_path):
    """两个进程的批次大小不同、损失各自平均；FSDP 取梯度的平均，就等于两个损失的平均的梯度。"""
    port = free_port()
    processes = [start(sharded_training, rank, port, tmp_path / "sharded") for rank in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]

    model = toy_model()
    model.set_attn_implementation(PER_DOCUMENT)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        sum(model(**packed_batch(rank)).loss / 2 for rank in range(2)).backward()
        optimizer.step()
        optimizer.zero_grad()
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "sharded").state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_refusal_is_said_once(workplace):
    """第一个进程拒绝，其余的一起停下：只有一句话，也不等到超时。"""
    out = workplace / "theirs"
    out.mkdir()
    (out / "thesis.txt").write_text("别人的", encoding="utf-8")
    result = launch("torchrun", "train_sft_solution", workplace, *flags(str(out), 8))
    assert result.returncode == 1
    assert result.stderr.count("不是训练脚本的输出目录") == 1
    assert "output_dir.py" not in result.stderr  # 没有我们的调用栈；torchrun 自己的，管不着
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
