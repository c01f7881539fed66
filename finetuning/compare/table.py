"""各种方法测得的数字 → 一张表（Markdown）和一幅图。"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import NamedTuple


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
    """表里的一列，图里的一格。"""

    quantity: str
    heading: str
    plot_title: str  # 图里只用英文：很多机器上没有 matplotlib 能用的中文字体
    show: Callable[[float], str]


COLUMNS = (
    Column("trainable_parameters", "训练的参数", "trainable parameters", "{:,.0f}".format),
    Column("trainable_share", "占全部的", "trainable share", "{:.2%}".format),
    Column("peak_memory_mb", "内存峰值（MB）", "peak memory (MB)", "{:,.0f}".format),
    Column("train_seconds", "训练用时（秒）", "training time (s)", "{:,.0f}".format),
    Column("disk_mb", "存盘（MB）", "size on disk (MB)", "{:,.2f}".format),
    Column("loss", "检验损失（nat）", "test loss (nats)", "{:.3f}".format),
    Column("exact_match", "逐字匹配", "exact match", "{:.1%}".format),
    Column("text_loss", "预训练文本的损失（nat）", "loss on pretraining text (nats)", "{:.3f}".format),
    Column("text_loss_adapter_off", "关掉适配器以后", "the same, adapter off (nats)", "{:.3f}".format),
)


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
    if column.quantity not in row.values:
        return ""
    values = row.values[column.quantity]
    low, high = column.show(min(values)), column.show(max(values))
    return column.show(mean(values)) + (f"（{low}–{high}）" if low != high else "")


def plot(rows: Sequence[Row], path: Path) -> None:
    """每个量一格横条：长度是平均，细线从最小到最大。"""
    import matplotlib

    matplotlib.use("Agg")  # 不需要显示器
    import matplotlib.pyplot as plt

    columns = measured_columns(rows)
    across = 3
    down = -(-len(columns) // across)
    figure, grid = plt.subplots(down, across, figsize=(12, down * (0.35 * len(rows) + 1)), layout="constrained")
    for axes, column in zip(grid.flat, columns, strict=False):
        measured = [row for row in rows if column.quantity in row.values]
        values = [row.values[column.quantity] for row in measured]
        means = [mean(each) for each in values]
        spread = [
            [middle - min(each) for middle, each in zip(means, values, strict=True)],
            [max(each) - middle for middle, each in zip(means, values, strict=True)],
        ]
        axes.barh([row.name for row in measured], means, xerr=spread, capsize=3)
        axes.bar_label(axes.containers[-1], [column.show(middle) for middle in means], padding=6)
        axes.set_title(column.plot_title, fontsize=10)
        axes.set_xticks([])  # 数已经写在横条旁边
        axes.margins(x=0.3)
        axes.invert_yaxis()  # 与表的次序相同
    for axes in grid.flat[len(columns) :]:
        axes.remove()
    figure.savefig(path, dpi=120)
    plt.close(figure)
