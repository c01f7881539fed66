"""装得下吗：个数与 PEFT 自己的相同，4 bit 的权重与 bitsandbytes 的一样大，写错了只说一句话。"""

import json
import sys
from importlib.util import find_spec

import pytest
import torch
from child_processes import run_command
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch._subclasses import FakeTensorMode
from toy_models import save_toy, toy_model, toy_tokenizer
from transformers import FalconConfig, GPT2Config, Lfm2Config, PretrainedConfig, Qwen3Config, Qwen3MoeConfig

import plan_memory
from finetuning.adapter import new_adapter
from finetuning.errors import UserError
from finetuning.plan.memory import CARDS_GB, GIB, METHODS, MemoryPlan, load_config, missing_markers, plan
from finetuning.shortcuts import Shortcuts

QWEN3_06B = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
QWEN3_8B = QWEN3_06B | {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}


def small(config, method, **options):
    return plan(config, method, **{"batch_size": 2, "max_length": 16, "device": "cpu"} | options)


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
@pytest.mark.parametrize("method", METHODS)
def test_counts_are_peft_s_own(family, method):
    """对照：真的模型，真的权重，PEFT 自己数。"""
    model = toy_model(family)
    config = model.config
    if method == "full":
        trainable = total = model.num_parameters()
    else:
        adapter = (
            PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
            if method == "prefix"
            else LoraConfig(task_type="CAUSAL_LM", r=3, target_modules=["q_proj", "v_proj"], use_dora=method == "dora")
        )
        trainable, total = get_peft_model(model, adapter).get_nb_trainable_parameters()
    result = small(config, method, lora_r=3, target_modules=["q_proj", "v_proj"], num_virtual_tokens=5)
    assert (result.trainable_parameters, result.total_parameters) == (trainable, total)
    assert result.optimizer == 8 * trainable
    if method != "qlora":
        parameter_bytes = 4 * total
        assert parameter_bytes <= result.weights <= parameter_bytes + 2000  # 还有旋转位置编码的频率等缓冲区


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="没有装 bitsandbytes")
def test_qlora_weights_are_bitsandbytes_own(tmp_path):
    """对照：bitsandbytes 真的量化，数它的每一个张量。"""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = toy_model(hidden_size=256, intermediate_size=512)
    model.save_pretrained(tmp_path)
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    real = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=four_bit, dtype=torch.float32)
    expected = sum(parameter.nbytes for parameter in real.parameters())
    for parameter in real.parameters():
        if (state := getattr(parameter, "quant_state", None)) is not None:
            expected += state.absmax.nbytes + state.state2.absmax.nbytes
    adapter_bytes = 4 * (result := small(model.config, "qlora")).trainable_parameters
    assert result.weights - adapter_bytes == pytest.approx(expected, rel=0.01)


def test_the_known_size_of_a_real_model():
    result = plan(Qwen3Config(**QWEN3_06B), "lora", batch_size=1, max_length=8)
    base = result.total_parameters - result.trainable_parameters
    assert base == 596_049_920


def test_what_saves_memory_and_what_costs():
    config = Qwen3Config(**QWEN3_06B | {"num_hidden_layers": 4, "vocab_size": 4000, "hidden_size": 256})
    base = small(config, "full", max_length=128)
    assert base.total == sum(
        (base.weights, base.gradients, base.optimizer, base.autocast_copies, base.activations, base.logits)
    )
    assert small(config, "full", max_length=128, gradient_checkpointing=True).activations < base.activations / 2
    assert small(config, "full", max_length=128, supervised_share=0.25).logits < base.logits / 2
    assert small(config, "full", max_length=128, batch_size=4).activations > 1.8 * base.activations
    assert small(config, "full", max_length=128, gradient_accumulation_steps=4).gradients >= base.weights * 0.99
    lora, qlora = (small(config, method, max_length=128) for method in ("lora", "qlora"))
    assert qlora.weights < lora.weights / 2 < base.weights
    assert lora.optimizer < base.optimizer / 10
    # bf16 不减少权重，反而多一份副本
    fp32 = small(config, "lora", max_length=128, bf16=False)
    assert fp32.autocast_copies == 0
    assert fp32.weights == lora.weights


