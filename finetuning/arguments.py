"""命令行参数：名字与 transformers.Trainer 一致，说明是中文。

``--help`` 只列学习者用得着的参数，不导入 torch；``--help_all`` 再列出 ``transformers.TrainingArguments`` 的全部参数。
参数写错时只说一句话，退出码是 2。
"""

import dataclasses
import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, get_type_hints

from finetuning.terminal import stage

EMBEDDED_TRAIN_FILE = "data/train.jsonl"


def option(default: Any, help: str, **argparse_options: Any) -> Any:
    """一个命令行参数：默认值、说明，和原样交给 ``argparse.add_argument`` 的其他选项。"""
    return field(default=default, metadata={"help": help, **argparse_options})


def switch(help: str) -> Any:
    """可以不给的开关：不给是 None（由程序决定），``--name`` 是 true，``--name false`` 是 false。"""
    return option(None, help, nargs="?", const=True)


@dataclass
class ModelArguments:
    """模型"""

    model_name_or_path: str = option("base_model", "基座模型：本地目录，或 hub 上的名字（如 Qwen/Qwen3-0.6B-Base）")
    padding_free: bool = option(True, "把一批对话首尾相接成一行，不填充（padding-free）；false：普通的填充批次")


@dataclass
class DataArguments:
    """数据"""

    train_file: str = option(EMBEDDED_TRAIN_FILE, "训练数据：.jsonl/.json/.parquet 文件，或 hub 数据集 owner/name")
    validation_file: str | None = option(None, "验证数据：每轮（epoch）之后算一次损失；自带数据默认用 data/dev.jsonl")
    test_file: str | None = option(
        None, "检验数据；自带数据默认用 data/test.jsonl，自己的数据默认从训练数据里留出一部分"
    )
    max_length: int = option(512, "一段对话最多多少个 token，超出的部分截断")
    on_bad_rows: Literal["stop", "skip"] = option("stop", "有坏行时：stop 停下并列出；skip 跳过，记入输出目录")
    exact_match: bool | None = switch("检验时要不要算逐字匹配（exact match）；默认：参考答案都很短时才算")
    max_test_prompts: int | None = option(None, "逐字匹配最多问多少个问题；默认自带数据 1000，自己的数据 50")

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"--max_length 至少是 2，实际是 {self.max_length}")
        if self.max_test_prompts is not None and self.max_test_prompts < 1:
            raise ValueError(f"--max_test_prompts 至少是 1，实际是 {self.max_test_prompts}")
        if self.train_file == EMBEDDED_TRAIN_FILE:
            self.validation_file = self.validation_file or "data/dev.jsonl"
            self.test_file = self.test_file or "data/test.jsonl"
            self.max_test_prompts = self.max_test_prompts or 1000
        self.max_test_prompts = self.max_test_prompts or 50


@dataclass
class TrainingDefaults:
    """训练"""

    output_dir: str = option("outputs", "结果写到这个目录")
    learning_rate: float = option(5e-4, "学习率（learning rate）的最大值")
    num_train_epochs: float = option(1.0, "训练数据看几轮（epoch）")
    per_device_train_batch_size: int = option(16, "每个设备一步看几段对话")
    gradient_accumulation_steps: int = option(1, "梯度累积：几步的梯度合成一次更新")
    gradient_checkpointing: bool | None = switch("梯度检查点：用时间换显存")
    bf16: bool | None = switch(
        "用 bf16 自动混合精度（autocast）；默认：硬件支持就用，只支持 fp16 的显卡用 fp16；false 是 fp32"
    )
    seed: int = option(42, "随机种子；同样的种子、机器和设置得到同样的结果")
    resume_from_checkpoint: str | None = option(None, "接着训练：检查点目录，或 true（输出目录里最新的一个）")
    report_to: str = option("none", "另外把曲线记到哪里，如 tensorboard")

    # 以下不在 --help 里列出
    # 微调常常只有几百步。Adam 用最近约 1 / (1 - beta2) 步来估计梯度的大小：0.999 是一千步，比整个训练还长。
    adam_beta2: float = 0.98
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.05  # 小于 1 时是占总步数的比例
    per_device_eval_batch_size: int = 32
    logging_steps: float = 0.02  # 小于 1 时是占总步数的比例
    save_strategy: str = "epoch"
    save_total_limit: int | None = 1
    eval_strategy: str = "epoch"
    remove_unused_columns: bool = False  # 批次里的各项都由我们的 collator 给出，没有要去掉的列


