"""Looking through a set of objects before a long run: annotations, images, and the two splits together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from mscsa.data.coco.annotation_checks import ListedImage
from mscsa.data.coco.file_checks import FileReport, check_objects
from mscsa.data.coco.layouts import GivenFiles, find_objects, image_path
from mscsa.data.coco.splits import ObjectSplit
from mscsa.data.contract import SPLITS, Split
from mscsa.data.mirroring import mirror_note, mirror_warning, sided_pairs
from mscsa.data.problems import Findings, Problem, shared_files, some_of
from mscsa.errors import UserError
from mscsa.progress import tracked
from mscsa_runtime.images import BadImage, decode_image

_SHOWN_GAPS = 12


def check_coco(
    root: str | Path | None,
    *,
    annotations_only: bool = False,
    given: Mapping[Split, GivenFiles] | None = None,
) -> list[Problem]:
    """Look through both splits of a set of objects, in COCO's format or another layout that is read.

    Finds what is wrong with the annotations (`check_objects`), categories that the splits do
    not share, missing images, and, by decoding every image, unreadable ones, those of another size than their
    annotations say, and those with the same content in train and val (which make the validation score too
    good). Gaps in the category ids are only noted: COCO's own have some.

    Args:
        root: Folder of the data set; None where `given` says all.
        annotations_only: Only see whether the images are there, instead of decoding them.
        given: Files of annotations and folders of images, by split.
    Raises:
        UserError: If the annotations or the folder of images of a split are missing: there is nothing to look
            through.
    """
    splits = {split: find_objects(root, split, (given or {}).get(split)) for split in SPLITS}
    reports = {split: check_objects(splits[split]) for split in SPLITS}
    problems = [problem for split in SPLITS for problem in reports[split].problems]
    problems += _different_categories(
        root or splits["val"].file, reports["train"].categories, reports["val"].categories
    )
    readable: dict[Split, dict[str, int]] = {}
    for split in SPLITS:
        where = splits[split]
        found, readable[split] = _check_images(
            where.file, where.folder, reports[split].images, annotations_only
        )
        problems += found
    if not annotations_only:
        for problem in shared_files(readable["train"], readable["val"]):
            what = f"image {readable['val'][problem.path]}: {problem.what}"
            problems.append(replace(problem, what=what))
    return (
        problems
        + _sides(splits["train"], reports["train"].categories.values())
        + _empty(splits["train"].file, reports["train"])
        + _gaps(splits["train"].file, reports["train"].categories)
    )


def _check_images(
    annotation_file: Path, folder: Path, images: Iterable[ListedImage], annotations_only: bool
) -> tuple[list[Problem], dict[str, int]]:
    """Return what is wrong with the images, and the id of each readable one by its path."""
    findings = Findings(annotation_file)
    ids: dict[str, int] = {}
    entry_of: dict[Path, str] = {}
    named = {image.file_name: image for image in images if image.file_name}
    for image in tracked(named.values(), f"images of {annotation_file.name}", len(named)):
        path = image_path(folder, image.file_name)
        if not os.path.isfile(path):
            what = f"image {image.id}: no such file"
            findings.add("missing images", what, "add it, or remove it from the annotations", path)
        elif (name := entry_of.setdefault(path, image.file_name)) != image.file_name:
            what = f"the image of two entries, {name!r} and {image.file_name!r}"
            findings.add("entries of one image", what, "put each image where its name says", path)
        elif annotations_only or _is_right(path, image, annotation_file, findings):
            ids[str(path)] = image.id
    return findings.problems(), ids


def _is_right(path: Path, image: ListedImage, annotation_file: Path, findings: Findings) -> bool:
    try:
        size = decode_image(path).size
    except BadImage as bad:
        findings.add("unreadable images", f"image {image.id}: {bad.what}", bad.remedy, path)
        return False
    if image.size and size != image.size:
        (width, height), (listed_width, listed_height) = size, image.size
        what = (
            f"image {image.id} has {width}x{height} px, {annotation_file} says {listed_width}x{listed_height}"
        )
        remedy = "correct the annotations"
        if (height, width) == image.size:
            remedy += " (images are turned upright as their EXIF orientation says)"
        findings.add("images of another size", what, remedy, path)
    return True


def _different_categories(root: str | Path, train: dict[int, str], val: dict[int, str]) -> list[Problem]:
    """Compare the categories of the splits, unless one has none, which has been named already."""
    findings = Findings(root)
    for number in sorted({*train, *val}) if train and val else ():
        if number not in val or number not in train:
            split, name = ("train", train[number]) if number in train else ("val", val[number])
            what = f"only {split} has category {number} ({name!r})"
        elif train[number] != val[number]:
            what = f"category {number} is {train[number]!r} in train, {val[number]!r} in val"
        else:
            continue
        findings.add("categories of one split", what, "give both splits the same categories")
    return findings.problems()


def _sides(train: ObjectSplit, names: Iterable[str]) -> list[Problem]:
    """Note the classes that a mirror image contradicts."""
    if not sided_pairs(list(names)):
        return []
    try:
        found = train.read()
    except UserError:  # what is wrong has been named
        return []
    warning = mirror_warning(found.category_names, found.flip_pairs)
    return [] if warning is None else [mirror_note(train.file, warning)]


def _empty(path: Path, report: FileReport) -> list[Problem]:
    """Note the categories that training never sees."""
    names = [
        f"{number} ({name!r})"
        for number, name in sorted(report.categories.items())
        if number not in report.used
    ]
    if not names or not report.used:
        return []
    what = f"categories without an object: {some_of(names)}"
    remedy = "add some, or take them out; one that only names the group of others is left out by itself"
    return [Problem(str(path), what, remedy, is_note=True)]


def _gaps(path: Path, categories: dict[int, str]) -> list[Problem]:
    """Note which ids from 1 (or from the lowest, if that is less) to the highest are no category."""
    numbers = sorted(categories)
    gaps = []
    before = min([0, *numbers])
    for number in numbers:
        if number - before > 1:
            first, last = before + 1, number - 1
            gaps.append(str(first) if first == last else f"{first} to {last}")
        before = number
    if not gaps:
        return []
    shown = ", ".join([*gaps[:_SHOWN_GAPS], *(["..."] if len(gaps) > _SHOWN_GAPS else [])])
    what = f"category ids leave out {shown}"
    remedy = "nothing: labels are 1 to K in ascending order of the ids, which the checkpoint keeps"
    return [Problem(str(path), what, remedy, is_note=True)]
