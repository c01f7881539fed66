"""一次训练的记录 ``arguments.json``：用什么参数、什么数据、什么基座、哪一版程序训练的。

检查点和结果里各有一份。接着训练时拿它与这一次比，改过的一样一样说出来；沿用做完的训练以前，也先拿它核对数据和基座变了没有。
"""

import dataclasses
import hashlib
import platform
import subprocess
import uuid
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from finetuning.arguments import DataArguments, ModelArguments
from finetuning.arguments.flags import CHANGES_TRAINING
from finetuning.arguments.trainer import SFTArguments
from finetuning.errors import UserError
from finetuning.output.fingerprint import (
    RECORD_FILE,
    adapter_base,
    describe_file,
    model_digest,
    read_record,
    write_json,
)
from finetuning.sources import Source, parse_sources

_ROOT = Path(__file__).parents[2]
_LIBRARIES = ("torch", "transformers", "peft", "datasets", "accelerate", "bitsandbytes")
# 检验、合并、坏行之外，本项目自己的参数都会改变学到的东西。
_OWN_FREE = {"validation_file", "test_file", "exact_match", "max_test_prompts", "merge_and_save", "save_dtype"}
_OWN_COMPARED_BY_CONTENT = {"model_name_or_path", "train_file"}


class Record:
    """一次训练的记录。

    Attributes:
        run: 这次训练的编号；接着训练的沿用原来的。
        seconds_before: 中断以前训练了多少秒。
    """

    def __init__(self, content: dict[str, Any]):
        self.content = content
        self.run: str = content["run"]
        self.seconds_before = 0.0

    def write(self, directory: Path, train_seconds: float) -> None:
        """写成 ``directory`` 里的 ``arguments.json``。"""
        write_json(directory / RECORD_FILE, self.content | {"run": self.run, "train_seconds": round(train_seconds, 3)})

    def continue_from(self, checkpoint: Path) -> None:
        """核对检查点是不是同样的训练的，是就接着它的编号和时间。

        Raises:
            UserError: 有一样改变了学到的东西，或者检查点不是本项目存的。
        """
        earlier = read_record(checkpoint)
        if not earlier:
            raise UserError(
                f"{checkpoint} 不是本项目存的检查点（里面没有 {RECORD_FILE}），不知道它是怎样训练的，不能接着训练。"
            )
        try:
            changed = _differences(earlier, self.content)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{checkpoint / RECORD_FILE} 不是本项目写的样子，不能接着训练；请换一个检查点。") from error
        if changed:
            raise UserError(
                f"{checkpoint} 是用别的设置训练的：{'；'.join(changed)}。接着训练要用当时的设置；要用新的设置，请去掉 "
                "--resume_from_checkpoint，用 --output_dir 换一个目录重新开始。"
            )
        self.run, self.seconds_before = earlier["run"], float(earlier.get("train_seconds", 0.0))


def describe_run(
    method: str, model_args: ModelArguments, data_args: DataArguments, args: SFTArguments, *more: Any
) -> Record:
    """这一次训练的记录。

    Args:
        method: ``"full"``、``"lora"``……
        more: 脚本自己的参数，如 ``AdapterArguments``。
    """
    own = {name: value for part in (model_args, data_args, *more) for name, value in dataclasses.asdict(part).items()}
    library = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    trainer = {name: value for name, value in args.to_dict().items() if value != library.get(name)}
    trainer.pop("hub_token", None)  # 不是设置，是密码
    start = model_args.model_name_or_path
    given = {"validation": data_args.validation_file, "test": data_args.test_file}
    sources = {"train": parse_sources(data_args.train_file)}
    sources |= {split: [Source(file)] for split, file in given.items() if file is not None}
    return Record(
        {
            "run": uuid.uuid4().hex,
            "method": method,
            "base": _describe_model(adapter_base(Path(start)) or start),
            "continues": _describe_model(start) if adapter_base(Path(start)) else None,
            "ancestry": _ancestry(start),
            "data": {split: [_describe_source(each) for each in files] for split, files in sources.items()},
            "held_out": list(data_args.held_out(args.needs_validation)),
            "examples_per_step": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "arguments": {**own, **trainer},
            "versions": library_versions(),
            "commit": _commit(),
        }
    )


def _describe_source(source: Source) -> dict[str, Any]:
    return describe_file(source.name) | {"share": source.share}


def _describe_model(name_or_path: str) -> dict[str, str | None]:
    return {"name": name_or_path, "sha256": model_digest(name_or_path)}


