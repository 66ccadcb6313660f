"""Looking through a data set of any layout."""

from __future__ import annotations

import logging
from pathlib import Path

from mscsa.data.class_folders.checks import check_image_folder
from mscsa.data.coco.checks import check_coco
from mscsa.data.coco.layouts import object_layout
from mscsa.data.foreign import refuse_foreign
from mscsa.data.label_maps.checks import check_label_maps
from mscsa.data.label_maps.layouts import LAYOUTS
from mscsa.data.problems import Problem
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

_NAMES = {
    "masks": "images with label maps (masks)",
    "ade20k": "ADE20K's layout (ade20k)",
    "folder": "class folders (folder)",
}


def check_dataset(root: str | Path, kind: str = "auto", *, annotations_only: bool = False) -> list[Problem]:
    """Look through a data set and name all that is wrong.

    Args:
        root: Its folder.
        kind: `folder` (class folders), `masks` or `ade20k` (images with label maps), `coco` (images with
            objects, in COCO's format or YOLO's or Pascal VOC's layout); `auto` looks which.
        annotations_only: For `coco`: only see whether the images are there, instead of decoding them.
    Raises:
        UserError: If it is not there, or of none of these layouts.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give the folder that holds the data set")
    if kind == "auto":
        objects = object_layout(root)
        kind = _layout_of(root) if objects is None else "coco"
        logger.info("%s is read as %s", root, _NAMES[kind] if objects is None else f"{objects} (coco)")
    if kind == "coco":
        return check_coco(root, annotations_only=annotations_only)
    if annotations_only:
        raise UserError(f"--annotations-only is for COCO annotations, {root} is of kind {kind}: leave it out")
    if kind in LAYOUTS:
        return check_label_maps(root, kind)
    return check_image_folder(root)


def _layout_of(root: Path) -> str:
    refuse_foreign(root)
    for name, layout in LAYOUTS.items():
        if (root / layout.images).is_dir() and (root / layout.labels).is_dir():
            return name
    return "folder"
