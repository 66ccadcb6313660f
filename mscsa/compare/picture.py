"""The picture of a comparison: learning curves of both arms, and where they ended."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mscsa.compare.results import ArmResult, CompareResult
from mscsa.pictures.figure import new_figure, save_figure

COLORS = ("#555555", "#0072b2")
"""Of baseline and MSCSA; they differ in brightness too."""


def draw_comparison(result: CompareResult, path: Path) -> None:
    """Draw a comparison as PNG.

    Raises:
        UserError: If matplotlib is missing or the file cannot be written.
    """
    figure = new_figure((10, 4.8))
    curves, bars = figure.subplots(1, 2, width_ratios=(2, 1))
    arms = (result.baseline, result.mscsa)
    for arm, color in zip(arms, COLORS, strict=True):
        _draw_curves(curves, arm, color)
    is_single = len(result.seeds) == 1
    what = "one seed" if is_single else "thick: mean, band: ± 1 std, thin: single seeds"
    curves.set_title(f"Learning curves ({what})", fontsize=10)
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.set(xlabel="epochs", ylabel=f"{result.metric_label} on the validation images (%)")
    curves.legend(loc="best", framealpha=0.7)
    _draw_bars(bars, arms, result.metric_label)
    for axes in (curves, bars):
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    (height, width), count = result.input_size, len(result.seeds)
    seeds = "1 seed" if is_single else f"{count} seeds"
    figure.suptitle(
        f"{arms[1].recipe}: with and without MSCSA ({seeds}, {height}x{width} px, "
        f"{100 * (arms[1].macs / arms[0].macs - 1):+.1f} % MACs)",
        fontweight="bold",
    )
    save_figure(figure, path, dpi=120)


def _draw_curves(axes: Any, arm: ArmResult, color: str) -> None:
    """Draw the mean over seeds, a band of one standard deviation, and every seed thinly."""
    is_single = len(arm.curves) == 1
    for curve in arm.curves if not is_single else ():
        axes.plot(*zip(*curve, strict=True), color=color, linewidth=0.7, alpha=0.5)
    epochs = [epoch for epoch, _ in arm.curves[0]]
    values = [[score for _, score in point] for point in zip(*arm.curves, strict=True)]
    means = [mean(point) for point in values]
    axes.plot(epochs, means, color=color, linewidth=2, marker="o", markersize=4, label=arm.model)
    if not is_single:
        spreads = [stdev(point) for point in values]
        low = [m - s for m, s in zip(means, spreads, strict=True)]
        high = [m + s for m, s in zip(means, spreads, strict=True)]
        axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)


def _draw_bars(axes: Any, arms: tuple[ArmResult, ArmResult], metric_label: str) -> None:
    """Draw the final means with their spread, and every seed as a dot, joined in pairs."""
    for place, (arm, color) in enumerate(zip(arms, COLORS, strict=True)):
        axes.bar(place, arm.mean, width=0.6, color=color, alpha=0.45, yerr=arm.std, capsize=6)
    for pair in zip(arms[0].scores, arms[1].scores, strict=True):
        axes.plot((0, 1), pair, color="black", linewidth=0.7, marker="o", markersize=4)
    lowest = min(min(arm.scores) - (arm.std or 0.0) for arm in arms)
    highest = max(max(arm.scores) + (arm.std or 0.0) for arm in arms)
    axes.set_xticks((0, 1), [f"{arm.model}\n{_label(arm)}" for arm in arms])
    # Differences of some points are not seen on bars from 0; the axis says where it starts.
    bottom = max(0.0, lowest - 2 * max(highest - lowest, 1.0))
    axes.set_ylim(bottom, min(100.0, highest + 0.5 * max(highest - lowest, 1.0)))
    start = f"; axis starts at {bottom:.0f} %" if bottom else ""
    marks = "dot: the one seed" if arms[0].std is None else "bar: mean, whisker: ± 1 std, dots: seeds"
    axes.set_title(f"After the last epoch\n({marks})", fontsize=10)
    axes.set_ylabel(f"{metric_label} (%){start}")


def _label(arm: ArmResult) -> str:
    return f"{arm.mean:.2f} %" if arm.std is None else f"{arm.mean:.2f} ± {arm.std:.2f} %"
