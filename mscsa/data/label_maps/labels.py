"""Reading one label map: the class of each pixel."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.data.label_maps.folders import LABEL_FORMATS
from mscsa.data.label_maps.tables import Colour, LabelTable
from mscsa_runtime.errors import Unusable
from mscsa_runtime.images import BadImage, read_file, turn_of

_TABLE_REMEDY = (
    "say which class a colour is in class_dict.csv (name,r,g,b), or save it as a PNG of one 8-bit channel"
)

FEW_CLASSES_REMEDY = (
    f"label two classes or more by their places in the list, 0, 1, ...; {IGNORED} is none of them, unless "
    "classes.csv (value,name) says what it is"
)
"""What to do where the labels of a split have too few classes."""


class BadLabels(Unusable):
    """A label map that cannot be used."""


def read_labels(path: str | Path, table: LabelTable) -> NDArray[np.uint8]:
    """Read a label map as class indices (H, W), 255 for ignored pixels.

    It is turned upright as its own EXIF orientation says, as images are. Grey of any depth, palettes, and
    colours whose three channels are equal are values; where the table has colours, so do palettes and
    colours, and grey values are places in it. Of a GIF with several frames the first is taken.

    Raises:
        BadLabels: If it is unreadable, or holds a value or a colour that is not in the table; names it, and
            how many pixels have it.
    """
    try:
        return read_file(path, partial(_upright, table=table), formats=LABEL_FORMATS)
    except BadImage as bad:
        raise BadLabels(bad.what, bad.remedy) from bad


def check_labels(labels: NDArray[np.uint8], image_size: tuple[int, int]) -> None:
    """Compare the size of labels (H, W) with that of their image (W, H).

    Raises:
        BadLabels: If they differ.
    """
    height, width = labels.shape
    if (width, height) != image_size:
        remedy = "give label maps of the size of their images"
        if (height, width) == image_size:
            remedy += " (images are turned upright as their EXIF orientation says)"
        raise BadLabels(f"{width}x{height} px, its image has {image_size[0]}x{image_size[1]}", remedy)


def _upright(image: Image.Image, table: LabelTable) -> NDArray[np.uint8]:
    found = _classes(image, table)
    turn = turn_of(image)
    return found if turn is None else np.asarray(Image.fromarray(found).transpose(turn))


def _classes(image: Image.Image, table: LabelTable) -> NDArray[np.uint8]:
    if table.colours and (image.mode in ("P", "RGB", "RGBA") or _are_grey(table)):
        return _of_colours(np.asarray(image.convert("RGB")), table)
    values = _indices(image, table)
    known = dict(table.values)
    if image.mode == "1" and 1 not in known and IGNORED in known:
        values = values * np.uint8(IGNORED)  # black and white
    found = _lookup(table.values)[values]
    wrong = found < 0
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        label = values[y, x]
        count = int((values == label).sum())
        raise BadLabels(
            f"label {label} at pixel x={x}, y={y} ({count} such pixels), of {len(table.names)}",
            _remedy(table, "label"),
        )
    return found.astype(np.uint8)


def _of_colours(colours: NDArray[np.uint8], table: LabelTable) -> NDArray[np.uint8]:
    """Look up the class of each colour (H, W, 3)."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    codes = red << 16 | green << 8 | blue
    found = _colour_lookup(table.colours)[codes]
    wrong = found < 0
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        colour = tuple(colours[y, x].tolist())
        count = int((codes == codes[y, x]).sum())
        others = len(np.unique(codes[wrong])) - 1
        more = f", and {others} other unknown colours" if others else ""
        raise BadLabels(
            f"colour {colour} at pixel x={x}, y={y} ({count} such pixels{more}) is none of the "
            f"{len(table.colours)} colours of the classes",
            _remedy(table, "colour"),
        )
    return found.astype(np.uint8)


def _remedy(table: LabelTable, what: str) -> str:
    if what == "label" and table.values[:-1] == tuple((i, i) for i in range(len(table.names))):
        return (
            f"use 0 to {len(table.names) - 1}, or {IGNORED} for pixels to ignore; or say in classes.csv "
            "(value,name) which class each value is"
        )
    place = "the table of classes" if table.file is None else table.file.name
    return f"correct the pixels, or add a row for this {what} to {place}"


@lru_cache(maxsize=4)
def _lookup(values: tuple[tuple[int, int], ...]) -> NDArray[np.int16]:
    """Give the class of each value, (256,); -1 where there is none."""
    found = np.full(IGNORED + 1, -1, np.int16)
    for value, label in values:
        found[value] = label
    return found


@lru_cache(maxsize=2)
def _colour_lookup(colours: tuple[tuple[Colour, int], ...]) -> NDArray[np.int16]:
    """Give the class of each colour, (2^24,); -1 where there is none."""
    found = np.full(1 << 24, -1, np.int16)
    for (red, green, blue), label in colours:
        found[red << 16 | green << 8 | blue] = label
    return found


def _are_grey(table: LabelTable) -> bool:
    """Whether a table's colours are levels of grey, which are no places in it."""
    return all(red == green == blue for (red, green, blue), _ in table.colours)


def _indices(image: Image.Image, table: LabelTable) -> NDArray[np.uint8]:
    factor = _factor_of(image)
    image.load()
    values = np.asarray(image)
    if image.mode in ("RGB", "RGBA", "LA"):
        colours = values[..., :-1] if image.mode.endswith("A") else values
        if (colours != colours[..., :1]).any():
            raise BadLabels(_colours_without_table(colours), _TABLE_REMEDY)
        values = colours[..., 0]
    elif image.format == "GIF" and image.mode == "P":
        _refuse_reordered(image, values, table)
    elif image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise BadLabels(f"mode {image.mode}: no class indices", "save it as a PNG of one 8-bit channel")
    if values.max(initial=0) > IGNORED or values.min(initial=0) < 0:
        raise BadLabels(
            f"values from {values.min()} to {values.max()}: class indices are 0 to {IGNORED}",
            "save it as a PNG of one 8-bit channel",
        )
    return values.astype(np.uint8) // np.uint8(factor)


def _refuse_reordered(image: Image.Image, values: NDArray[np.uint8], table: LabelTable) -> None:
    """Refuse a GIF whose palette may hold the labels, as where Pillow saved grey values: it renumbers them.

    Of black and white the place counts, for so masks of one object are written.
    """
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    places = np.unique(values)
    places = places[places < len(palette)]
    colours = palette[places]
    greys = colours[:, 0]
    known = set(greys.tolist())
    may_be_labels = bool((colours == colours[:, :1]).all()) and known <= dict(table.values).keys()
    if may_be_labels and (greys != places).any() and not known <= {0, IGNORED}:
        shown, at = (", ".join(map(str, each[:5].tolist())) for each in (greys, places))
        raise BadLabels(
            f"a GIF whose palette holds grey values ({shown}) at the places {at}: either may be the labels",
            "save it as a PNG of one 8-bit channel",
        )


def _colours_without_table(colours: NDArray[np.uint8]) -> str:
    found = np.unique(colours.reshape(-1, 3), axis=0)
    shown = ", ".join(str(tuple(each)) for each in found[:3].tolist())
    return f"colours instead of class indices ({len(found)}: {shown}{', ...' if len(found) > 3 else ''})"


def _factor_of(image: Any) -> int:
    """Give the factor by which Pillow stretches grey of 2 or 4 bits to 0..255."""
    mode = next((tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile), "")
    return next((factor for start, factor in (("L;2", 85), ("L;4", 17)) if str(mode).startswith(start)), 1)
