"""数据文件、模型目录的指纹，和记着它们的 ``arguments.json``：内容变了没有，一比就知道。"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

RECORD_FILE = "arguments.json"
# 权重文件大的有几十 GB，全读一遍太久：每个文件均匀地取 64 段，每段 1 MiB；64 MiB 以内的就是全部。
_SAMPLES, _SAMPLE_BYTES = 64, 2**20


def read_record(directory: Path) -> dict[str, Any]:
    """``directory`` 里的记录；没有或读不出来是空的。"""
    try:
        content = json.loads((directory / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_ours = (
        isinstance(content, dict) and isinstance(content.get("run"), str) and isinstance(content.get("base"), dict)
    )
    return content if is_ours else {}


def describe_file(name: str) -> dict[str, Any]:
    """数据文件的名字、字节数和 SHA-256；hub 上的只有名字。"""
    path = Path(os.path.expanduser(name))  # noqa: PTH111  没有“~谁”这个用户时，Path.expanduser 会抛异常
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": name, "bytes": path.stat().st_size, "sha256": digest}
    except (OSError, ValueError):  # 读不到的原因，由读数据的来说
        return {"name": name, "bytes": None, "sha256": None}


def model_digest(name_or_path: str) -> str | None:
    """模型目录的指纹：权重、配置和分词器的内容（大文件取样）；适配器连同它的基座。hub 上的是 None。"""
    directory = Path(name_or_path)
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix in (".safetensors", ".json", ".model"))
        digest = hashlib.sha256()
        for path in files:
            if path.name in ("metrics.json", RECORD_FILE):  # 说的是怎样训练的，不是模型自己
                continue
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            _sample(path, digest)
    except (OSError, ValueError):
        return None
    base = adapter_base(directory)
    if base is not None:
        digest.update((model_digest(base) or base).encode())
    return digest.hexdigest()


def adapter_base(directory: Path) -> str | None:
    """适配器的基座；不是适配器的，是 None。"""
    try:
        config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return base if isinstance(base, str) else None


def write_json(path: Path, content: object) -> None:
    """写成 JSON；先写在旁边再换上去，所以读的人看到的不是旧的就是新的。"""
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False, default=str) + "\n"
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _sample(path: Path, digest: Any) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            digest.update(file.read())
            return
        for number in range(_SAMPLES):
            file.seek(number * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
