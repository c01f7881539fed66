"""检验：平均损失与逐字匹配，与最直接的算法对照。"""

import os
import signal
import threading

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from toy_models import toy_model, toy_tokenizer
from transformers import GenerationConfig

from data_solution import SFTDataset
from finetuning import evaluate
from finetuning.chatml import ChatML
from finetuning.collator import PackedCollator, PaddedCollator
from finetuning.data import answers_are_checkable
from finetuning.evaluate import Answer, checked_answers, exact_match, generate_answers, mean_loss, writing
from finetuning.shortcuts.attention import PER_DOCUMENT
from finetuning.token_rows import train_few_rows

QUESTIONS = ["你好", "今天天气怎么样？", "猫喜欢什么？", "法国", "法国的首都是巴黎吗？请回答。", "鱼"]
ANSWERS = ["好", "今天天气晴朗。", "猫喜欢鱼。", "首都是巴黎，不是别的地方。", "是", "你好，我是小助手。"]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"], autouse=True)
def cores(request, set_cores):
    set_cores(request.param)
    return request.param


@pytest.fixture(scope="module")
def tokenizer():
    return toy_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    model = toy_model(vocab_size=len(tokenizer)).eval()
    model.generation_config.eos_token_id = [0]
    return model


def one_by_one(model, tokenizer, messages, limit):
    """每次生成一个 token，不用缓存、不成批。"""
    ids, new = ChatML(tokenizer).prompt(messages), []
    end, stop = tokenizer.convert_tokens_to_ids("<|im_end|>"), 0
    while len(new) < limit:
        with torch.no_grad():
            token = model(torch.tensor([ids + new])).logits[0, -1].argmax().item()
        if token in (end, stop):
            return Answer(tokenizer.decode(new), token == end)
        new.append(token)
    return Answer(tokenizer.decode(new), False)


def conversations(answers):
    return [[*asked(q), {"role": "assistant", "content": a}] for q, a in zip(QUESTIONS, answers, strict=True)]


def asked(question):
    return [{"role": "system", "content": "你是小助手。"}, {"role": "user", "content": question}]


