"""图：概率条、损失曲线、块状掩码、奇异值。

中文的字由浏览器来画（HTML）；matplotlib 的图里只用英文，因为很多机器上没有它能用的中文字体。
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from notebook_helpers.html import note

_STYLES = (("C0", "-"), ("C1", "--"), ("C2", ":"), ("C3", "-."))
_HATCHES = ("", "///", "...", "xxx")


def probability_bars(groups: Mapping[str, Sequence[tuple[str, float]]], caption: str = "") -> HTML:
    """每个提示词（prompt）一组横条：下一个 token 是什么，概率多大。"""
    blocks = []
    for prompt, tokens in groups.items():
        bars = "".join(
            f'<tr><td style="text-align:right;font-family:monospace">{escape(token.replace(chr(10), "↵"))}</td>'
            f'<td style="width:240px;text-align:left"><div style="width:{max(probability, 0.004):.1%};height:1em;'
            f'background:rgba(60,130,220,.75);border:1px solid currentColor"></div></td>'
            f'<td style="text-align:left">{probability:.1%}</td></tr>'
            for token, probability in tokens
        )
        blocks.append(
            f'<div style="display:inline-block;vertical-align:top;margin:0 24px 8px 0"><b>{escape(prompt)} ▁</b>'
            f"<table>{bars}</table></div>"
        )
    return HTML("".join(blocks) + (note(caption) if caption else ""))


def loss_curves(curves: Mapping[str, Sequence[float]], title: str = "", smooth: int = 8) -> Figure:
    """训练损失，每条线一种颜色和线型；取前后几步的平均，看得清趋势。"""
    figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    for (name, losses), (color, style) in zip(curves.items(), _STYLES * 3, strict=False):
        window = min(smooth, len(losses))
        mean = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(range(window, len(losses) + 1), mean, style, color=color, label=name)
    axes.set(xlabel="step", ylabel="loss (nats per token)", ylim=(0, None), title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    plt.close(figure)
    return figure


def block_mask(lengths: Sequence[int], title: str = "") -> Figure:
    """一行里几段对话的注意力掩码：涂色的格子表示第 i 个 token（行）看得见第 j 个（列）。"""
    total = sum(lengths)
    figure, axes = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
    start = 0
    for index, length in enumerate(lengths):
        for row in range(start, start + length):
            axes.bar(
                np.arange(start, row + 1) + 0.5, 1, 1, bottom=row, color=f"C{index % 10}", edgecolor="white",
                hatch=_HATCHES[index % len(_HATCHES)], linewidth=0.5,
            )  # fmt: skip
        start += length
    axes.set(xlim=(0, total), ylim=(total, 0), xlabel="attends to", ylabel="token", title=title, aspect="equal")
    axes.set_xticks(range(total + 1))
    axes.set_yticks(range(total + 1))
    axes.grid(alpha=0.25)
    plt.close(figure)
    return figure


def singular_values(groups: Mapping[str, Sequence[float]]) -> Figure:
    """奇异值，从大到小，除以最大的一个。"""
    figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    for (name, values), (color, style) in zip(groups.items(), _STYLES * 3, strict=False):
        relative = np.asarray(values) / values[0]
        axes.plot(np.arange(1, len(relative) + 1), relative, style, color=color, label=name)
    axes.set(xlabel="index", ylabel="singular value / largest", ylim=(0, 1.05), xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    plt.close(figure)
    return figure


def points(
    series: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str, **axes_options: Any
) -> Figure:
    """几组点，每组一种颜色、线型和记号。"""
    figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    for (name, values), (color, style), marker in zip(series.items(), _STYLES, "osv^", strict=False):
        axes.plot(*zip(*values, strict=True), style, color=color, marker=marker, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel, **axes_options)
    axes.grid(alpha=0.3)
    axes.legend()
    plt.close(figure)
    return figure
