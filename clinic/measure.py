"""训练全部的病例，写成表和图；再用没有见过的种子考诊断。

    uv run python -m clinic.measure              # 病例：三个种子，两个核约 30 分钟；中断了，再运行就接着做
    uv run --extra qlora python -m clinic.measure --examine    # 考试：另一个种子的病例，十个种子的健康的训练

病历（每次训练的全部症状，一行一次）写到 results/ 的 clinic.jsonl，考试的写到 clinic_broken.jsonl 和
clinic_healthy.jsonl；表写到 clinic.md 和 clinic_examination.md，曲线画在 clinic.svg。
程序变了，要重做的，先删掉那个 .jsonl。

参数：
  --examine         考试
  --workers 整数    几个训练一起做（默认 2），各用一个线程
  --tables          不训练，只从做过的写表、画图
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

from clinic.cases import BROKEN, CASES, HEALTHY
from clinic.doctor import curve_of, diagnose
from clinic.runs import Record, read, run_all
from finetuning.arguments import Parser
from finetuning.compare.table import spread
from finetuning.drawing import Curves, curve_panels, style, to_svg
from finetuning.errors import run_main
from finetuning.terminal import how_to_add, say

RESULTS = Path("results")
RECORDS, BROKEN_RECORDS, HEALTHY_RECORDS = (RESULTS / f"clinic{name}.jsonl" for name in ("", "_broken", "_healthy"))
SEEDS, UNSEEN_SEEDS, HEALTHY_SEEDS = (1, 2, 3), (4,), tuple(range(4, 14))
_BASELINES = {"full": "full", "lora": "lora"}


def main() -> None:
    """训练，写表。"""
    parser = Parser(__doc__)
    parser.add_argument("--examine", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    broken, healthy = [case.name for case in BROKEN], [case.name for case in HEALTHY]
    if arguments.examine:
        if not arguments.tables:
            if find_spec("bitsandbytes") is None:
                say(f"没有装 bitsandbytes，所以不考 QLoRA；要考，{how_to_add('bitsandbytes', '--extra qlora')}。")
                healthy.remove("qlora")
            run_all(broken, UNSEEN_SEEDS, BROKEN_RECORDS, arguments.workers)
            run_all(healthy, HEALTHY_SEEDS, HEALTHY_RECORDS, arguments.workers)
        table = examination(read(BROKEN_RECORDS), read(HEALTHY_RECORDS))
        (RESULTS / "clinic_examination.md").write_text(table, encoding="utf-8")
    else:
        if not arguments.tables:
            run_all([*_BASELINES, *broken], SEEDS, RECORDS, arguments.workers)
        table = cases_table(read(RECORDS))
        (RESULTS / "clinic.md").write_text(table, encoding="utf-8")
        with style():
            (RESULTS / "clinic.svg").write_text(to_svg(curve_panels(curves(read(RECORDS)))), encoding="utf-8")
    say(table)


def cases_table(records: Sequence[Record]) -> str:
    """一行一个病例：三个种子的平均，括号里是最小和最大。"""
    lines = [
        "# 病例",
        "",
        "自带的基座，150 步，每步 32 段（写明的除外），三个种子；括号里是最小和最大。"
        "检验的 300 个问题没有学过（写明的除外）。",
        "",
        "| 弄坏了什么 | 训练损失（最后） | 验证损失（最后） | 检验损失 | 逐字匹配 | 自己停下 | 诊断（三个种子） |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, case in CASES.items():
        records_of_case = own_records(records, name)
        if not records_of_case:
            continue
        own = [record.symptoms for record in records_of_case]
        found = [curve_of(each) for each in own]
        cells = (
            _shown([curve.end for curve in found if curve]),
            _shown([curve.validation_end for curve in found if curve]),
            _shown([each.after for each in own]),
            _shown([each.exact_after for each in own], "{:.1%}"),
            _shown([each.ended for each in own], "{:.0%}"),
        )
        lines.append(f"| {case.title} | {' | '.join(cells)} | {_names(records_of_case)} |")
    return "\n".join(lines) + "\n"


def examination(broken: Sequence[Record], healthy: Sequence[Record]) -> str:
    """混淆表：没有见过的种子，诊断说了什么，对不对。"""
    right = [is_right(record) for record in broken]
    silent = [not diagnose(record.symptoms) for record in healthy]
    lines = [
        "# 考试",
        "",
        f"没有见过的种子：{len(broken)} 次弄坏的训练，说对 {sum(right)} 次（{mean(right):.1%}）；"
        f"{len(healthy)} 次健康的训练，误报 {len(silent) - sum(silent)} 次。",
        "",
        "说对：说出了病例写明的病名之一；弄坏了却没有害处的（写作“没有害处”），不该说话。",
        "",
        "| 训练 | 该说 | 说了（次数） | 说对 |",
        "|---|---|---|---|",
    ]
    for records in (broken, healthy):
        for name in dict.fromkeys(record.case for record in records):
            own = own_records(records, name)
            wanted = "、".join(CASES[name].findings) or ("没有害处" if records is broken else "健康")
            share = f"{sum(map(is_right, own))}/{len(own)}"
            lines.append(f"| {CASES[name].title} | {wanted} | {_names(own)} | {share} |")
    return "\n".join(lines) + "\n"


def curves(records: Sequence[Record]) -> list[Curves]:
    """每个病例一格：种子 1 的训练损失、验证损失，和健康的验证损失。"""
    first = {record.case: record.symptoms for record in records if record.seed == SEEDS[0]}
    panels = []
    for name, case in CASES.items():
        if name not in first or name in _BASELINES:
            continue
        series = {
            "训练": first[name].curve("loss"),
            "验证": first[name].curve("eval_loss"),
            "健康的验证": first["lora" if case.method == "lora" else "full"].curve("eval_loss"),
        }
        panels.append(Curves(case.title, series))
    return panels


def own_records(records: Sequence[Record], name: str) -> list[Record]:
    """一个病例的。"""
    return [record for record in records if record.case == name]


def is_right(record: Record) -> bool:
    """诊断说对了没有。"""
    wanted = CASES[record.case].findings
    found = {finding.name for finding in diagnose(record.symptoms)}
    return bool(found & set(wanted)) if wanted else not found


def _names(records: Sequence[Record]) -> str:
    counts: dict[str, int] = {}
    for record in records:
        said = "、".join(finding.name for finding in diagnose(record.symptoms)) or "没有说话"
        counts[said] = counts.get(said, 0) + 1
    return "；".join(f"{said}（{count}）" for said, count in counts.items())


def _shown(values: Sequence[float | None], show: str = "{:.3f}") -> str:
    measured = [value for value in values if value is not None]
    return spread(measured, show.format) if measured else ""


if __name__ == "__main__":
    run_main(main)
