"""What scores are made of as pictures: precision-recall curves, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.evaluation.detection_detail import DetectionDetail
from mscsa.evaluation.evaluate import Evaluation
from mscsa.evaluation.miou import SegmentationScores
from mscsa.evaluation.top1 import Accuracy
from mscsa.pictures.figure import new_figure, save_figure
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.palette import palette
from mscsa.recipes.spec import Task

CONFUSION, PRECISION_RECALL = "confusion", "precision_recall"

PICTURES: dict[Task, tuple[str, ...]] = {
    "classification": (CONFUSION,),
    "segmentation": (CONFUSION,),
    "detection": (PRECISION_RECALL, CONFUSION),
    "instance_segmentation": (PRECISION_RECALL, CONFUSION),
}
"""What `draw_detail` draws for each task, without the ending .png."""

_LEGEND_ROWS = 20
"""Most classes that a legend names."""
_WRITTEN = 15
"""Most classes whose counts are written into their cells."""


def draw_detail(result: Evaluation, folder: OutputFolder) -> list[str]:
    """Draw what scores are made of, FOLDER/confusion.png and others.

    Returns:
        The files.
    Raises:
        UserError: If matplotlib is missing, a picture is there already, or the folder cannot be written.
    """
    scores, names = result.scores, result.class_names
    detail: Any = getattr(scores, "confusion" if isinstance(scores, Accuracy) else "detail", None)
    if detail is None:
        return []
    (confusion,) = folder.paths(CONFUSION, ".png")
    if isinstance(scores, Accuracy):
        draw_confusion(detail[:, :-1], confusion, names, names, "share of the images of the class")
        return [str(confusion)]
    matrix = np.array(detail.confusion, np.int64)
    if isinstance(scores, SegmentationScores):
        draw_confusion(matrix[:, :-1], confusion, names, names, "share of the pixels of the class")
        return [str(confusion)]
    (curves,) = folder.paths(PRECISION_RECALL, ".png")
    draw_precision_recall(detail, curves, names)
    above = "" if detail.best is None else f", scores from {detail.best.threshold:.2f}"
    draw_confusion(
        matrix,
        confusion,
        [*names, "invented"],
        [*names, "missed"],
        f"share of the row{above}, boxes at IoU 0.50",
    )
    return [str(curves), str(confusion)]


def draw_precision_recall(detail: DetectionDetail, path: Path, class_names: Sequence[str]) -> None:
    """Draw a curve for each class and their mean, of boxes and of masks, at IoU 0.50."""
    kinds = {"boxes": detail.boxes} | ({} if detail.masks is None else {"masks": detail.masks})
    figure = new_figure((5.2 * len(kinds) + 2.2, 4.6))
    for axes, (kind, overlap) in zip(
        figure.subplots(1, len(kinds), squeeze=False)[0], kinds.items(), strict=True
    ):
        known = [(i, curve) for i, curve in enumerate(overlap.class_precision) if curve is not None]
        for i, curve in known:
            label = f"{class_names[i]}  {overlap.class_ap50[i]:.1f}" if len(known) <= _LEGEND_ROWS else None
            axes.plot(range(101), curve, color=palette(i + 1)[i] / 255, linewidth=1.2, label=label)
        mean = np.mean([curve for _, curve in known], axis=0)
        axes.plot(range(101), mean, color="black", linewidth=2.4, label=f"mean  {mean.mean():.1f}")
        axes.set(xlabel="recall, %", ylabel="precision, %", title=f"{kind}, IoU 0.50 (AP50 in %)")
        axes.set(xlim=(0, 100), ylim=(0, 101))
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    save_figure(figure, path, dpi=120)


def draw_confusion(
    counts: NDArray[np.int64], path: Path, rows: Sequence[str], columns: Sequence[str], title: str
) -> None:
    """Draw a matrix: the colour is the share of the row, the counts stand in the cells of small ones.

    Args:
        counts: By what it is (rows) and what it is taken for (columns).
        path: PNG to write.
        rows, columns: Their names.
        title: What the colour is.
    """
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = min(24.0, 2.5 + 0.55 * len(columns))
    figure = new_figure((side + 1.0, side))
    axes = figure.subplots()
    shown = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    size = 9 if len(columns) <= _WRITTEN else max(3.0, 9 * 40 / len(columns) / 2)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=min(9, size))
    axes.set_yticks(range(len(rows)), rows, fontsize=min(9, size))
    axes.set(xlabel="taken for", ylabel="is")
    axes.set_title(title, fontsize=10)
    if len(columns) <= _WRITTEN + 1:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, _short(int(count)), ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.7)
    save_figure(figure, path, dpi=120)


def _short(count: int) -> str:
    """Write a count in few letters: 950, 12k, 3.4M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= 10 * size or (unit != "k" and count >= size):
            return f"{count / size:.3g}{unit}"
    return str(count)
