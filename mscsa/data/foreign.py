"""Layouts that are known and not read, or for another task: what was seen, and what to give instead."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.coco.voc import is_voc
from mscsa.data.coco.yolo import is_yolo
from mscsa.errors import UserError

_AS_OBJECTS = "it holds objects, which detectors read (small_retinanet/..., small_mask_rcnn/...)"
_AS_MASKS = (
    "give images/train, images/val, labels/train and labels/val with files of the same names, and classes.txt"
)


def refuse_foreign(root: Path) -> None:
    """Name the layout of a folder if it is a known one that is not read, or read as objects alone.

    Raises:
        UserError: If it is.
    """
    found = _foreign(root)
    if found is not None:
        raise UserError(f"{root} is {found[0]}, which is not read here: {found[1]}")


def _foreign(root: Path) -> tuple[str, str] | None:
    """Say what was seen, and what to do; None if it is nothing known."""
    if is_yolo(root):
        return "in YOLO's layout (data.yaml, labels/NAME.txt)", f"{_AS_OBJECTS}; for label maps {_AS_MASKS}"
    if is_voc(root) or (root / "JPEGImages").is_dir():
        what = "in Pascal VOC's layout (JPEGImages, Annotations, SegmentationClass)"
        return what, f"{_AS_OBJECTS}; for label maps {_AS_MASKS}" if is_voc(root) else _AS_MASKS
    if (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        return "in Cityscapes' layout (leftImg8bit, gtFine)", _AS_MASKS
    for name in ("annotations/instances_default.json", "result.json"):
        if (root / name).is_file():
            tool = "CVAT" if name.startswith("annotations") else "Label Studio"
            return f"one COCO file for all images ({name}, as {tool} writes it)", (
                "divide it into annotations/instances_train.json and instances_val.json, with the images in "
                "train/ and val/ or all in images/"
            )
    if (root / "train/images").is_dir() and any(
        (root / "train" / name).is_dir() for name in ("masks", "labels")
    ):
        return "in folders of images and masks below each split", _AS_MASKS
    return None
