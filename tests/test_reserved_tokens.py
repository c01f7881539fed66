"""词表里留着没用的 token 改名成对话的标记：模型的形状不变，别的文字编码照旧，旧的适配器仍用原来的 token。"""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_training_run import trainer_for, write
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from toy_models import CHATML_TOKENS, TEXT, toy_model, toy_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GemmaTokenizer, PreTrainedTokenizerFast

from finetuning.adapter import embedding_rows, load_for_chat
from finetuning.chatml import ChatML
from finetuning.errors import UserError
from finetuning.model import load_model
from finetuning.training import train


def like_llama3() -> PreTrainedTokenizerFast:
    """排在词表的最后，是特殊 token。"""
    tokenizer = toy_tokenizer(chatml=False)
    tokenizer.add_tokens([AddedToken(f"<|reserved_special_token_{i}|>", special=True) for i in range(4)], True)
    return tokenizer


def like_gemma() -> PreTrainedTokenizerFast:
    """夹在词表的前面，不是特殊 token；读的时候由 GemmaTokenizer 照词表重新搭一个。"""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    reserved = [f"<unused{i}>" for i in range(4)]
    characters = sorted(set("".join(TEXT)) | set("<|im_startendus0123>▁"))
    vocabulary = {token: i for i, token in enumerate([*special, *reserved, *characters, "天气"])}
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=[("天", "气")])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in reserved])
    return tokenizer


def like_bert() -> PreTrainedTokenizerFast:
    """只在普通的词表里，没有单独列出。"""
    words = ["[PAD]", *(f"[unused{i}]" for i in range(1, 5)), "[UNK]", "[CLS]", "[SEP]"]
    words += [*sorted(set("".join(TEXT)) | set("[]<|_>")), "im", "start", "end", "unused", "##1"]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]", bos_token="[CLS]"
    )


KINDS = [like_llama3, like_gemma, like_bert]


def save_base(path, tokenizer, family="qwen3", rows=None):
    toy_model(family, vocab_size=rows or len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits


@pytest.mark.parametrize("kind", KINDS)
def test_two_reserved_tokens_become_the_markers(tmp_path, kind):
    plain = kind()
    reserved = [token for token in plain.get_vocab() if "reserved" in token or token.strip("<[").startswith("unused")]
    first = sorted(plain.get_vocab()[token] for token in reserved if token.strip("<>[]|") != "unused")[:2]
    path = save_base(tmp_path / "base", plain)
    model, tokenizer, new = load_model(path)
    assert new == tokenizer.convert_tokens_to_ids(CHATML_TOKENS) == first
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == len(plain) == len(tokenizer)
    others = [i for i in range(len(plain)) if i not in new]
    before = AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight
    after = model.get_input_embeddings().weight
    assert torch.equal(after[others], before[others])
    torch.testing.assert_close(after[new], before[others].mean(0).expand(2, -1))

    model.save_pretrained(tmp_path / "full")
    tokenizer.save_pretrained(tmp_path / "full")
    again = load_model(str(tmp_path / "full"))
    assert again.new_token_ids == []
    for saved in (tokenizer, again.tokenizer, AutoTokenizer.from_pretrained(tmp_path / "full")):
        assert saved.convert_tokens_to_ids(CHATML_TOKENS) == new
        assert saved.decode(new, skip_special_tokens=True) == ""
        for text in TEXT:
            assert saved(text)["input_ids"] == plain(text)["input_ids"]
        # 对话模板里的标记是那两个 token；内容里同样的文字不是，原来的名字也不是
        rendered = saved.apply_chat_template([{"role": "user", "content": "猫"}])["input_ids"]
        assert [i for i in rendered if i in new] == new
        written = ChatML(saved).encode("".join(CHATML_TOKENS) + reserved[0] + reserved[1])
        assert not set(written) & set(new)


def test_a_spare_row_is_simpler(tmp_path):
    plain = like_llama3()
    _, tokenizer, new = load_model(save_base(tmp_path, plain, rows=512))
    assert new == [len(plain), len(plain) + 1]
    assert "<|reserved_special_token_0|>" in tokenizer.get_vocab()


def test_reserved_tokens_that_are_in_use_stay(tmp_path):
    """拿来填充的、对话模板里写着的、配置里提到的，都不取。"""
    plain = like_llama3()
    plain.add_tokens([AddedToken("<|reserved_special_token_4|>", special=True)], True)
    plain.pad_token = "<|reserved_special_token_0|>"
    plain.chat_template = "{{ '<|reserved_special_token_1|>' }}"
    path = save_base(tmp_path, plain)
    settings = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    settings["eos_token_id"] = [0, plain.convert_tokens_to_ids("<|reserved_special_token_2|>")]
    (tmp_path / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    _, tokenizer, new = load_model(path)
    assert new == [plain.convert_tokens_to_ids(f"<|reserved_special_token_{i}|>") for i in (3, 4)]
    assert tokenizer.pad_token == "<|reserved_special_token_0|>"


def unigram() -> PreTrainedTokenizerFast:
    """整段的词表：改了名，文字里的 <|im_end|> 就会是那个 token。"""
    pieces = ["<unk>", "</s>", "<unused0>", "<unused1>", "▁", *sorted(set("".join(TEXT)) | set("<|im_startendus01>"))]
    backend = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


def merged() -> PreTrainedTokenizerFast:
    """合并规则会写出它：改不了名。"""
    characters = sorted(set("".join(TEXT)) | set("<unused0123456789>"))
    pairs = [("<", "u"), ("<u", "n"), ("<un", "u"), ("<unu", "s"), ("<unus", "e"), ("<unuse", "d")]
    pairs += [("<unused", "0"), ("<unused", "1"), ("<unused0", ">"), ("<unused1", ">")]
    words = [*characters, *("".join(pair) for pair in pairs)]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, pairs))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="。")


