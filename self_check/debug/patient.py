"""TODO 4：用学习者的 ``train`` 在自带的基座上真的训练一次，记下外面看得见的；各项检查共用这一次。"""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from data_solution import SFTDataset
from finetuning.collator import PaddedCollator
from finetuning.conversations import Conversation
from finetuning.evaluate import generate_answers
from finetuning.model import load_model
from finetuning.quiet import quiet_libraries
from finetuning.reading import load_conversations
from self_check.location import learner_file
from self_check.sandbox import calling, untraced

ROOT = Path(__file__).parents[2]
STEPS, BATCH_SIZE, QUESTIONS, NEW_TOKENS = 40, 8, 24, 40
CALLED = f"model, losses = train(base, tokenizer, conversations)，{STEPS} 步，每步 {BATCH_SIZE} 段"
_SHORT = 40  # 一段对话最多几个字；训练数据里七成的不超过
_LOOKED_AT = 1  # 看第几步的梯度（从 0 数起）：第一步的，积没积起来都一样


@dataclass
class Step:
    """优化器走的一步。"""

    learning_rate: float
    parameters: dict[int, torch.Tensor] = field(default_factory=dict)  # id → 走这一步以前的值
    gradients: dict[int, torch.Tensor | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """训练的结果。"""

    model: Any
    losses: Any
    steps: list[Step]


class Patient:
    """学习者的程序，和训练它的一切。"""

    def __init__(self, subject: Any) -> None:
        self.train, self.answer = getattr(subject, "train", None), getattr(subject, "answer", None)
        self.source_file = learner_file(subject)
        torch.set_num_threads(min(2, torch.get_num_threads()))  # CPU 时间的上限把各个线程加在一起
        with untraced():
            quiet_libraries()
            self.base, self.tokenizer, _ = load_model(str(ROOT / "base_model"))
            self.conversations = _short("train")[: STEPS * BATCH_SIZE]
            self.questions = _short("dev")[:QUESTIONS]
            self.original = copy.deepcopy(self.base.state_dict())
        self._trained: Trained | None = None

    def trained(self) -> Trained:
        """训练一次；第二次起，用第一次的结果。"""
        if self._trained is None:
            steps: list[Step] = []

            def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
                step = Step(max(float(group["lr"]) for group in optimizer.param_groups))
                if len(steps) == _LOOKED_AT:
                    step.parameters = {id(each): each.detach().clone() for each in _parameters(optimizer)}
                steps.append(step)

            def record_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
                if len(steps) == _LOOKED_AT + 1:  # 交给 step 一个函数的（closure），梯度是在 step 里面才求的
                    for each in _parameters(optimizer):
                        steps[-1].gradients[id(each)] = None if each.grad is None else each.grad.clone()

            handles = [
                register_optimizer_step_pre_hook(record),
                register_optimizer_step_post_hook(record_gradients),
            ]
            try:
                with calling(CALLED), torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    result = self.train(self.base, self.tokenizer, self.conversations)  # type: ignore[misc]
            finally:
                for handle in handles:
                    handle.remove()
            model, losses = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
            self._trained = Trained(model, losses, steps)
        return self._trained

    @cached_property
    def batches(self) -> list[dict[str, torch.Tensor]]:
        """前两批，标签和填充都由参考答案来写。"""
        dataset = SFTDataset(self.conversations[: 2 * BATCH_SIZE], self.tokenizer)
        collate = PaddedCollator(self.tokenizer.pad_token_id)
        return [collate([dataset[index] for index in range(start, start + BATCH_SIZE)]) for start in (0, BATCH_SIZE)]

    def first_loss(self) -> float:
        """基座在第一批上的损失。"""
        with untraced(), torch.no_grad():
            return self.base(**self.batches[0]).loss.item()

    def gradients(self, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """权重是 ``parameters`` 时，第二批的梯度。"""
        with untraced():
            model = copy.deepcopy(self.base)
            model.load_state_dict(self.original)
            with torch.no_grad():
                for name, value in parameters.items():
                    model.get_parameter(name).copy_(value)
            model.zero_grad()
            model(**self.batches[_LOOKED_AT]).loss.backward()
            return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}

    def looked_at(self) -> Step | None:
        """看梯度的那一步。"""
        steps = self.trained().steps
        return steps[_LOOKED_AT] if len(steps) > _LOOKED_AT else None

    def spoken(self, questions: list[Conversation]) -> list[str]:
        """训练好的模型的回答，由我们来生成；没有停下的，末尾有省略号。"""
        with untraced():
            answers = generate_answers(self.trained().model, self.tokenizer, questions, [NEW_TOKENS] * len(questions))
        return [each.text if each.ended else f"{each.text}……" for each in answers]


def _short(split: str) -> list[Conversation]:
    """不长的对话：一批要补到最长的一段，学习者在等。"""
    conversations = load_conversations(str(ROOT / f"data/{split}.jsonl"))
    return [each for each in conversations if sum(len(message["content"]) for message in each) <= _SHORT]


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [each for group in optimizer.param_groups for each in group["params"]]
