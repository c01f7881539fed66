"""把适配器合并进基座，存成一个普通的模型。"""

import shutil
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.adapter import base_of, has_prefix, load_for_chat
from finetuning.bf16_base import bf16_linears
from finetuning.errors import MERGING, UserError
from finetuning.model import cast_parameters, fits_in
from finetuning.model_checks import refuse_quantized, saved_dtype
from finetuning.output.fingerprint import RECORD_FILE
from finetuning.terminal import stage

_CHECKED_TOKENS = 16  # 合并前后在多少个 token 上核对


def merge_to(adapter: str, directory: Path, save_dtype: str) -> None:
    """合并存下来的适配器，写到 ``directory``；训练的记录也抄过去，往后看得出它是怎样来的。

    Args:
        save_dtype: ``--save_dtype``。

    Raises:
        UserError: 适配器或基座读不到，或合并不了。
    """
    model, tokenizer, _ = load_for_chat(adapter)
    refuse_quantized(str(base_of(model).name_or_path), "合并")
    with stage(MERGING):
        save_merged(model, tokenizer, directory, save_dtype)
    if (record := Path(adapter, RECORD_FILE)).is_file():
        shutil.copy(record, directory / RECORD_FILE)


def save_merged(model: Any, tokenizer: PreTrainedTokenizerBase, directory: Path, save_dtype: str) -> None:
    """合并 ``model``（套着适配器的模型），连同分词器存到 ``directory``。

    Raises:
        UserError: 合并不了。
    """
    name = str(base_of(model).name_or_path)
    merged: Any = merge(model)
    dtype = saved_dtype(name, save_dtype)
    if dtype is not None:
        if not fits_in(merged, dtype):
            name = str(dtype).removeprefix("torch.")
            raise UserError(f"有的权重超出了 {name} 能表示的范围，合并的模型没有存；请改用 --save_dtype fp32。")
        cast_parameters(merged, dtype)
    merged.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def merge(model: PeftModel) -> PreTrainedModel:
    """把适配器合并进基座：W + (alpha / r)·BA 就是一个普通的矩阵。合并前后在几个 token 上核对，算出的要相同。

    bf16 的 W 先换成 fp32 再加，改动才不会被舍入掉；显卡上多半放不下 fp32 的，所以先移到 CPU。

    Raises:
        UserError: 合并不了，或合并出来的是另一个模型。
    """
    base = base_of(cast(PreTrainedModel, model))
    vocabulary = base.config.get_text_config().vocab_size
    if bf16_linears(base):
        cast_parameters(model.cpu(), torch.float32)
    tokens = torch.randint(vocabulary, (1, _CHECKED_TOKENS), generator=torch.Generator().manual_seed(0))
    tokens = tokens.to(base.device)
    if has_prefix(cast(PreTrainedModel, model)):
        raise UserError("前缀微调的前缀不是权重的改动，不能合并；适配器可以照旧使用。")
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=tokens).logits
    try:
        merged = cast(PreTrainedModel, cast(Any, model).merge_and_unload(safe_merge=True))
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"这个适配器合并不了（{reason.rstrip('.')}）；适配器自己没有动，可以照旧使用。") from error
    with torch.no_grad():
        difference = (merged(input_ids=tokens).logits - expected).abs().max().item()
    largest = expected.abs().max().item()
    if not difference <= _tolerance(merged) * largest:  # NaN 与什么比都是假
        raise UserError(
            f"合并出来的是另一个模型（logits 最多差 {difference:.2g}，原来最大的是 {largest:.2g}），没有存："
            "多半是适配器改动了与别处共用的矩阵（tied embeddings）；适配器自己没有动，可以照旧使用。"
        )
    return merged


def _tolerance(model: PreTrainedModel) -> float:
    """舍入误差占最大的 logits 的多少；TF32 和半精度粗得多。"""
    return 1e-3 if model.dtype == torch.float32 and model.device.type == "cpu" else 5e-2