def test_two_micro_batches_are_two_of_everything_but_the_weights(set_cores):
    config = Qwen3Config(**QWEN3_06B | {"num_hidden_layers": 2, "vocab_size": 4000, "hidden_size": 256})
    options = {"max_length": 64, "gradient_accumulation_steps": 2}
    set_cores(2)
    two = small(config, "lora", batch_size=4, **options)
    set_cores(1)
    one = small(config, "lora", batch_size=2, **options)
    assert (two.shortcuts.micro_batches, one.shortcuts.micro_batches) == (2, 1)
    assert one.gradients
    for part in ("gradients", "activations", "logits"):
        assert getattr(two, part) == 2 * getattr(one, part), part
    shared = 2 * config.vocab_size * config.hidden_size  # 输出层的 bf16 副本，两个线程共用
    assert two.autocast_copies - shared == 2 * (one.autocast_copies - shared)
    assert (two.weights, two.optimizer) == (one.weights, one.optimizer)


def test_the_peak_can_be_the_moment_of_loading():
    """CPU 上，bf16 的检查点先以 fp32 读入；训练时只占一半，激活又很少，峰值就是读入的那一刻。"""
    config = Qwen3Config(**QWEN3_06B | {"num_hidden_layers": 8, "vocab_size": 400, "dtype": "bfloat16"})
    result = small(config, "lora", batch_size=1, max_length=8, gradient_checkpointing=True)
    assert result.total == result.weights >= 4 * result.total_parameters
    assert result.activations == result.logits == result.gradients == 0


def weighing(total):
    return MemoryPlan(1, 1, total, 0, 0, 0, 0, 0, Shortcuts(False, None, 1, False, False, False))


def test_the_cards_leave_a_reserve():
    assert weighing(0).cards == [8, 12, 16, 24, 32, 40, 48, 80, 94, 141, 180]
    assert weighing(21 * GIB).cards[0] == 32  # 23.1 + 1 > 24
    assert weighing(20 * GIB).cards[0] == 24
    assert weighing(180 * GIB).cards == []


def test_when_no_card_is_enough_the_largest_is_named():
    assert weighing(20 * GIB).smallest_card == "24 GB"
    assert weighing(165 * GIB).smallest_card == "180 GB 也不够"  # 181.5 + 1 > 180
    assert plan_memory.cells("full", weighing(165 * GIB))[-1] == "180 GB 也不够"


@pytest.mark.parametrize(("checkpointing", "total", "card"), [(False, 21.1, 32), (True, 17.4, 24)])
def test_lora_of_an_8b_model(checkpointing, total, card):
    """Qwen3-8B 的形状，bf16 的检查点：读入的那一刻不是峰值。"""
    result = plan(Qwen3Config(**QWEN3_8B), "lora", batch_size=1, max_length=512, gradient_checkpointing=checkpointing)
    assert result.total == pytest.approx(total * GIB, rel=0.01)
    assert result.total > result.weights
    assert result.cards[0] == card


def test_what_is_read_in_two_bytes():
    """嵌入和适配器每个参数 4 字节，其余 2 字节，归一化层很小；DoRA 和 fp32 的检查点，全是 4 字节。"""
    shape, options = QWEN3_8B | {"num_hidden_layers": 2}, {"batch_size": 1, "max_length": 64}
    result = plan(Qwen3Config(**shape), "lora", **options)
    in_fp32 = 151936 * 4096 + result.trainable_parameters
    assert result.weights == pytest.approx(4 * in_fp32 + 2 * (result.total_parameters - in_fp32), rel=1e-3)
    assert plan(Qwen3Config(**shape), "dora", **options).weights > 4 * result.total_parameters * 0.99
    fp32_checkpoint = plan(Qwen3Config(**shape | {"dtype": "float32"}), "lora", **options)
    assert fp32_checkpoint.weights == pytest.approx(4 * result.total_parameters, rel=1e-3)


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_new_tokens_are_counted_like_peft_s_own(family, method):
    """新添的标记另训练嵌入的几行；没有抄整个嵌入矩阵，多占的不到它的一半。"""
    config = toy_model(family, vocab_size=20_000).config
    model = toy_model(family, vocab_size=20_000)
    rows = {"embed_tokens": [0, 1]} | ({"lm_head": [0, 1]} if family == "llama" else {})
    adapter = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", use_dora=method == "dora", trainable_token_indices=rows
    )
    trainable, total = get_peft_model(model, adapter).get_nb_trainable_parameters()
    result, plain = (small(config, method, max_length=8, batch_size=1, new_tokens=count) for count in (2, 0))
    assert (result.trainable_parameters, result.total_parameters) == (trainable, total)
    assert result.trainable_parameters - plain.trainable_parameters == sum(map(len, rows.values())) * 32
    assert 0 < result.total - plain.total < 20_000 * 32 * 4 / 2
    with pytest.raises(UserError, match="前缀微调不训练嵌入"):
        small(config, "prefix", new_tokens=2)


