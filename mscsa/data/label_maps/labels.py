"""Reading one label map: the class of each pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mscsa.data.contract import IGNORED
from mscsa.data.label_maps.layouts import LabelLayout
from mscsa.data.problems import Unusable


class BadLabels(Unusable):
    """A label map that cannot be used."""


def read_labels(path: str | Path, layout: LabelLayout) -> NDArray[np.uint8]:
    """Read a label map as class indices (H, W), 255 for ignored pixels.

    Raises:
        BadLabels: If it is unreadable, or holds colours instead of indices.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode not in ("L", "P", "1"):
                raise BadLabels(
                    f"mode {image.mode}: colours or deep grey instead of 8-bit class indices",
                    "save it as a PNG of one 8-bit channel",
                )
            labels = np.array(image, np.uint8)
    except UnidentifiedImageError as error:
        raise BadLabels("not a PNG", "save it as a PNG of one 8-bit channel") from error
    except OSError as error:
        reason = (error.strerror or "damaged or truncated").lower()
        raise BadLabels(reason, "replace it") from error
    if layout == "ade20k":
        labels = labels - np.uint8(1)  # wraps: 0 becomes 255, ignored
    return labels


def check_labels(labels: NDArray[np.uint8], image_size: tuple[int, int], num_classes: int) -> None:
    """Look for what makes labels unusable.

    Args:
        labels: Class indices, (H, W).
        image_size: (width, height) of the image.
        num_classes: Indices below it are allowed, and 255.
    Raises:
        BadLabels: If the size differs or an index is too large; names the first such pixel.
    """
    height, width = labels.shape
    if (width, height) != image_size:
        raise BadLabels(
            f"{width}x{height} px, its image has {image_size[0]}x{image_size[1]}",
            "give label maps of the size of their images",
        )
    wrong = (labels >= num_classes) & (labels != IGNORED)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise BadLabels(
            f"label {labels[y, x]} at pixel x={x}, y={y} ({wrong.sum()} such pixels), of {num_classes}",
            f"use 0 to {num_classes - 1}, or {IGNORED} for pixels to ignore",
        )