@pytest.fixture(scope="module")
def trained(tokenizer):
    """背下了六个长短不一的回答、会写 <|im_end|> 的模型。"""
    model = toy_model(vocab_size=len(tokenizer), initializer_range=0.05)
    batch = PackedCollator()(list(SFTDataset(conversations(ANSWERS), tokenizer)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def test_generated_answers_equal_one_by_one(trained, tokenizer):
    questions = [asked(question) for question in [*QUESTIONS, "没有学过的问题"]]
    for limit in (4, 30):
        expected = [one_by_one(trained, tokenizer, question, limit) for question in questions]
        assert generate_answers(trained, tokenizer, questions, [limit] * 7) == expected
        if limit == 4:
            assert {answer.ended for answer in expected} == {True, False}, "应该有的停、有的不停"
    assert [answer.text for answer in expected[:6]] == ANSWERS


def test_exact_match_against_the_naive_oracle(trained, tokenizer):
    right = conversations(ANSWERS)
    assert exact_match(checked_answers(trained, tokenizer, right)) == 1
    # 多一个字、少一个字，都不算；另外三个还是对的
    changed = conversations([ANSWERS[0] + "。", ANSWERS[1][:-1], ANSWERS[2] + " ", *ANSWERS[3:]])
    naive = [one_by_one(trained, tokenizer, c[:-1], 30) == Answer(c[-1]["content"], True) for c in changed]
    answers = checked_answers(trained, tokenizer, changed)
    assert [answer.right for answer in answers] == naive
    assert exact_match(answers) == sum(naive) / 6 == 0.5


def test_an_answer_that_never_stops_does_not_match(trained, tokenizer):
    """话说对了却没有写 <|im_end|>（而是写了预训练的 <|endoftext|>），不算对。"""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model = toy_model(vocab_size=len(tokenizer))
    model.load_state_dict(trained.state_dict())
    swapped = model.lm_head.weight.detach().clone()
    swapped[[0, end]] = swapped[[end, 0]]
    model.lm_head.weight = torch.nn.Parameter(swapped)  # 输出时把两个标记对调，输入不变
    answers = generate_answers(model.eval(), tokenizer, [asked(q) for q in QUESTIONS], [30] * 6)
    assert [answer.text for answer in answers] == ANSWERS
    assert not any(answer.ended for answer in answers)
    assert exact_match(checked_answers(model, tokenizer, conversations(ANSWERS))) == 0


def test_the_settings_of_the_base_do_not_matter(trained, tokenizer):
    """贪心法：基座自己的重复惩罚、最短长度、束搜索都不算；之后恢复原样。"""
    questions = [asked(question) for question in QUESTIONS]
    expected = generate_answers(trained, tokenizer, questions, [12] * 6)
    before = trained.generation_config
    trained.generation_config = own = GenerationConfig(
        repetition_penalty=9.0, min_new_tokens=10, num_beams=3, no_repeat_ngram_size=1, penalty_alpha=0.6, top_k=4
    )
    try:
        assert generate_answers(trained, tokenizer, questions, [12] * 6) == expected
        assert trained.generation_config is own
    finally:
        trained.generation_config = before


def naive_loss(model, data):
    """fp32，一段一段，每个要学的 token 的平均。"""
    total, count = 0.0, 0
    training = model.training
    model.eval()
    for example in data:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1]
        targets = torch.tensor(example["labels"][1:])
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        count += int((targets != -100).sum())
    model.train(training)
    return total / count


def test_mean_loss_is_per_token(model, tokenizer):
    data = SFTDataset(conversations(["好", "今天天气晴朗。" * 5, "鱼", "巴黎", "是的。", "猫喜欢鱼。"]), tokenizer)
    expected = naive_loss(model, data)
    assert mean_loss(model, data, PaddedCollator(0)) == pytest.approx(expected, rel=1e-5)
    packed = toy_model(vocab_size=len(tokenizer))
    packed.load_state_dict(model.state_dict())
    packed.set_attn_implementation(PER_DOCUMENT)
    assert mean_loss(packed, data, PackedCollator()) == pytest.approx(expected, rel=1e-5)
    assert packed.training


@pytest.mark.parametrize(("size", "expected"), [("small", [3, 3]), ("large", [6])])
def test_few_answers_of_a_large_model_are_one_batch(trained, tokenizer, monkeypatch, cores, size, expected):
    if size == "large":
        monkeypatch.setattr(evaluate, "_LARGE", 0)
    sizes = []
    generate = type(trained).generate

    def watched(self, **options):
        sizes.append(len(options["input_ids"]))
        return generate(self, **options)

    monkeypatch.setattr(type(trained), "generate", watched)
    answers = generate_answers(trained, tokenizer, [asked(question) for question in QUESTIONS], [30] * 6)
    assert [answer.text for answer in answers] == ANSWERS
    assert sizes == (expected if cores == 2 else [6])


# ----------------------------------------------------------------------------------------------------------------------
# CPU 上的大模型：检验用 bf16


@pytest.fixture
def large(monkeypatch):
    """小模型当作大的，CPU 当作有 bf16 的指令。"""
    monkeypatch.setattr(evaluate, "_LARGE", 0)
    monkeypatch.setattr(evaluate, "evaluation_dtype", lambda device, large: torch.bfloat16 if large else None)


ADAPTERS = {
    "full": None,
    "lora": LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"),
    "dora": LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", use_dora=True),
    "rows": LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", trainable_token_indices=[1, 2]),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
}


@pytest.mark.parametrize("rounded", [True, False], ids=["a bf16 checkpoint", "an fp32 checkpoint"])
@pytest.mark.parametrize("method", ADAPTERS)
def test_a_large_model_is_measured_in_bf16_and_left_as_it_was(trained, tokenizer, large, method, rounded):
    """对照：fp32 的损失；各个权重（连同共用的）都恢复原样。"""
    base = toy_model(vocab_size=len(tokenizer))
    base.load_state_dict(trained.state_dict())
    if rounded:
        base = base.to(torch.bfloat16).float()
    model = base if ADAPTERS[method] is None else get_peft_model(base, ADAPTERS[method])
    train_few_rows(model)
    before = {name: (parameter, parameter.detach().clone()) for name, parameter in model.named_parameters()}
    data = SFTDataset(conversations(ANSWERS[1:] + ANSWERS[:1]), tokenizer)  # 答错的，损失才大
    collate = PaddedCollator(0)
    seen = []
    layer = base.model.layers[0].mlp.down_proj
    with layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype)):
        loss = mean_loss(model, data, collate)
        answers = generate_answers(model, tokenizer, [asked(question) for question in QUESTIONS], [30] * 6)
    # DoRA 的权重不能先转好：损失用 bf16，写回答用 fp32
    assert set(seen) == ({torch.bfloat16, torch.float32} if method == "dora" else {torch.bfloat16})
    assert loss == pytest.approx(naive_loss(model, data), rel=0.02)
    if method != "prefix":  # 前缀一开始是随机的
        assert [answer.text for answer in answers] == ANSWERS
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, (parameter, value) in before.items():
        assert after[name] is parameter, name
        assert parameter.dtype == torch.float32, name
        assert torch.equal(parameter, value), name
    assert base.lm_head.weight is base.model.embed_tokens.weight or method == "rows"


def test_what_others_measure_has_the_same_precision(model, large):
    model.train()
    with writing(model):
        logits = model(torch.tensor([[5, 6, 7]])).logits
        assert (logits.dtype, logits.requires_grad, model.training) == (torch.bfloat16, False, False)
    assert model.training
    assert model(torch.tensor([[5, 6, 7]])).logits.dtype == torch.float32
    model.eval()