@pytest.mark.parametrize("kind", [unigram, merged])
def test_a_token_that_cannot_be_renamed_safely_is_left_alone(tmp_path, kind):
    plain = kind()
    model, tokenizer, new = load_model(save_base(tmp_path, plain))
    assert new == [len(plain), len(plain) + 1]
    assert model.get_input_embeddings().weight.shape[0] == len(plain) + 2
    assert tokenizer.get_vocab().keys() == plain.get_vocab().keys() | set(CHATML_TOKENS)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize("old", [True, False])
def test_adapters_keep_the_tokens_they_were_trained_with(tmp_path, family, old):
    """``old``：以前总是给嵌入加两行；那样的适配器仍用它的那两行。"""
    path = save_base(tmp_path / "base", like_llama3(), family)
    if old:
        base, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
        size = len(tokenizer)
        tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in CHATML_TOKENS], True)
        base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
            layer.weight.data[size:] = layer.weight.data[:size].mean(0)
        new = [size, size + 1]
    else:
        base, tokenizer, new = load_model(path)
    config = LoraConfig(task_type="CAUSAL_LM", r=2, trainable_token_indices=embedding_rows(base, new))
    model = get_peft_model(base, config)
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.tensor([[5, *new, 9, 7]])
    expected = logits(model, ids)
    with model.disable_adapter():
        without = logits(model, ids)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    tokenizer.save_pretrained(tmp_path / "adapter")

    loaded = load_for_chat(str(tmp_path / "adapter"))
    assert loaded.tokenizer.convert_tokens_to_ids(CHATML_TOKENS) == new
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    torch.testing.assert_close(logits(loaded.model, ids), expected, rtol=1e-5, atol=1e-5)
    with loaded.model.disable_adapter():
        torch.testing.assert_close(logits(loaded.model, ids), without)
    assert loaded.model.generation_config.eos_token_id == [new[1], 0]

    if old:  # 没有分词器，就不知道那两行是什么
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / "adapter" / file).unlink()
        with pytest.raises(UserError, match=r"tokenizer\.json"):
            load_for_chat(str(tmp_path / "adapter"))


def test_a_checkpoint_of_other_tokens_is_not_continued(tmp_path, monkeypatch):
    """检查点里的行是给别的 token 训练的：形状一样，接着训练就悄悄地错了。"""
    save_base(tmp_path / "base", like_llama3())
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", range(8))
    flags = ("--max_steps", "2", "--save_strategy", "steps", "--save_steps", "1")
    with monkeypatch.context() as patch:
        patch.setattr("finetuning.model.find_reserved", lambda *_: [])  # 以前的程序
        with trainer_for(tmp_path, tmp_path / "out", *flags, lora=True) as trainer:
            train(trainer)
    again = trainer_for(tmp_path, tmp_path / "out", *flags, "--resume_from_checkpoint", "true", lora=True)
    with again as trainer, pytest.raises(UserError, match="词表"):
        train(trainer)
