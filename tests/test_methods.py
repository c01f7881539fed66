"""--method 的每一种：真的训练几步，谁动谁不动，存下来、读回来、合并以后、用别的工具，都是同一个模型。"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from test_training_run import write
from toy_models import save_toy
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, pipeline

import chat
import train_lora_solution
from data_solution import SFTDataset
from finetuning import report, training
from finetuning.adapter import load_for_chat
from finetuning.arguments import parse_arguments
from finetuning.chatml import ChatML
from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.errors import UserError
from finetuning.evaluate import generate_answers
from finetuning.model import load_model
from finetuning.reading import load_conversations
from finetuning.terminal import printable

METHODS = [
    "lora",
    "dora",
    pytest.param(
        "qlora", marks=pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes 是可选的依赖")
    ),
    "prefix",
]
IDS = torch.tensor([[5, 9, 7, 30, 31, 2, 40]])


@dataclass
class Trained:
    """一次训练：过程中看到的，和留下的目录。"""

    method: str
    workplace: Path
    output_dir: Path
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]
    trainable: set[str]
    collator: type
    loss_before: float
    logits: torch.Tensor  # 训练完的模型，在 IDS 上


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS.to(model.device)).logits.cpu()


def snapshot(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def load_4bit(path: str) -> PreTrainedModel:
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return load_model(path, quantization_config=quantization, device_map={"": "cpu"}).model


@pytest.fixture(scope="module", params=METHODS)
def trained(request, tmp_path_factory):
    """运行真正的脚本，只在 ``train`` 前后各看一眼。"""
    method, workplace = request.param, tmp_path_factory.mktemp(request.param)
    save_toy(workplace / "base")
    # 像自带的基座一样，对话模板和停止标记已经在基座里：pipeline 从基座读它们
    model, tokenizer, _ = load_model(str(workplace / "base"))
    model.save_pretrained(workplace / "base")
    tokenizer.save_pretrained(workplace / "base")
    write(workplace / "train.jsonl", range(40))
    write(workplace / "test.jsonl", range(100, 112))
    seen = {}
    original_train, original_finish = training.train, report.Report.finish

    def watched_train(trainer):
        seen["before"] = snapshot(trainer.model)
        seconds = original_train(trainer)
        seen["after"], seen["logits"] = snapshot(trainer.model), logits(trainer.model)
        seen["trainable"] = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
        seen["collator"] = type(trainer.data_collator)
        return seconds

    def watched_finish(self, before, after, seconds):
        seen["loss_before"] = before.loss
        original_finish(self, before, after, seconds)

    flags = ["--model_name_or_path", "base", "--train_file", "train.jsonl", "--test_file", "test.jsonl"]
    flags += [
        "--method",
        method,
        "--output_dir",
        "out",
        "--max_steps",
        "4",
        "--bf16",
        "false",
        "--disable_tqdm",
        "true",
    ]
    flags += [] if method == "prefix" else ["--merge_and_save"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        patch.setattr(sys, "argv", ["train_lora_solution.py", *flags])
        patch.setattr(training, "train", watched_train)
        patch.setattr(report.Report, "finish", watched_finish)
        train_lora_solution.main()
    return Trained(method=method, workplace=workplace, output_dir=workplace / "out", **seen)


@pytest.fixture
def here(trained, monkeypatch):
    """在训练时的目录里：适配器记着的基座是相对路径。"""
    monkeypatch.chdir(trained.workplace)


def test_every_trainable_parameter_moves_and_no_frozen_one(trained):
    moved = {name for name, value in trained.before.items() if not torch.equal(value, trained.after[name])}
    assert moved == trained.trainable
    marks = {"dora": {"lora_A", "lora_B", "lora_magnitude_vector"}, "prefix": {"prompt_encoder"}}
    for mark in marks.get(trained.method, {"lora_A", "lora_B"}):
        assert any(mark in name for name in trained.trainable)
    assert all("lora_" in name or "prompt_encoder" in name for name in trained.trainable)
    # 基座有两层，每层七个线性层；前缀是一个矩阵
    assert len(trained.trainable) == {"dora": 14 * 3, "prefix": 1}.get(trained.method, 14 * 2)


def test_parameters_are_counted_by_hand(trained, capsys):
    """与按形状手算的相同；4 bit 的基座也数原来的个数。"""
    base = sum(value.numel() for value in load_file(trained.workplace / "base" / "model.safetensors").values())
    shapes = [(32, 48), (32, 24), (32, 24), (48, 32), (32, 48), (32, 48), (48, 32)]  # q k v o gate up down：进、出
    added = {
        "prefix": 16 * 2 * 2 * 24,  # 16 个位置，两层，键和值，2 个头 × 12
        "dora": 2 * sum(8 * (inputs + outputs) + outputs for inputs, outputs in shapes),
    }.get(trained.method, 2 * sum(8 * (inputs + outputs) for inputs, outputs in shapes))
    metrics = (trained.output_dir / "metrics.json").read_text(encoding="utf-8")
    assert f'"method": "{trained.method}"' in metrics
    assert f'"trainable_parameters": {added},' in metrics
    assert f'"total_parameters": {base + added},' in metrics


def test_before_is_the_base_itself(trained, here):
    """训练前检验的是基座：前缀一开始是随机的，不能算进去。"""
    if trained.method == "qlora":
        pytest.skip("4 bit 的基座本来就与原来的不完全相同")
    base = AutoModelForCausalLM.from_pretrained("base").eval()
    tokenizer = AutoTokenizer.from_pretrained("base")
    total, count = 0.0, 0
    for example in SFTDataset(load_conversations("test.jsonl"), tokenizer):
        targets = torch.tensor(example["labels"][1:])
        with torch.no_grad():
            predicted = base(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(predicted, targets, reduction="sum").item()
        count += int((targets != -100).sum())
    assert trained.loss_before == pytest.approx(total / count, rel=1e-4)


def test_only_prefix_needs_padding(trained):
    assert trained.collator is (PaddedCollator if trained.method == "prefix" else PackedCollator)


def test_saved_and_loaded_is_the_same_model(trained, here):
    if trained.method == "qlora":  # 在同样的 4 bit 基座上
        base = load_4bit("base")
        assert base.get_memory_footprint() < load_model("base").model.get_memory_footprint()
        loaded = PeftModel.from_pretrained(base, "out")
    else:
        loaded = load_for_chat("out").model
    torch.testing.assert_close(logits(loaded), trained.logits, rtol=1e-4, atol=1e-4)
    with loaded.disable_adapter():
        torch.testing.assert_close(
            logits(loaded), logits(base if trained.method == "qlora" else load_model("base").model)
        )


def test_only_the_adapter_is_saved(trained):
    saved = load_file(trained.output_dir / "adapter_model.safetensors")
    assert sum(value.numel() for value in saved.values()) == sum(
        trained.after[name].numel() for name in trained.trainable
    )
    assert not (trained.output_dir / "model.safetensors").exists()


def test_merged_equals_unmerged(trained, here):
    if trained.method == "prefix":
        assert not Path("out", "merged").exists()
        return
    merged = AutoModelForCausalLM.from_pretrained("out/merged")
    assert merged.dtype == torch.float32
    assert not hasattr(merged.config, "quantization_config")
    unmerged = load_for_chat("out").model
    torch.testing.assert_close(logits(merged), logits(unmerged), rtol=1e-3, atol=1e-3)
    with unmerged.disable_adapter():
        assert (logits(merged) - logits(unmerged)).abs().max() > 0.1, "应该与基座不同"


def test_other_tools_read_the_result(trained, here, capsys):
    """AutoPeftModelForCausalLM、transformers.pipeline、chat.py 三样给出同样的回答；分词器带着对话模板。"""
    tokenizer = AutoTokenizer.from_pretrained("out")
    messages = [{"role": "user", "content": "今天天气怎么样？"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert prompt == ChatML(tokenizer).prompt(messages)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id == end

    model = load_for_chat("out").model.eval()
    written = []
    while len(written) < 12 and written[-1:] not in ([end], [0]):
        with torch.no_grad():  # 一次一个 token，不用缓存
            ids = torch.tensor([prompt + written])
            written.append(model(input_ids=ids, use_cache=False).logits[0, -1].argmax().item())
    expected = tokenizer.decode(written, skip_special_tokens=True)

    other = AutoPeftModelForCausalLM.from_pretrained("out")
    torch.testing.assert_close(logits(other), logits(model))
    # transformers 自己不读前缀，读 DoRA 又漏掉 m；两样都要先由 PEFT 读好，再交给它。
    needs_peft = trained.method in ("dora", "prefix")
    source = {"model": other, "tokenizer": tokenizer} if needs_peft else {"model": "out"}
    pipe = pipeline("text-generation", device="cpu", **source)
    answer = pipe(messages, max_new_tokens=12, do_sample=False)[0]["generated_text"][-1]["content"]
    assert answer == expected

    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        argv = ["chat.py", "out", "--message", messages[0]["content"], "--max_new_tokens", "12"]
        patch.setattr(sys, "argv", argv)
        chat.main()
    assert capsys.readouterr().out == printable(expected) + "\n"


def test_batches_answer_like_one_by_one(trained, here):
    """成批生成时左边填充；前缀在填充的前面，位置也要数对。"""
    model, tokenizer, _ = load_for_chat("out")
    questions = [[{"role": "user", "content": text}] for text in ("鱼", "今天天气怎么样？请回答。请回答。", "你好")]
    together = generate_answers(model, tokenizer, questions, [10] * 3)
    alone = [generate_answers(model, tokenizer, [question], [10])[0] for question in questions]
    assert together == alone


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gradient_checkpointing"], ["前缀", "--gradient_checkpointing"]),
        (["--model_name_or_path", "no_chatml"], ["对话标记", "--method lora"]),
    ],
)
def test_prefix_says_what_it_cannot_do(tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    save_toy(tmp_path / "no_chatml", chatml=False)
    write(tmp_path / "train.jsonl", range(4))
    argv = ["train_lora_solution.py", "--train_file", "train.jsonl", "--method", "prefix", *flags]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(UserError) as error:
        train_lora_solution.main()
    assert all(word in str(error.value) for word in words)


def test_qlora_gradients_survive_an_evaluation(tmp_path):
    """先推理一次再训练，梯度与把 4 bit 还原成普通的权重来算的相同。"""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    path = str(save_toy(tmp_path / "base"))
    model, reference = load_4bit(path), load_model(path).model
    for name, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            restored = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            reference.get_submodule(name).weight.data = restored.float()
    gradients = []
    for base in (model, reference):
        torch.manual_seed(0)
        adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
        logits(adapted)
        adapted.train()(input_ids=IDS, labels=IDS).loss.backward()
        gradients.append({name: p.grad for name, p in adapted.named_parameters() if "lora_B" in name})
    assert len(gradients[0]) == 14
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-3, atol=1e-5)


def test_qlora_without_bitsandbytes_names_the_command(monkeypatch):
    monkeypatch.setattr(train_lora_solution, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["train_lora_solution.py", "--method", "qlora"])
    with pytest.raises(UserError, match="uv run 后面加上 --extra qlora"):
        train_lora_solution.main()


def parse(*argv):
    return parse_arguments(
        "", train_lora_solution.DEFAULTS, train_lora_solution.AdapterArguments, argv=["--train_file", "x", *argv]
    )


def test_defaults_follow_the_method(capsys):
    for method, rate in train_lora_solution.LEARNING_RATES.items():
        *_, adapter, args = parse("--method", method)
        assert (adapter.method, args.learning_rate, args.output_dir) == (method, rate, f"outputs/{method}")
    *_, args = parse("--method", "prefix", "--learning_rate", "0.5", "--output_dir", "elsewhere")
    assert (args.learning_rate, args.output_dir) == (0.5, "elsewhere")
    with pytest.raises(SystemExit) as stop:
        parse("--method", "prefix", "--merge_and_save")
    assert stop.value.code == 2
    assert "合并" in capsys.readouterr().err
