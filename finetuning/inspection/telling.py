"""把看到的写成报告；要清理的，先清理。"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from finetuning.errors import UserError
from finetuning.inspection.cleaning import Reasons, write_bad_rows, write_clean
from finetuning.inspection.examine import Examined, Reader, with_progress
from finetuning.inspection.findings import Finding, find, suggested_length, verdict
from finetuning.inspection.personal import masked
from finetuning.inspection.report import Report
from finetuning.inspection.samples import most_repeated, samples
from finetuning.interrupt import command_line
from finetuning.model_checks import positions_of
from finetuning.sources import Source
from finetuning.terminal import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_EMBEDDED_DATA = Path(__file__).resolve().parents[2] / "data"
_EXAMPLE_MODEL = "Qwen/Qwen3-0.6B-Base"
_SHOWN = 8


def make_report(
    arguments: argparse.Namespace,
    sources: Sequence[Source],
    tokenizer: "PreTrainedTokenizerBase",
    examined: Examined,
    reader: Reader,
    files: Mapping[str, IO[str]],
) -> Report:
    """报告的内容。

    Args:
        files: 要写的文件，参数的名字 → 打开的文件。

    Raises:
        UserError: ``--keep`` 里的代号报告里没有；清理以后一段也不剩。
    """
    survey = examined.survey
    findings = find(survey, examined.overlaps, examined.bad)
    kept, written = None, []
    if (path := arguments.clean) is not None:
        _check_keep(arguments.keep, findings)
        reasons = Reasons(survey, examined.overlaps, findings, arguments.keep)
        left_out = files["--clean 旁边的文件"]
        kept = write_clean(survey, reasons, with_progress(range(len(survey)), "写出"), files["--clean"], left_out)
        write_bad_rows(reader.bad(), left_out)
        if not kept:
            raise UserError("清理以后一段也不剩，没有写出；请看不加 --clean 时的报告，用 --keep 留下一些。")
        other = path.with_suffix(".left_out" + (path.suffix or ".jsonl"))
        written = [
            f"留下 {kept:,} 段，写到 {path}；去掉 {len(survey) - kept + examined.bad.total:,} 段，理由在 {other}"
        ]
    if arguments.report is not None:
        written.append(f"报告的网页：{arguments.report}")
    return Report(
        facts=_facts(examined, sources),
        histogram=survey.lengths.histogram(),
        length_facts=_length_facts(examined),
        findings=findings,
        repeated=most_repeated(survey),
        samples=samples(survey, examined.tokens, tokenizer),
        notes=_notes(arguments, sources, examined),
        verdict=verdict(findings, kept),
        command=_command(arguments, examined, kept),
        written=written,
    )


def _check_keep(keep: Sequence[str], findings: Sequence[Finding]) -> None:
    droppable = [finding.slug for finding in findings if finding.left_out and finding.slug != "bad_row"]
    for slug in keep:
        if slug not in droppable:
            known = "、".join(droppable) or "（没有）"
            raise UserError(f"--keep {slug} 不是这份数据里会去掉的；会去掉的有 {known}。")


def _facts(examined: Examined, sources: Sequence[Source]) -> list[tuple[str, str]]:
    survey = examined.survey

    def counted(counts: Mapping[str, int], unit: str) -> str:
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        more = f"，等 {len(ordered)} 种" if len(ordered) > _SHOWN else ""
        shown = (f"{printable(masked(name))} {count:,} {unit}" for name, count in ordered[:_SHOWN])
        return "、".join(shown) + more

    facts = [
        ("对话", f"{len(survey):,} 段" + (f"，另有 {examined.bad.total:,} 行读不成" if examined.bad.total else ""))
    ]
    if len(sources) > 1:
        facts.append(("来源", counted(survey.sources, "段")))
    facts.append(("格式", counted(survey.formats, "段")))
    facts.append(("角色", counted(survey.roles, "条")))
    facts.append(("回答", f"{survey.turns:,} 个，平均每段 {survey.turns / len(survey):.1f} 个"))
    extras = {
        "有系统提示的": survey.with_system,
        "有工具的": survey.with_tools,
        "有思考的": survey.with_reasoning,
        "标明不学的回答": survey.unlearnt,
    }
    if said := "、".join(f"{name} {count:,}" for name, count in extras.items() if count):
        facts.append(("另外", said))
    if survey.unused:
        facts.append(("没有用到", f"这些键训练时不看：{counted(survey.unused, '段')}"))
    if survey.split:
        facts.append(("拆开的", f"{survey.split:,} 段，模板把前面的回答写成另一个样子，一段拆成几个样本，各学一个回答"))
    return facts


def _length_facts(examined: Examined) -> list[tuple[str, str]]:
    lengths = examined.survey.lengths
    cut = lengths.num_cut
    return [
        ("中位数", f"{lengths.quantile(0.5):,}；九成不超过 {lengths.quantile(0.9):,}，最长 {int(lengths.all.max()):,}"),
        ("99% 不超过", f"{lengths.quantile(0.99):,}，--max_length {suggested_length(examined.survey)} 就够"),
        ("截断", f"max_length={lengths.max_length} 时，{cut:,} 个样本（{cut / len(lengths.all):.1%}）的末尾截掉"),
        ("要学的", f"占训练时看的 token 的 {lengths.learnt_share:.1%}（回答；问题只作上文）"),
        ("一共", f"{lengths.total:,} 个 token"),
    ]


def _notes(arguments: argparse.Namespace, sources: Sequence[Source], examined: Examined) -> list[str]:
    notes = []
    if arguments.model_name_or_path is None:
        notes.append(
            "长度是自带基座的分词器数的；别的模型的分词器数出来不一样，"
            "请加上 --model_name_or_path 你要训练的模型，再看一次。"
        )
    if any(source.share != 1 for source in sources):
        notes.append("份额（:0.5 等）只在训练时用，这里看的是每个来源的全部。")
    if examined.bad_tests:
        notes.append(
            f"检验数据 {arguments.test_file} 里有 {examined.bad_tests:,} 行读不成对话，没有看；请单独看一看它。"
        )
    return notes


def _command(arguments: argparse.Namespace, examined: Examined, kept: int | None) -> str:
    """训练的命令；自带的基座和数据，默认的就是合适的。"""
    data = [str(arguments.clean)] if kept is not None else arguments.data
    embedded = arguments.model_name_or_path in (None, "base_model")
    ours = all(Path(word).resolve().parent == _EMBEDDED_DATA for word in arguments.data)
    words = ["train_lora_solution.py"]
    if embedded and ours and kept is None and len(data) == 1:
        return command_line(words if data == ["data/train.jsonl"] else [*words, "--train_file", *data])
    model = arguments.model_name_or_path or _EXAMPLE_MODEL
    words += ["--model_name_or_path", model]
    if arguments.chat_template:
        words += ["--chat_template", arguments.chat_template]
    words += ["--train_file", *data]
    if arguments.test_file:
        words += ["--test_file", arguments.test_file]
    if kept is None:
        if arguments.columns:
            words += ["--columns", *(f"{name}={column}" for name, column in arguments.columns.items())]
        if examined.bad.total:
            words += ["--on_bad_rows", "skip"]
    count = len(examined.survey) if kept is None else kept
    words += [
        "--max_length",
        str(suggested_length(examined.survey, positions_of(model) if arguments.model_name_or_path else None)),
    ]
    if model != "base_model":  # 自带的基座很小，要大得多的学习率，脚本的默认就是它的
        words += ["--learning_rate", "2e-4", "--num_train_epochs", str(_epochs(count))]
        words += ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", str(_accumulation(count))]
    return command_line([*words, "--output_dir", "outputs/my_lora"])


def _epochs(count: int) -> int:
    """数据越少，多看几轮；多了，看一轮就够。"""
    return 3 if count < 20_000 else 2 if count < 100_000 else 1


def _accumulation(count: int) -> int:
    """一步 32 段；数据少时一步少几段，一轮至少走十来步。"""
    return max(1, min(8, count // 48))
