"""Where images and their objects lie: in COCO's format and its layouts, YOLO's, Pascal VOC's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mscsa.data.coco.splits import SPLIT_NAMES, ObjectSplit
from mscsa.data.coco.voc import find_voc, is_voc
from mscsa.data.coco.yolo import find_yolo, is_yolo
from mscsa.data.contract import Split
from mscsa.data.foreign import refuse_foreign
from mscsa.errors import UserError

_FILES = (
    "annotations/instances_{name}.json",  # COCO, Ultralytics
    "annotations/{name}.json",
    "{name}/_annotations.coco.json",  # Roboflow
)
_FOLDERS = ("{name}", "images/{name}", "images")


def find_objects(root: str | Path, split: Split) -> ObjectSplit:
    """Find images and objects of a split, whatever their layout.

    Raises:
        UserError: If they are not there.
    """
    root = Path(root)
    for name, file in _annotation_files(root, split):
        folders = [root / pattern.format(name=name) for pattern in _FOLDERS]
        folder = next((each for each in folders if each.is_dir()), None)
        if folder is None:
            raise UserError(f"{folders[0]} is not there: put the images of {file} into it")
        return ObjectSplit("COCO's format", file, folder)
    if not _has_coco(root) and is_yolo(root):
        return find_yolo(root, split)
    if not _has_coco(root) and is_voc(root):
        return find_voc(root, split)
    refuse_foreign(root)
    raise UserError(
        f"{root / _FILES[0].format(name=split)} is not there: give the folder that holds annotations/ and "
        f"the images as data.root, or one with {_FILES[2].format(name=split)} in it"
    )


def object_layout(root: Path) -> str | None:
    """Say in which layout a folder holds objects, or None if it holds none."""
    if _has_coco(root):
        return "COCO's format"
    if is_yolo(root):
        return "YOLO's layout"
    return "Pascal VOC's layout" if is_voc(root) else None


def image_path(folder: Path, file_name: str) -> Path:
    """Find an image's file.

    `file_name` is relative to the split's folder, or to one of the two around it, by slashes or as Windows
    writes it; where there is no such file, the one of its last part in the split's folder is meant.
    """
    names = [file_name, *([file_name.replace("\\", "/")] if "\\" in file_name else [])]
    for name in names:
        for path in (
            folder / name,
            folder.parent / name,
            folder.parent.parent / name,
            folder / Path(name).name,
        ):
            # Not `Path.is_file`, which raises for names that no file can have.
            if os.path.isfile(path):
                return path
    return folder / file_name


def _has_coco(root: Path) -> bool:
    return any(True for split in SPLIT_NAMES for _ in _annotation_files(root, split))


def _annotation_files(root: Path, split: Split) -> Iterator[tuple[str, Path]]:
    """Give the name of a split and its file of annotations, of those that are there."""
    for pattern in _FILES:
        for name in SPLIT_NAMES[split]:
            file = root / pattern.format(name=name)
            if file.is_file():
                yield name, file
