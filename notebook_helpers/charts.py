"""图：概率条、损失曲线、块状掩码、奇异值、横条、散点。

都显示成 HTML；折线、散点那些是里面的一张 SVG，样式见 ``finetuning/drawing.py``。每张图都有替代的文字，读屏软件念得出。
"""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate, cycle, pairwise, product
from statistics import mean

import numpy as np
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from finetuning.drawing import (
    GREY,
    LOOKS,
    WIDTH,
    Curves,
    Panel,
    add_legend,
    bar_panels,
    curve_panels,
    style,
    to_svg,
)
from notebook_helpers.html import note as note_html

Values = float | Sequence[float]  # 一次测得的，或几个种子各一个
_REACH = 5  # 损失曲线的粗线，前后各平均几步


def _picture(figure: Figure, alt: str, title: str, note: str) -> HTML:
    """题目、图、图下面的一句说明。"""
    data = base64.b64encode(to_svg(figure).encode()).decode()
    head = f"<div><b>{escape(title)}</b></div>" if title else ""
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}" style="max-width:100%">'
    return HTML(f"{head}<div>{image}</div>{note_html(note) if note else ''}")


def probability_bars(groups: Mapping[str, Sequence[tuple[str, float]]], note: str = "") -> HTML:
    """每个提示词（prompt）一组横条：下一个 token 是什么，概率多大。"""
    blocks = []
    for prompt, tokens in groups.items():
        bars = "".join(
            f'<tr><td style="text-align:right;font-family:monospace">{escape(token.replace(chr(10), "↵"))}</td>'
            f'<td style="width:200px;text-align:left"><div style="width:{max(probability, 0.004):.1%};height:1em;'
            f'background:rgba(60,130,220,.75);border:1px solid currentColor"></div></td>'
            f'<td style="text-align:left">{probability:.1%}</td></tr>'
            for token, probability in tokens
        )
        blocks.append(
            f'<div style="display:inline-block;vertical-align:top;margin:0 24px 8px 0"><b>{escape(prompt)} ▁</b>'
            f"<table>{bars}</table></div>"
        )
    return HTML("".join(blocks) + (note_html(note) if note else ""))


def loss_curves(
    curves: Mapping[str, Sequence[float]],
    title: str = "",
    note: str = "",
) -> HTML:
    """训练损失：细线是每一步，粗线是连同前后各几步的平均，到两头越取越少，所以第一步和最后一步都是原来的数。"""
    with style():
        figure, axes = _axes("步", "损失（nat / token）", height=3.2)
        highest = 0.0
        for (name, losses), look in zip(curves.items(), cycle(LOOKS), strict=False):
            steps = range(1, len(losses) + 1)
            axes.plot(steps, losses, color=look.color, linewidth=0.8, alpha=0.5)
            axes.plot(steps, _smooth(losses, _REACH), color=look.color, linestyle=look.line, label=name)
            highest = max(highest, *losses)
        axes.set(xlim=(0, None), ylim=(0, highest * 1.05))
        add_legend(figure, axes)
        ends = (
            f"{name}从第 1 步的 {losses[0]:.2f} 到最后 {min(10, len(losses))} 步平均的 {mean(losses[-10:]):.2f}"
            for name, losses in curves.items()
        )
        lines = f"细线是每一步，粗线是连同前后各 {_REACH} 步的平均。"
        return _picture(figure, f"{title or '损失曲线'}：{'；'.join(ends)}。", title, lines + note)


def _smooth(values: Sequence[float], reach: int) -> list[float]:
    """每个数换成连同前后各 ``reach`` 个的平均；前后不够，就两边都少取一些。"""
    reaches = [min(reach, index, len(values) - 1 - index) for index in range(len(values))]
    return [mean(values[index - each : index + each + 1]) for index, each in enumerate(reaches)]


