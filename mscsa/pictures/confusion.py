"""A confusion matrix as a picture: what each class is taken for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mscsa.pictures.figure import new_figure, save_figure

_MOST_NAMES = 40
"""Classes up to which rows and columns are named; up to half of it the shares are written, too."""


def draw_confusion(matrix: NDArray[np.int64], class_names: Sequence[str], path: Path) -> None:
    """Draw the share of each class's images that is called by each class.

    Args:
        matrix: Images by label and predicted class, (K, K + 1); the last column is of no class.
        path: PNG to write.
    Raises:
        UserError: If matplotlib is missing, or the picture cannot be written.
    """
    count = len(class_names)
    shares = 100 * matrix[:, :count] / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.5 + 0.32 * count, 4.0, 14.0))
    figure = new_figure((side + 1.0, side))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set(xlabel="predicted", ylabel="label", title="share of each class's images, %")
    if count <= _MOST_NAMES:
        axes.set_xticks(range(count), class_names, rotation=90)
        axes.set_yticks(range(count), class_names)
    if 2 * count <= _MOST_NAMES:
        for row, column in np.argwhere(shares >= 0.5):
            share = shares[row, column]
            color = "white" if share > 60 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=color)
    figure.colorbar(image, ax=axes, shrink=0.7)
    save_figure(figure, path, dpi=120)
