"""命令行参数的声明：名字与 transformers.Trainer 一致，说明是中文；不导入 torch。"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from finetuning.formats import COLUMN_NAMES

EMBEDDED_TRAIN_FILE = "data/train.jsonl"
PREFIX_WITHOUT_CHECKPOINTING = "前缀微调不能与 --gradient_checkpointing 一起用：前缀放在 KV 缓存里，梯度检查点不保留它"
PREFIX_WITHOUT_MARKERS = (
    "这个基座的分词器没有对话标记，新添的标记要训练嵌入，而前缀微调不训练嵌入，模型就永远不会停下；"
    "请用 --method lora，或换一个有 <|im_start|> 和 <|im_end|> 的基座"
)


def option(default: Any, help: str, **argparse_options: Any) -> Any:
    """一个命令行参数：默认值、说明，和原样交给 ``argparse.add_argument`` 的其他选项。"""
    return field(default=default, metadata={"help": help, **argparse_options})


class Rare(str):
    """少用的参数的说明：只在 ``--help_all`` 里列出，``--help`` 就还是一屏。"""


def switch(help: str) -> Any:
    """可以不给的开关：不给是 None（由程序决定），``--name`` 是 true，``--name false`` 是 false。"""
    return option(None, help, nargs="?", const=True)


class ByOption(NamedTuple):
    """随另一个参数而定的默认值：``ByOption("method", {"lora": 4e-3, "prefix": 1e-1})``。"""

    option: str
    values: Mapping[str, Any]


@dataclass
class ModelArguments:
    """模型"""

    model_name_or_path: str = option("base_model", "基座模型：本地目录，或 hub 上的名字（如 Qwen/Qwen3-0.6B-Base）")
    chat_template: Literal["chatml", "model"] | None = option(
        None, "对话的格式：chatml（默认），model（模型自己的对话模板）；接着训练时与上一轮相同"
    )
    save_dtype: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", Rare("整个模型（全参数微调的、合并的）存成哪种精度；auto 与基座的检查点相同；切分在几张卡上的总是 fp32")
    )
    padding_free: bool = option(True, Rare("把一批对话首尾相接成一行，不填充（padding-free）；false：普通的填充批次"))


@dataclass
class DataArguments:
    """数据"""

    train_file: list[str] = field(
        default_factory=lambda: [EMBEDDED_TRAIN_FILE],
        metadata={"help": "训练数据：文件、目录或 hub 数据集，可以有几个；b.jsonl:0.5 只取一半，b.jsonl:2 用两遍"},
    )
    validation_file: str | None = option(None, "验证数据：每轮（epoch）之后算一次损失；自带数据默认用 data/dev.jsonl")
    test_file: str | None = option(
        None, "检验数据；自带数据默认用 data/test.jsonl，自己的数据默认从训练数据里留出一部分"
    )
    columns: list[str] = field(
        default_factory=list,
        metadata={
            "nargs": "*",
            "help": "认不出格式的数据，哪一列是问、哪一列是答：question=题目 answer=讲解",
        },
    )
    learn_reasoning: bool = option(True, Rare("回答里的思考（reasoning_content、<think>）也学；false：只作上文"))
    max_length: int = option(512, "一段对话最多多少个 token，超出的部分截断")
    on_bad_rows: Literal["stop", "skip"] = option("stop", "有坏行时：stop 停下并列出；skip 跳过，记入输出目录")
    exact_match: bool | None = switch("检验时要不要算逐字匹配（exact match）；默认：参考答案都很短时才算")
    max_test_prompts: int | None = option(None, "逐字匹配最多问多少个问题；默认自带数据 1000，自己的数据 50")

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"--max_length 至少是 2，实际是 {self.max_length}")
        if self.max_test_prompts is not None and self.max_test_prompts < 1:
            raise ValueError(f"--max_test_prompts 至少是 1，实际是 {self.max_test_prompts}")
        for word in self.columns:
            name, equals, column = word.partition("=")
            if name not in COLUMN_NAMES or not equals or not column:
                raise ValueError(f"--columns {word} 读不懂；请写成 名字=列名，名字是 {'、'.join(COLUMN_NAMES)} 之一")
        named = self.columns_by_name
        if len({*named.values()}) < len(self.columns):
            raise ValueError("--columns 里同一个名字或同一列写了两次")
        if named and ("messages" in named) == ({"question", "answer"} <= named.keys()):
            raise ValueError("--columns 要指明 question 和 answer 两列，或 messages 一列，不能都写")
        if isinstance(self.train_file, str):  # 在代码里写一个文件名就行
            self.train_file = [self.train_file]
        if self.train_file == [EMBEDDED_TRAIN_FILE]:
            self.validation_file = self.validation_file or "data/dev.jsonl"
            self.test_file = self.test_file or "data/test.jsonl"
            self.max_test_prompts = self.max_test_prompts or 1000
        self.max_test_prompts = self.max_test_prompts or 50

    @property
    def columns_by_name(self) -> dict[str, str]:
        """``--columns`` 说的：这里的名字 → 数据里的列名。"""
        return dict(word.split("=", 1) for word in self.columns)

    def held_out(self, needs_validation: bool) -> tuple[str, ...]:
        """哪几份没有给，要从训练数据里留出：``"test"``、``"validation"``。"""
        given = {"test": self.test_file, "validation": self.validation_file}
        wanted = ("test", "validation") if needs_validation else ("test",)
        return tuple(split for split in wanted if not given[split])


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
    early_stopping_patience: int | None = option(
        None, Rare("验证损失连续几次没有变小就提前停下，用其中最好的；没有 --validation_file 就从训练数据里留出一部分")
    )

    # 以下不在 --help 里列出
    # 微调常常只有几百步。Adam 用最近约 1 / (1 - beta2) 步来估计梯度的大小：0.999 是一千步，比整个训练还长。
    adam_beta2: float = 0.98
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.05  # 小于 1 时是占总步数的比例
    per_device_eval_batch_size: int = 32
    logging_steps: float = 0.02  # 小于 1 时是占总步数的比例
    save_strategy: str | None = None  # 没有写：每轮一次；要挑最好的，就与验证一样
    save_total_limit: int | None = 1
    eval_strategy: str | None = None  # 没有写：有验证数据就每轮一次
    remove_unused_columns: bool = False  # 批次里的各项都由我们的 collator 给出，没有要去掉的列