def points(series: Mapping[str, Mapping[float, Values]], x: str, y: str, title: str = "", note: str = "") -> HTML:
    """几条线，每条是“横坐标 → 值”，两轴都是对数的；一个横坐标有几个值（几个种子）的，点在平均，竖线从最小到最大。"""
    with style():
        figure, axes = _axes(x, y, height=3.2)
        for (name, values), look in zip(series.items(), cycle(LOOKS), strict=False):
            at, low, middle, high = np.transpose([(each, *_low_mean_high(values[each])) for each in sorted(values)])
            axes.plot(at, middle, color=look.color, linestyle=look.line, marker=look.marker, label=name)
            axes.vlines(at, low, high, color=look.color)
        places = sorted({place for values in series.values() for place in values})
        _make_log(axes, "x", places if len(places) <= 7 else ())
        _make_log(axes, "y")
        add_legend(figure, axes)
        alt = "；".join(
            f"{name}，" + "、".join(f"{place:g} → {_low_mean_high(values[place])[1]:.3g}" for place in sorted(values))
            for name, values in series.items()
        )
        return _picture(figure, f"{title or y}，横坐标是{x}：{alt}。", title, note)


def singular_values(groups: Mapping[str, Sequence[float]], title: str = "", note: str = "") -> HTML:
    """奇异值，从大到小，除以最大的一个。"""
    with style():
        figure, axes = _axes("第几个奇异值", "除以最大的一个", height=3.2)
        for (name, values), look in zip(groups.items(), cycle(LOOKS), strict=False):
            relative = np.asarray(values) / values[0]
            axes.plot(np.arange(1, len(relative) + 1), relative, color=look.color, linestyle=look.line, label=name)
        axes.set_ylim(0, 1.05)
        _make_log(axes, "x")
        add_legend(figure, axes)
        alt = "；".join(
            f"{name}，"
            + "、".join(f"第 {i} 个 {values[i - 1] / values[0]:.2f}" for i in (2, 8, 32) if i <= len(values))
            for name, values in groups.items()
        )
        return _picture(figure, f"{title or '奇异值'}，从大到小，除以最大的一个：{alt}。", title, note)


