"""``transformers.TrainingArguments`` 加上本项目的默认值，以及随设备而定的选择。"""

import math
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from finetuning.arguments import TrainingDefaults
from finetuning.device import best_device, bf16_is_faster, supports_tf32


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
        if self.resume_from_checkpoint and self.resume_from_checkpoint.lower() == "true":
            self.resume_from_checkpoint = (
                get_last_checkpoint(self.output_dir) if Path(self.output_dir).is_dir() else None
            )
            if self.resume_from_checkpoint is None:
                raise ValueError(f"{self.output_dir} 里没有检查点（checkpoint-步数），无法接着训练")
