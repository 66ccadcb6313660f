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
    colours, and grey values are places in it. Of a GIF the first frame is taken, and its palette has to be
    grey values at their own places, black and white of two classes, or colours of the table.

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
    # A GIF that happens to need no palette is grey to Pillow.
    is_coloured = image.mode in ("P", "RGB", "RGBA") or image.format == "GIF" or _are_grey(table)
    if table.colours and is_coloured:
        return _of_colours(np.asarray(image.convert("RGB")), table)
    values = _indices(image, table)
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
    elif image.format == "GIF":
        return _of_gif(image, values, table)
    elif image.mode == "1":
        return values * _white_of(table)
    elif image.mode not in ("L", "P") and not image.mode.startswith("I"):
        raise BadLabels(f"mode {image.mode}: no class indices", "save it as a PNG of one 8-bit channel")
    if values.max(initial=0) > IGNORED or values.min(initial=0) < 0:
        raise BadLabels(
            f"values from {values.min()} to {values.max()}: class indices are 0 to {IGNORED}",
            "save it as a PNG of one 8-bit channel",
        )
    return values.astype(np.uint8) // np.uint8(factor)


def _of_gif(image: Image.Image, values: NDArray[np.uint8], table: LabelTable) -> NDArray[np.uint8]:
    """Read a GIF whose colours say what it holds: programs renumber its palette when they save it.

    Renumbered black and white are 0 and 1, for so masks of one object are written.
    """
    places = np.unique(values)
    colours = _palette_of(image)[places]
    greys = colours[:, 0]
    if (colours == colours[:, :1]).all():
        is_bilevel = len(table.names) == 2 and set(greys.tolist()) <= {0, IGNORED}
        if np.array_equal(greys, places):
            if is_bilevel and IGNORED in places:
                _refuse_unclear_white(table)
            return values
        if is_bilevel:
            return np.isin(values, places[greys == IGNORED]) * _white_of(table)
    shown = ", ".join(
        f"{tuple(colour)} at {at}" for colour, at in zip(colours[:3].tolist(), places, strict=False)
    )
    raise BadLabels(
        f"a GIF whose palette tells no class ({shown}{', ...' if len(places) > 3 else ''}): "
        "programs renumber it",
        _TABLE_REMEDY,
    )


def _refuse_unclear_white(table: LabelTable) -> None:
    """Refuse 255 beside 0 alone where it means another thing than the white of a renumbered palette.

    Pillow renumbers some of a set's files and others not, by their size and mode.
    """
    known = dict(table.values)
    if known.get(int(_white_of(table))) != known.get(IGNORED):
        raise BadLabels(
            f"0 and {IGNORED} in a GIF, of which {IGNORED} may be a class or pixels to ignore",
            f"say in classes.csv (value,name) which class {IGNORED} is, and leave the value 1 out, or save "
            "it as a PNG of one 8-bit channel",
        )


def _white_of(table: LabelTable) -> np.uint8:
    """Give the value that white stands for in an image of black and white."""
    known = dict(table.values)
    return np.uint8(IGNORED if 1 not in known and IGNORED in known else 1)


def _palette_of(image: Image.Image) -> NDArray[np.uint8]:
    """Give the colours of an image's values, (256, 3)."""
    if image.mode == "L":
        return np.arange(IGNORED + 1, dtype=np.uint8)[:, None].repeat(3, axis=1)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return np.pad(colours, ((0, IGNORED + 1 - len(colours)), (0, 0)))


def _colours_without_table(colours: NDArray[np.uint8]) -> str:
    found = np.unique(colours.reshape(-1, 3), axis=0)
    shown = ", ".join(str(tuple(each)) for each in found[:3].tolist())
    return f"colours instead of class indices ({len(found)}: {shown}{', ...' if len(found) > 3 else ''})"


def _factor_of(image: Any) -> int:
    """Give the factor by which Pillow stretches grey of 2 or 4 bits to 0..255."""
    mode = next((tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile), "")
    return next((factor for start, factor in (("L;2", 85), ("L;4", 17)) if str(mode).startswith(start)), 1)