def block_mask(lengths: Sequence[int], title: str = "", note: str = "") -> HTML:
    """一行里几段对话的注意力掩码：涂色的格子，表示左边的 token 看得见下边的 token；刻度是 ``position_ids``。"""
    total, starts = sum(lengths), [0, *accumulate(lengths)]
    with style():
        figure = Figure((5.4, 3.3), layout="constrained")
        axes = figure.subplots()
        kinds = []
        for number, (start, length, look) in enumerate(zip(starts, lengths, cycle(LOOKS), strict=False), 1):
            for row in range(start, start + length):
                cells = np.arange(start, row + 1) + 0.5
                axes.bar(cells, 1, 1, bottom=row, facecolor="none", edgecolor=look.color, hatch=look.hatch)
            label = f"第 {number} 段，{length} 个 token"
            kinds.append(Patch(facecolor="none", edgecolor=look.color, hatch=look.hatch, label=label))
        positions = [position for length in lengths for position in range(length)]
        marked = range(total) if total <= 24 else starts[:-1]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([cell + 0.5 for cell in marked], [str(positions[cell]) for cell in marked])
        axes.set(xlim=(0, total), ylim=(total, 0), aspect="equal", xlabel="被看的 token", ylabel="在看的 token")
        axes.spines[["top", "right"]].set_visible(True)
        axes.tick_params(length=0)
        axes.legend(handles=kinds, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        sizes = "、".join(map(str, lengths))
        alt = f"{title or '注意力掩码'}：{len(lengths)} 段，长 {sizes}；沿对角线每段一个三角形，段与段之间空白。"
        return _picture(figure, alt, title, note)


def bars(panels: Sequence[Panel], title: str = "", note: str = "") -> HTML:
    """几格横条：长度是平均，细线从最小到最大（几个种子）。"""
    with style():
        alt = "；".join(
            f"{panel.title}，"
            + "、".join(f"{name} {panel.show(mean(values))}" for name, values in panel.values.items() if values)
            for panel in panels
        )
        return _picture(bar_panels(panels), f"{title}{'，' if title else ''}{alt}。", title, note)


def curves(panels: Sequence[Curves], title: str = "", note: str = "") -> HTML:
    """几格曲线，纵轴是对数的，每格一样。"""
    with style():
        alt = "；".join(
            f"{panel.title}，"
            + "、".join(f"{name}从 {line[0][1]:.2g} 到 {line[-1][1]:.2g}" for name, line in panel.series.items())
            for panel in panels
        )
        return _picture(curve_panels(panels), f"{title}{'，' if title else ''}{alt}。", title, note)


def scatter(
    groups: Mapping[str, Sequence[tuple[float, float, str]]], x: str, y: str, title: str = "", note: str = ""
) -> HTML:
    """每组几个点（横坐标, 纵坐标, 旁边写什么），按次序连起来；横轴是对数的。"""
    with style():
        figure, axes = _axes(x, y, height=3.8)
        for (name, values), look in zip(groups.items(), cycle(LOOKS), strict=False):
            places, heights = [one[0] for one in values], [one[1] for one in values]
            axes.plot(places, heights, color=look.color, linestyle=look.line, marker=look.marker, label=name)
        axes.margins(0.08)
        _make_log(axes, "x")
        add_legend(figure, axes)
        everything = [one for values in groups.values() for one in values]
        _write_beside(figure, axes, everything, [np.array([one[:2] for one in values]) for values in groups.values()])
        alt = "；".join(
            f"{name}，" + "、".join(f"{text}（{place:.3g}, {height:.3g}）" for place, height, text in values)
            for name, values in groups.items()
        )
        return _picture(figure, f"{title or '散点图'}，横坐标是{x}，纵坐标是{y}：{alt}。", title, note)


def _axes(x: str, y: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.grid()
    return figure, axes


def _low_mean_high(values: Values) -> tuple[float, float, float]:
    several = values if isinstance(values, Sequence) else [values]
    return min(several), mean(several), max(several)


def _make_log(axes: Axes, which: str, ticks: Sequence[float] = ()) -> None:
    """对数的横轴（``"x"``）或纵轴（``"y"``），刻度写成平常的数；不给刻度，就选整的。"""
    axes.set(**{f"{which}scale": "log"})
    axis, limits = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    ticks = ticks or _round_ticks(*limits)
    axis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator(), major_formatter=FuncFormatter(_plain))


def _round_ticks(low: float, high: float) -> list[float]:
    """从 ``low`` 到 ``high`` 的整的刻度，不太挤的里面最密的；窄得一个整的也没有，就是两头。"""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 4, 6, 8), (1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**exponent for exponent in exponents for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 8:
            break
    return ticks or [low, high]


def _plain(value: float, _: int | None = None) -> str:
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def _write_beside(
    figure: Figure, axes: Axes, labelled: Sequence[tuple[float, float, str]], paths: Sequence[np.ndarray]
) -> None:
    """每个点旁边写字：从近到远，取第一个不出界、不压着点、线（``paths``）和别的字的地方。"""
    figure.draw_without_rendering()  # 先排好版，才知道各在哪里
    inside = axes.get_window_extent()
    centers = [axes.transData.transform(one[:2]) for one in labelled]
    for path in paths:
        corners = axes.transData.transform(path)
        centers += [start + (end - start) * part for start, end in pairwise(corners) for part in np.linspace(0, 1, 40)]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centers]
    for x, y, text in labelled:
        for distance, (across, up) in product((7, 22, 40), _SIDES):
            offset = (distance * across, distance * up)
            written = axes.annotate(
                text, (x, y), offset, textcoords="offset points", fontsize=9.5,
                ha=("center", "left", "right")[across], va=("center", "bottom", "top")[up],
            )  # fmt: skip
            box = written.get_window_extent()
            within = all(inside.contains(*corner) for corner in box.corners())
            if within and box.count_overlaps(taken) == 0:
                break
            written.remove()
        else:
            axes.add_artist(written)
        if distance > 7:
            leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0}
            axes.annotate("", (x, y), offset, textcoords="offset points", arrowprops=leader)
        taken.append(box)
