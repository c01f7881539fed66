"""检查点（checkpoint）：训练到一半的全部状态，断了可以从它接着训练；写到一半的不算数。

一个检查点是一个目录里的好几个文件，写的过程中随时可能被终止。所以全部写完以后，最后再写一个清单
``complete.json``：每个文件的名字和字节数。有清单，而且与文件相符，才是完整的检查点；旧的检查点等新的完整了才删。
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

_MANIFEST = "complete.json"
_NAME = re.compile(r"checkpoint-(\d+)")  # Trainer 起的名字


def list_checkpoints(output_dir: Path) -> list[Path]:
    """输出目录里的检查点，完整的和不完整的，按步数从小到大。"""
    found = [path for path in output_dir.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """检查点是第几步之后存的。"""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match[1])


def is_complete(checkpoint: Path) -> bool:
    """清单里的文件都在，而且一个字节不少。"""
    try:
        sizes = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def last_complete(output_dir: Path) -> Path | None:
    """最新的一个完整的检查点；没有就是 None。"""
    return next((path for path in reversed(list_checkpoints(output_dir)) if is_complete(path)), None)


class CheckpointKeeper(TrainerCallback):
    """检查点写完以后写清单，然后才删旧的。

    ``Trainer`` 自己在写完时就删旧的（``save_total_limit``），那时还没有清单，别的进程也可能还没写完它们的那一份；
    所以由这里来删，不让它删。

    Args:
        limit: 最多留几个完整的检查点；None 是全留。
    """

    def __init__(self, limit: int | None):
        self.limit = limit

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """见 :class:`transformers.TrainerCallback`；Trainer 写完检查点后调用。"""
        PartialState().wait_for_everyone()  # 每个进程都写完了它的那一份
        if not args.should_save:
            return
        output_dir = Path(str(args.output_dir))
        checkpoint = output_dir / f"checkpoint-{state.global_step}"
        sizes = {
            path.relative_to(checkpoint).as_posix(): path.stat().st_size
            for path in checkpoint.rglob("*")
            if path.is_file()
        }
        (checkpoint / _MANIFEST).write_text(json.dumps(sizes, indent=2), encoding="utf-8")
        if self.limit:
            best = Path(state.best_model_checkpoint or checkpoint)
            older = [path for path in list_checkpoints(output_dir) if path not in (checkpoint, best)]
            for path in older[: max(0, len(older) + len({checkpoint, best}) - self.limit)]:
                shutil.rmtree(path, ignore_errors=True)
