"""逐个训练病例，做完一个写下一个；中断以后再运行，做过的不再做。"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clinic.symptoms import LOGGED, Symptoms, from_json

_DIGITS = 4  # 每个数留几位有效数字


@dataclass(frozen=True)
class Record:
    """一次训练的病历。"""

    case: str
    seed: int
    symptoms: Symptoms


def read(path: Path) -> list[Record]:
    """读出病历；没有这个文件是空的。"""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [
        Record(line["case"], line["seed"], from_json(line["symptoms"] | {"log": _to_log(line["symptoms"]["log"])}))
        for line in lines
    ]


def write(path: Path, records: Iterable[Record]) -> None:
    """写下病历，一行一次训练。"""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for record in records:
        whole = asdict(record)
        whole["symptoms"]["log"] = [[entry.get(name) for name in LOGGED] for entry in record.symptoms.log]
        whole["symptoms"] = {name: value for name, value in whole["symptoms"].items() if value not in (None, ())}
        lines.append(json.dumps(_rounded(whole), ensure_ascii=False, separators=(",", ":")))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _to_log(rows: Sequence[Sequence[float | None]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in zip(LOGGED, row, strict=True) if value is not None} for row in rows]


def run_all(names: Sequence[str], seeds: Sequence[int], path: Path, workers: int) -> list[Record]:
    """训练还没有做过的病例，每做完一个就写下；返回全部的病历，按病例、种子的次序。

    每个进程只用一个线程：几个训练一起做，比一个训练用几个核快。
    """
    done = {(record.case, record.seed): record for record in read(path)}
    wanted = [(name, seed) for seed in seeds for name in names]
    missing = [key for key in wanted if key not in done]
    os.environ["OMP_NUM_THREADS"] = "1"  # 新的进程导入 torch 时才起作用
    with get_context("spawn").Pool(workers, _prepare) as pool, tqdm(total=len(missing), unit="次") as bar:
        for record in pool.imap_unordered(_train, missing):
            done[record.case, record.seed] = record
            write(path, [done[key] for key in sorted(done)])
            bar.set_postfix_str(f"{record.case} 种子 {record.seed}")
            bar.update()
    return [done[key] for key in wanted]


_clinic: Any = None  # 每个进程读入一次的基座和数据


def _prepare() -> None:
    global _clinic
    from clinic.training import Clinic
    from finetuning.quiet import quiet_libraries

    quiet_libraries()
    _clinic = Clinic()


def _train(key: tuple[str, int]) -> Record:
    from clinic.cases import CASES

    name, seed = key
    return Record(name, seed, _clinic.treat(CASES[name], seed))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
