"""The tables of Cityscapes, Pascal VOC and ADE20K, which their files do not hold."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.contract import IGNORED
from mscsa.data.label_maps.tables import Colour, LabelTable, plain_table
from mscsa.data.texts import read_text

ADE20K_CLASSES = 150

CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Values of `_labelIds` that are evaluated, in the order of `_labelTrainIds` (cityscapesScripts)."""

_LAST_CITYSCAPES_ID = 33

VOC: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
)
VOC += ("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train")
VOC += ("tvmonitor",)
"""Classes of Pascal VOC, in the order of their indices."""

VOC_BORDER: Colour = (224, 224, 192)
"""Colour of the border around objects, index 255."""


def cityscapes_table(suffix: str) -> LabelTable:
    """Give the table of Cityscapes' 19 classes, for maps of a suffix such as `_gtFine_labelIds`."""
    names = tuple(CITYSCAPES.values())
    if suffix.endswith("labelTrainIds"):
        return plain_table(names)
    places = {value: place for place, value in enumerate(CITYSCAPES)}
    values = {value: places.get(value, IGNORED) for value in range(_LAST_CITYSCAPES_ID + 1)}
    return LabelTable(names, tuple({**values, IGNORED: IGNORED}.items()))


def voc_table() -> LabelTable:
    """Give the table of Pascal VOC's 21 classes, by index and by colour."""
    plain = plain_table(VOC)
    colours = ((voc_colour(i), i) for i in range(len(VOC)))
    return LabelTable(plain.names, plain.values, (*colours, (VOC_BORDER, IGNORED)))


def voc_colour(index: int) -> Colour:
    """Give the colour of an index in VOC's colour map (`VOClabelcolormap.m` of the development kit)."""
    channels = [0, 0, 0]
    for step in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * step + channel) & 1) << (7 - step)
    return channels[0], channels[1], channels[2]


def ade20k_table(root: Path) -> LabelTable:
    """Give ADE20K's: 0 is ignored, n is class n - 1; names are of `objectInfo150.txt`, or numbers."""
    names = _ade20k_names(root)
    values = {0: IGNORED, **{i + 1: i for i in range(len(names))}}
    return LabelTable(tuple(names), tuple(values.items()))


def _ade20k_names(root: Path) -> list[str]:
    path = root / "objectInfo150.txt"
    numbered = [f"class {i}" for i in range(1, ADE20K_CLASSES + 1)]
    if not path.exists():
        return numbered
    # Columns: Idx, Ratio, Train, Val, Name (several, by commas).
    rows = [line.split("\t") for line in read_text(path).splitlines()[1:] if line.strip()]
    names = [row[-1].partition(",")[0].strip() for row in rows]
    if len(names) != ADE20K_CLASSES:
        return numbered
    # Two classes are called "screen".
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
