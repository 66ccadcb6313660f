"""Looking through a data set of any layout."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.checks import Problem, check_image_folder
from mscsa.data.segmentation_checks import check_segmentation
from mscsa.data.segmentation_folder import LAYOUTS
from mscsa.errors import UserError


def check_dataset(root: str | Path, kind: str = "auto") -> list[Problem]:
    """Look through a data set and name all that is wrong.

    Args:
        root: Its folder.
        kind: `folder` (class folders), `masks` or `ade20k` (images with label maps); `auto` looks which.
    Raises:
        UserError: If it is not there, or of none of these layouts.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give the folder that holds the data set")
    if kind == "auto":
        kind = _layout_of(root)
    if kind in LAYOUTS:
        return check_segmentation(root, kind)
    return check_image_folder(root)


def _layout_of(root: Path) -> str:
    for name, layout in LAYOUTS.items():
        if (root / layout.images).is_dir() and (root / layout.labels).is_dir():
            return name
    return "folder"
