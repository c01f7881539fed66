"""``docs/public_reports.md`` 里“另外找来的十份报告”中，别处没有测试的几份。"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from test_nothing_lost import FULL, LORA
from test_training_run import make_workplace
from test_unsound_training import run

SAVE = ["--save_strategy", "steps", "--save_total_limit", "9"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workplace(tmp_path_factory.mktemp("work"))


def state_of(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))


def checkpoints_of(output_dir: Path) -> list[Path]:
    return sorted(output_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def test_one_kept_checkpoint_and_early_stopping(workplace, tmp_path):
    """transformers#19300：最好的和最后的都留着，至多两个。"""
    more = ["--early_stopping_patience", "2", "--eval_strategy", "steps", "--eval_steps", "1", "--max_steps", "30"]
    run(workplace, FULL, tmp_path, *more, "--learning_rate", "0.3", "--save_total_limit", "1")
    best, last = checkpoints_of(tmp_path)
    assert Path(state_of(last)["best_model_checkpoint"]).name == best.name


def test_the_newest_checkpoints_are_kept(workplace, tmp_path):
    """transformers#11769：按数字，不按文字。"""
    run(workplace, FULL, tmp_path, *SAVE[:3], "3", "--save_steps", "1", "--max_steps", "12")
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-10", "checkpoint-11", "checkpoint-12"]


def test_learning_rates_after_resuming(workplace, tmp_path):
    """transformers#34053：与没有断过的相同。"""

    def rates() -> list[float]:
        log = state_of(tmp_path / "checkpoint-10")["log_history"]
        return [entry["learning_rate"] for entry in log if "learning_rate" in entry]

    more = [*SAVE, "--save_steps", "5", "--max_steps", "10", "--logging_steps", "1", "--lr_scheduler_type", "linear"]
    run(workplace, LORA, tmp_path, *more)
    straight = rates()
    run(workplace, LORA, tmp_path, *more, "--resume_from_checkpoint", str(tmp_path / "checkpoint-5"))
    assert rates() == straight
    assert len(straight) == 10


def test_the_saved_adapter_is_whole(workplace, tmp_path):
    """alpaca-lora#363：每个矩阵都在，没有一个全是零。"""
    run(workplace, LORA, tmp_path, "--max_steps", "3")
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # 两层，每层七个线性层，各有 A 和 B
    assert all(value.any() for value in weights.values())


def test_the_longest_conversation_does_not_change_the_steps(workplace, tmp_path):
    """LLaMA-Factory#5196：一步看几段对话，不看几个 token。"""
    for length in ("64", "512"):
        assert "1 轮，10 步" in run(workplace, LORA, tmp_path / length, "--max_length", length)
