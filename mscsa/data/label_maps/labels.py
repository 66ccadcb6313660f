"""Reading one label map: the class of each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.data.label_maps.layouts import LABEL_FORMATS, LabelLayout
from mscsa_runtime.errors import Unusable
from mscsa_runtime.images import BadImage, read_file


class BadLabels(Unusable):
    """A label map that cannot be used."""


def read_labels(path: str | Path, layout: LabelLayout) -> NDArray[np.uint8]:
    """Read a label map as class indices (H, W), 255 for ignored pixels.

    Grey of any depth, palettes, and colours whose three channels are equal are indices.

    Raises:
        BadLabels: If it is unreadable, or holds colours instead of indices.
    """
    try:
        labels = read_file(path, _indices, formats=LABEL_FORMATS)
    except BadImage as bad:
        raise BadLabels(bad.what, bad.remedy) from bad
    if layout == "ade20k":
        labels = labels - np.uint8(1)  # wraps: 0 becomes 255, ignored
    return labels


def _indices(image: Image.Image) -> NDArray[np.uint8]:
    factor = _factor_of(image)
    image.load()
    values = np.asarray(image)
    if image.mode in ("RGB", "RGBA", "LA"):
        colours = values[..., :-1] if image.mode.endswith("A") else values
        if (colours != colours[..., :1]).any():
            raise BadLabels(
                f"mode {image.mode}: colours instead of class indices",
                "save it as a PNG of one 8-bit channel",
            )
        values = colours[..., 0]
    elif image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise BadLabels(f"mode {image.mode}: no class indices", "save it as a PNG of one 8-bit channel")
    if values.max(initial=0) > IGNORED or values.min(initial=0) < 0:
        raise BadLabels(
            f"values from {values.min()} to {values.max()}: class indices are 0 to {IGNORED}",
            "save it as a PNG of one 8-bit channel",
        )
    return values.astype(np.uint8) // np.uint8(factor)


def _factor_of(image: Any) -> int:
    """Give the factor by which Pillow stretches grey of 2 or 4 bits to 0..255."""
    mode = next((tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile), "")
    return next((factor for start, factor in (("L;2", 85), ("L;4", 17)) if str(mode).startswith(start)), 1)


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
        remedy = "give label maps of the size of their images"
        if (height, width) == image_size:
            remedy += " (images are turned upright as their EXIF orientation says)"
        raise BadLabels(f"{width}x{height} px, its image has {image_size[0]}x{image_size[1]}", remedy)
    wrong = (labels >= num_classes) & (labels != IGNORED)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise BadLabels(
            f"label {labels[y, x]} at pixel x={x}, y={y} ({wrong.sum()} such pixels), of {num_classes}",
            f"use 0 to {num_classes - 1}, or {IGNORED} for pixels to ignore",
        )
