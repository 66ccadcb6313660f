"""Where images and their objects lie: in COCO's format and its layouts, YOLO's, Pascal VOC's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mscsa.data.coco.splits import COCO_FILES, ObjectSplit, annotation_files, has_coco, whole_file
from mscsa.data.coco.voc import find_voc, is_voc
from mscsa.data.coco.yolo import find_yolo, is_yolo
from mscsa.data.contract import SPLITS, Split
from mscsa.data.division import side_of, tell_division
from mscsa.data.foreign import refuse_foreign, unknown_layout
from mscsa.data.places import first_file, in_any_case
from mscsa.errors import UserError

_FOLDERS = ("{name}", "images/{name}", "images")
_WHOLE_FOLDERS = ("images/default", "images", ".")


@dataclass(frozen=True)
class GivenFiles:
    """A split whose places are given, whatever is around them."""

    annotations: str
    """File in COCO's format."""
    images: str
    """Folder that the names of images are relative to."""


def find_objects(root: str | Path | None, split: Split, given: GivenFiles | None = None) -> ObjectSplit:
    """Find images and objects of a split, whatever their layout.

    Args:
        root: Folder of the data set; None where the places are given.
        split: `train` or `val`.
        given: Its file of annotations and folder of images, in place of looking for them.
    Raises:
        UserError: If they are not there.
    """
    if given is not None:
        return _given(given, split)
    root = Path(root or "")
    for name, file in annotation_files(root, split):
        folders = list(in_any_case(root, (pattern.format(name=name) for pattern in _FOLDERS)))
        folder = next((each for each in folders if each.is_dir()), None)
        if folder is None:
            raise UserError(f"{folders[0]} is not there: put the images of {file} into it")
        return ObjectSplit("COCO's format", file, folder)
    whole = whole_file(root)
    if whole is not None and not _has_splits(root):
        tell_division(root)
        folder = next(root / name for name in _WHOLE_FOLDERS if (root / name).is_dir())
        return ObjectSplit("COCO's format", whole, folder, part=split)
    if not has_coco(root) and is_yolo(root):
        return find_yolo(root, split)
    if not has_coco(root) and is_voc(root):
        return find_voc(root, split)
    if has_coco(root):
        raise UserError(
            f"{root / COCO_FILES[0].format(name=split)} is not there, and there is one of the other split: "
            f"give it, or both places by data.{split}_annotations and data.{split}_images"
        )
    if not root.is_dir():
        raise UserError(
            f"{root / COCO_FILES[0].format(name=split)} is not there: give the folder that holds "
            f"annotations/ and the images as data.root, or one with {COCO_FILES[2].format(name=split)} in it"
        )
    refuse_foreign(root, "detection")
    raise unknown_layout(root, "detection")


def object_layout(root: Path) -> str | None:
    """Say in which layout a folder holds objects, or None if it holds none."""
    if has_coco(root):
        return "COCO's format"
    if is_yolo(root):
        return "YOLO's layout"
    return "Pascal VOC's layout" if is_voc(root) else None


def image_path(folder: Path, file_name: str) -> Path:
    """Find an image's file.

    `file_name` is relative to the split's folder, or to one of the two around it, by slashes or as Windows
    writes it. Where there is no such file, the one of its last part in the split's folder is meant, unless
    its folder is in there, or is of the other split. Unicode may write the names otherwise.
    """
    names = [file_name, *([file_name.replace("\\", "/")] if "\\" in file_name else [])]
    tried = [(place, name) for name in names for place in (folder, folder.parent, folder.parent.parent)]
    found = first_file(tried)
    if found is None and not any(_is_elsewhere(folder, name) for name in names):
        found = first_file([(folder, Path(name).name) for name in names])
    return found or folder / file_name


def _is_elsewhere(folder: Path, name: str) -> bool:
    """Whether a name speaks of another folder than the split's: of one in it, or the other split's."""
    above, _, _ = name.rpartition("/")
    parts = Path(above).parts
    if parts and not Path(above).is_absolute() and ".." not in parts and os.path.isdir(folder / above):
        return True
    sides = side_of(above), side_of(f"{folder.parent.name}/{folder.name}")
    return None not in sides and sides[0] != sides[1]


def _has_splits(root: Path) -> bool:
    return any(True for split in SPLITS for _ in annotation_files(root, split))


def _given(given: GivenFiles, split: Split) -> ObjectSplit:
    file, folder = Path(given.annotations), Path(given.images)
    if not file.is_file():
        raise UserError(f"data.{split}_annotations {file} is not there: give a file in COCO's format")
    if not folder.is_dir():
        raise UserError(f"data.{split}_images {folder} is not there: give the folder of its images")
    return ObjectSplit("COCO's format", file, folder)
