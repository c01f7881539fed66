"""检验：在没有学过的对话上，每个要学的 token 平均损失多少，各个回答与参考答案是否逐字相同。"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from finetuning import threads
from finetuning.adapter import base_of, has_prefix
from finetuning.chat_format import chat_format
from finetuning.collator import IGNORE_INDEX
from finetuning.conversations import Conversation
from finetuning.data import TokenizedDataset
from finetuning.device import evaluation_dtype
from finetuning.model import max_positions
from finetuning.shortcuts.frozen import all_in_bf16, has_dora
from finetuning.terminal import is_main_process, progress_delay

_BATCH_SIZE = 64
_FEW = 16  # 大模型不多于这么多个回答，不分给几个线程：写一个 token 要把权重读一遍，一批几个与一个差不多快
_LARGE = 2**25  # 有这么多参数的是大模型：时间都在矩阵乘法上，几个核一起算一个就够快，内存也省
_MOST_TOKENS = 2**15  # 一批最多多少个 token：64 段，每段 512 个
_MOST_CACHE = 2**31  # 生成时，一批的 KV 缓存最多多少字节（按 fp32 算）：8B 的模型在 24 GB 的显卡上也有地方放
_MOST_LOGITS = 2**27  # 一次最多算多少个 logits：fp32 是 512 MB


class Answer(NamedTuple):
    """模型的一个回答。"""

    text: str
    ended: bool  # 是不是自己写出结束的标记停下的
    right: bool | None = None  # 与参考答案一字不差，并且自己停下；None 是没有核对


@contextmanager
def _evaluating(model: PreTrainedModel, dtype: torch.dtype | None) -> Iterator[None]:
    """关掉 dropout；CPU 上要用 bf16 的，权重先都转好；之后恢复原样。"""
    ready = dtype == torch.bfloat16 and _can_prepare(model)
    was_training = model.training
    model.eval()
    try:
        with all_in_bf16(model) if ready else nullcontext():
            yield
    finally:
        model.train(was_training)


@contextmanager
def _without_settings(model: PreTrainedModel) -> Iterator[None]:
    """``with`` 之内，模型自己的 ``generation_config`` 不起作用：没有指定的设置，generate 会从那里取（如重复惩罚）。"""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _is_large(model: PreTrainedModel) -> bool:
    return model.num_parameters() >= _LARGE


def _can_prepare(model: PreTrainedModel) -> bool:
    """CPU 上，权重能不能先都转成 bf16：DoRA 的不能，几个进程的（权重可能切分了）也不能。"""
    several = dist.is_available() and dist.is_initialized()
    return model.device.type == "cpu" and not several and not has_dora(model)


def _own_dtype(model: PreTrainedModel) -> torch.dtype | None:
    return evaluation_dtype(model.device.type, _is_large(model))


def _writing_dtype(model: PreTrainedModel) -> torch.dtype | None:
    """写回答用的：CPU 上，每写一个 token 都要把全部权重转一遍的，不如不转。"""
    return None if model.device.type == "cpu" and not _can_prepare(model) else _own_dtype(model)


def _precision(model: PreTrainedModel, dtype: torch.dtype | None) -> torch.autocast:
    """自动混合精度。这是每个线程各自的设置，关掉梯度也是。"""
    return torch.autocast(model.device.type, dtype, enabled=dtype is not None)


@contextmanager
def writing(model: PreTrainedModel) -> Iterator[None]:
    """``with`` 之内，在这个线程里用这个模型写的，与 :func:`generate_answers` 精度相同；不求梯度，没有 dropout。"""
    dtype = _writing_dtype(model)
    with _evaluating(model, dtype), torch.inference_mode(), _precision(model, dtype):
        yield


def mean_loss(
    model: PreTrainedModel,
    dataset: TokenizedDataset,
    collate: Callable[[list], dict[str, Any]],
    batch_size: int = _BATCH_SIZE,
    autocast: torch.dtype | None = None,
    accelerator: Accelerator | None = None,
) -> float:
    """全部要学的 token 的平均损失（交叉熵），单位 nat。

    按 token 平均，不按批次平均：有的批次要学的 token 多，有的少。所以一批几段、几个进程一起算，结果都相同。

    Args:
        autocast: 自动混合精度的类型；None 是检验自己的（见 :func:`finetuning.device.evaluation_dtype`）。
        accelerator: 几个进程时，各算一部分；每个进程走一样多批（FSDP 一批里要互相等），多出来的不算。
    """
    totals = _row_totals(model, dataset, collate, batch_size, autocast, accelerator)
    return sum(total for total, _ in totals.values()) / sum(count for _, count in totals.values())


def row_losses(
    model: PreTrainedModel,
    dataset: TokenizedDataset,
    collate: Callable[[list], dict[str, Any]],
    batch_size: int = _BATCH_SIZE,
    autocast: torch.dtype | None = None,
) -> list[float]:
    """每一段各自的平均损失，次序与 ``dataset`` 相同；参数见 :func:`mean_loss`。"""
    totals = _row_totals(model, dataset, collate, batch_size, autocast)
    return [totals[index][0] / totals[index][1] for index in range(len(dataset))]


def _row_totals(
    model: PreTrainedModel,
    dataset: TokenizedDataset,
    collate: Callable[[list], dict[str, Any]],
    batch_size: int,
    autocast: torch.dtype | None,
    accelerator: Accelerator | None = None,
) -> dict[int, tuple[float, int]]:
    """每一段（它在 ``dataset`` 里的位置）的损失之和，和要学的 token 数。"""
    dtype = autocast or _own_dtype(model)
    parallel = threads.worthwhile(model.device.type) and threads.is_safe(model) and not _is_large(model)
    lengths = [len(dataset[index]["input_ids"]) for index in range(len(dataset))]
    most = min(_MOST_TOKENS, _MOST_LOGITS // model.config.get_text_config().vocab_size)
    batches = list(_batches(lengths, [0] * len(lengths), most, parallel, batch_size=batch_size))
    if accelerator is not None and accelerator.num_processes > 1:
        batches += [[]] * (-len(batches) % accelerator.num_processes)
        batches = batches[accelerator.process_index :: accelerator.num_processes]

    def losses(indices: list[int]) -> dict[int, tuple[float, int]]:
        """一批里的各段；空的一批也算一段，只是不计。"""
        examples = [dataset[index] for index in indices or [0]]
        batch = collate(examples)
        batch = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
        labels = batch.pop("labels")
        shifted = batch.pop("shift_labels", None)
        with torch.no_grad(), _precision(model, dtype):
            logits = model(**batch).logits
        if shifted is None:
            logits, shifted = logits[:, :-1], labels[:, 1:]
        learnt = shifted != IGNORE_INDEX  # 先后与各段的次序相同，拼成一行的也是
        # MPS 没有 float64，所以先搬回 CPU
        each = cross_entropy(logits[learnt].float(), shifted[learnt], reduction="none").cpu().double()
        counts = [sum(label != IGNORE_INDEX for label in example["labels"][1:]) for example in examples]
        sums = [part.sum().item() for part in each.split(counts)]
        bar.update(len(indices))
        return dict(zip(indices, zip(sums, counts, strict=True), strict=False))

    with _evaluating(model, dtype), _progress(sum(map(len, batches)), "算损失", "段") as bar:
        shares = list(threads.each(losses, batches, parallel))
    if accelerator is not None and accelerator.num_processes > 1:
        shares = gather_object(shares)
    return {index: total for share in shares for index, total in share.items()}


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    max_new_tokens: Sequence[int],
) -> list[Answer]:
    """对每段对话的最后一个 user，按贪心法（greedy）成批生成回答。

    Args:
        conversations: 消息的列表，最后一条是 user。
        max_new_tokens: 每个回答最多生成多少个 token。

    Returns:
        与 ``conversations`` 顺序相同的回答。
    """
    if not conversations:
        return []
    form = chat_format(tokenizer)
    prompts = [form.prompt(conversation) for conversation in conversations]
    stop_ids = [*form.end_ids, *_as_list(model.generation_config.eos_token_id)]
    answers: list[Answer] = [Answer("", False)] * len(prompts)
    lengths = [len(prompt) for prompt in prompts]
    # 套了适配器的，用里面的基座来生成：LoRA 就在它的各层里，而 PEFT 的 generate 会临时改动模型，几个线程会互相妨碍。
    # 前缀不在各层里，非用 PEFT 的不可。
    generator: Any = model if has_prefix(model) else base_of(model)
    parallel = threads.worthwhile(model.device.type) and threads.is_safe(model) and not has_prefix(model)
    parallel = parallel and (len(prompts) > _FEW or not _is_large(model))
    dtype = _writing_dtype(model)
    interrupted = threading.Event()  # 按了 Ctrl-C：各个线程写到一半的也停下

    def write(indices: list[int]) -> None:
        """写一批回答。"""
        longest = max(lengths[index] for index in indices)
        # 填充在左边，右端对齐：生成的 token 才能接在每个提示词的后面。
        padding = [longest - len(prompts[index]) for index in indices]
        rows = [[tokenizer.pad_token_id] * pad + prompts[i] for i, pad in zip(indices, padding, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
        ticks = _Ticks(bar, len(indices), interrupted)
        with torch.inference_mode(), _precision(model, dtype):
            generated = generator.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                stopping_criteria=[ticks],
                generation_config=GenerationConfig(
                    max_new_tokens=max(max_new_tokens[index] for index in indices),
                    do_sample=False,
                    use_cache=True,
                    eos_token_id=stop_ids,
                    pad_token_id=tokenizer.pad_token_id,
                ),
            )
        bar.update(sum(max_new_tokens[index] for index in indices) - ticks.counted)  # 早停下的，也算做完了
        for index, token_ids in zip(indices, generated[:, longest:].tolist(), strict=True):
            answers[index] = _cut(token_ids, form.end_ids, stop_ids, tokenizer)

    with (
        _evaluating(model, dtype),
        _without_settings(base_of(model)),
        _progress(sum(max_new_tokens), "写回答", "token") as bar,
    ):
        most = min(_MOST_TOKENS, _MOST_CACHE // _cache_bytes(base_of(model).config.get_text_config()))
        batches = _batches(lengths, max_new_tokens, most, parallel, max_positions(model))
        list(threads.each(write, batches, parallel, interrupted))
    return answers


def checked_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]
) -> list[Answer]:
    """回答每段对话最后的问题，并与参考答案逐字核对（exact match）。

    只看最后一个回答，前面各轮用数据里的原文。比参考答案还长的回答一定不对，所以生成到那个长度就够了。
    """
    form = chat_format(tokenizer)
    lengths = [len(form.answer(conversation)) + 1 for conversation in conversations]  # 加上结束的标记
    questions = [conversation[:-1] for conversation in conversations]
    answers = generate_answers(model, tokenizer, questions, lengths)
    return [
        answer._replace(right=answer.ended and answer.text == form.reference(conversation))
        for answer, conversation in zip(answers, conversations, strict=True)
    ]


def exact_match(answers: Sequence[Answer]) -> float:
    """核对过的回答里，答对的比例，0 到 1。"""
    return sum(bool(answer.right) for answer in answers) / len(answers)


def _cache_bytes(config: PretrainedConfig) -> int:
    """KV 缓存里一个 token 最多占多少字节（fp32）；配置里没有写头数的（状态空间模型），当作没有缓存。"""
    all_heads = getattr(config, "num_attention_heads", None)
    if not isinstance(all_heads, int):
        return 1
    heads = getattr(config, "num_key_value_heads", None) or all_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // all_heads
    return 2 * 4 * config.num_hidden_layers * heads * head_dim


def _batches(
    lengths: Sequence[int],
    new_tokens: Sequence[int],
    most: int,
    parallel: bool,
    positions: int | None = None,
    batch_size: int = _BATCH_SIZE,
) -> Iterator[list[int]]:
    """分批，长短相近的在一批：一批要等最长的一个写完。一批不超过 ``batch_size`` 段，补齐以后不超过 ``most`` 个 token；
    几个线程同时做时，它们的几批加起来不超过 ``most`` 个。从长的开始，几个线程就差不多同时做完。

    Args:
        lengths, new_tokens: 每段有多少个 token，还要写多少个。
        positions: 模型最多能看多少个 token：一批里最长的一段，加上要写得最多的，也不能超过它。
    """
    workers = threads.WORKERS if parallel else 1
    size = min(batch_size, -(-len(lengths) // workers))
    batch: list[int] = []
    longest = newest = 0
    for index in sorted(range(len(lengths)), key=lambda index: (new_tokens[index], lengths[index]), reverse=True):
        longest, newest = max(longest, lengths[index]), max(newest, new_tokens[index])
        width = longest + newest
        full = len(batch) == size or width * (len(batch) + 1) > most // workers
        if batch and (full or (positions is not None and width > positions)):
            yield batch
            batch, longest, newest = [], lengths[index], new_tokens[index]
        batch.append(index)
    if batch:
        yield batch


def _progress(total: int, description: str, unit: str) -> Any:
    """过几秒还没有做完才出现的进度条；不在终端里（例如写进日志）就没有。"""
    hidden = None if is_main_process() else True
    return tqdm(total=total, desc=description, unit=unit, delay=progress_delay(), leave=False, disable=hidden)


class _Ticks(StoppingCriteria):
    """每写出一个 token，进度条往前走；``interrupted`` 了才叫停。"""

    def __init__(self, bar: Any, rows: int, interrupted: threading.Event):
        self.bar, self.rows, self.interrupted, self.counted = bar, rows, interrupted, 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """见 :class:`transformers.StoppingCriteria`。"""
        self.counted += self.rows
        self.bar.update(self.rows)
        return torch.full((len(input_ids),), self.interrupted.is_set(), dtype=torch.bool, device=input_ids.device)


def _cut(
    token_ids: list[int], end_ids: frozenset[int], stop_ids: list[int], tokenizer: PreTrainedTokenizerBase
) -> Answer:
    """截到第一个停止标记；后面是成批生成时补的填充。"""
    length = next((position for position, token in enumerate(token_ids) if token in stop_ids), len(token_ids))
    ended = length < len(token_ids) and token_ids[length] in end_ids
    return Answer(cast(str, tokenizer.decode(token_ids[:length])), ended)


def _as_list(token_ids: int | list[int] | None) -> list[int]:
    return [] if token_ids is None else [token_ids] if isinstance(token_ids, int) else token_ids
