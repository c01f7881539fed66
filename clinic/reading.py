"""读出一次训练的症状：自己的结果目录，或别人的 Hugging Face ``trainer_state.json``。"""

import json
import math
from pathlib import Path
from typing import Any

from clinic.symptoms import LOGGED, NAMES, Symptoms, from_json
from finetuning.errors import UserError
from finetuning.output.claim import SYMPTOMS_FILE, TRAINER_STATE


def read_symptoms(path: str) -> Symptoms:
    """``path`` 是结果目录、检查点目录，或其中的 ``symptoms.json``、``trainer_state.json``。

    Raises:
        UserError: 没有这样的文件，或读不懂。
    """
    place = Path(path)
    names = (SYMPTOMS_FILE, TRAINER_STATE)
    file = next((place / name for name in names if (place / name).is_file()), None) if place.is_dir() else place
    if file is None or not file.is_file():
        raise UserError(
            f"{path} 里没有 {SYMPTOMS_FILE}，也没有 {TRAINER_STATE}，没有可以诊断的；请写出训练的结果目录。"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} 读不懂（{str(error).splitlines()[0]}）；它应当是一次训练留下的 JSON。") from error
    if isinstance(content, dict) and isinstance(content.get("log"), list):
        return _checked(content, file)
    if isinstance(content, dict) and isinstance(content.get("log_history"), list):
        found = {
            "log": content["log_history"],
            "steps": content.get("max_steps") or content.get("global_step"),
            "epochs": content.get("epoch"),
        }
        return _checked(found, file)
    raise UserError(f"{file} 里没有 log_history，不是 Trainer 写的训练记录。")


def _checked(content: dict[str, Any], file: Path) -> Symptoms:
    """训练记录的每一项有步数，其余的是数；按步数的次序。"""
    log = []
    for entry in content["log"]:
        if not isinstance(entry, dict) or not _is_number(entry.get("step")) or not math.isfinite(entry["step"]):
            raise UserError(f"{file} 的训练记录里有一项没有步数（step），读不懂。")
        log.append({name: entry[name] for name in LOGGED if _is_number(entry.get(name))})
    others = {name: value for name, value in content.items() if name in NAMES and name not in ("log", "samples")}
    words = ("trained_dtype", "opening")
    if wrong := next((n for n, v in others.items() if not (v is None or _is_number(v) or n in words)), None):
        raise UserError(f"{file} 的 {wrong} 应当是一个数，读不懂。")
    return from_json(others | {"log": sorted(log, key=lambda entry: entry["step"])})


def _is_number(value: object) -> bool:
    """是一个放得进 float 的数；NaN、无穷大也算：它们是症状。"""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 2**63
