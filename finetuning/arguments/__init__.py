"""命令行参数：``options`` 声明，``trainer`` 和 ``flags`` 是 Trainer 的那些，``parser`` 解析。"""

from finetuning.arguments.options import ByOption, DataArguments, ModelArguments, option
from finetuning.arguments.parser import Parser, parse_arguments

__all__ = ["ByOption", "DataArguments", "ModelArguments", "Parser", "option", "parse_arguments"]