@pytest.mark.parametrize("collate", [PaddedCollator(0), PackedCollator()])
def test_mean_loss_bounds_the_logits(model, tokenizer, monkeypatch, collate, cores):
    """词表大、对话长时一批少放几段：几个线程同时算的 logits 不超过上限，结果不变。"""
    data = SFTDataset(conversations(["好", "今天天气晴朗。" * 5, "鱼", "巴黎", "是的。", "猫喜欢鱼。"]), tokenizer)
    whole, sizes = mean_loss(model, data, collate), []
    limit = 2 * len(tokenizer) * max(len(example["input_ids"]) for example in data)
    monkeypatch.setattr("finetuning.evaluate._MOST_LOGITS", limit)
    with model.lm_head.register_forward_hook(lambda module, inputs, logits: sizes.append(logits.numel())):
        assert mean_loss(model, data, collate) == pytest.approx(whole, rel=1e-5)
    assert len(sizes) == 3 * cores
    assert max(sizes) * cores <= limit


def test_only_short_answers_are_checkable():
    assert answers_are_checkable(["好"] * 6)
    assert not answers_are_checkable(["很长的回答。" * 20] * 6)


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    ],
    ids=["lora", "prefix"],
)
def test_adapters_answer_as_peft_does(tokenizer, config):
    """对照：PEFT 自己的 generate，一个一个地写。"""
    model = get_peft_model(toy_model(vocab_size=len(tokenizer)), config)
    model.generation_config.eos_token_id = [0]
    questions = [asked(question) for question in QUESTIONS]
    answers = generate_answers(model, tokenizer, questions, [8] * len(questions))
    assert model.training, "原来是训练的样子，还是训练的样子"
    model.eval()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for question, answer in zip(questions, answers, strict=True):
        ids = torch.tensor([ChatML(tokenizer).prompt(question)])
        options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": [end, 0], "pad_token_id": 0}
        new = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :].tolist()
        text = tokenizer.decode([token for token in new if token not in (end, 0)])
        assert answer == Answer(text, end in new)


def test_all_threads_together_stay_within_the_bound(model, tokenizer, monkeypatch, cores):
    """几个线程同时算的几批，加起来才是上限。"""
    monkeypatch.setattr(evaluate, "_MOST_TOKENS", 400)
    sizes = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **batch: sizes.append(batch["input_ids"].numel()) or forward(**batch))
    data = SFTDataset(conversations(ANSWERS) * 4, tokenizer)
    mean_loss(model, data, PaddedCollator(tokenizer.pad_token_id))
    assert len(sizes) > cores
    assert max(sizes) * cores <= 400


@pytest.mark.skipif(os.name == "nt", reason="Windows 上 os.kill 是强行结束，不是 Ctrl-C")
def test_generation_bounds_the_cache(trained, tokenizer, monkeypatch, cores):
    """缓存只放得下一个半提示词时，一批只有一段；各批真的缓存都不超过界限，回答不变。"""
    questions, limits = [asked(question) for question in QUESTIONS], [12] * len(QUESTIONS)
    expected = generate_answers(trained, tokenizer, questions, limits)
    tokens = 12 + max(len(ChatML(tokenizer).prompt(question)) for question in questions)
    one = trained(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=True).past_key_values
    bound = int(1.5 * cores * sum(layer.keys.nbytes + layer.values.nbytes for layer in one.layers))
    monkeypatch.setattr(evaluate, "_MOST_CACHE", bound)
    sizes = []
    forward = type(trained).forward

    def watched(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        layers = output.past_key_values.layers
        sizes.append(sum(layer.keys.nbytes + layer.values.nbytes for layer in layers))
        return output

    monkeypatch.setattr(type(trained), "forward", watched)
    assert generate_answers(trained, tokenizer, questions, limits) == expected
    assert 0 < max(sizes) * cores <= bound


def test_an_interrupt_stops_every_thread(model, tokenizer, monkeypatch, cores):
    """按了 Ctrl-C，各个线程写到一半的都停下，模型和核数恢复原样。"""
    written, raised = [], []
    tick = evaluate._Ticks.__call__

    def interrupted_once(self, *args, **kwargs):
        written.append(threading.get_ident())
        if len(set(written)) == cores and not raised:
            raised.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return tick(self, *args, **kwargs)

    monkeypatch.setattr(evaluate._Ticks, "__call__", interrupted_once)
    model.train()
    with pytest.raises(KeyboardInterrupt):
        generate_answers(model, tokenizer, [asked(question) for question in QUESTIONS], [400] * len(QUESTIONS))
    assert len(written) < 100
    assert len(set(written)) == cores
    assert model.training
    assert torch.get_num_threads() == cores
    model.eval()
