"""Segmentations as files: the label map as an index PNG, and an overlay with a legend for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.evaluation.segment import Segmentation
from mscsa.pictures.figure import cannot_write, new_figure, save_figure
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.palette import palette

_OPACITY = 0.55
_MOST_SHOWN = 1680
"""Longer side of what is drawn, in pixels: twice that of an overlay."""
_LEGEND_ROWS = 24
"""Most classes that a legend names; the smaller ones are counted together."""


@dataclass(frozen=True, kw_only=True)
class WrittenSegmentation:
    """What was written for one image."""

    path: str
    label_map: str = ""
    overlay: str = ""
    classes: tuple[tuple[str, float], ...] = ()
    """Name of each class in it and its share of the pixels, the largest first."""
    error: str | None = None
    """Why there is nothing, in one line."""


def write_segmentations(
    segmentations: Iterable[Segmentation], folder: OutputFolder
) -> Iterator[WrittenSegmentation]:
    """Write FOLDER/NAME.png and FOLDER/NAME_overlay.png for each image; an unreadable one keeps its error.

    Raises:
        UserError: If the folder cannot be written, or a picture would overwrite an image.
    """
    for each in segmentations:
        if each.labels is None or each.image is None:
            yield WrittenSegmentation(path=each.path, error=each.error)
            continue
        label_map, overlay = folder.paths(each.path, ".png", "_overlay.png")
        write_label_map(label_map, each.labels)
        write_overlay(overlay, each.image, each.labels, each.class_names)
        yield WrittenSegmentation(
            path=each.path,
            label_map=str(label_map),
            overlay=str(overlay),
            classes=tuple(class_shares(each.labels, each.class_names)),
        )


def class_shares(labels: NDArray[np.uint8], class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Name the classes of a label map with their shares of the pixels, the largest first."""
    counts = np.zeros(256, np.int64)
    for row in labels:  # all at once would be eight bytes a pixel
        counts += np.bincount(row, minlength=256)
    counts = counts[: len(class_names)]
    order = np.argsort(-counts, kind="stable")
    return [(class_names[i], float(counts[i] / labels.size)) for i in order if counts[i]]


def write_label_map(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write class indices (H, W) as an 8-bit PNG, which viewers show in the colours of `palette`.

    Raises:
        UserError: If it cannot be written.
    """
    image = Image.frombytes("P", (labels.shape[1], labels.shape[0]), labels.tobytes())
    image.putpalette(palette(256).ravel().tolist())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_overlay(
    path: Path, image: Image.Image, labels: NDArray[np.uint8], class_names: Sequence[str]
) -> None:
    """Write the image with the classes laid over it, and a legend of those that are there.

    Raises:
        UserError: If matplotlib is missing, or it cannot be written.
    """
    shares = class_shares(labels, class_names)
    image, labels = _for_a_screen(image, labels)
    height, width = labels.shape
    side = 7.0 / max(height, width)
    figure = new_figure((width * side + 2.6, max(height * side, 2.0)))
    axes = figure.subplots()
    axes.imshow(np.asarray(blended(image, labels)), interpolation="nearest")
    axes.set_axis_off()
    axes.legend(
        handles=_legend(shares, class_names),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=9,
    )
    save_figure(figure, path, dpi=120)


def _for_a_screen(image: Image.Image, labels: NDArray[np.uint8]) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Make image and labels (H, W) smaller that have more pixels than an overlay shows."""
    scale = _MOST_SHOWN / max(image.size)
    if scale >= 1:
        return image, labels
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    classes = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
    return image.resize(size, Image.Resampling.BILINEAR), np.asarray(classes)


def blended(image: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
    """Lay the colours of classes (H, W) over an image of that size; ignored pixels stay as they are."""
    pixels = np.asarray(image, np.float32)
    blend = (1 - _OPACITY) * pixels + _OPACITY * palette(256)[labels]
    return Image.fromarray(np.where((labels == IGNORED)[..., None], pixels, blend).astype(np.uint8))


def _legend(shares: Sequence[tuple[str, float]], class_names: Sequence[str]) -> list[Any]:
    """Make the entries of the largest classes, and one of all that there is no room for."""
    from matplotlib.patches import Patch

    colours = palette(256)
    place = {name: i for i, name in enumerate(class_names)}
    patches = [
        Patch(color=colours[place[name]] / 255, label=f"{name}  {100 * share:.1f} %")
        for name, share in shares[:_LEGEND_ROWS]
    ]
    if len(shares) > _LEGEND_ROWS:
        rest = sum(share for _, share in shares[_LEGEND_ROWS:])
        patches.append(
            Patch(color="none", label=f"{len(shares) - _LEGEND_ROWS} more classes  {100 * rest:.1f} %")
        )
    return patches
