"""TODO 4 的各项检查：看训练的症状，不看代码。"""

import math
from typing import Any

import torch

from clinic.doctor import exploded
from self_check.debug.patient import CALLED, NEW_TOKENS, STEPS, Patient
from self_check.report import Diagnosis
from self_check.sandbox import calling

_SAME = 0.02  # 两个损失相差的比例
_ALIGNED = 0.98  # 两个梯度的夹角的余弦
_RIGHT = 0.5  # 参考答案答对七八成
_ASKED = 6  # answer 答几题

# 代号 → 到哪一类地方去找；不说是哪一行
_LOOK = {
    "wrong_return_type": "train 的返回值，照它的说明。",
    "base_modified": "哪些地方用到 base：训练的应当是它的副本。",
    "first_loss": "一批数据怎样变成模型的参数：input_ids、labels、attention_mask，各从哪里来，补的是什么。",
    "nothing_trains": "走一步的前后，各打印返回的模型里同一个参数的值和它的 .grad，比一比。",
    "gradients_pile_up": "走第二步以前，打印一个参数的 .grad；再另外只用第二批求一次，比一比。",
    "rate_stays": "每一步打印 optimizer.param_groups[0]['lr']：谁来改它，什么时候改？",
    "diverges": "一步走多远由什么决定：第 4 节的全参数微调用多大？",
    "learns_too_little": "学习率、步数、标签：与第 4 节的循环一样一样地比。",
    "answers_differ": "训练时，回答前面的 token 是什么？提问时，模型最后看见的是什么？",
}


def _found(slug: str, came: str, likely: str, called: str = CALLED) -> Diagnosis:
    return Diagnosis(slug, called, came, likely, _LOOK[slug])


def check_result(patient: Patient) -> Diagnosis | None:
    """``train`` 返回模型和每一步的损失，``answer`` 在。"""
    for name in ("train", "answer"):
        if not callable(getattr(patient, name)):
            return _found("wrong_return_type", f"没有 {name} 这个函数", f"{name} 是给定的，请不要改名。", f"找 {name}")
    trained = patient.trained()
    if not isinstance(trained.model, torch.nn.Module):
        came = f"train 返回的第一项是 {type(trained.model).__name__}，应当是模型"
        return _found("wrong_return_type", came, "train 要返回两样东西：模型，和每一步的损失。")
    losses = trained.losses
    if not isinstance(losses, list) or len(losses) != STEPS or not all(isinstance(each, float) for each in losses):
        length = f"，长度 {len(losses)}" if isinstance(losses, list) else ""
        came = f"train 返回的第二项是 {type(losses).__name__}{length}，应当是 {STEPS} 个小数"
        return _found("wrong_return_type", came, "每一步记一个损失（loss.item()）。")
    return None


def check_base(patient: Patient) -> Diagnosis | None:
    """``base`` 没有变。"""
    patient.trained()
    now = patient.base.state_dict()
    if all(torch.equal(now[name], value) for name, value in patient.original.items()):
        return None
    return _found("base_modified", "train 以后，base 的权重变了", "训练改动了传进来的模型，别处就没有基座可用了。")


def check_first_loss(patient: Patient) -> Diagnosis | None:
    """第一步还没有更新，损失应当与独立算的一样。"""
    came, expected = patient.trained().losses[0], patient.first_loss()
    if abs(came - expected) <= _SAME * expected:
        return None
    return _found(
        "first_loss",
        f"第一步的损失\n  应为  {expected:.4f}（同样的八段，标签写对，独立地算）\n  实际  {came:.4f}",
        "还没有更新过一次，损失就已经不同：算进损失的位置，与该学的位置不是同样的那些；"
        "或把八段分成几小批，各求了平均再平均，token 少的一批就重了。",
    )


def check_model_changed(patient: Patient) -> Diagnosis | None:
    """训练以后，模型变了。"""
    model = patient.trained().model
    before = patient.original
    changed = [name for name, value in model.named_parameters() if name not in before or not value.equal(before[name])]
    if changed:
        return None
    losses = patient.trained().losses
    came = f"训练以后，模型的参数一个也没有变；损失开头 {losses[0]:.2f}，最后 {losses[-1]:.2f}"
    return _found("nothing_trains", came, "损失算了，步也走了，返回的模型却没有动。")


