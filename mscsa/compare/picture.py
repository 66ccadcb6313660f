"""The picture of a comparison: learning curves of all arms, and where their seeds ended."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from statistics import mean, stdev
from textwrap import fill
from typing import Any

from mscsa.compare.results import ArmResult, CompareResult, verdict
from mscsa.neck_table import NECKS, OTHER_NECKS
from mscsa.pictures.figure import new_figure, save_figure

_NECK_COLORS = ("#009e73", "#cc79a7", "#56b4e9", "#7a4f01", "#b2a100", "#7b3294")

_VARIANT_COLORS = ("#6baed6", "#3f6fb5", "#9ecae1", "#5b8a9a")

COLORS = {
    "baseline": "#555555",
    "control": "#d98200",
    **dict(zip(OTHER_NECKS, cycle(_NECK_COLORS), strict=False)),
    "mscsa": "#0072b2",
}
"""Of the arms; they differ in brightness too."""

LABELS = {
    "baseline": "baseline",
    "control": "wider head",
    **{neck: f"+{NECKS[neck].title}" for neck in OTHER_NECKS},
    "mscsa": "+MSCSA",
}
"""What pictures call the arms."""


def label_of(arm: str) -> str:
    """Give what pictures call an arm; variants of MSCSA go by their own names."""
    return LABELS.get(arm, f"MSCSA,\n{arm}")


def color_of(arm: str, arms: Iterable[str]) -> str:
    """Give the colour of an arm among all arms; variants of MSCSA share those that are left."""
    if arm in COLORS:
        return COLORS[arm]
    variants = [each for each in arms if each not in COLORS]
    return _VARIANT_COLORS[variants.index(arm) % len(_VARIANT_COLORS)]


_NUM_ARMS, _ARM_WIDTH = 3, 1.2
# Arms that the usual width is for, and inches of each more.
_LINE = 125
# Characters of the verdict in a line, at its size of type.


def draw_comparison(result: CompareResult, path: Path) -> None:
    """Draw a comparison as PNG.

    Raises:
        UserError: If matplotlib is missing or the file cannot be written.
    """
    more = _ARM_WIDTH * max(0, len(result.arms) - _NUM_ARMS)
    figure = new_figure((11 + more, 5.4 + more / 4))
    curves, ends = figure.subplots(1, 2, width_ratios=(6.6, 4.4 + more))
    has_curves = all(len(curve) > 1 for arm in result.arms.values() for curve in arm.curves)
    if has_curves:
        _draw_all_curves(curves, result)
    else:  # evaluated once, at the end
        _draw_contrasts(curves, result)
    _draw_ends(ends, result)
    for axes in (curves, ends):
        axes.grid(axis="y" if has_curves or axes is ends else "x", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    (height, width), baseline = result.input_size, result.arms["baseline"]
    with_mscsa = result.arms["mscsa"]
    figure.suptitle(
        f"{with_mscsa.recipe}: with and without MSCSA ({height}x{width} px, "
        f"{100 * (with_mscsa.macs / baseline.macs - 1):+.1f} % MACs)",
        fontweight="bold",
    )
    # Below the axes, where the layout keeps room for it.
    figure.supxlabel(fill(verdict(result, result.contrasts[0]), _LINE), fontsize=9)
    save_figure(figure, path, dpi=120)


def _draw_all_curves(axes: Any, result: CompareResult) -> None:
    for name, arm in result.arms.items():
        _draw_curves(axes, arm, color_of(name, result.arms))
    is_single = len(result.seeds) == 1
    what = "one seed" if is_single else "thick: mean, band: ± 1 std, thin: single seeds"
    axes.set_title(f"Learning curves ({what})", fontsize=10)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epochs", ylabel=f"{result.metric_label} on the validation images (%)")
    axes.legend(loc="best", framealpha=0.7, fontsize=9)


def _draw_contrasts(axes: Any, result: CompareResult) -> None:
    """Draw the differences of the arms with their intervals, the first on top."""
    names = [
        f"{label_of(each.first)}\n- {label_of(each.second).removeprefix('+')}" for each in result.contrasts
    ]
    places = range(len(names) - 1, -1, -1)
    axes.axvline(0, color="black", linewidth=0.8)
    for place, contrast in zip(places, result.contrasts, strict=True):
        color = color_of(contrast.first, result.arms)
        if contrast.seeds.interval is not None:
            axes.hlines(place + 0.08, *contrast.seeds.interval, color=color, linewidth=4)
        axes.hlines(place - 0.08, *contrast.image_interval, color=color, linewidth=1.5)
        axes.plot(contrast.seeds.mean, place + 0.08, marker="o", color="black", markersize=6)
    axes.set_yticks(places, names, fontsize=9)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"difference in {result.metric_label} (points)")
    axes.set_title("Differences (95 % intervals; thick: over seeds, thin: over images)", fontsize=10)


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


def _draw_ends(axes: Any, result: CompareResult) -> None:
    """Draw the last score of every seed as a dot, joined over the arms, and each arm's mean and spread."""
    arms = result.arms
    places = range(len(arms))
    for scores in zip(*(arm.scores for arm in arms.values()), strict=True):
        axes.plot(places, scores, color="#999999", linewidth=0.8, zorder=1)
    for place, (name, arm) in enumerate(arms.items()):
        color = color_of(name, arms)
        axes.scatter([place] * len(arm.scores), arm.scores, s=22, color=color, zorder=3)
        if arm.std is not None:  # beside the dots, so that neither hides the other
            axes.errorbar(
                place + 0.18, arm.mean, yerr=arm.std, fmt="_", color=color, markersize=16, capsize=5
            )
    axes.set_xlim(-0.4, len(arms) - 0.5)
    axes.margins(y=0.15)
    axes.set_xticks(places, [f"{label_of(name)}\n{_shown(arm)}" for name, arm in arms.items()], fontsize=9)
    marks = "dot: the one seed" if len(result.seeds) == 1 else "lines: seeds, bars: mean ± 1 std"
    axes.set_title(f"Last epoch ({marks})", fontsize=10)
    axes.set_ylabel(f"{result.metric_label} (%)")


def _shown(arm: ArmResult) -> str:
    return f"{arm.mean:.2f} %" if arm.std is None else f"{arm.mean:.2f} ± {arm.std:.2f} %"