def test_missing_markers_are_seen_in_the_tokenizer(tmp_path):
    assert missing_markers(str(save_toy(tmp_path / "with"))) == 0
    path = save_toy(tmp_path / "without", chatml=False)
    assert missing_markers(str(path)) == 2
    assert missing_markers(str(path / "config.json")) == 0
    (path / "tokenizer.json").write_text("{", encoding="utf-8")
    assert missing_markers(str(path)) == 0


def test_an_unreachable_hub_names_the_ways_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load_config("nobody/no-such-model")
    for words in ("nobody/no-such-model", "HF_ENDPOINT", "config.json"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_models_that_cannot_be_planned(tmp_path):
    def message(path):
        with pytest.raises(UserError) as error:
            plan(load_config(str(path)), "lora")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "找不到" in message(tmp_path / "missing")
    assert "config.json" in message(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert str(tmp_path) in message(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    assert "vit" in message(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"q_prj.*q_proj"):
        plan(toy_model().config, "lora", target_modules=["q_prj"])


# ----------------------------------------------------------------------------------------------------------------------
# 命令行


def run(*arguments):
    return run_command("plan_memory.py", *arguments)


def test_the_table_and_the_json(tmp_path):
    toy_model().config.save_pretrained(tmp_path)
    common = (str(tmp_path), "--max_length", "32", "--method", "full", "qlora")
    table = run(*common)
    assert table.returncode == 0, table.stderr
    # 机器忙的时候，算得久的会说一句正在算什么
    assert all(line.startswith("正在算") for line in table.stderr.splitlines()), table.stderr
    full, qlora = (line.split() for line in table.stdout.splitlines() if line.startswith(("full", "qlora")))
    assert full[2] == "100.00%"
    assert full[-2:] == qlora[-2:] == ["8", "GB"]
    assert "、".join(map(str, CARDS_GB)) in table.stdout

    output = json.loads(run(*common, "--json").stdout)
    assert output["listed_cards_gb"] == list(CARDS_GB)
    config = load_config(str(tmp_path / "config.json"))
    for method in ("full", "qlora"):
        expected = plan(config, method, max_length=32)
        assert output["methods"][method]["total"] == expected.total
        assert output["methods"][method]["trainable_parameters"] == expected.trainable_parameters


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, ["base_model"]),
        (("no_such_dir/config.json",), 1, ["no_such_dir"]),
        (("base_model", "--batch_size", "0"), 2, ["--batch_size", "至少是 1"]),
        (("base_model", "--method", "adapter"), 2, ["--method", "adapter", "lora"]),
        (("base_model", "--method", "prefix", "--gradient_checkpointing"), 2, ["前缀微调"]),
    ],
)
def test_mistakes_are_one_sentence(arguments, code, words):
    result = run(*arguments)
    assert result.returncode == code
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


TOY = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
UNUSUAL: dict[str, tuple[PretrainedConfig, set[str]]] = {
    "experts": (
        Qwen3MoeConfig(
            **TOY, intermediate_size=48, num_key_value_heads=2, moe_intermediate_size=16, num_experts=4,
            num_experts_per_tok=2,
        ),
        {"dora"},
    ),
    "falcon": (FalconConfig(**TOY), {"prefix"}),
    "gpt2": (GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, pad_token_id=0), set()),
    "convolutions": (
        Lfm2Config(**TOY, intermediate_size=48, num_key_value_heads=2, layer_types=["conv", "full_attention"]),
        {"prefix"},
    ),
}  # fmt: skip


def walks_experts() -> bool:
    """假的张量走得过 fp32 的 grouped_mm：torch 2.9 只收 bf16，那时混合专家的模型算不出（说一句话）。"""
    grouped_mm = getattr(torch.nn.functional, "grouped_mm", None) or torch._grouped_mm
    try:
        with FakeTensorMode():
            grouped_mm(torch.empty(32, 32), torch.empty(2, 32, 32), offs=torch.empty(2, dtype=torch.int32))
    except RuntimeError:
        return False
    return True