def parse_arguments(
    description: str, defaults: dict[str, Any], *extra_classes: type, argv: Sequence[str] | None = None
) -> tuple[Any, ...]:
    """解析命令行。

    Args:
        description: ``--help`` 开头的话，一般是脚本的文档字符串。
        defaults: 这个脚本自己的默认值，如 ``{"learning_rate": 3e-3}``；随 ``--method`` 而定的，写成
            ``{"learning_rate": {"lora": 6e-3, "prefix": 3e-2}}``。
        extra_classes: 这个脚本自己的参数类（dataclass，字段由 :func:`option` 声明）。
        argv: 命令行；默认 ``sys.argv[1:]``。

    Returns:
        ``(ModelArguments, DataArguments, *extra_classes 的实例, SFTArguments)``。

    Raises:
        SystemExit: 显示了帮助（退出码 0），或者参数有误（退出码 2）。
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if any("\ud800" <= character <= "\udfff" for word in argv for character in word):
        _fail("命令里有不是 UTF-8 的字符，请改用 UTF-8 的终端，或给文件改名")
    classes = (ModelArguments, DataArguments, *extra_classes)
    if {"-h", "--help"} & set(argv):
        print(_help_screen(description, (*classes, TrainingDefaults), defaults))
        raise SystemExit(0)

    with stage("导入 torch 和 transformers"):
        from transformers import HfArgumentParser

        from finetuning.trainer_arguments import SFTArguments

    class Parser(ChineseErrors, HfArgumentParser):
        pass

    # allow_abbrev=False：不然 --lr 会被当成 --lr_scheduler_type 的缩写。
    parser = Parser((*classes, SFTArguments), add_help=False, allow_abbrev=False)  # type: ignore[arg-type]
    chosen, _ = parser.parse_known_args(argv)
    parser.set_defaults(
        **{name: value[chosen.method] if isinstance(value, dict) else value for name, value in defaults.items()}
    )
    if "--help_all" in argv:
        print(_help_screen(description, (*classes, TrainingDefaults), defaults))
        print("\ntransformers.TrainingArguments 的全部参数：\n")
        print(parser.format_help())
        raise SystemExit(0)
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(
            argv, return_remaining_strings=True, look_for_args_file=False
        )
    except (ValueError, ImportError) as error:
        _fail(str(error).strip().splitlines()[0])
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1, cutoff=0.6)
        guess = f"（是不是 {close[0]}？）" if close else ""
        _fail(f"不认识 {unknown[0]}{guess}；常用的参数见 --help，全部参数见 --help_all")
    return tuple(parsed)


class ChineseErrors:
    """给 ``argparse.ArgumentParser`` 用的混入类（mixin）：参数写错时只说一句中文。"""

    def error(self, message: str) -> NoReturn:
        """argparse 发现参数有误时调用。"""
        _fail(_in_chinese(message))


def _fail(message: str) -> NoReturn:
    print(f"参数有误：{message.rstrip('。.')}。", file=sys.stderr)
    raise SystemExit(2)


def _in_chinese(message: str) -> str:
    """argparse 的英文报错 → 中文的一句话；没见过的原样附上。"""
    types = {"int": "整数", "float": "数字"}
    if match := re.match(r"argument (\S+?)(?:/\S+)?: (.*)", message, re.DOTALL):
        name, problem = match.groups()
        if problem.startswith("expected"):
            return f"{name} 后面缺少值"
        if bad := re.match(r"invalid (\w+) value: (.*)", problem):
            return f"{name} 的值应该是{types.get(bad[1], bad[1])}，实际是 {bad[2]}"
        if bad := re.match(r"invalid choice: (.*) \(choose from (.*)\)", problem):
            return f"{name} 的值只能是 {bad[2]} 之一，实际是 {bad[1]}"
        if bad := re.match(r"Truthy value expected: got (.*) but expected", problem):
            return f"{name} 的值应该是 true 或 false，实际是 {bad[1]}"
        return f"{name} 的值不对（{problem}）"
    return message.replace("unrecognized arguments:", "不认识")


def _help_screen(description: str, classes: Sequence[type], defaults: dict[str, Any]) -> str:
    lines = [description.strip()]
    for cls in classes:
        lines.append(f"\n{cls.__doc__}：")
        hints = get_type_hints(cls)
        for item in dataclasses.fields(cls):
            if "help" not in item.metadata:
                continue
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            default = defaults.get(item.name, default)
            if isinstance(default, list):
                default = " ".join(default)
            elif isinstance(default, dict):
                default = "，".join(f"{method}：{value}" for method, value in default.items())
            elif hints[item.name] is bool:
                default = str(default).lower()
            note = "" if default is None else f"（默认 {default}）"
            lines.append(f"  --{item.name:<28} {item.metadata['help']}{note}")
    lines.append("\n  --help_all                     再列出 transformers.Trainer 的全部参数，它们都可以用")
    return "\n".join(lines)
