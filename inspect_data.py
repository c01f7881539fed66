"""训练之前，看一看自己的数据：认出什么格式，有多长，有什么毛病，怎样训练。

    uv run python inspect_data.py my.jsonl                                       看一看
    uv run python inspect_data.py my.jsonl --model_name_or_path Qwen/Qwen3-0.6B-Base --test_file test.jsonl
    uv run python inspect_data.py my.jsonl shards/ --clean clean.jsonl --report report.html

读数据、编码都与训练时由同样的代码来做，所以数出来的就是训练时的。只读分词器，不读权重，不用显卡；除了下载分词器，不连网。
个人信息（手机号、身份证号、银行卡号、邮箱）只数，不显示。思考算作要学的；训练时用 --learn_reasoning false，要学的更少。

参数：
  数据 …                      文件、目录或 hub 数据集，可以有几个，写法与训练时的 --train_file 相同
  --model_name_or_path 模型   用谁的分词器：要训练的那个模型（默认自带的基座，长度只作参考）
  --chat_template 格式        chatml 或 model（模型自己的对话模板），与训练时相同
  --test_file 文件            检验数据：看训练数据里有没有同样的问题
  --columns 名字=列名 …       认不出格式的数据，哪一列是问、哪一列是答：question=题目 answer=讲解
  --max_length 整数           训练时一段对话最多多少个 token（默认 512）
  --clean 文件.jsonl          留下来的写到这里；没有留下的和理由写到旁边的 文件.left_out.jsonl
  --keep 代号 …               --clean 时照样留着的：报告里方括号中的代号，如 duplicate 手机号
  --report 文件.html          报告另存成网页：一个文件，可以发给别人

已有的文件从不覆盖。
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from finetuning.arguments import DataArguments, Parser
from finetuning.errors import run_main

EMBEDDED = "base_model"


def parse_arguments() -> argparse.Namespace:
    """解析命令行；不导入 torch。"""
    parser = Parser(__doc__)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--model_name_or_path")
    parser.add_argument("--chat_template", choices=("chatml", "model"))
    parser.add_argument("--test_file")
    parser.add_argument("--columns", nargs="*", default=[])
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--clean", type=Path)
    parser.add_argument("--keep", nargs="+", default=[])
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("请给出要看的数据，例如 my.jsonl")
    if arguments.clean is not None and arguments.clean.suffix.lower() != ".jsonl":
        parser.error("--clean 写出的是 JSON Lines，文件名请以 .jsonl 结尾")
    if arguments.keep and arguments.clean is None:
        parser.error("--keep 要与 --clean 一起用")
    if any("\ud800" <= character <= "\udfff" for word in sys.argv for character in word):
        parser.error("命令里有不是 UTF-8 的字符，请改用 UTF-8 的终端，或给文件改名")
    try:  # 规则与训练时相同
        arguments.columns = DataArguments(columns=arguments.columns, max_length=arguments.max_length).columns_by_name
    except ValueError as error:
        parser.error(str(error))
    return arguments


def main() -> None:
    """看一遍，说出来，写出来。"""
    arguments = parse_arguments()

    from finetuning.inspection.publishing import check_outputs, published
    from finetuning.sources import parse_sources

    sources = parse_sources(arguments.data)
    outputs = {"--clean": arguments.clean, "--report": arguments.report}
    if arguments.clean is not None:
        outputs["--clean 旁边的文件"] = arguments.clean.with_suffix(".left_out" + (arguments.clean.suffix or ".jsonl"))
    outputs = {option: path for option, path in outputs.items() if path is not None}
    inputs = [source.name for source in sources] + ([arguments.test_file] if arguments.test_file else [])
    check_outputs(outputs, inputs)

    # 放在解析参数之后：导入这些库要好几秒。
    from data_solution import SFTDataset
    from finetuning.inspection.examine import examine
    from finetuning.inspection.page import as_page
    from finetuning.inspection.report import as_text
    from finetuning.inspection.telling import make_report
    from finetuning.model import load_tokenizer
    from finetuning.quiet import quiet_libraries

    quiet_libraries()
    tokenizer = load_tokenizer(arguments.model_name_or_path or EMBEDDED, arguments.chat_template)
    with ExitStack() as stack:
        bad_rows_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        examined, reader = examine(
            sources, arguments.test_file, tokenizer, SFTDataset, arguments.columns, arguments.max_length, bad_rows_dir
        )
        files = dict(zip(outputs, stack.enter_context(published(outputs.values())), strict=True))
        report = make_report(arguments, sources, tokenizer, examined, reader, files)
        if arguments.report is not None:
            files["--report"].write(as_page(report, "、".join(Path(word).name for word in arguments.data)))
    print(as_text(report, color=sys.stdout.isatty()))


if __name__ == "__main__":
    run_main(main)
