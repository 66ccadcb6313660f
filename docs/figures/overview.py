"""Draw docs/figures/overview.png: where MSCSA sits and what it does. Run: python docs/figures/overview.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

STAGES = ["#9ecae1", "#6baed6", "#3182bd", "#08519c"]
INK = "#1b2733"


def box(
    ax: Axes, x: float, y: float, width: float, height: float, text: str, fill: str, **style: object
) -> None:
    """Draw a rounded box with centred text."""
    ax.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=fill, ec=INK, lw=1.0
        )
    )
    ax.text(
        x + width / 2,
        y + height / 2,
        text,
        ha="center",
        va="center",
        **{"fontsize": 10, "color": INK} | style,
    )


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
    """Draw an arrow between two points."""
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, lw=1.1, color=INK, **style))


def main() -> None:
    """Draw the figure."""
    figure, ax = plt.subplots(figsize=(13, 5.4))
    heights = [2.0, 1.5, 1.0, 0.6]
    for i, (color, height) in enumerate(zip(STAGES, heights, strict=True)):
        x, y = 0.3 + 1.05 * i, 3.6 - height / 2
        light = {"color": "white"} if i > 1 else {}
        box(ax, x, y, 0.8, height, f"1/{4 * 2**i}", color, **light)
        if i:
            arrow(ax, (x - 0.25, 3.6), (x, 3.6))
        arrow(ax, (x + 0.4, y), (x + 0.4, 1.72))
        box(ax, x + 0.1, 1.1, 0.6, 0.6, "", color)
    ax.text(2.3, 4.85, "any timm backbone", ha="center", fontsize=11, weight="bold", color=INK)
    ax.text(2.3, 0.72, "pool every stage to one size", ha="center", fontsize=10, color=INK)
    arrow(ax, (4.2, 1.4), (4.75, 1.4))
    for i, color in enumerate(STAGES):
        box(ax, 4.8, 1.02 + 0.2 * i, 0.55, 0.2, "", color)
    ax.text(5.08, 0.72, "concatenate", ha="center", fontsize=10, color=INK)
    arrow(ax, (5.4, 1.4), (5.85, 1.4))

    box(ax, 5.85, 0.25, 2.75, 4.2, "", "#fff7e6")
    ax.text(7.22, 4.6, "MSCSA block", ha="center", fontsize=11, weight="bold", color=INK)
    steps = [
        ("Cross-Scale Attention\nkeys at scales 1, 1/2, 1/3", "#fdd0a2"),
        ("Intra-FFN: stage by stage", "#fdae6b"),
        ("Cross-Scale Attention", "#fdd0a2"),
        ("FFN: across stages", "#fdae6b"),
    ]
    for i, (text, color) in enumerate(steps):
        y = 0.45 + 1.0 * i
        box(ax, 6.0, y, 2.45, 0.72, text, color, fontsize=9)
        if i:
            arrow(ax, (7.22, y - 0.28), (7.22, y))

    arrow(ax, (8.6, 3.8), (9.15, 3.8))
    box(ax, 9.15, 3.35, 2.1, 0.9, "classifier\nBN, pool, linear", "#c7e9c0")
    arrow(ax, (8.6, 1.7), (9.15, 1.7))
    box(ax, 9.15, 0.45, 2.1, 2.5, "", "#e5f5e0")
    ax.text(10.2, 2.68, "fused pyramid", ha="center", fontsize=10, color=INK)
    ax.text(10.2, 2.38, "map × gate + bias", ha="center", fontsize=9, color=INK)
    for i, (color, height) in enumerate(zip(STAGES, heights, strict=True)):
        box(ax, 9.3 + 0.47 * i, 1.4 - 0.38 * height, 0.36, 0.76 * height, "", color)
    ax.text(10.2, 4.4, "image classification", ha="center", fontsize=9, style="italic", color=INK)
    ax.text(10.2, 0.18, "detection, segmentation", ha="center", fontsize=9, style="italic", color=INK)
    ax.set(xlim=(0.1, 11.5), ylim=(0, 5.1), aspect="equal")
    ax.axis("off")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main()
