"""结果用在别处：PEFT、transformers.pipeline、合并好的模型、chat.py 给出同样的回答，不管基座是哪一种。"""

import json
import sys
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from test_template import TEMPLATES
from toy_models import save_toy
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline

import chat
import train_lora_solution
from finetuning.chat_format import chat_format

QUESTION = [{"role": "user", "content": "今天天气怎么样？"}]
NEW_TOKENS = 12
BASES = ["without_chatml", "other_generation_config", "own_template"]


def make_base(kind: str, path: Path) -> list[str]:
    """造一个基座；返回训练它要加的参数。"""
    save_toy(path, chatml=kind != "without_chatml")
    if kind == "other_generation_config":
        # 像很多公开的基座：停在别的标记，还有采样和重复惩罚
        GenerationConfig(
            eos_token_id=5, pad_token_id=0, do_sample=True, temperature=5.0, repetition_penalty=3.0
        ).save_pretrained(path)
    if kind == "own_template":
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.chat_template = TEMPLATES["thinks_at_the_end"]
        tokenizer.save_pretrained(path)
        return ["--chat_template", "model"]
    return []


@pytest.fixture(scope="module", params=BASES)
def result(request, tmp_path_factory):
    """训练几步，另存一份合并好的。"""
    path = tmp_path_factory.mktemp(request.param)
    more = make_base(request.param, path / "base")
    rows = [{"question": f"今天天气怎么样？{number}", "answer": "今天天气晴朗。"} for number in range(60)]
    (path / "train.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    argv = [
        *("train_lora_solution.py", "--model_name_or_path", str(path / "base"), "--output_dir", str(path / "out")),
        *("--train_file", str(path / "train.jsonl"), "--max_steps", "12", "--learning_rate", "2e-2"),
        *("--merge_and_save", "true", "--bf16", "false", *more),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        train_lora_solution.main()
    return path / "out"


@pytest.fixture(scope="module")
def expected(result):
    """对照：一次一个 token，不用缓存，也不用任何生成的设置。"""
    model = AutoModelForCausalLM.from_pretrained(result / "merged")
    tokenizer = AutoTokenizer.from_pretrained(result / "merged")
    form = chat_format(tokenizer)
    prompt, written = form.prompt(QUESTION), []
    while len(written) < NEW_TOKENS and not form.end_ids.intersection(written[-1:]):
        with torch.no_grad():
            ids = torch.tensor([prompt + written])
            written.append(model(input_ids=ids, use_cache=False).logits[0, -1].argmax().item())
    return tokenizer.decode(written, skip_special_tokens=True)


def by_pipeline(model, directory: Path) -> str:
    pipe = pipeline("text-generation", model=model, tokenizer=str(directory), device="cpu")
    # repetition_penalty：基座自己的设置原样保留着，chat.py 不用它
    answer = pipe(QUESTION, max_new_tokens=NEW_TOKENS, do_sample=False, repetition_penalty=1.0)
    return answer[0]["generated_text"][-1]["content"]


def test_the_merged_model_in_a_pipeline(result, expected):
    assert by_pipeline(str(result / "merged"), result / "merged") == expected


def test_the_adapter_through_peft(result, expected):
    model = AutoPeftModelForCausalLM.from_pretrained(result)
    model.generation_config = GenerationConfig.from_pretrained(result)
    assert by_pipeline(model, result) == expected


@pytest.mark.parametrize("place", ["", "merged"])
def test_chat(result, expected, place, capsys, monkeypatch):
    argv = ["chat.py", str(result / place), "--message", QUESTION[0]["content"], "--max_new_tokens", str(NEW_TOKENS)]
    monkeypatch.setattr(sys, "argv", argv)
    chat.main()
    assert capsys.readouterr().out.removesuffix("\n") == expected
