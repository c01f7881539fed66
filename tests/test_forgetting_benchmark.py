"""``benchmarks.forgetting``：每种做法只改它说的那一样。"""

import pytest
import torch
from toy_models import save_toy

from benchmarks import forgetting
from data_solution import SFTDataset
from finetuning.model import load_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_model(str(save_toy(tmp_path_factory.mktemp("toy"))))


@pytest.fixture(scope="module")
def examples(base):
    rows = [
        [{"role": "user", "content": f"第{number}问"}, {"role": "assistant", "content": f"第{number}答。"}]
        for number in range(40)
    ]
    dataset = SFTDataset(rows, base.tokenizer)
    return [dataset[index] for index in range(len(dataset))]


def tokens(examples):
    return sum(len(example["input_ids"]) for example in examples)


def test_replayed_texts_are_that_share_of_the_tokens_and_wholly_learnt(base, examples):
    for share in (0.05, 0.1, 1.0):
        texts = forgetting.replayed(base.tokenizer, examples, share)
        assert tokens(texts[:-1]) < share * tokens(examples) <= tokens(texts)
        assert all(text["labels"] == text["input_ids"] for text in texts)


def test_averaged_weights_lie_between(base):
    tuned = forgetting.copy.deepcopy(base.model)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 1
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    mixed = forgetting.averaged(base.model, tuned, 0.3)
    for name, value in mixed.named_parameters():
        torch.testing.assert_close(value.detach(), before[name] + 0.3)
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_leaves_the_base_alone_and_gives_a_plain_model(base, examples, method):
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    tuned = forgetting.trained(base.model, base.tokenizer, examples, method, seed=1, steps=1)
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert tuned.state_dict().keys() == before.keys()
    moved = {name for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    if method == "lora":
        assert all("proj" in name for name in moved)  # 只加在线性层
    again = forgetting.trained(base.model, base.tokenizer, examples, method, seed=1, steps=1)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tuned.state_dict().items())