def check_gradients(patient: Patient) -> Diagnosis | None:
    """一步用的梯度，只来自这一步的一批。"""
    step = patient.looked_at()
    if step is None:
        return None  # 没有用 torch.optim 的优化器：看不到，由后面的检查来看结果
    known = {id(value): name for name, value in patient.trained().model.named_parameters()}
    names = {key: name for key, name in known.items() if name in patient.original}
    parameters = {names[key]: value for key, value in step.parameters.items() if key in names}
    expected = patient.gradients(parameters)
    recorded = {names[key]: value for key, value in step.gradients.items() if key in names}
    pairs = [(recorded[name], value) for name, value in expected.items() if name in recorded]
    if not pairs:
        return None  # 训练的不是这些参数，由后面的检查来看结果
    ours = torch.cat([value.flatten() for _, value in pairs])
    theirs = torch.cat([(torch.zeros_like(value) if each is None else each).flatten() for each, value in pairs])
    cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=0).item()
    if cosine >= _ALIGNED:
        return None
    return _found(
        "gradients_pile_up",
        f"第二步的梯度，与第二批自己的梯度方向不同（余弦 {cosine:.2f}，应当是 1.00）；"
        f"长度 {theirs.norm():.2f}，第二批自己的 {ours.norm():.2f}",
        "这一步的梯度里，混着别的批次的。",
    )


def check_rate(patient: Patient) -> Diagnosis | None:
    """学习率先升后降。"""
    rates = [step.learning_rate for step in patient.trained().steps]
    if len(rates) != STEPS:
        return None  # 没有用 torch.optim 的优化器，或一步分成了几次：看不到，由后面的检查来看结果
    if rates[0] < max(rates) > rates[-1]:
        return None
    shown = "、".join(f"第 {step + 1} 步 {rates[step]:.1e}" for step in (0, 5, 20, STEPS - 1))
    return _found("rate_stays", f"学习率：{shown}", "学习率没有先升后降：说了怎样升降，却没有照着走。")


def check_descends(patient: Patient) -> Diagnosis | None:
    """损失降下来，不再升上去。"""
    losses = patient.trained().losses
    shown = "、".join(f"第 {step + 1} 步 {losses[step]:.2f}" for step in (0, 2, 5, 10, 20, STEPS - 1))
    if not all(map(math.isfinite, losses)):
        return _found("diverges", f"损失：{shown}", "损失不是有限的数了。")
    if exploded([{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]) is None:
        return None
    return _found("diverges", f"损失：{shown}", "损失升得很高，没有降下来。")


def check_learns(patient: Patient) -> Diagnosis | None:
    """没有学过的问题，训练好的模型（由我们来提问）答得出一半以上。"""
    questions = [each[:-1] for each in patient.questions]
    spoken = patient.spoken(questions)
    right = sum(each == row[-1]["content"] for each, row in zip(spoken, patient.questions, strict=True))
    if right >= _RIGHT * len(questions):
        return None
    example = f"问：{questions[0][-1]['content']} → {spoken[0]}"
    return _found(
        "learns_too_little",
        f"{len(questions)} 个没有学过的问题，只答对 {right} 个；例如 {example}",
        "学到的不够：步子太大或太小，步数太少，或学的不是该学的。",
    )


def check_answers(patient: Patient) -> Diagnosis | None:
    """``answer`` 写出的，与我们让同一个模型写出的一样。"""
    model: Any = patient.trained().model
    for row in patient.questions[:_ASKED]:
        question = row[:-1]
        called = f"answer(model, tokenizer, {question}, max_new_tokens={NEW_TOKENS})"
        with calling(called):
            came = patient.answer(model, patient.tokenizer, question, NEW_TOKENS)  # type: ignore[misc]
        (expected,) = patient.spoken([question])
        if came != expected.removesuffix("……"):
            return _found(
                "answers_differ",
                f"answer 写出的\n  应为  {expected}（同一个模型，独立地生成）\n  实际  {came}",
                "模型学会了，可是提问的样子与训练时不同：损失很低，回答却不对。",
                called,
            )
    return None
