"""衡量一个真实的模型：每种题的损失和回答，普通的散文上的损失。"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, cast

from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.real_data import is_library, keeps_style, paragraphs
from data_solution import SFTDataset
from finetuning.adapter import load_for_chat
from finetuning.collator import PaddedCollator
from finetuning.compare.forgetting import text_loss
from finetuning.conversations import Conversation
from finetuning.evaluate import Answer, generate_answers, row_losses, writing
from finetuning.model import load_model
from finetuning.reading import Row, iterate_rows
from finetuning.terminal import say

_NEW_TOKENS = 100
_RAW_TOKENS = 40  # 基座自己停不下来，看个样子就够
_BATCH = 16


def measure(name_or_path: str, rows: Sequence[Row]) -> dict[str, Any]:
    """微调过的模型（适配器）：照 ChatML 问，看它怎样答。"""
    model, tokenizer, _ = load_for_chat(name_or_path)
    return {**_losses(model, tokenizer, rows), **_asked(rows, _chat(model, tokenizer, rows))}


def measure_base(name_or_path: str, rows: Sequence[Row], examples: Sequence[Conversation]) -> dict[str, Any]:
    """没有微调的基座，三种问法，免得只挑对它不利的一种。

    Args:
        examples: 写在前面当例子的几段对话（few-shot）。

    Returns:
        ``chat`` 是照 ChatML 问（它没有见过这些标记）；``raw`` 是只给问题；``few_shot`` 是先给几个例子。
    """
    model, tokenizer, _ = load_model(name_or_path)
    questions = [row.conversation[:-1] for row in rows]
    shown = "\n\n".join(_as_text(conversation) for conversation in examples)
    raw = [question[-1]["content"] + "\n" for question in questions]
    prompted = [f"{shown}\n\n{_as_text(question)}\n答：" for question in questions]
    return {
        "chat": {**_losses(model, tokenizer, rows), **_asked(rows, _chat(model, tokenizer, rows))},
        "raw": _asked(rows, _continued(model, tokenizer, raw, "只给问题", _RAW_TOKENS, None)),
        "few_shot": _asked(rows, _continued(model, tokenizer, prompted, "先给例子", _NEW_TOKENS, "\n")),
    }


def _losses(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> dict[str, Any]:
    """各段的损失，散文的损失；适配器的，另有关掉它时散文的损失。"""
    say("  各段的损失……")
    dataset = SFTDataset([row.conversation for row in rows], tokenizer)
    found: dict[str, Any] = {
        "losses": [round(loss, 4) for loss in row_losses(model, dataset, PaddedCollator(tokenizer.pad_token_id))]
    }
    found["text_loss"] = text_loss(model, tokenizer, paragraphs())
    if isinstance(model, PeftModel):
        with model.disable_adapter():
            found["text_loss_adapter_off"] = text_loss(cast(PreTrainedModel, model), tokenizer, paragraphs())
    return found


def _chat(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[Answer]:
    say(f"  {len(rows)} 个问题，照 ChatML 问……")
    questions = [row.conversation[:-1] for row in rows]
    return generate_answers(model, tokenizer, questions, [_NEW_TOKENS] * len(rows))


def _asked(rows: Sequence[Row], answers: Sequence[Answer]) -> dict[str, Any]:
    """各个回答；小题逐字答对、图书馆的问答合口吻、全部里自己停下的比例。"""
    right = [
        answer.ended and answer.text == row.conversation[-1]["content"]
        for row, answer in zip(rows, answers, strict=True)
    ]
    kept = [answer.ended and keeps_style(answer.text) for answer in answers]
    library = [is_library(row.skill or "") for row in rows]
    return {
        "answers": [[answer.text, answer.ended] for answer in answers],
        "right": mean(each for each, ours in zip(right, library, strict=True) if not ours),
        "style": mean(each for each, ours in zip(kept, library, strict=True) if ours),
        "ended": mean(answer.ended for answer in answers),
    }


def _as_text(conversation: Conversation) -> str:
    """普通的文字，每条消息一行。"""
    names = {"user": "问：", "assistant": "答："}
    return "\n".join(names[message["role"]] + message["content"] for message in conversation)


def _continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    how: str,
    new_tokens: int,
    stop: str | None,
) -> list[Answer]:
    """接着写，写到 ``stop`` 就算自己停下；没有 ``stop`` 的，写到文档结束的标记才算。"""
    say(f"  {len(prompts)} 个问题，{how}……")
    answers = []
    generator: Any = model
    tokenizer.padding_side = "left"
    model.generation_config = GenerationConfig()  # 下面没有写的设置（如重复惩罚），generate 会从那里取
    settings = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        stop_strings=stop,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with writing(model):
        for start in range(0, len(prompts), _BATCH):
            batch = tokenizer(list(prompts[start : start + _BATCH]), return_tensors="pt", padding=True)
            written = generator.generate(**batch, generation_config=settings, tokenizer=tokenizer)
            for ids in written[:, batch["input_ids"].shape[1] :]:
                text = str(tokenizer.decode(ids, skip_special_tokens=True))
                ended = tokenizer.eos_token_id in ids if stop is None else stop in text
                answers.append(Answer((text.split(stop)[0] if stop else text).strip(), bool(ended)))
            say(f"    {min(start + _BATCH, len(prompts))}/{len(prompts)}")
    return answers


def read(path: Path) -> list[Row]:
    """``path`` 里的各段。"""
    return list(iterate_rows(str(path)))
