"""A sheet of small pictures in rows, each with a line of text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mscsa.errors import UserError
from mscsa.pictures.figure import new_figure, save_figure
from mscsa.pictures.palette import palette

_SIDE = 3.2  # inches of a picture
_LEGEND_NAMES = 40
_LONGEST = 46  # letters of a title


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet."""

    image: Image.Image
    title: str


def check_sheet(path: Path) -> None:
    """Refuse the place of a sheet before anything is computed for it.

    Raises:
        UserError: If something is there already, or it is to be no PNG.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path} is no name of a picture: give one that ends with .png")
    if os.path.lexists(path):
        raise UserError(f"{path} is there already and is not overwritten: give another --out, or remove it")


def write_sheet(path: Path, rows: Sequence[Sequence[Tile]], heading: str, legend: Sequence[str] = ()) -> None:
    """Write pictures in rows.

    Args:
        path: PNG that is not there yet.
        rows: Pictures, of as many columns.
        heading: A line above all.
        legend: Names of classes in the order of the colours of `palette`; at most the first are shown.
    Raises:
        UserError: If there is something already, it cannot be written, or matplotlib is missing.
    """
    check_sheet(path)
    columns = max(map(len, rows))
    lines = -(-min(len(legend), _LEGEND_NAMES) // (2 * columns))
    heights = [max(tile.image.height / tile.image.width for tile in row) for row in rows]
    figure = new_figure((columns * _SIDE, sum(heights) * _SIDE + 0.3 * len(rows) + 0.5 + 0.25 * lines))
    figure.suptitle(heading, fontsize=11)
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes in grid.ravel():
        axes.set_axis_off()
    for row, cells in zip(rows, grid, strict=True):
        for tile, axes in zip(row, cells, strict=False):
            axes.imshow(np.asarray(tile.image))
            axes.set_title(_shortened(tile.title), fontsize=8)
    if legend:
        _add_legend(figure, legend, 2 * columns)
    save_figure(figure, path, dpi=100)


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST else f"...{title[3 - _LONGEST :]}"


def _add_legend(figure: Any, names: Sequence[str], columns: int) -> None:
    from matplotlib.patches import Patch

    colours = palette(len(names)) / 255
    patches = [
        Patch(color=colour, label=name)
        for name, colour in list(zip(names, colours, strict=True))[:_LEGEND_NAMES]
    ]
    if len(names) > _LEGEND_NAMES:
        patches.append(Patch(color="none", label=f"{len(names) - _LEGEND_NAMES} more"))
    ncols = min(columns, len(patches))
    figure.legend(handles=patches, loc="outside lower center", ncols=ncols, fontsize=8, frameon=False)
