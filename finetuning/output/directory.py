"""输出目录：开始前看好是不是我们的、有没有人在用、会不会毁掉别的东西；新的结果齐了，才换掉旧的。

一次训练进行中和完成后，目录里有什么::

    outputs/lora/.sft_output.json    标记：这个目录归训练脚本管；里面记着哪些文件是结果
    outputs/lora/.lock               锁：同一时间只有一次训练在用这个目录；进程没了，锁就没了
    outputs/lora/checkpoint-300/     检查点
    outputs/lora/unfinished/         还没有完成的结果：权重、分词器……
    outputs/lora/publishing/         完成了、正在一个个移到上一级的结果；移到一半断了，下次接着移
    outputs/lora/metrics.json 等     完成了的结果；新的训练失败了，它们还是原来的样子

在任何一个时刻，读的人看到的或者是旧的结果，完完整整；或者没有 ``metrics.json``，一看就是没有完成。
没有标记、又不是空的目录不是我们的，一个字节也不动；有标记的，也只动自己写的，别人放进来的同名文件改名让开。
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from finetuning.arguments import DataArguments, ModelArguments
from finetuning.arguments.trainer import SFTArguments
from finetuning.errors import Interrupted, Terminated, UserError
from finetuning.interrupt import command_line, resume_command, uninterrupted
from finetuning.output.checkpoints import (
    CheckpointWriter,
    is_complete,
    is_damaged,
    last_complete,
    list_checkpoints,
    remove_unlisted,
    step_of,
    write_manifest,
)
from finetuning.output.claim import (
    ANSWERS_FILE,
    METRICS_FILE,
    PUBLISHING_DIR,
    SYMPTOMS_FILE,
    TRAINER_STATE,
    UNFINISHED_DIR,
    acquire,
    files_of,
    leave,
    move_into_place,
    read_marker,
    remove,
    writable,
)
from finetuning.output.fingerprint import RECORD_FILE, adapter_base, model_digest, read_record
from finetuning.output.record import Record, describe_run
from finetuning.sources import parse_sources
from finetuning.terminal import is_main_process, say, stage

MERGED_DIR = "merged"  # 适配器与基座合并成的整个模型
BASE_DIR = "base"  # 由上一轮的适配器合并成的、这一轮的基座


class OutputDir:
    """一次训练的输出目录。用 ``with`` 打开：进去时检查、上锁，出来时解锁；不合适的，什么也没有读就拒绝。

    Args:
        method: ``"full"``、``"lora"``……
        more: 脚本自己的参数，如 ``AdapterArguments``；它们都记进 ``arguments.json``。

    Attributes:
        unfinished: 这次训练的结果先写在这里，由 :meth:`publish` 移到上一级。
        checkpoints: 写检查点的；参数 ``save_total_limit`` 由它执行。
        trained: 从已经训练完、只差检验的权重接着做：不必再训练，也不必再存。

    Raises:
        UserError: 目录不是我们的，正被别的训练使用，不能写，与要读的东西重叠，或里面有没训练完的检查点。
    """

    def __init__(
        self, method: str, model_args: ModelArguments, data_args: DataArguments, args: SFTArguments, *more: Any
    ):
        self.path = Path(args.output_dir)
        self.unfinished = self.path / UNFINISHED_DIR
        self.args, self.method, self.trained = args, method, False
        self.record: Record
        self._describe = lambda: describe_run(method, model_args, data_args, args, *more)
        self._inputs = lambda: _inputs(model_args, data_args)

    def __enter__(self) -> "OutputDir":
        # 几个进程时，由第一个来检查、上锁、收拾，再把结论告诉其余的：拒绝就一起停下，只由第一个说一句话。
        problem = None
        if is_main_process():
            try:
                self._occupy()
            except UserError as error:
                if self.args.world_size == 1:
                    raise
                problem = error
        if self.args.world_size > 1:
            known = is_main_process() and problem is None
            conclusion: list[Any] = (
                [self.args.resume_from_checkpoint, self.trained, self.record] if known else [None] * 3
            )
            broadcast_object_list(conclusion)
            if conclusion[2] is None:
                raise problem or SystemExit(1)
            self.args.resume_from_checkpoint, self.trained, self.record = conclusion
        # 旧的检查点由 CheckpointWriter 来删，不由 Trainer。
        self.checkpoints = CheckpointWriter(self.path, self.record, self.args.save_total_limit)
        self.args.save_total_limit = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finished = isinstance(error, KeyboardInterrupt) and is_main_process() and is_complete(self.unfinished)
        self._leave()
        if finished:
            number = error.number if isinstance(error, Terminated) else signal.SIGINT
            raise Interrupted(f"训练已经做完，权重存好了，只差检验；接着检验：{resume_command()}", number) from error

    def _leave(self) -> None:
        if is_main_process():
            leave(self.path, self._lock, self._created)

    def _check_method(self) -> None:
        marker = read_marker(self.path)
        if marker and marker["method"] != self.method:
            raise UserError(
                f"{self.path} 里是另一种方法（{marker['method']}）训练的，写在一起会分不清；"
                "请用 --output_dir 换一个目录。"
            )

    def _occupy(self) -> None:
        """检查、上锁、收拾好，可以开始训练。"""
        _check_apart(self.path, self._inputs(), self.args.resume_from_checkpoint)
        self._lock, self._created = acquire(self.path, {"method": self.method})
        try:
            with stage("核对数据和基座"):
                self.record = self._describe()
            move_into_place(self.path)
            self._check_method()
            self._start()
        except BaseException:
            self._leave()
            raise

    def _start(self) -> None:
        """接着训练的，找到检查点并核对；从头开始的，看有没有会被毁掉的。"""
        wanted = self.args.resume_from_checkpoint
        if wanted:
            checkpoint = _find_checkpoint(wanted, self.path)
            self.record.continue_from(checkpoint)
            self.args.resume_from_checkpoint = str(checkpoint)
            self.trained = _same(checkpoint, self.unfinished)
        if not self.trained:
            _check_nothing_trained(self.path)
        _check_nothing_unfinished(self.path, self.record.run, starting=not wanted)
        if files_of(self.path):
            say(f"{self.path} 里有上一次的结果，这一次训练完以后换掉它。")
        with writable(self.path):
            if self.trained:
                remove_unlisted(self.unfinished)  # 合并到一半的模型之类，重新来
            else:
                remove(self.unfinished)
                self.unfinished.mkdir()
                self.record.write(self.unfinished, 0.0)  # 有了它，就是我们的

    def own_base(self, make: Callable[[Path], None]) -> str:
        """这次训练自己的基座（``base``），由 ``make`` 写出来，与结果一起移到输出目录；返回现在从哪里读它。"""
        base = self.unfinished / BASE_DIR
        if is_main_process() and not self.trained:
            make(base)
        PartialState().wait_for_everyone()
        # 以后读适配器时，要核对的是它；它最后在哪里，现在就记下。
        self.record.content["base"] = {"name": str(self.path / BASE_DIR), "sha256": model_digest(str(base))}
        return str(base)

    def keep_trained(self, trainer_state: Any) -> None:
        """权重都写进了 :attr:`unfinished`：记下它是训练完了的。以后检验断了，从这里接着做，不必再训练。"""
        # 自动生成的模型卡片是空的英文模板；用户常常自己写一份，不该被它盖掉。
        # Trainer 顺手存的训练参数是 pickle 格式；结果是可以发给别人的，里面不放要 unpickle 的东西。
        for name in ("README.md", "training_args.bin"):
            (self.unfinished / name).unlink(missing_ok=True)
        trainer_state.save_to_json(str(self.unfinished / TRAINER_STATE))
        self.record.write(self.unfinished, self.checkpoints.seconds)
        write_manifest(self.unfinished)

    def publish(self) -> None:
        """把完成了的结果移到输出目录，换掉旧的。"""
        if not is_main_process():
            return
        with uninterrupted("把新的结果换上"), writable(self.path):
            self.unfinished.rename(self.path / PUBLISHING_DIR)  # 从这一刻起，断了也会接着移完
            move_into_place(self.path, quiet=True)
        more = "".join(
            f"；{name}/ 是{meaning}"
            for name, meaning in ((MERGED_DIR, "合并好的整个模型"), (BASE_DIR, "这一轮的基座"))
            if name in files_of(self.path)
        )
        files = "、".join((METRICS_FILE, ANSWERS_FILE, SYMPTOMS_FILE, RECORD_FILE, "loss_curve.png"))
        say(f"结果在 {self.path}：权重、分词器、{files}{more}")
        say(f"和它聊天：{command_line(['chat.py', str(self.path)])}")


# ----------------------------------------------------------------------------------------------------------------------
# 不毁掉要读的东西


def _inputs(model_args: ModelArguments, data_args: DataArguments) -> list[tuple[str, Path]]:
    """这次训练要读的本地的文件和目录：(是什么, 路径)。"""
    start = Path(model_args.model_name_or_path)
    inputs = [("基座", start)] if model_args.model_name_or_path else []
    if base := adapter_base(start):
        inputs = [("适配器", start), ("适配器的基座", Path(base))]
    files = [source.name for source in parse_sources(data_args.train_file)]
    files += [file for file in (data_args.validation_file, data_args.test_file) if file]
    return inputs + [("数据文件", Path(os.path.expanduser(file))) for file in files]  # noqa: PTH111


def _check_apart(output_dir: Path, inputs: list[tuple[str, Path]], resumed: str | None) -> None:
    """要读的与要写的不能是同一个，也不能一个套着另一个：写的时候会换掉它，留下的结果就没有了基座。

    Raises:
        UserError: 有重叠的。
    """
    if resumed and resumed.lower() != "true":
        checkpoint = Path(resumed)
        if not _same(checkpoint.absolute().parent, output_dir):  # 自己的检查点本来就在输出目录里
            inputs = [*inputs, ("检查点", checkpoint)]
    for what, path in inputs:
        try:
            overlaps = path.exists() and (_inside(path, output_dir) or (path.is_dir() and _inside(output_dir, path)))
        except OSError:  # 名字太长……原因由读它的来说
            continue
        if overlaps:
            suggestion = output_dir.with_name(f"{output_dir.name}_2") if output_dir.name else Path("outputs", "new")
            raise UserError(
                f"{what} {path} 与输出目录 {output_dir} 是同一个，或一个在另一个里面，训练完会换掉它；"
                f"请用 --output_dir 换一个目录，例如 --output_dir {suggestion}。"
            )


def _inside(inner: Path, outer: Path) -> bool:
    """``inner`` 就是 ``outer``，或在它里面；符号链接、大小写不分的文件系统上的别名都认得出。"""
    resolved = inner.resolve()
    return any(_same(directory, outer) for directory in (resolved, *resolved.parents))


def _same(left: Path, right: Path) -> bool:
    try:
        return left.samefile(right)
    except OSError:  # 还不存在
        return left.resolve() == right.resolve()


# ----------------------------------------------------------------------------------------------------------------------
# 接着训练，或从头开始


def _find_checkpoint(wanted: str, output_dir: Path) -> Path:
    """``--resume_from_checkpoint`` 说的是哪个检查点：``true`` 是最新的一个完整的。

    Raises:
        UserError: 没有，或不完整。
    """
    if wanted.lower() != "true":
        if not Path(wanted, TRAINER_STATE).is_file():
            raise UserError(f"{wanted} 不是检查点目录（里面没有 {TRAINER_STATE}）；请检查 --resume_from_checkpoint。")
        if not is_complete(Path(wanted)):
            raise UserError(f"检查点 {wanted} 不完整或已损坏；请换一个更早的，或写 --resume_from_checkpoint true。")
        return Path(wanted)
    if is_complete(output_dir / UNFINISHED_DIR):
        return output_dir / UNFINISHED_DIR
    checkpoints = list_checkpoints(output_dir)
    if not checkpoints:
        raise UserError(
            f"{output_dir} 里没有检查点（checkpoint-步数），无法接着训练；请去掉 --resume_from_checkpoint 重新开始。"
        )
    last = last_complete(output_dir)
    if last is None:
        raise UserError(
            f"{output_dir} 里没有完整的检查点（保存时被打断了），无法接着训练；"
            "请去掉 --resume_from_checkpoint 重新开始。"
        )
    passed_over = [path.name for path in checkpoints if step_of(path) > step_of(last)]
    if passed_over:
        say(f"跳过不完整的检查点 {'、'.join(passed_over)}（保存时被打断了，或已损坏），从 {last.name} 接着训练。")
    return last


def _check_nothing_trained(output_dir: Path) -> None:
    """已经训练完、只差检验的权重，不能让新的训练毁掉。"""
    if is_complete(output_dir / UNFINISHED_DIR):
        raise UserError(
            f"{output_dir / UNFINISHED_DIR} 里有已经训练完、只差检验的权重："
            "接着检验请加 --resume_from_checkpoint true；不要了，请先删除它，或用 --output_dir 换一个目录。"
        )


def _check_nothing_unfinished(output_dir: Path, run: str, starting: bool) -> None:
    """别的没有完成的训练，会被这一次毁掉：有，就停下来问。写到一半的检查点谁也用不上，不算。

    Args:
        run: 这一次训练的编号；接着训练的，它自己的检查点不算别的。
        starting: 从头开始的，坏了的检查点也不能替用户删；接着训练的，它们已经报告过、跳过了。
    """
    known = {read_record(output_dir).get("run"), run}
    candidates = [path for path in list_checkpoints(output_dir) if read_record(path).get("run") not in known]
    if complete := [path for path in candidates if is_complete(path)]:
        raise UserError(
            f"{output_dir} 里有一次没有完成的训练（{complete[-1].name}）：接着训练请加 --resume_from_checkpoint true；"
            "不要了，请先删除其中的 checkpoint-*，或用 --output_dir 换一个目录。"
        )
    if damaged := [path for path in candidates if starting and is_damaged(path)]:
        raise UserError(
            f"{damaged[-1]} 是一次没有完成的训练的检查点，已经损坏，不能接着训练；"
            "不要了，请先删除它再重新开始，或用 --output_dir 换一个目录。"
        )
