"""画图：图里的中文留给浏览器去画，亮、暗两种背景上都看得清，意思从不只靠颜色。

图存成 SVG，文字仍是文字（``<text>``），所以不用带着中文字体；背景透明，文字是中等的灰。
"""

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from statistics import mean
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

WIDTH = 7.2  # 英寸；在屏幕上约 690 像素
GREY = "#797979"  # 与白底、与暗色主题的 #111，对比度都是 4.3


class Look(NamedTuple):
    """一组数据的样子；颜色、线型、记号、花纹都与别的组不同。"""

    color: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str
    hatch: str


LOOKS = (
    Look("#2e80bb", "-", "o", "////"),
    Look("#bc622f", "--", "s", "\\\\\\\\"),
    Look("#228b56", "-.", "^", "----"),
    Look("#bd3ae9", ":", "D", "xxxx"),
    Look("#937724", (0, (7, 2, 1, 2, 1, 2)), "v", "||||"),
    Look("#df376f", (0, (9, 3)), "P", "++++"),
)

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # 文字不描成轮廓
    "svg.hashsalt": "sft",  # 同样的图，存出来的字节相同
    "font.sans-serif": [
        *("PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC"),
        *("Source Han Sans SC", "WenQuanYi Micro Hei", "DejaVu Sans"),
    ],
    "font.enable_last_resort": True,  # 没有字体的字，量宽度时算略宽于一个字身，所以放得下
    "font.size": 10.5,
    "text.parse_math": False,
    "axes.titlesize": 10.5,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "hatch.linewidth": 1.0,
    "legend.handlelength": 3.5,
    "lines.linewidth": 1.8,
}


@contextmanager
def style() -> Iterator[None]:
    """在里面画、在里面存的图，用这里的样式。"""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # 它找不到中文字体，不要紧：字不归它画。
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield


def to_svg(figure: Figure) -> str:
    """``figure`` 的 SVG。"""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def add_legend(figure: Figure, axes: Axes) -> None:
    """图例放在图的上方，一行放得下几个就放几个：从不盖住线，也从不出界。"""
    handles, labels = axes.get_legend_handles_labels()
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(handles, labels, loc="outside upper left", ncols=columns, borderpad=0)
        if legend.get_window_extent().width < figure.bbox.width or columns == 1:
            return
        legend.remove()


# ----------------------------------------------------------------------------------------------------------------------
# 许多小格的曲线

_CELL_HEIGHT = 1.5  # 英寸


class Curves(NamedTuple):
    """一格曲线。"""

    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]  # 线的名字 → （步, 值）


def curve_panels(panels: Sequence[Curves], across: int = 3, width: float = WIDTH) -> Figure:
    """几格曲线，纵轴是对数的、每格一样，所以可以互相比；名字相同的线，样子相同，图例只写一次。"""
    values = [value for panel in panels for line in panel.series.values() for _, value in line if 0 < value < math.inf]
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    rows = -(-len(panels) // across)
    figure = Figure((width, rows * _CELL_HEIGHT + 0.4), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid.flat, panels, strict=False):
        for name, line in panel.series.items():
            look = LOOKS[names.index(name)]
            drawn = [(step, value) for step, value in line if 0 < value < math.inf]
            axes.plot(*zip(*drawn, strict=True), color=look.color, linestyle=look.line, label=name)
        axes.set(yscale="log", ylim=(min(values) * 0.8, max(values) * 1.25), xlim=(0, None))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(panel.title, loc="left")
        axes.grid()
        axes.tick_params(labelsize=8)
    add_legend(figure, max(grid.flat[: len(panels)], key=lambda axes: len(axes.lines)))
    return figure


# ----------------------------------------------------------------------------------------------------------------------
# 横条

_ROW_HEIGHT = 0.24  # 英寸
_MOST_ROWS = 32  # 再多，就分成几列
_CUT = 4  # 最长的横条超过其次的这么多倍，就截断，不然别的都看不出长短


class Panel(NamedTuple):
    """一格横条。"""

    title: str
    values: Mapping[str, Sequence[float]]  # 横条的名字 → 几次测得的值；没有测的是空的
    show: Callable[[float], str] = "{:.3g}".format


def bar_panels(panels: Sequence[Panel], width: float = WIDTH) -> Figure:
    """几格横条：长度是平均，细线从最小到最大，旁边写着平均；相邻两格的名字相同，就只在左边写一次。"""
    pieces = [(piece, _limit(panel)) for panel in panels for piece in _split(panel)]
    alike = len({tuple(piece.values) for piece, _ in pieces}) == 1
    across = min(len(pieces), 3 if alike else 2)
    rows = [pieces[start : start + across] for start in range(0, len(pieces), across)]
    heights = [max(len(piece.values) for piece, _ in row) * _ROW_HEIGHT + 0.4 for row in rows]
    figure = Figure((width, sum(heights)), layout="constrained")
    grid = figure.subplots(len(rows), across, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(pieces) :]:
        axes.remove()
    for number, (axes, (piece, limit)) in enumerate(zip(grid.flat, pieces, strict=False)):
        _draw_bars(axes, piece, limit)
        if alike and number % across:
            axes.set_yticklabels([])
    return figure


def _split(panel: Panel) -> Iterator[Panel]:
    """太长的一格，分成差不多长的几格。"""
    names = iter(panel.values)
    count = -(-len(panel.values) // _MOST_ROWS)
    size = -(-len(panel.values) // max(count, 1))
    while part := list(islice(names, size)):
        yield panel._replace(values={name: panel.values[name] for name in part})


def _limit(panel: Panel) -> float:
    """横轴到哪里为止。"""
    longest = sorted((max(values) for values in panel.values.values() if values), reverse=True)
    if len(longest) > 1 and longest[0] > _CUT * longest[1] > 0:
        return 1.5 * longest[1]
    return longest[0] if longest and longest[0] > 0 else 1.0


def _draw_bars(axes: Axes, panel: Panel, limit: float) -> None:
    for row, values in enumerate(panel.values.values()):
        middle = mean(values) if values else 0.0
        axes.barh(row, min(middle, limit), height=0.7, facecolor=LOOKS[0].color + "80", edgecolor=LOOKS[0].color)
        if values and min(values) < max(values) and middle <= limit:
            axes.errorbar(
                middle, row, xerr=[[middle - min(values)], [max(values) - middle]], color=GREY, capsize=3, linewidth=1.2
            )
        text = panel.show(middle) + ("（截断）" if middle > limit else "") if values else "—"
        end = min(max(values, default=0.0), limit)
        axes.annotate(text, (end, row), (5, 0), textcoords="offset points", va="center", fontsize=9.5)
    axes.set(xlim=(0, limit * 1.05), ylim=(len(panel.values) - 0.4, -0.6), xticks=[])  # 数已经写在横条旁边
    axes.set_yticks(range(len(panel.values)), list(panel.values))
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(panel.title, loc="left", pad=4)
