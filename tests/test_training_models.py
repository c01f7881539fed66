"""读入模型：新添的标记、保存再读入、各种读不了的目录。"""

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from toy_models import CHATML_TOKENS, save_toy, toy_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    pipeline,
)

from finetuning.adapter import embedding_rows, load_for_chat, new_adapter
from finetuning.errors import UserError
from finetuning.model import load_model
from finetuning.targets import lora_layer_names

IDS = torch.tensor([[5, 9, 7, 30, 31]])


def randomise_adapter(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
def test_missing_chatml_tokens_are_added(tmp_path, family):
    """新的一行是平均值，原来的各行不变；共用的嵌入仍然共用。"""
    path = save_toy(tmp_path / "base", family, chatml=False)
    before = AutoModelForCausalLM.from_pretrained(path)
    model, tokenizer, new = load_model(str(path))
    rows = before.get_input_embeddings().weight
    assert new == [len(rows), len(rows) + 1] == tokenizer.convert_tokens_to_ids(CHATML_TOKENS)
    for layer, old in ((model.get_input_embeddings(), rows), (model.get_output_embeddings(), before.lm_head.weight)):
        assert torch.equal(layer.weight[: len(rows)], old)
        torch.testing.assert_close(layer.weight[new[0]], old.mean(0))
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == model.config.tie_word_embeddings == (family != "llama")
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == [new[1], 0]


def test_spare_rows_are_used_before_resizing(tmp_path):
    path = save_toy(tmp_path / "base", chatml=False)
    model = AutoModelForCausalLM.from_pretrained(path)
    model.resize_token_embeddings(512)
    model.save_pretrained(path)
    model, _, new = load_model(str(path))
    assert model.get_input_embeddings().weight.shape[0] == 512
    assert max(new) < 512


def test_a_model_with_chatml_is_left_alone(tmp_path):
    path = save_toy(tmp_path / "base")
    before = AutoModelForCausalLM.from_pretrained(path).state_dict()
    model, _, new = load_model(str(path))
    assert new == []
    assert embedding_rows(model, new) is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
def test_adapter_with_new_tokens_reloads_exactly_and_is_small(tmp_path, family):
    path = save_toy(tmp_path / "base", family, chatml=False)
    base, tokenizer, new = load_model(str(path))
    rows = embedding_rows(base, new)
    assert set(rows) == ({"embed_tokens", "lm_head"} if family == "llama" else {"embed_tokens"})
    model = new_adapter(
        base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=rows)
    )
    randomise_adapter(model)
    ids = torch.cat([IDS, torch.tensor([new])], dim=1)
    expected = logits(model, ids)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    tokenizer.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert not any(tensor.shape[0] == len(tokenizer) for tensor in saved.values())

    reloaded = load_for_chat(str(tmp_path / "adapter"))
    # PEFT 把整个嵌入抄一份来换行，这里只加上几列的差：只差舍入
    torch.testing.assert_close(logits(reloaded.model, ids), expected, rtol=1e-5, atol=1e-5)
    assert reloaded.new_token_ids == []

    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged, ids), expected, rtol=1e-4, atol=1e-4)
    tied = merged.get_input_embeddings().weight is merged.get_output_embeddings().weight
    assert tied == (family != "llama")


def test_bf16_checkpoints_are_trained_in_fp32(tmp_path):
    path = save_toy(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(path).to(torch.bfloat16).save_pretrained(path)
    assert load_model(str(path)).model.dtype == torch.float32


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_result_works_in_a_plain_pipeline(tmp_path, kind, monkeypatch):
    """别的工具照它自己的对话模板来用，得到同样的回答，也停在 <|im_end|>。"""
    monkeypatch.chdir(tmp_path)
    save_toy(tmp_path / "base")
    model, tokenizer, _ = load_model("base")
    if kind == "adapter":
        # 就像自带的基座：对话模板和停止标记已经在基座里
        model.save_pretrained("base")
        tokenizer.save_pretrained("base")
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
        model.peft_config["default"].base_model_name_or_path = "base"
        randomise_adapter(model)
    model.save_pretrained("out")
    tokenizer.save_pretrained("out")
    messages = [{"role": "user", "content": "今天天气怎么样？"}]
    pipe = pipeline("text-generation", model="out", device="cpu")
    answer = pipe(messages, max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]["content"]
    ids = AutoTokenizer.from_pretrained("out").apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert answer == tokenizer.decode(expected[0, ids.shape[1] :], skip_special_tokens=True)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in pipe.model.generation_config.eos_token_id


def test_directories_that_cannot_be_loaded(tmp_path):
    def message(path):
        with pytest.raises(UserError) as error:
            load_for_chat(str(path))
        text = str(error.value)
        assert "\n" not in text
        return text

    assert "找不到" in message(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "config.json" in message(tmp_path / "empty")
    pickled = save_toy(tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    assert "pickle" in message(pickled)
    broken = save_toy(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    assert str(broken) in message(broken)
    # 适配器的基座不见了
    base, _, _ = load_model(str(save_toy(tmp_path / "base")))
    adapter = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    adapter.save_pretrained(tmp_path / "ad")
    shutil.rmtree(tmp_path / "base")
    assert "base" in message(tmp_path / "ad")


def test_an_unreachable_hub_names_the_ways_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load_model("nobody/no-such-model")
    for words in ("nobody/no-such-model", "HF_ENDPOINT", "本地目录"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_adapter_is_what_peft_itself_loads(tmp_path):
    """独立的对照：不经过我们的代码，PEFT 读出的与我们读出的相同。"""
    path = save_toy(tmp_path / "base")
    model = get_peft_model(load_model(str(path)).model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    randomise_adapter(model)
    model.save_pretrained(tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(path), tmp_path / "adapter")
    assert torch.equal(logits(load_for_chat(str(tmp_path / "adapter")).model, IDS), logits(theirs, IDS))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: toy_model("llama"), ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
        (
            lambda: GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=50)),
            ["c_attn", "c_fc", "c_proj"],
        ),
        (
            lambda: GPTNeoXForCausalLM(
                GPTNeoXConfig(
                    num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=16, vocab_size=50
                )
            ),
            ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"],
        ),
    ],
    ids=["llama", "gpt2", "gpt_neox"],
)
def test_the_layers_that_take_lora_are_peft_s_own(model, expected):
    """对照：PEFT 的 all-linear 添了哪些层。"""
    assert lora_layer_names(model()) == expected
    adapted = get_peft_model(model(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    assert sorted({name.rsplit(".", 1)[-1] for name in adapted.targeted_module_names}) == expected
    with pytest.raises(UserError) as error:
        new_adapter(model(), LoraConfig(task_type="CAUSAL_LM", target_modules=["no_such"]))
    assert f"可选的层有 {' '.join(expected)}" in str(error.value)
