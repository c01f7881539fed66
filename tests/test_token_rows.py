"""只训练嵌入的几行：与 PEFT 自己的层学到的相同，存下的文件一样，花的却只是几行。"""

from itertools import product

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.trainable_tokens import TrainableTokensLayer
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toy_models import save_toy, toy_model

from finetuning.adapter import add_adapter, embedding_rows, new_adapter
from finetuning.collator import PackedCollator
from finetuning.errors import UserError
from finetuning.model import load_model
from finetuning.shortcuts.loss import chunked_causal_lm_loss
from finetuning.token_rows import train_few_rows

TRAINED = [7, 300]
FAMILIES = ["qwen3", "llama", "gemma3"]  # 共用；不共用；共用，查得的还要乘一个系数


def config(model, **options):
    rows = embedding_rows(model, TRAINED)
    return LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=rows, **options)


def batches(steps):
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        ids = torch.randint(400, (3, 20), generator=generator)
        ids[:, ::4], ids[:, 3::5] = TRAINED
        yield ids


def losses_and_model(family, ours, steps=5, checkpointing=False, chunked=False, padding_idx=None, **options):
    """fp64：两种算法若不只是舍入不同，一看就知道。"""
    torch.manual_seed(0)
    base = toy_model(family).double()
    base.get_input_embeddings().padding_idx = padding_idx
    model = get_peft_model(base, config(base, **options))
    if ours:
        train_few_rows(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if chunked:
        base.loss_function = lambda *args, **kwargs: chunked_causal_lm_loss(*args, chunk=1, **kwargs)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.3, momentum=0.9)
    losses = []
    for ids in batches(steps):
        if chunked:
            labels = [[-100] * 5 + row[5:] for row in ids.tolist()]
            examples = [{"input_ids": row, "labels": label} for row, label in zip(ids.tolist(), labels, strict=True)]
            loss = model(**PackedCollator()(examples)).loss
        else:
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model.eval()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *product(FAMILIES, [{}, {"use_dora": True}]),
        *product(FAMILIES[:1], [{"checkpointing": True}, {"chunked": True}]),
        ("llama", {"padding_idx": TRAINED[0]}),
    ],
)
def test_learns_what_peft_s_own_layer_learns(tmp_path, family, options):
    expected, theirs = losses_and_model(family, ours=False, **options)
    losses, model = losses_and_model(family, ours=True, **options)
    assert losses == pytest.approx(expected, rel=1e-6 if "chunked" in options else 1e-11)  # 分块的损失在 fp32 里算
    assert min(losses) < losses[0] - 0.5, "真的学了"

    for name, each in (("theirs", theirs), ("ours", model)):
        each.save_pretrained(tmp_path / name, save_embedding_layers=False)
    saved, reference = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("ours", "theirs"))
    assert saved.keys() == reference.keys()
    for name, value in reference.items():
        torch.testing.assert_close(saved[name], value, rtol=1e-6, atol=1e-6 if "chunked" in options else 1e-9)

    # PEFT 自己读来、合并、关掉，都是同一个模型
    ids = next(batches(1))
    with torch.no_grad():
        logits = model(ids).logits
        loaded = PeftModel.from_pretrained(toy_model(family).double(), tmp_path / "ours").eval()
        assert {type(layer) for layer in loaded.modules() if isinstance(layer, TrainableTokensLayer)} == {
            TrainableTokensLayer
        }
        torch.testing.assert_close(loaded(ids).logits, logits, rtol=1e-6, atol=1e-6)
        with model.disable_adapter():
            assert torch.equal(model(ids).logits, toy_model(family).double().eval()(ids).logits)
        torch.testing.assert_close(model.merge_and_unload()(ids).logits, logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_autocast_differs_by_rounding_only(family):
    """bf16 的两种舍入之间差多少，与它们各自和 fp32 差的一样多。"""
    ids = next(batches(1))
    logits = {}
    for name, ours in (("theirs", False), ("ours", True)):
        base = toy_model(family)
        model = get_peft_model(base, config(base)).eval()
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.2)
        if ours:
            train_few_rows(model)
        with torch.no_grad():
            logits["fp32"] = model(ids).logits
            with torch.autocast("cpu", torch.bfloat16):
                logits[name] = model(ids).logits.float()
    error = (logits["theirs"] - logits["fp32"]).abs().max()
    assert (logits["ours"] - logits["theirs"]).abs().max() <= 2 * error
    assert (logits["ours"] - logits["fp32"]).abs()[..., TRAINED].mean() <= 2 * (
        logits["theirs"] - logits["fp32"]
    ).abs()[..., TRAINED].mean()


class LargestOutput(TorchDispatchMode):
    """一个算子的输出最多有多少个数；视图不算。"""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {each.untyped_storage().data_ptr() for each in tree_leaves(args) if isinstance(each, torch.Tensor)}
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.untyped_storage().data_ptr() not in inputs:
                self.numbers = max(self.numbers, each.numel())
        return result


@pytest.mark.parametrize("family", FAMILIES)
def test_the_matrix_is_never_copied(tmp_path, family):
    """训练、生成，新添的、存下又读回来的，都不造一个与嵌入一样大的张量。"""
    vocabulary = 5000
    toy_model(family, vocab_size=vocabulary).save_pretrained(tmp_path / "base")

    def base():
        return type(toy_model(family)).from_pretrained(tmp_path / "base")

    matrix = vocabulary * base().config.hidden_size
    ids = torch.tensor([[5, 7, 9, 300, 11]])
    with LargestOutput() as peft:
        model = base()
        get_peft_model(model, config(model))(input_ids=ids, labels=ids).loss.backward()
    assert peft.numbers >= matrix, "不然下面什么也没有查"

    model = base()
    model = new_adapter(model, config(model))
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    for each in (model, add_adapter(base(), str(tmp_path / "adapter"), trainable=True)):
        with LargestOutput() as ours:
            each(input_ids=ids, labels=ids).loss.backward()
            each.generate(input_ids=ids, max_new_tokens=2, do_sample=False, pad_token_id=0)
        assert ours.numbers < matrix / 2


def test_the_bias_of_the_output_layer_counts():
    """PEFT 自己的层漏掉它：训练的和合并的就不是同一个模型。"""
    base = toy_model("llama")
    base.lm_head = torch.nn.Linear(32, 400)
    ids = next(batches(1))
    expected = base.eval()(ids).logits
    model = new_adapter(base, config(base)).eval()
    torch.testing.assert_close(model(ids).logits, expected)
    torch.nn.init.normal_(base.lm_head.token_adapter.trainable_tokens_delta["default"])
    changed = model(ids).logits
    torch.testing.assert_close(model.merge_and_unload()(ids).logits, changed)


def test_lora_on_the_shared_output_layer_is_still_refused(tmp_path):
    """要训练新添的行时，也看得出输入与输出共用一个矩阵。"""
    base, _, new = load_model(str(save_toy(tmp_path, chatml=False)))
    rows = embedding_rows(base, new)
    targets = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"], trainable_token_indices=rows)
    with pytest.raises(UserError, match="共用"):
        new_adapter(base, targets)
