"""验证损失：每个 token 的平均，与一批几段无关；没有验证数据就从训练数据里留出；提前停下，断了再接也一样。"""

import copy
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from child_processes import run_script
from dying_processes import die_in
from safetensors.torch import load_file
from test_nothing_lost import FULL, LORA, flags, log_of
from test_training_run import make_workplace, write
from test_unsound_training import run
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import TrainerState

from data_solution import SFTDataset
from finetuning.chatml import CHAT_TEMPLATE
from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.evaluate import row_losses
from finetuning.model import load_model
from finetuning.reading import load_conversations
from finetuning.shortcuts.packing import enable_packing
from finetuning.stopping import EarlyStopping

EVERY_STEP = ["--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps", "--save_steps", "1"]
RESUME = ["--resume_from_checkpoint", "true"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_workplace(tmp_path_factory.mktemp("work"))
    write(path / "validation.jsonl", range(200, 233))
    return path


@pytest.fixture(scope="module")
def base() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model, tokenizer, _ = load_model(str(ROOT / "base_model"))
    return model, tokenizer


def state_of(output_dir: Path) -> TrainerState:
    last = max(output_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return TrainerState.load_from_json(str(last / "trainer_state.json"))


def eval_losses(output_dir: Path) -> list[float]:
    return [entry["eval_loss"] for entry in state_of(output_dir).log_history if "eval_loss" in entry]


def loss_one_by_one(model_path: Path, data: Path, base: Path) -> float:
    """对照：transformers 自己的模型、对话模板，一段一段地算，全部要学的 token 平均。"""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_path), AutoTokenizer.from_pretrained(base)
    total, count = 0.0, 0
    for conversation in load_conversations(data):
        encoded = tokenizer.apply_chat_template(
            conversation, chat_template=CHAT_TEMPLATE, return_assistant_tokens_mask=True, return_dict=True
        )
        ids = torch.tensor(encoded["input_ids"][:512])
        learnt = torch.tensor(encoded["assistant_masks"][:512], dtype=torch.bool)
        with torch.no_grad():
            scores = model(ids[None]).logits[0, :-1].log_softmax(-1)
        picked = scores.gather(1, ids[1:, None]).squeeze(1)[learnt[1:]]
        total, count = total - picked.sum().item(), count + len(picked)
    return total / count


@pytest.mark.parametrize("padding_free", ["true", "false"])
def test_the_loss_does_not_depend_on_the_batch(workplace, tmp_path, padding_free):
    found = []
    for batch_size in ("32", "8", "1"):
        out = tmp_path / batch_size
        more = ["--validation_file", "validation.jsonl", "--per_device_eval_batch_size", batch_size, "--max_steps", "1"]
        run(workplace, FULL, out, *EVERY_STEP, *more, "--padding_free", padding_free)
        found += eval_losses(out)
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)
    expected = loss_one_by_one(out / "checkpoint-1", workplace / "validation.jsonl", workplace / "base")
    assert found[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_each_row_has_its_own_loss(base, packed):
    """一批里的各段分得开：与一段一段地交给 transformers 算的相同，次序也相同。"""
    model, tokenizer = copy.deepcopy(base[0]), base[1]
    conversations = load_conversations(ROOT / "data/test.jsonl")[:40]
    dataset = SFTDataset(conversations, tokenizer)
    assert not packed or enable_packing(model) is None
    collate = PackedCollator() if packed else PaddedCollator(tokenizer.pad_token_id)
    found = row_losses(model, dataset, collate, batch_size=16)
    with torch.no_grad():
        expected = [
            base[0](**{name: torch.tensor([ids]) for name, ids in dataset[index].items()}).loss.item()
            for index in range(len(dataset))
        ]
    assert len({round(loss, 3) for loss in expected}) > 30
    assert found == pytest.approx(expected, rel=1e-4)


def test_smoothing_is_for_training_only(workplace, tmp_path):
    """标签平滑的损失不是“每个 token 多少 nat”，不能拿来与检验损失比。"""
    more = ["--validation_file", "validation.jsonl", "--max_steps", "1", "--label_smoothing_factor", "0.3"]
    run(workplace, FULL, tmp_path / "out", *EVERY_STEP, *more)
    expected = loss_one_by_one(tmp_path / "out" / "checkpoint-1", workplace / "validation.jsonl", workplace / "base")
    assert eval_losses(tmp_path / "out") == [pytest.approx(expected, rel=1e-5)]


def test_bf16_training_is_validated(workplace, tmp_path):
    """LoRA 冻结的权重训练时是 bf16 的：验证也要用同样的混合精度。"""
    more = ["--validation_file", "validation.jsonl", "--max_steps", "2", "--bf16", "true"]
    run(workplace, LORA, tmp_path / "out", *EVERY_STEP, *more)
    losses = eval_losses(tmp_path / "out")
    run(workplace, LORA, tmp_path / "fp32", *EVERY_STEP, *more[:-1], "false")
    assert losses == pytest.approx(eval_losses(tmp_path / "fp32"), rel=2e-2)


# ----------------------------------------------------------------------------------------------------------------------
# 没有给验证数据

ASKED = {
    "eval_strategy": ["--eval_strategy", "epoch"],
    "best": [*EVERY_STEP, "--load_best_model_at_end"],
    "saved_as_validated": [*EVERY_STEP[:4], "--load_best_model_at_end"],
    "save_best": ["--save_strategy", "best"],
    "plateau": ["--lr_scheduler_type", "reduce_lr_on_plateau"],
    "early_stopping": ["--early_stopping_patience", "1"],
}


@pytest.mark.parametrize("more", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("given", ["test", "nothing"])
def test_a_part_of_the_training_data_is_held_out(workplace, tmp_path, more, given):
    command = flags(str(tmp_path / "out"), *more)
    if given == "nothing":
        position = command.index("--test_file")
        del command[position : position + 2]
    assert run_script(LORA, command, workplace, workplace / "log") == 0, log_of(workplace)
    said = log_of(workplace)
    left = 38 if given == "test" else 36
    assert f"训练 {left} 段对话，验证 2 段（从训练数据中随机留出）" in said
    assert eval_losses(tmp_path / "out")
    held_out = json.loads((tmp_path / "out" / "arguments.json").read_text(encoding="utf-8"))["held_out"]
    assert held_out == (["validation"] if given == "test" else ["test", "validation"])


def test_nothing_is_held_out_unless_asked(workplace, tmp_path):
    assert "训练 40 段对话，检验 4 段" in run(workplace, LORA, tmp_path / "out")
    assert "验证 33 段，" in run(workplace, LORA, tmp_path / "two", "--validation_file", "validation.jsonl")


def test_holding_out_cannot_change_when_going_on(workplace, tmp_path):
    out, more = tmp_path / "out", ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "1"]
    code = run_script(FULL, flags(str(out), *more), workplace, workplace / "log", partial(die_in, "training", 2))
    assert code < 0
    said = run(workplace, FULL, out, *more, *RESUME, "--eval_strategy", "steps", "--eval_steps", "1", code=1)
    assert "没有给 --validation_file" in said


# ----------------------------------------------------------------------------------------------------------------------
# 提前停下


@pytest.mark.parametrize(
    ("losses", "over"),
    [
        ([], False),
        ([1.0], False),
        ([1, 2, 3], True),
        ([3, 2, 1], False),
        ([1, 2, 0.5, 0.6], False),
        ([2, 1, 1, 1], True),
    ],
)
def test_patience_is_counted_from_the_best(losses, over):
    state = TrainerState(log_history=[{"loss": 9.0}, *({"eval_loss": loss} for loss in losses)])
    assert EarlyStopping(2).is_over(state) is over


STOPPING = [*EVERY_STEP, "--max_steps", "30", "--early_stopping_patience", "2", "--save_total_limit", "99"]
STOPPING += ["--validation_file", "validation.jsonl", "--learning_rate", "0.3"]


@pytest.fixture(scope="module", params=[FULL, LORA])
def stopped(request, workplace, tmp_path_factory) -> tuple[str, Path, str]:
    """提前停下了的训练：脚本、输出目录、它说的话。"""
    out = tmp_path_factory.mktemp("stopped") / "out"
    return request.param, out, run(workplace, request.param, out, *STOPPING)


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    (path,) = directory.glob("*model.safetensors")
    return load_file(path)


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_training_stops_and_the_best_is_kept(stopped):
    _, out, said = stopped
    losses = eval_losses(out)
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 30
    assert f"验证损失连续 2 次没有变小，在第 {len(losses)} 步提前停下" in said
    assert f"用验证损失最小的第 {best + 1} 步的（{losses[best]:.3f}）" in said
    assert_equal(weights_of(out), weights_of(out / f"checkpoint-{best + 1}"))
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["steps"] == len(losses)


def test_going_on_stops_at_the_same_step(workplace, stopped, tmp_path):
    """从中间、从最后一步、从只差检验的地方接着做，都与没有断过的一样。"""
    script, straight, _ = stopped
    steps = len(eval_losses(straight))
    for name, where in (("middle", f"checkpoint-{steps - 1}"), ("last", f"checkpoint-{steps}")):
        out = tmp_path / name
        shutil.copytree(straight, out)
        run(workplace, script, out, *STOPPING, "--resume_from_checkpoint", str(out / where))
        assert eval_losses(out) == eval_losses(straight)
        assert_equal(weights_of(out), weights_of(straight))
    out = tmp_path / "evaluation"
    code = run_script(
        script, flags(str(out), *STOPPING), workplace, workplace / "log", partial(die_in, "evaluation", 1)
    )
    assert code < 0
    run(workplace, script, out, *STOPPING, *RESUME)
    assert_equal(weights_of(out), weights_of(straight))
