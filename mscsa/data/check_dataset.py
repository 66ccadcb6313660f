"""Looking through a data set of any layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mscsa.data.class_folders.checks import check_image_folder
from mscsa.data.class_folders.layouts import split_folder
from mscsa.data.class_folders.listed import has_listed
from mscsa.data.coco.checks import check_coco
from mscsa.data.coco.layouts import GivenFiles, object_layout
from mscsa.data.contract import Split
from mscsa.data.division import SPLIT_NAMES
from mscsa.data.foreign import class_folders, unknown_layout
from mscsa.data.label_maps.checks import check_label_maps
from mscsa.data.label_maps.layouts import find_maps, is_maps
from mscsa.data.packed.checks import check_packed
from mscsa.data.packed.layouts import packed_form
from mscsa.data.problems import Problem
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

Layout = Literal["folder", "masks", "ade20k", "coco"]
"""What folders of data are told apart by; `check_dataset` says what each is."""


def check_dataset(
    root: str | Path | None,
    kind: Layout | Literal["auto"] = "auto",
    *,
    annotations_only: bool = False,
    given: Mapping[Split, GivenFiles] | None = None,
) -> list[Problem]:
    """Look through a data set and name all that is wrong.

    Args:
        root: Its folder; None where `given` says all.
        kind: `folder` (images with one class each), `masks` or `ade20k` (images with label maps), `coco`
            (images with objects, in COCO's format or YOLO's or Pascal VOC's layout); `auto` looks which.
        annotations_only: For `coco`: only see whether the images are there, instead of decoding them.
        given: Files in COCO's format and folders of images of both splits, wherever they are.
    Raises:
        UserError: If it is not there, or of none of these layouts.
    """
    if given:
        return check_coco(root, annotations_only=annotations_only, given=given)
    root = Path(root or "")
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give the folder that holds the data set")
    if kind == "auto":
        kind, layout = layout_of(root)
        logger.info("%s is read as %s (%s)", root, layout, kind)
    if kind == "coco":
        return check_coco(root, annotations_only=annotations_only)
    if annotations_only:
        raise UserError(f"--annotations-only is for COCO annotations, {root} is of kind {kind}: leave it out")
    if kind == "masks" or kind == "ade20k":
        return check_label_maps(root, kind)
    return check_image_folder(root) if packed_form(root) is None else check_packed(root)


def layout_of(root: Path) -> tuple[Layout, str]:
    """Say of which kind a data set is, by its folders, and in which layout, for people."""
    objects = object_layout(root)
    if objects is not None:
        return "coco", objects
    layout = is_maps(root)
    if layout is not None:
        where = find_maps(root, "train", layout).layout
        return layout, f"images with label maps, {where}"
    if (form := packed_form(root)) is not None:
        return "folder", f"images with one class each in {form}"
    if class_folders(root) != "SPLIT/CLASS" and has_listed(root):
        return "folder", "images with a table of their classes"
    if class_folders(root) is None and not any(split_folder(root, split) for split in SPLIT_NAMES):
        raise unknown_layout(root)
    return "folder", "class folders"
