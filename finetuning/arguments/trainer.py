"""``transformers.TrainingArguments`` 加上本项目的默认值，以及随设备而定的选择。"""

import dataclasses
import math
import os
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.training_args import OptimizerNames

from finetuning.arguments.flags import BITSANDBYTES_OPTIMIZERS, REFUSED, TORCH_OPTIMIZERS
from finetuning.arguments.options import TrainingDefaults
from finetuning.device import best_device, fastest_dtype, is_ampere_or_newer
from finetuning.terminal import how_to_add

_SHORT_RUN = 20
_STRATEGIES = {"eval_strategy": ("no", "steps", "epoch"), "save_strategy": ("no", "steps", "epoch", "best")}
_OPTIMIZERS = {name.value for name in OptimizerNames}


@dataclass
class SFTArguments(TrainingDefaults, TrainingArguments):  # type: ignore[misc]
    """字段与 ``TrainingArguments`` 完全相同；默认值以 ``TrainingDefaults`` 为先（dataclass 的继承顺序）。"""

    def __post_init__(self) -> None:
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} 至少是 1，实际是 {getattr(self, name)}")
        # 写成 not … 的样子：NaN 与什么比较都是假。
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning_rate 应该是大于 0 的有限的数，不能是负数，实际是 {self.learning_rate}")
        if not 0 < self.num_train_epochs < math.inf:
            raise ValueError(f"--num_train_epochs 应该大于 0，实际是 {self.num_train_epochs}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed 应该在 0 和 {2**32 - 1} 之间，实际是 {self.seed}")
        if not self.output_dir:
            raise ValueError("--output_dir 是空的，请写出结果放在哪个目录")

        if not os.fspath(self.output_dir).isprintable():
            raise ValueError(f"--output_dir 里有不能显示的字符（{self.output_dir!r}），请换一个名字")
        self._refuse_flags()
        self._check_numbers()
        if self.save_strategy == "best" and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        self._choose_validation()
        if self.metric_for_best_model not in (None, "loss", "eval_loss"):
            raise ValueError(f"--metric_for_best_model 只有 loss（验证损失）可选，实际是 {self.metric_for_best_model}")

        # 设备由 Trainer 自己选；用不上的显卡（里面没有给它编译的算子）它也选，所以那时要它用 CPU。
        self.asked_for_cpu = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
        self.use_cpu = self.asked_for_cpu or best_device().type == "cpu"
        if self.fp16 and self.bf16:
            raise ValueError("--bf16 和 --fp16 只能选一种")
        if self.fp16 and self.use_cpu:
            raise ValueError("--fp16 要显卡，CPU 上没有 fp16 的混合精度；请去掉它，或用 --bf16")
        if self.bf16 is None:
            fastest = None if self.fp16 else fastest_dtype(self.use_cpu)
            self.bf16 = fastest == torch.bfloat16
            self.fp16 = self.fp16 or fastest == torch.float16
        if self.tf32 is None and not self.use_cpu and is_ampere_or_newer():
            self.tf32 = True
        # 新的 transformers（5.23）里，这个参数叫 activation_checkpointing，旧名会警告；大家熟悉的是旧名。
        if getattr(self, "activation_checkpointing", False) is None:
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()
        # 锁页内存（pinned memory）只有 CUDA 用得上，在 MPS 上会警告。
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type == "cuda"
        # DDP 默认每步都找一遍没有用到的参数；这里训练的参数每步都用到，找只是白费时间，还会警告。
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False

    @property
    def autocast(self) -> torch.dtype | None:
        """自动混合精度用的类型；None 是不用。"""
        return torch.bfloat16 if self.bf16 else torch.float16 if self.fp16 else None

    @property
    def n_gpu(self) -> int:
        """一个进程用几块显卡：最多一块。

        看得见几块时，Trainer 默认用 ``nn.DataParallel`` 把一批从头切成几份；首尾相接的一批只有一行，切不开。
        要用几块，就用 torchrun 启动几个进程。
        """
        return min(1, super().n_gpu)

    @property
    def sharded(self) -> bool:
        """启动器（accelerate launch）要把权重切分在几张卡上（FSDP、DeepSpeed）。"""
        return self.deepspeed_plugin is not None or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """预热（warm-up）多少步：不到 20 步的训练不预热。

        预热的第一步，学习率是 0；transformers 按比例算时向上取整，只有一步的训练就什么也学不到。
        """
        if self.warmup_steps < 1 and num_training_steps < _SHORT_RUN:
            return int(num_training_steps * self.warmup_steps)
        return super().get_warmup_steps(num_training_steps)

    def _choose_validation(self) -> None:
        """要不要看验证损失；要的话，多久看一次，多久存一次。"""
        for name, choices in _STRATEGIES.items():
            if getattr(self, name) not in (None, *choices):
                raise ValueError(f"--{name} 的值只能是 {'、'.join(choices)} 之一，实际是 {getattr(self, name)}")
        if self.greater_is_better:
            raise ValueError("--greater_is_better 在这里没有意义：最好的总是验证损失最小的")
        if self.early_stopping_patience is not None:
            if self.early_stopping_patience < 1:
                raise ValueError(f"--early_stopping_patience 至少是 1，实际是 {self.early_stopping_patience}")
            self.load_best_model_at_end = True
        steered = (
            self.load_best_model_at_end
            or self.save_strategy == "best"
            or self.lr_scheduler_type == "reduce_lr_on_plateau"
        )
        if steered and self.eval_strategy == "no":
            raise ValueError("挑最好的、提前停下、据验证损失降学习率，都要看验证损失，不能有 --eval_strategy no")
        if steered and self.eval_delay:
            raise ValueError("要看验证损失来挑最好的，就不能用 --eval_delay 推迟验证：推迟的那些没有验证过")
        # 要看而没有给 --validation_file 的，从训练数据里留出一部分（见 finetuning.data）。
        self.needs_validation = steered or self.eval_strategy not in (None, "no")
        self.eval_strategy = self.eval_strategy or "epoch"
        if self.save_strategy is None and self.load_best_model_at_end and self.eval_strategy == "steps":
            self.save_strategy, self.save_steps = "steps", self.eval_steps or self.logging_steps
        self.save_strategy = self.save_strategy or "epoch"
        if self.load_best_model_at_end and self.save_strategy != "best":
            self._check_every_checkpoint_is_validated()

    def _check_every_checkpoint_is_validated(self) -> None:
        """没有验证过的检查点，不知道好不好。"""
        if self.save_strategy != self.eval_strategy:
            raise ValueError(
                "要挑最好的，每次验证都要存检查点：--save_strategy 与 --eval_strategy 要相同，"
                f"实际是 {self.save_strategy} 和 {self.eval_strategy}"
            )
        every = self.eval_steps or self.logging_steps
        times = self.save_steps / every
        aligned = (self.save_steps < 1) == (every < 1) and abs(times - round(times)) < 1e-6 and round(times) > 0
        if self.eval_strategy == "steps" and not aligned:
            raise ValueError(
                "要挑最好的，每个检查点都要验证过：--save_steps 要是 --eval_steps 的整数倍，"
                f"实际是 {self.save_steps:g} 和 {every:g}"
            )

    def _check_numbers(self) -> None:
        """没有意义的数：transformers 收下了，训练到一半才出错，或者悄悄训练成别的样子。写成 not … 是因为 NaN。"""
        ranges: dict[str, tuple[float, float, str]] = {
            "label_smoothing_factor": (0, 1, "0 到 1 之间（不含 1）"),
            "weight_decay": (0, math.inf, "不小于 0 的有限的数"),
            "adam_beta1": (0, 1, "0 到 1 之间（不含 1）"),
            "adam_beta2": (0, 1, "0 到 1 之间（不含 1）"),
            "adam_epsilon": (math.ulp(0.0), math.inf, "大于 0 的有限的数"),
            "max_grad_norm": (0, math.inf, "不小于 0 的有限的数"),
            "neftune_noise_alpha": (0, math.inf, "不小于 0 的有限的数"),
            "save_steps": (math.ulp(0.0), math.inf, "大于 0 的数"),
            "eval_steps": (math.ulp(0.0), math.inf, "大于 0 的数"),
            "logging_steps": (math.ulp(0.0), math.inf, "大于 0 的数"),
            "eval_accumulation_steps": (1, math.inf, "不小于 1 的整数"),
            "dataloader_num_workers": (0, math.inf, "不小于 0 的整数"),
            "data_seed": (0, 2**32, f"0 到 {2**32 - 1} 之间的整数"),
        }
        for name, (low, high, meaning) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise ValueError(f"--{name} 应该是{meaning}，实际是 {value}")
        for name in (
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_multiprocessing_context",
        ):
            if getattr(self, name, None) and not self.dataloader_num_workers:
                raise ValueError(f"--{name} 要与 --dataloader_num_workers 一起用")
        wanted = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or [])
        missing = set(wanted) - {"none", "all", *get_available_reporting_integrations()}
        if missing:
            name = min(missing)
            raise ValueError(
                f"--report_to {name} 不能用：没有这个名字，或没有装它的库；{how_to_add(name, f'--with {name}')}"
            )

    def _refuse_flags(self) -> None:
        """不收的参数：给的不是默认值，就说为什么。"""
        defaults = {item.name: item for item in dataclasses.fields(TrainingArguments)}
        for name, reason in REFUSED.items():
            if getattr(self, name) != defaults[name].default:
                raise ValueError(f"不支持 --{name}：{reason}")
        optimizer = getattr(self.optim, "value", self.optim)
        if optimizer in BITSANDBYTES_OPTIMIZERS and find_spec("bitsandbytes") is None:
            raise ValueError(
                f"--optim {optimizer} 要用 bitsandbytes 库，现在没有装；"
                f"{how_to_add('bitsandbytes', '--extra qlora')}，或换 adamw_torch"
            )
        if optimizer in _OPTIMIZERS - TORCH_OPTIMIZERS - BITSANDBYTES_OPTIMIZERS:
            raise ValueError(
                f"不支持 --optim {optimizer}：没有与这里的训练一起验证过；请用 {'、'.join(sorted(TORCH_OPTIMIZERS))}"
            )
