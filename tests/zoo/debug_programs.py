"""TODO 4 的各种半成品：参考答案里留着一处或几处错，和几种别的写法。"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOLUTION = (ROOT / "debug_solution.py").read_text(encoding="utf-8")

# 症状 → （参考答案里的写法，错的写法）：练习里的五处，和学习者会添上的几处
MISTAKES = {
    "first_loss": ("[IGNORE_INDEX] * (length - real)", "[pad_id] * (length - real)"),
    "nothing_trains": ("AdamW(model.parameters()", "AdamW(base.parameters()"),
    "gradients_pile_up": ("        optimizer.zero_grad()\n", ""),
    "diverges": ("learning_rate: float = 1e-3", "learning_rate: float = 3e-2"),
    "answers_differ": (
        "torch.tensor([chatml.prompt(question)])",
        "torch.tensor([chatml.prompt(question)[:-3]])",
    ),
}
OTHERS = {
    "learns_too_little": ("learning_rate: float = 1e-3", "learning_rate: float = 1e-6"),
    "rate_stays": ("        schedule.step()\n", ""),
    "base_modified": ("copy.deepcopy(base).train()", "base.train()"),
    "wrong_return_type": ("return model.eval(), losses", "return model.eval()"),
    "first_loss": ('example["labels"] + [IGNORE_INDEX]', 'example["input_ids"] + [IGNORE_INDEX]'),
}
RIGHT = {
    "another_schedule": (
        ("from torch.optim.lr_scheduler import LambdaLR", "from torch.optim.lr_scheduler import OneCycleLR"),
        (
            "LambdaLR(optimizer, lambda step: min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP + 1)))",
            "OneCycleLR(optimizer, learning_rate, total_steps=steps)",
        ),
    ),
    "another_style": (
        ("        optimizer.zero_grad()\n", ""),
        (
            "        optimizer.step()\n        schedule.step()\n",
            "        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
            "        optimizer.step()\n        schedule.step()\n        optimizer.zero_grad()\n",
        ),
        ("learning_rate: float = 1e-3", "learning_rate: float = 2e-3"),
    ),
    "a_closure": (
        (
            "        loss = model(**collate(batch, tokenizer.pad_token_id)).loss\n"
            "        optimizer.zero_grad()\n        loss.backward()\n        optimizer.step()\n",
            "        def closure():\n            for each in model.parameters():\n                each.grad = None\n"
            "            loss = model(**collate(batch, tokenizer.pad_token_id)).loss\n"
            "            loss.backward()\n            return loss\n\n        loss = optimizer.step(closure)\n",
        ),
    ),
}


def program(*changes: tuple[str, str]) -> str:
    """参考答案，改了这几处。"""
    text = SOLUTION
    for right, wrong in changes:
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    return text
