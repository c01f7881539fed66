"""一步分成两个微批次、两个线程来算：学到的与拼成一行相同，每次相同；该分的才分。"""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from toy_models import toy_model
from transformers import MixtralConfig, MixtralForCausalLM, OPTConfig, OPTForCausalLM, set_seed

from finetuning import threads
from finetuning.arguments.trainer import SFTArguments
from finetuning.collator import PackedCollator
from finetuning.shortcuts import Setting, choose
from finetuning.shortcuts.micro_batches import MicroBatchCollator, MicroBatchTrainer
from finetuning.shortcuts.packing import enable_packing

EXAMPLES = [
    {"input_ids": [(7 * number + step) % 40 for step in range(size)], "labels": [-100] * 2 + [5] * (size - 2)}
    for number, size in enumerate((6, 30, 9, 14, 3, 22, 8, 11, 40, 5, 17, 12))
]


@pytest.fixture(autouse=True)
def two_cores(set_cores):
    set_cores(2)


def arguments(tmp_path, **options) -> SFTArguments:
    return SFTArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=5, num_train_epochs=2, learning_rate=1e-2, use_cpu=True,
        logging_steps=1, save_strategy="no", eval_strategy="no", disable_tqdm=True, bf16=False, seed=1, **options
    )  # fmt: skip


def trained(tmp_path, rows, lora=False, **options):
    """训练两轮；返回每一步的损失和最后的参数。"""
    set_seed(0)
    model = toy_model()
    if lora:
        modules = "all-linear" if lora is True else lora
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=modules))
    assert enable_packing(model) is None
    args = arguments(tmp_path, **options)
    trainer = MicroBatchTrainer(
        model=model, args=args, train_dataset=EXAMPLES, data_collator=PackedCollator(multiple=8)
    )
    trainer.micro_batches = rows
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}], ids=["plain", "accumulated"])
def test_two_micro_batches_learn_the_same_as_one(tmp_path, lora, options):
    one, expected = trained(tmp_path / "one", 1, lora, **options)
    two, actual = trained(tmp_path / "two", 2, lora, **options)
    assert two == pytest.approx(one, rel=1e-5)
    for name, parameter in expected.items():
        torch.testing.assert_close(actual[name], parameter, rtol=1e-3, atol=1e-5, msg=name)


def test_gradients_equal_those_of_one(tmp_path):
    """优化器会把舍入的差别放大，所以直接比一步的梯度。"""
    gradients = []
    for rows in (1, 2):
        model = toy_model()
        assert enable_packing(model) is None
        trainer = MicroBatchTrainer(model=model, args=arguments(tmp_path / str(rows)), data_collator=PackedCollator(8))
        batch = PackedCollator(8)(EXAMPLES) if rows == 1 else MicroBatchCollator(PackedCollator(8), rows)(EXAMPLES)
        trainer.micro_batches = rows
        with trainer.threads():
            trainer.training_step(model, batch, torch.tensor(153))
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, expected in gradients[0].items():
        atol = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-5, atol=atol, msg=name)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first_losses, first = trained(tmp_path / "first", 2)
    second_losses, second = trained(tmp_path / "second", 2)
    assert first_losses == second_losses
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_micro_batches_hold_every_example_once_and_are_balanced():
    batch = MicroBatchCollator(PackedCollator(multiple=1), 2)(EXAMPLES)
    sizes = [part["input_ids"].shape[1] for part in batch["micro_batches"]]
    assert sum(sizes) == sum(len(example["input_ids"]) for example in EXAMPLES)
    assert abs(sizes[0] - sizes[1]) <= 3
    documents = [
        part["input_ids"][0, start:end].tolist()
        for part in batch["micro_batches"]
        for start, end in zip(part["cu_seq_lens_q"], part["cu_seq_lens_q"][1:], strict=False)
    ]
    assert sorted(documents) == sorted(example["input_ids"] for example in EXAMPLES)
    supervised = sum(label != -100 for example in EXAMPLES for label in example["labels"][1:])
    assert (batch["labels"] != -100).sum() == (batch["shift_labels"] != -100).sum() == supervised
    assert batch["input_ids"].shape[1] == sum(sizes)


def test_a_single_example_is_one_micro_batch():
    assert len(MicroBatchCollator(PackedCollator(), 2)(EXAMPLES[:1])["micro_batches"]) == 1


def micro_batches(model=None, **changes):
    setting = {"device": "cpu", "batch_size": 5, "autocast": None} | changes
    return choose(model or toy_model(), Setting(**setting)).micro_batches


def test_only_small_jobs_on_several_cores_are_split():
    assert micro_batches() == 2
    with torch.device("meta"):
        large = toy_model(vocab_size=600_000)
    assert micro_batches(large) == 1
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    assert micro_batches(get_peft_model(large, lora)) == 2, "训练的只有适配器"
    lora.lora_dropout = 0.1
    assert micro_batches(get_peft_model(toy_model(), lora)) == 1
    assert micro_batches(toy_model(attention_dropout=0.1)) == 1
    assert micro_batches(batch_size=1) == 1
    assert micro_batches(device="cuda") == 1
    assert micro_batches(world_size=2) == 1
    assert micro_batches(padding_free=False) == 1
    torch.set_num_threads(1)
    assert micro_batches() == 1


def test_an_error_in_a_thread_reaches_the_user_and_the_cores_come_back(tmp_path):
    model = toy_model()
    assert enable_packing(model) is None
    broken = [{"input_ids": [1, 2, 10_000], "labels": [-100, 2, 3]}] * 10
    args = arguments(tmp_path)
    trainer = MicroBatchTrainer(model=model, args=args, train_dataset=broken, data_collator=PackedCollator())
    trainer.micro_batches = 2
    with pytest.raises(IndexError):
        trainer.train()
    assert torch.get_num_threads() == 2


def test_gradients_lie_as_their_parameters_do(tmp_path):
    """嵌入的 LoRA 的梯度是转置的；优化器把参数和梯度按同样的次序读。"""
    one, expected = trained(tmp_path / "one", 1, ["embed_tokens", "q_proj"])
    two, actual = trained(tmp_path / "two", 2, ["embed_tokens", "q_proj"])
    assert two == pytest.approx(one, rel=1e-4)
    for name, parameter in expected.items():
        torch.testing.assert_close(actual[name], parameter, rtol=1e-3, atol=1e-4, msg=name)


OPT = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16}
OPT |= {"max_position_embeddings": 64, "word_embed_proj_dim": 16}
MOE = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
MOE |= {"num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1}


def test_models_that_threads_would_mix_up_are_not_split():
    assert micro_batches(OPTForCausalLM(OPTConfig(**OPT, dropout=0.1))) == 1, "dropout 只写在配置里"
    assert micro_batches(OPTForCausalLM(OPTConfig(**OPT, dropout=0.0))) == 2
    experts = MixtralForCausalLM(MixtralConfig(**MOE))
    assert threads.is_safe(experts)
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    assert not threads.is_safe(get_peft_model(experts, lora)), "PEFT 用的时候临时换掉专家的权重"
    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert micro_batches(toy_model("llama", rope_parameters=scaling)) == 1
