"""``transformers.TrainingArguments`` 加上本项目的默认值，以及随设备而定的选择。"""

import math
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainingArguments

from finetuning.arguments import TrainingDefaults
from finetuning.checkpoints import is_complete, last_complete, list_checkpoints, step_of
from finetuning.device import best_device, bf16_is_faster, supports_tf32
from finetuning.errors import say


@dataclass
class SFTArguments(TrainingDefaults, TrainingArguments):  # type: ignore[misc]
    """字段与 ``TrainingArguments`` 完全相同；默认值以 ``TrainingDefaults`` 为先（dataclass 的继承顺序）。"""

    def __post_init__(self) -> None:
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} 至少是 1，实际是 {getattr(self, name)}")
        # 写成 not … 的样子：NaN 与什么比较都是假。
        if not 0 <= self.learning_rate < math.inf:
            raise ValueError(f"--learning_rate 应该是有限的数，不能是负数，实际是 {self.learning_rate}")
        if not 0 < self.num_train_epochs < math.inf:
            raise ValueError(f"--num_train_epochs 应该大于 0，实际是 {self.num_train_epochs}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed 应该在 0 和 {2**32 - 1} 之间，实际是 {self.seed}")
        if not self.output_dir:
            raise ValueError("--output_dir 是空的，请写出结果放在哪个目录")

        # CUDA、MPS、CPU 由 Trainer 自己选；这里只补上它不会自己选的。
        self.use_cpu = self.use_cpu or best_device().type == "cpu"
        if self.bf16 is None:
            self.bf16 = not self.fp16 and bf16_is_faster(self.use_cpu)
        if self.tf32 is None and not self.use_cpu and supports_tf32():
            self.tf32 = True
        # transformers 5 把这个参数改名为 activation_checkpointing，旧名会警告；大家熟悉的是旧名。
        if self.activation_checkpointing is None:
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()
        # 锁页内存（pinned memory）只有 CUDA 用得上，在 MPS 上会警告。
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type == "cuda"
        # DDP 默认每步都找一遍没有用到的参数；这里训练的参数每步都用到，找只是白费时间，还会警告。
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False
        if self.resume_from_checkpoint:
            self.resume_from_checkpoint = str(_find_checkpoint(self.resume_from_checkpoint, Path(self.output_dir)))


def _find_checkpoint(wanted: str, output_dir: Path) -> Path:
    """``--resume_from_checkpoint`` 说的是哪个检查点：``true`` 是最新的一个完整的。

    Raises:
        ValueError: 没有，或不完整。
    """
    if wanted.lower() != "true":
        if not Path(wanted, "trainer_state.json").is_file():
            raise ValueError(f"{wanted} 不是检查点目录（里面没有 trainer_state.json）；请检查 --resume_from_checkpoint")
        if not is_complete(Path(wanted)):
            raise ValueError(f"检查点 {wanted} 不完整；请换一个更早的，或写 --resume_from_checkpoint true")
        return Path(wanted)
    checkpoints = list_checkpoints(output_dir)
    if not checkpoints:
        raise ValueError(f"{output_dir} 里没有检查点（checkpoint-步数），无法接着训练")
    last = last_complete(output_dir)
    if last is None:
        raise ValueError(
            f"{output_dir} 里没有完整的检查点（保存时被打断了），无法接着训练；"
            "请删除这个目录，或用 --output_dir 换一个，去掉 --resume_from_checkpoint 重新开始"
        )
    passed_over = [path.name for path in checkpoints if step_of(path) > step_of(last)]
    if passed_over:
        say(f"跳过不完整的检查点 {'、'.join(passed_over)}（保存时被打断了），从 {last.name} 接着训练。")
    return last
