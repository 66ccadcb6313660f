"""The course of a run: training loss and main score over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mscsa.pictures.figure import new_figure, save_figure


def draw_curves(rows: Sequence[Mapping[str, str]], path: Path, *, score: str, label: str) -> None:
    """Draw the rows of a `metrics.csv`.

    Args:
        path: PNG to write.
        score: Column of the main score, in %.
        label: What people call it.
    Raises:
        UserError: If matplotlib is missing, or the picture cannot be written.
    """
    figure = new_figure((8.0, 3.0))
    loss_axes, score_axes = figure.subplots(1, 2)
    for axes, column, title in (
        (loss_axes, "train_loss", "training loss"),
        (score_axes, score, f"{label}, %"),
    ):
        points = [(float(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if len(points) < 30 else None, markersize=3)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=120)
