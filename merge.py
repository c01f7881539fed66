"""把训练好的适配器合并进基座，得到一个独立的、普通的模型。

    uv run python merge.py outputs/lora                               存到 outputs/lora_merged
    uv run python merge.py outputs/lora --output_dir outputs/my_model

合并前后在几个 token 上核对，算出的不同就不存。合并好的目录可以聊天、发布、当作下一轮训练的基座，
也能给只认普通模型的程序（如 vLLM）用；适配器和基座都不动。前缀微调的前缀不是权重的改动，不能合并。

参数：
  适配器                目录；不写就是 outputs/lora
  --output_dir 目录     存到哪里（默认在适配器的名字后面加 _merged）；要还不存在，或是空的
  --save_dtype 精度     auto（默认，与基座的检查点相同）、fp32、bf16 或 fp16
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from finetuning.arguments import Parser
from finetuning.errors import UserError, run_main


def parse_arguments() -> argparse.Namespace:
    """解析命令行；不导入 torch。"""
    parser = Parser(__doc__)
    parser.add_argument("adapter", nargs="?", default="outputs/lora")
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--save_dtype", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    arguments = parser.parse_args()
    if not arguments.adapter:
        parser.error("适配器的目录是空的，请检查命令里的变量有没有赋值")
    if arguments.output_dir is None:
        adapter = Path(arguments.adapter)
        adapter = adapter if adapter.name not in ("", "..") else adapter.resolve()  # 当前目录、上一级：要它真正的名字
        if not adapter.name:
            parser.error(f"{adapter} 不能这样合并；请用 --output_dir 写出存到哪里")
        arguments.output_dir = adapter.with_name(f"{adapter.name}_merged")
    arguments.output_dir = arguments.output_dir.expanduser()
    return arguments


def main() -> None:
    """合并一次。"""
    arguments = parse_arguments()
    directory: Path = arguments.output_dir
    if os.path.islink(directory):  # noqa: PTH114  太长的名字，Path 的方法会抛异常
        directory = directory.resolve()
    if os.path.exists(directory) and (not directory.is_dir() or any(directory.iterdir())):  # noqa: PTH110
        raise UserError(f"{directory} 已经存在，里面有东西；请用 --output_dir 换一个目录，或先移走它。")

    # 放在解析参数之后：导入这些库要好几秒。
    from finetuning.adapter import is_adapter
    from finetuning.interrupt import command_line
    from finetuning.merging import merge_to
    from finetuning.quiet import quiet_libraries

    quiet_libraries()
    if not is_adapter(arguments.adapter):
        raise UserError(f"{arguments.adapter} 不是适配器的目录（里面没有 adapter_config.json）；请检查路径。")
    # 先写在旁边，齐了才换上：任何时候断了，都不会留下写到一半的模型。
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".merging-", dir=directory.parent))
    except OSError as error:
        raise UserError(f"{directory} 不能写（{error.strerror}）；请用 --output_dir 换一个目录。") from error
    try:
        merge_to(arguments.adapter, partial, arguments.save_dtype)
        partial.chmod(0o755)  # mkdtemp 造的只有自己能读
        try:
            if os.path.exists(directory):  # noqa: PTH110
                directory.rmdir()
            partial.rename(directory)
        except OSError as error:  # 当前目录、挂载点换不掉；名字太长
            raise UserError(f"{directory} 不能写（{error.strerror}）；请用 --output_dir 换一个目录。") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"合并好的模型在 {directory}")
    print(f"和它聊天：{command_line(['chat.py', str(directory)])}")


if __name__ == "__main__":
    run_main(main)
