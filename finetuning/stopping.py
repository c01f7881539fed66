"""什么时候停：验证损失不再变小，就提前停下；检查点已经是最后一步，就不再走。"""

from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState


class AlreadyTrained(Exception):
    """检查点已经是最后一步。

    用异常，是因为 Trainer 没有“一步也不走”的办法；它在 on_train_begin 里抛出，后面的回调就不再调用，
    所以 :class:`finetuning.training.OwnForward` 排在它的前面（模型恢复原样），
    :class:`finetuning.shortcuts.frozen.FrozenWeightsInBf16` 排在后面（没有换，就不必换回来）。
    """


class EarlyStopping(TrainerCallback):
    """提前停下（early stopping）：验证损失连续 ``patience`` 次没有比最小的更小。

    transformers 自带的 ``EarlyStoppingCallback`` 把次数记在自己身上，从检查点接着训练时从零数起，
    得到的就与没有断过的不同；这里每次都从训练的日志里数。

    Args:
        patience: 几次。
    """

    def __init__(self, patience: int):
        self.patience = patience

    def is_over(self, state: TrainerState) -> bool:
        """照日志，已经该停了。"""
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        return len(losses) - 1 - losses.index(min(losses)) >= self.patience if losses else False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；刚验证过，日志里已经有了。"""
        if self.is_over(state):
            control.should_training_stop = True


class StopBeforeExtraStep(TrainerCallback):
    """接着训练的检查点已经是最后一步（在最后的检验中断了）时，不再训练。

    这一步若不在一轮的末尾（``--max_steps``，或 1.5 轮），transformers 5.23 的 Trainer 会先走一步再看该不该停。
    """

    def __init__(self, early_stopping: EarlyStopping | None = None):
        self.early_stopping = early_stopping

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；检查点已经读入，还没有走第一步。"""
        state.compute_steps(args, state.max_steps)  # 隔几步保存、检验、记录，照这一次的，不照检查点里的
        if is_over(state, self.early_stopping):
            raise AlreadyTrained


def is_over(state: TrainerState, early_stopping: EarlyStopping | None) -> bool:
    """走完了，或提前停下了。"""
    return state.global_step >= state.max_steps or (early_stopping is not None and early_stopping.is_over(state))
