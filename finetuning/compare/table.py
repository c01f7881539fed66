"""各种方法测得的数字 → 一张表（Markdown）和一幅图。"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from finetuning.drawing import Panel


@dataclass(frozen=True)
class Row:
    """一种方法。"""

    name: str
    label: str
    values: dict[str, list[float]]  # 量的名字 → 每个种子一个值；这种方法没有的量，就没有这个键

    def add(self, measured: Mapping[str, float | None]) -> None:
        """记下一次测得的各个量；None 是没有测。"""
        for quantity, value in measured.items():
            if value is not None:
                self.values.setdefault(quantity, []).append(value)


class Column(NamedTuple):
    """表里的一列。"""

    quantity: str
    heading: str
    show: Callable[[float], str]


COLUMNS = (
    Column("trainable_parameters", "训练的参数", "{:,.0f}".format),
    Column("trainable_share", "占全部的", "{:.2%}".format),
    Column("peak_memory_mb", "内存峰值（MB）", "{:,.0f}".format),
    Column("train_seconds", "训练用时（秒）", "{:,.0f}".format),
    Column("disk_mb", "存盘（MB）", "{:,.2f}".format),
    Column("loss", "检验损失（nat）", "{:.3f}".format),
    Column("exact_match", "逐字匹配", "{:.1%}".format),
    Column("text_loss", "预训练文本的损失（nat）", "{:.3f}".format),
    Column("text_loss_adapter_off", "关掉适配器以后", "{:.3f}".format),
)


# 画成图的；其余的看表。
PLOTTED = ("peak_memory_mb", "train_seconds", "disk_mb", "loss", "exact_match", "text_loss")


def measured_columns(rows: Sequence[Row]) -> list[Column]:
    """至少一种方法有的列。"""
    return [column for column in COLUMNS if any(column.quantity in row.values for row in rows)]


def to_markdown(rows: Sequence[Row]) -> str:
    """Markdown 的表；几个种子的结果不同时，写成“平均（最小–最大）”。"""
    columns = measured_columns(rows)
    lines = ["| 方法 | " + " | ".join(column.heading for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row.label} | " + " | ".join(_cell(row, column) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(row: Row, column: Column) -> str:
    return spread(row.values[column.quantity], column.show) if column.quantity in row.values else ""


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """平均；几个种子的结果不同时，括号里是最小和最大。"""
    low, high = show(min(values)), show(max(values))
    return show(mean(values)) + (f"（{low}–{high}）" if low != high else "")


def panels(rows: Sequence[Row], quantities: Sequence[str] = PLOTTED) -> list["Panel"]:
    """图里的几格：一个量一格，每种方法一条；没有一种方法有的量，就不画。"""
    from finetuning.drawing import Panel

    return [
        Panel(column.heading, {row.label: row.values.get(column.quantity, []) for row in rows}, column.show)
        for column in measured_columns(rows)
        if column.quantity in quantities
    ]


def plot(rows: Sequence[Row], path: Path) -> None:
    """要紧的几个量，画成横条，存成 SVG。"""
    from finetuning.drawing import bar_panels, style, to_svg

    with style():
        path.write_text(to_svg(bar_panels(panels(rows), width=8.6)), encoding="utf-8")