def _ancestry(name_or_path: str) -> list[dict[str, Any]]:
    """这个模型是怎样一轮一轮训练来的，从最近的一轮到最早的；没有记录的（公开的基座）是空的。"""
    record = read_record(Path(name_or_path))
    if not record:
        return []
    round_ = {key: record.get(key) for key in ("run", "method", "base", "continues", "data")} | {"name": name_or_path}
    return [round_, *record.get("ancestry", [])]


def still_holds(record: dict[str, Any]) -> bool:
    """记录里的数据、基座和程序，现在还是原来的样子。"""
    try:
        return (
            record["versions"] == library_versions()
            and all(model == _describe_model(model["name"]) for model in (record["base"], record["continues"]) if model)
            and all(
                each == _describe_source(Source(each["name"], each["share"]))
                for described in record["data"].values()
                for each in described
            )
        )
    except (KeyError, TypeError, AttributeError):  # 不是本项目写的样子
        return False


def library_versions() -> dict[str, str | None]:
    """Python、各个库和本项目（各个 .py 文件的指纹）的版本。"""
    code = hashlib.sha256()
    for path in sorted([*_ROOT.glob("*.py"), *(_ROOT / "finetuning").rglob("*.py")]):
        code.update(path.read_bytes())
    versions = {name: _version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions, "code": code.hexdigest()}


def _differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """两次训练不同、而且会改变学到的东西的地方，每处一句。"""
    found = []
    if earlier["method"] != now["method"]:
        found.append(f"方法当时是 {earlier['method']}，这次是 {now['method']}")
    then, this = (run["continues"] or run["base"] for run in (earlier, now))
    if not _same_content(then, this):
        found.append(_changed("--model_name_or_path", then["name"], this["name"]))
    before, after = (run["data"]["train"] for run in (earlier, now))
    same_shares = [each["share"] for each in before] == [each["share"] for each in after]
    if not same_shares or not all(map(_same_content, before, after)):
        found.append(_changed("--train_file", *([_source(each) for each in files] for files in (before, after))))
    for split in ("test", "validation"):
        if (split in earlier["held_out"]) != (split in now["held_out"]):
            found.append(f"一次从训练数据里留出了一部分（没有给 --{split}_file），一次没有留")
    if earlier["examples_per_step"] != now["examples_per_step"]:
        found.append(f"当时每步 {earlier['examples_per_step']} 段对话，这次 {now['examples_per_step']} 段")
    old, new = earlier["arguments"], now["arguments"]
    if _validation_steers(new) or _validation_steers(old):
        then, this = (run["data"].get("validation", [{"name": "没有"}])[0] for run in (earlier, now))
        if then.get("sha256") != this.get("sha256"):
            found.append(_changed("--validation_file", then["name"], this["name"]))
        for name in ("eval_strategy", "eval_steps", "eval_delay"):
            if old.get(name) != new.get(name):
                found.append(_changed(f"--{name}", old.get(name, "默认值"), new.get(name, "默认值")))
    for name in sorted(old.keys() | new.keys()):
        matters = name in CHANGES_TRAINING or not (
            name in _TRAINER_FIELDS or name in _OWN_FREE or name in _OWN_COMPARED_BY_CONTENT
        )
        matters |= name == "save_dtype" and bool(new.get("merge_first"))  # 先合并的基座就是这样舍入的
        if matters and old.get(name) != new.get(name):
            found.append(_changed(f"--{name}", old.get(name, "默认值"), new.get(name, "默认值")))
    return found


def _same_content(then: dict[str, Any], this: dict[str, Any]) -> bool:
    """本地的比内容，不比名字：改名、移动都不要紧；hub 上的只有名字可比。"""
    return then["sha256"] == this["sha256"] and (this["sha256"] is not None or then["name"] == this["name"])


def _source(described: dict[str, Any]) -> str:
    return described["name"] if described["share"] == 1 else f"{described['name']}:{described['share']:g}"


def _validation_steers(arguments: dict[str, Any]) -> bool:
    """验证损失决定学到什么：挑最好的检查点，或据它来降学习率。"""
    return bool(
        arguments.get("load_best_model_at_end")
        or arguments.get("lr_scheduler_type") == "reduce_lr_on_plateau"
        or arguments.get("save_strategy") == "best"
    )  # 提前停下时，load_best_model_at_end 总是开着的


_TRAINER_FIELDS = {field.name for field in dataclasses.fields(SFTArguments)}


def _changed(what: str, then: object, now: object) -> str:
    return f"{what} 的内容变了（{now}）" if then == now else f"{what} 当时是 {_shown(then)}，这次是 {_shown(now)}"


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    if not (_ROOT / ".git").exists():
        return None
    try:
        command = ["git", "rev-parse", "HEAD"]
        result = subprocess.run(command, cwd=_ROOT, capture_output=True, encoding="utf-8", timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