NEEDS_GROUPED_MM = pytest.mark.skipif(not walks_experts(), reason="torch 的 grouped_mm 只收 bf16")


@pytest.mark.parametrize(
    ("config", "impossible"),
    [
        pytest.param(*case, id=name, marks=NEEDS_GROUPED_MM if name == "experts" else ())
        for name, case in UNUSUAL.items()
    ],
)
def test_a_method_that_cannot_be_does_not_hide_the_others(config, impossible, tmp_path, monkeypatch, capfd):
    """算不出的那一行说原因，其余的照算，没有调用栈。"""
    config.save_pretrained(tmp_path)
    monkeypatch.setattr(sys, "argv", ["plan_memory.py", str(tmp_path), "--batch_size", "2", "--max_length", "16"])
    plan_memory.main()
    output = capfd.readouterr()
    assert "Traceback" not in output.err
    rows = {
        line.split()[0]: line for line in output.out.splitlines() if line.split()[:1] and line.split()[0] in METHODS
    }
    assert rows.keys() == set(METHODS)
    assert {method for method, line in rows.items() if line.endswith("。")} == impossible
    assert all(line.endswith("GB") for method, line in rows.items() if method not in impossible)
    for method in impossible:
        with pytest.raises(UserError):
            plan(config, method, batch_size=2, max_length=16)


def table_of(path, capfd, monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["plan_memory.py", str(path), "--batch_size", "2", "--max_length", "16", *flags])
    plan_memory.main()
    return capfd.readouterr()


@NEEDS_GROUPED_MM
def test_experts_and_new_markers_are_told(tmp_path, monkeypatch, capfd):
    UNUSUAL["experts"][0].save_pretrained(tmp_path)
    toy_tokenizer(chatml=False).save_pretrained(tmp_path)
    lines = table_of(tmp_path, capfd, monkeypatch).out.splitlines()
    (experts,) = [line for line in lines if line.startswith("专家（lora、qlora）")]
    assert "4 个专家" in experts
    assert "--target_modules" in experts
    (dora,) = [line for line in lines if line.startswith("dora")]
    assert all(word in dora for word in ("混合专家", "q_proj", "--method lora"))
    assert [line for line in lines if "新添的 2 个标记" in line]
    (prefix,) = [line for line in lines if line.startswith("prefix")]
    assert "对话标记" in prefix
    # 照它说的做就行
    attention = ["--target_modules", "q_proj", "v_proj"]
    lines = table_of(tmp_path, capfd, monkeypatch, "--method", "dora", *attention).out.splitlines()
    assert [line for line in lines if line.startswith("dora") and line.endswith("GB")]
    assert not [line for line in lines if line.startswith("专家")]


def test_even_an_unforeseen_failure_is_one_line(tmp_path, monkeypatch, capfd):
    toy_model().config.save_pretrained(tmp_path)

    def broken(model, config):
        if config.is_prompt_learning:
            raise KeyError("conv_states")
        return new_adapter(model, config)

    monkeypatch.setattr("finetuning.plan.memory.new_adapter", broken)
    output = table_of(tmp_path, capfd, monkeypatch)
    assert "Traceback" not in output.err
    rows = [line for line in output.out.splitlines() if line.split()[:1] and line.split()[0] in METHODS]
    assert len(rows) == len(METHODS)
    assert "conv_states" in rows[-1]
    assert all(line.endswith("GB") for line in rows[:-1])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_progress_goes_from_nothing_to_all(method):
    shares: list[float] = []
    small(toy_model().config, method, gradient_accumulation_steps=2, progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert shares[-1] == 1


def test_long_plans_say_how_far_they_are(monkeypatch, capsys):
    clock = iter([0.0, 3.0, 11.0, 11.0, 12.0, 22.0, 22.0])
    monkeypatch.setattr(plan_memory.time, "monotonic", lambda: next(clock))
    percent = plan_memory.Percent("lora")
    for share in (0.1, 0.25, 0.3, 0.5):
        percent(share)
    assert capsys.readouterr().err.splitlines() == ["正在算 lora：25%", "正在算 lora：50%"]


def test_a_quantized_checkpoint_is_not_planned(tmp_path):
    Qwen3Config(**QWEN3_06B, quantization_config={"quant_method": "gptq", "bits": 4}).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"已经用 gptq 量化过.*没有量化的原版"):
        load_config(str(tmp_path))
