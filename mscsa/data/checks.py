"""Looking through an image folder before a long run: everything that is wrong, at once."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mscsa.data.contract import Split
from mscsa.data.image_folder import class_difference, class_folders, image_files, split_folder
from mscsa.data.images import BadImage, decode_image
from mscsa.errors import UserError

_SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True)
class Problem:
    """One thing to put right."""

    path: str
    """File or folder that it is about."""
    what: str
    """What is wrong."""
    remedy: str
    """What to do."""
    is_note: bool = False
    """Whether it is only worth knowing: training does not mind."""
    count: int = 1
    """How many it stands for: of many alike, the first are named and the others counted."""


def check_image_folder(root: str | Path) -> list[Problem]:
    """Look through both splits: decode every image and compare the splits.

    Finds unreadable images, classes without images, classes that only one split has, and files
    with the same content in train and val (which make the validation score too good).

    Raises:
        UserError: If a split or its class folders are missing: there is nothing to look through.
    """
    classes = {split: class_folders(split_folder(root, split)) for split in _SPLITS}
    problems: list[Problem] = []
    difference = class_difference(classes["train"], classes["val"])
    if difference:
        problems.append(Problem(str(root), difference, "make the class folders of both splits the same"))
    images: dict[Split, list[str]] = {}
    for split in _SPLITS:
        images[split] = []
        for name in classes[split]:
            folder = Path(root) / split / name
            files = _list_images(folder, problems)
            images[split] += files
    readable = {
        split: [path for path in paths if _decodes(path, problems)] for split, paths in images.items()
    }
    return problems + shared_files(readable["train"], readable["val"])


def _decodes(path: str, problems: list[Problem]) -> bool:
    try:
        decode_image(path)
    except BadImage as bad:
        problems.append(Problem(path, bad.what, bad.remedy))
        return False
    return True


def _list_images(folder: Path, problems: list[Problem]) -> list[str]:
    try:
        files = image_files(folder)
    except UserError:
        problems.append(Problem(str(folder), "folder cannot be read", "check its permissions"))
        return []
    if not files:
        problems.append(Problem(str(folder), "class without images", "add some or remove it"))
    return files


def shared_files(train: Iterable[str], val: Iterable[str]) -> list[Problem]:
    """Find the files of val whose content is in train too."""
    # Only files of equal size can be equal, so that few are read a second time.
    train_by_size: dict[int, list[str]] = defaultdict(list)
    for path in train:
        train_by_size[os.path.getsize(path)].append(path)
    digest_of = cache(_digest)
    problems = []
    for path in val:
        for other in train_by_size.get(os.path.getsize(path), ()):
            if digest_of(other) == digest_of(path):
                what = f"same content as {other}"
                problems.append(Problem(path, what, "remove it from one of the splits"))
                break
    return problems


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
