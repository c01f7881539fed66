"""输出目录：开始前看好能不能写、会不会与别的结果混在一起；新的结果齐了，才换掉旧的。

一次训练进行中和完成后，目录里有什么::

    outputs/lora/checkpoint-300/     检查点
    outputs/lora/unfinished/         还没有完成的结果：权重、分词器……；开始时建立，完成时把里面的东西移到上一级
    outputs/lora/metrics.json 等     完成了的结果；新的训练失败了，它们还是原来的样子
"""

import shutil
from pathlib import Path

from finetuning.checkpoints import last_complete, list_checkpoints, step_of
from finetuning.errors import UserError, say
from finetuning.trainer_arguments import SFTArguments

METRICS_FILE = "metrics.json"
MERGED_DIR = "merged"  # 适配器与基座合并成的整个模型
_UNFINISHED_DIR = "unfinished"


def unfinished_dir(args: SFTArguments) -> Path:
    """这次训练的结果先写在这里；由 :func:`publish` 移到输出目录。"""
    return Path(args.output_dir) / _UNFINISHED_DIR


def prepare_output_dir(args: SFTArguments, weights_file: str) -> None:
    """开始之前看好输出目录，免得训练完了才发现写不进去，或旧结果与新结果混在一起。

    Args:
        weights_file: 这次训练要写的权重文件的名字。

    Raises:
        UserError: 目录里有没训练完的检查点，或是另一种方法的结果，或不能写。
    """
    with args.main_process_first(local=False):
        if args.process_index == 0:
            _prepare(args, weights_file)


def _prepare(args: SFTArguments, weights_file: str) -> None:
    output_dir, unfinished = Path(args.output_dir), unfinished_dir(args)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"不能创建输出目录 {output_dir}（{error.strerror}）；请用 --output_dir 换一个。") from error
    other = {"model.safetensors", "adapter_model.safetensors"} - {weights_file}
    if any((output_dir / name).exists() for name in other):
        raise UserError(f"{output_dir} 里是另一种方法训练的结果，写在一起会分不清；请用 --output_dir 换一个目录。")

    checkpoints = list_checkpoints(output_dir)
    resumed = Path(args.resume_from_checkpoint).resolve() if args.resume_from_checkpoint else None
    if resumed in [path.resolve() for path in checkpoints]:
        # 后面的会重新训练出来；留着的话，写到一半的和旧的会混在新写的里面。
        outdated = [path for path in checkpoints if step_of(path) > step_of(resumed)]
    else:
        finished = (output_dir / METRICS_FILE).exists()
        if checkpoints and (unfinished.exists() or not finished):
            raise UserError(_unfinished_run(output_dir))
        if finished:
            say(f"{output_dir} 里有上一次的结果，这一次训练完以后换掉它。")
        outdated = checkpoints
    try:
        for path in (*outdated, unfinished):
            if path.exists():
                shutil.rmtree(path)
        unfinished.mkdir()
    except OSError as error:
        raise UserError(f"输出目录 {output_dir} 不能写（{error.strerror}）；请用 --output_dir 换一个。") from error


def _unfinished_run(output_dir: Path) -> str:
    checkpoint = last_complete(output_dir)
    resume = "接着训练请加 --resume_from_checkpoint true，" if checkpoint else ""
    name = checkpoint.name if checkpoint else "检查点不完整，不能接着训练"
    return (
        f"{output_dir} 里有一次没有完成的训练（{name}）：{resume}重新开始请先删除这个目录，或用 --output_dir 换一个。"
    )


def publish(args: SFTArguments) -> None:
    """把完成了的结果移到输出目录，换掉旧的；``metrics.json`` 最后移，有了它就说明其余的都在。"""
    output_dir, unfinished = Path(args.output_dir), unfinished_dir(args)
    shutil.rmtree(output_dir / MERGED_DIR, ignore_errors=True)  # 旧的合并结果不属于新的适配器
    for path in sorted(unfinished.iterdir(), key=lambda path: path.name == METRICS_FILE):
        path.replace(output_dir / path.name)
    unfinished.rmdir()
