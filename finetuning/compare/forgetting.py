"""遗忘（forgetting）：微调以后，预训练那样的文本，模型还续写得多好。"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.adapter import load_for_chat
from finetuning.device import best_device
from finetuning.output.fingerprint import model_digest, write_json

_MAX_LENGTH = 512


def text_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """每个 token 的平均损失，nat；每篇文本单独算，开头是 BOS 或文档分隔符，与预训练时相同。"""
    start_id = tokenizer.pad_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    total, count = 0.0, 0
    with torch.inference_mode():
        for text in texts:
            ids = [start_id, *tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]][:_MAX_LENGTH]
            input_ids = torch.tensor([ids], device=model.device)
            total += model(input_ids=input_ids, labels=input_ids).loss.item() * (len(ids) - 1)
            count += len(ids) - 1
    return total / count


def text_losses(name_or_path: str, texts: Sequence[str], record: Path) -> dict[str, float]:
    """一个模型在 ``texts`` 上的损失；是适配器的，再关掉它（只剩基座）算一次。

    Args:
        name_or_path: 模型或适配器；基座按没有量化的读，与 ``chat.py`` 相同。
        record: 结果记在这个文件里；同样的模型和文本，下次直接读它。

    Returns:
        ``{"text_loss": …}``；适配器还有 ``"text_loss_adapter_off"``。
    """
    key = hashlib.sha256("\0".join([name_or_path, str(model_digest(name_or_path)), *texts]).encode()).hexdigest()
    if record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["key"] == key:
            return known["losses"]
    model: Any
    model, tokenizer, _ = load_for_chat(name_or_path)
    model.to(best_device()).eval()
    losses = {"text_loss": text_loss(model, tokenizer, texts)}
    if isinstance(model, PeftModel):
        with model.disable_adapter():
            losses["text_loss_adapter_off"] = text_loss(cast(PreTrainedModel, model), tokenizer, texts)
    write_json(record, {"key": key, "losses": losses})
    return losses
