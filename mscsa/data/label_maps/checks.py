"""Looking through images with label maps before a long run: everything that is wrong, at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mscsa.data.contract import IGNORED, SPLITS, Split
from mscsa.data.label_maps.labels import FEW_CLASSES_REMEDY, BadLabels, check_labels, read_labels
from mscsa.data.label_maps.layouts import LabelLayout, find_maps
from mscsa.data.label_maps.tables import LabelTable
from mscsa.data.mirroring import mirror_note, mirror_warning
from mscsa.data.problems import Problem, shared_files
from mscsa.progress import tracked
from mscsa_runtime.images import BadImage, decode_image


def check_label_maps(root: str | Path, layout: LabelLayout) -> list[Problem]:
    """Look through both splits: decode every image and label map.

    Finds files without a partner or with the name of another, unreadable files, label maps of another size
    than their image or with labels that are no class, classes without a pixel in train, a val without a
    pixel of any class, and images with the same content in train and val (which make the validation score
    too good).

    Raises:
        UserError: If a folder or the list of classes is missing: there is nothing to look through.
    """
    splits = {split: find_maps(root, split, layout) for split in SPLITS}
    table = splits["train"].table
    problems: list[Problem] = []
    readable: dict[Split, list[str]] = {}
    pixels: dict[Split, NDArray[np.int64]] = {}
    for split in SPLITS:
        found_maps = splits[split]
        problems += [
            Problem(str(path), f"has the name of {first}", "give each a name of its own, or remove one")
            for first, path in found_maps.doubles
        ]
        problems += [
            Problem(str(path), "no partner of its name", "add its image or label map, or remove it")
            for path in found_maps.alone
        ]
        readable[split] = []
        pixels[split] = np.zeros(IGNORED + 1, np.int64)
        for image_path, label_path in tracked(found_maps.pairs, f"images of {split}", len(found_maps.pairs)):
            found, counts = _check_pair(image_path, label_path, table)
            problems += found
            pixels[split] += counts
            if not any(problem.path == str(image_path) for problem in found):
                readable[split].append(str(image_path))
    problems += _classes(
        str(root), table.names, pixels["train"], is_known=table.file is None and layout == "masks"
    )
    if pixels["val"].sum() == pixels["val"][IGNORED] > 0:
        what = f"the labels of val have no class, and {IGNORED}, which is ignored"
        problems.append(Problem(str(root), what, FEW_CLASSES_REMEDY))
    warning = mirror_warning(table.names, table.flips)
    notes = [] if warning is None else [mirror_note(root, warning)]
    return problems + shared_files(readable["train"], readable["val"]) + notes


def _classes(root: str, names: Sequence[str], pixels: NDArray[np.int64], *, is_known: bool) -> list[Problem]:
    """Name the classes that training never sees, by the pixels of each label (256).

    Those of a layout that has classes of its own (`is_known`) are only noted: a set may have some of them.
    """
    if len(names) == 1:
        what = f"one class alone, {names[0]!r}: whatever is learnt, it is right everywhere"
        return [Problem(root, what, "name what is around it as a class too, and label it")]
    what, remedy = "has no pixel in train", "add some, or take the class out"
    if pixels[IGNORED]:
        share = 100 * pixels[IGNORED] / pixels.sum()
        what += f"; {share:.1f} % of the pixels are {IGNORED}, which is ignored"
        remedy = (
            f"write its place in the list ({{}}) where {IGNORED} stands for it, or a line {IGNORED},NAME "
            "into classes.csv (value,name), or take the class out"
        )
    return [
        Problem(root, f"class {name!r} {what}", remedy.format(i), is_note=is_known)
        for i, name in enumerate(names)
        if not pixels[i]
    ]


def _check_pair(
    image_path: Path, label_path: Path, table: LabelTable
) -> tuple[list[Problem], NDArray[np.int64]]:
    """Return what is wrong with a pair, and its pixels by label, (256,)."""
    problems: list[Problem] = []
    size = None
    counts = np.zeros(IGNORED + 1, np.int64)
    try:
        size = decode_image(image_path).size
    except BadImage as bad:
        problems.append(Problem(str(image_path), bad.what, bad.remedy))
    try:
        labels = read_labels(label_path, table)
        counts += np.bincount(labels.ravel(), minlength=len(counts))
        if size is not None:
            check_labels(labels, size)
    except BadLabels as bad:
        problems.append(Problem(str(label_path), bad.what, bad.remedy))
    return problems, counts
