"""bf16 自动混合精度：训练中 logits 留在 bf16，学到的与 accelerate 的包装一位不差；训练后恢复原样。fp16：溢出了要说。"""

import inspect

import pytest
import torch
from peft import LoraConfig, get_peft_model
from toy_models import toy_model, toy_tokenizer
from transformers import Trainer, TrainerCallback, set_seed

from finetuning.arguments import DataArguments, ModelArguments
from finetuning.arguments.trainer import SFTArguments
from finetuning.data import Splits
from finetuning.errors import UserError
from finetuning.output.directory import OutputDir
from finetuning.training import CheckedTrainer, OwnForward, build_trainer, save, train
from finetuning.watching import SkippedSteps

EXAMPLES = [
    {"input_ids": [(7 * number + step) % 40 for step in range(size)], "labels": [-100] * 2 + [5] * (size - 2)}
    for number, size in enumerate((6, 30, 9, 14, 3, 22, 8, 11))
]


def arguments(tmp_path, **changes):
    options = {"save_strategy": "no", "eval_strategy": "epoch", "bf16": True} | changes
    return SFTArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_train_epochs=3, learning_rate=1e-2, use_cpu=True,
        logging_steps=1, disable_tqdm=True, seed=1, **options,
    )  # fmt: skip


def trainer_for(model, args, padding_free=True, output=None):
    splits = Splits(EXAMPLES, EXAMPLES, EXAMPLES, [])
    return build_trainer(model, toy_tokenizer(), splits, args, padding_free, output)


def train_in(tmp_path, model, **changes):
    args = arguments(tmp_path, save_strategy="epoch", **changes)
    with OutputDir("full", ModelArguments("no/such"), DataArguments("no/such"), args) as output:
        train(trainer_for(model, args, output=output))


def trained(monkeypatch, tmp_path, lora, padding_free, keep):
    """训练三轮，记下每一次前向传播的 logits 的精度。"""
    set_seed(0)
    model = toy_model()
    if lora:
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    trainer = trainer_for(model, arguments(tmp_path), padding_free)
    if not keep:
        assert trainer.pop_callback(OwnForward) is not None
        monkeypatch.setattr(CheckedTrainer, "compute_loss_context_manager", Trainer.compute_loss_context_manager)
    dtypes = []

    class Watch(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            model.register_forward_hook(lambda module, inputs, output: dtypes.append(output.logits.dtype))

    trainer.add_callback(Watch())
    trainer.train()
    losses = [entry.get("loss", entry.get("eval_loss")) for entry in trainer.state.log_history]
    return model, losses, set(dtypes), {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_bit_for_bit_the_same_without_fp32_logits(monkeypatch, tmp_path, lora, padding_free):
    _, losses, dtypes, weights = trained(monkeypatch, tmp_path / "ours", lora, padding_free, keep=True)
    _, expected_losses, plain, expected = trained(monkeypatch, tmp_path / "plain", lora, padding_free, keep=False)
    assert dtypes == {torch.bfloat16}
    assert plain == {torch.float32}
    assert losses == expected_losses
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("again", [False, True], ids=["trained", "resumed after the last step"])
def test_afterwards_the_model_computes_in_its_own_precision(tmp_path, again):
    model = toy_model()
    train_in(tmp_path, model)
    if again:
        weights = [weight.clone() for weight in model.parameters()]
        model = toy_model()
        train_in(tmp_path, model, resume_from_checkpoint="true")
        assert all(map(torch.equal, model.parameters(), weights))
    fresh = toy_model()
    fresh.load_state_dict(model.state_dict())
    ids = torch.tensor([[3, 9, 4]])
    model.eval().set_attn_implementation("sdpa")
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, fresh.eval()(ids).logits, rtol=0, atol=0)


@pytest.mark.parametrize("own", [False, True], ids=["the class's forward", "a forward of its own"])
def test_forward_is_the_model_s_again_while_training_and_afterwards(tmp_path, own):
    """模型的 forward 上原来有什么，就还是什么：autocast 不包在它外面，它自己的装饰器也不掉。"""
    model = toy_model()
    if own:
        inner = model.forward
        model.forward = lambda *args, **kwargs: inner(*args, **kwargs)
        model.forward.__signature__ = inspect.signature(inner)
    expected = model.forward
    trainer = trainer_for(model, arguments(tmp_path))
    seen = []

    class Watch(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            seen.append(model.forward)

    trainer.add_callback(Watch())
    trainer.train()
    assert seen
    assert all(forward == expected for forward in [*seen, model.forward])


# ----------------------------------------------------------------------------------------------------------------------
# fp16：梯度溢出的一步，GradScaler 悄悄跳过。CPU 上没有 fp16 的训练，这里装上同样的 GradScaler，放大倍数故意大到溢出


def train_in_fp16(tmp_path, scale, **changes):
    """训练一次，返回 Trainer 和训练前的权重；``scale`` 是一开始损失乘的数。"""
    model = toy_model()
    before = {name: value.clone() for name, value in model.named_parameters()}
    args = arguments(tmp_path, bf16=False, max_grad_norm=0.0, **changes)
    args.fp16 = True
    with OutputDir("full", ModelArguments("no/such"), DataArguments("no/such"), args) as output:
        trainer = trainer_for(model, args, output=output)
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        train(trainer)
        save(trainer)
    return trainer, before


def test_training_that_skipped_every_step_is_no_result(tmp_path):
    with pytest.raises(UserError, match=r"训练了 6 步，每一步的梯度都超出了 fp16 的范围.*--fp16 false"):
        train_in_fp16(tmp_path, 2.0**120)
    assert not (tmp_path / "unfinished" / "model.safetensors").exists()


def test_training_that_skips_every_step_stops_early(tmp_path):
    with pytest.raises(UserError, match=r"训练了 2\d 步，每一步的梯度都超出了 fp16"):
        train_in_fp16(tmp_path, 2.0**120, max_steps=60, eval_strategy="no")


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_steps_skipped_at_the_start_are_counted(tmp_path, capsys, fused):
    """fused 的优化器自己跳过，accelerate 不知道；别的由 GradScaler 跳过。"""
    optim = "adamw_torch_fused" if fused else "adamw_torch"
    trainer, before = train_in_fp16(tmp_path, 2.0**22, max_steps=30, eval_strategy="no", optim=optim)
    skipped = trainer.skipped_steps
    assert skipped.steps == 30
    assert 0 < skipped.skipped < 30
    assert trainer.accelerator.scaler.get_scale() == 2.0 ** (22 - skipped.skipped)
    assert f"30 步里有 {skipped.skipped} 步的梯度超出了 fp16 的范围" in capsys.readouterr().out
    assert any(not torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


@pytest.mark.parametrize(("skipped", "said"), [(0, None), (3, "正常"), (40, "--bf16 false --fp16 false")])
def test_what_is_said_about_skipped_steps(skipped, said):
    counting = SkippedSteps(lambda: None)
    counting.steps, counting.skipped = 100, skipped
    assert counting.told() is None if said is None else said in counting.told()
