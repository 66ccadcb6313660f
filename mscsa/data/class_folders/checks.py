"""Looking through class folders before a long run: everything that is wrong, at once."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.class_folders.layouts import ClassSource, class_difference, find_classes, without_images
from mscsa.data.contract import SPLITS, Split
from mscsa.data.mirroring import mirror_note, mirror_warning
from mscsa.data.problems import Problem, contradictions, shared_files
from mscsa.errors import UserError
from mscsa.progress import tracked
from mscsa_runtime.images import BadImage, decode_image


def check_image_folder(root: str | Path) -> list[Problem]:
    """Look through both splits: decode every image and compare the splits.

    Finds unreadable images, classes without images, classes that only one split has, copies of one image
    with different classes in a split, and files with the same content in train and val (which make the
    validation score too good).

    Raises:
        UserError: If a split or its class folders are missing: there is nothing to look through.
    """
    splits = {split: find_classes(root, split) for split in SPLITS}
    classes = {split: splits[split].class_names() for split in SPLITS}
    problems: list[Problem] = []
    difference = class_difference(classes["train"], classes["val"])
    if difference:
        problems.append(Problem(str(root), difference, "make the class folders of both splits the same"))
    images = {
        split: [
            (path, name)
            for name in classes[split]
            for path in _list_images(splits[split], name, split, problems)
        ]
        for split in SPLITS
    }
    readable = {
        split: [
            each for each in tracked(found, f"images of {split}", len(found)) if _decodes(each[0], problems)
        ]
        for split, found in images.items()
    }
    train, val = readable["train"], readable["val"]
    problems += contradictions(train) + contradictions(val)
    warning = mirror_warning(classes["train"], (), can_swap=False)
    notes = [] if warning is None else [mirror_note(root, warning)]
    return problems + shared_files([path for path, _ in train], [path for path, _ in val]) + notes


def _list_images(where: ClassSource, name: str, split: Split, problems: list[Problem]) -> list[str]:
    folder = where.describe(name)
    try:
        files = where.images(name)
    except UserError:
        problems.append(Problem(folder, "folder cannot be read", "check its permissions"))
        return []
    if not files:
        problems.append(without_images(where, name, split))
    if note := where.left_out([name]):
        remedy = "convert what shall count to a format that is read"
        problems.append(Problem(folder, note, remedy, is_note=True))
    return files


def _decodes(path: str, problems: list[Problem]) -> bool:
    try:
        decode_image(path)
    except BadImage as bad:
        problems.append(Problem(path, bad.what, bad.remedy))
        return False
    return True
