"""Commands about data sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal


def check_data(
    root: str,
    *,
    kind: Literal["auto", "folder", "masks", "ade20k", "coco"] = "auto",
    annotations_only: bool = False,
    json: str | None = None,
) -> int:
    """Look through a data set before training: unreadable files, wrong labels or objects, shared images.

    Example:
        mscsa check-data data/imagenette

    Args:
        root: Folder of the data set.
        kind: Its layout: class folders, images with label maps, ADE20K's, or images with objects (coco, for
            YOLO's and Pascal VOC's layouts too); auto looks which it is.
        annotations_only: Objects: only see whether the images are there, instead of decoding them.
        json: Write the result to this file, too.
    """
    from mscsa.data import check_dataset
    from mscsa.report import show, write_json
    from mscsa_cli.result_tables import problems_table

    found = check_dataset(root, kind, annotations_only=annotations_only)
    if json:
        write_json(json, [asdict(problem) for problem in found])
    problems = [each for each in found if not each.is_note]
    if problems:
        show(problems_table(root, problems))
    else:
        print(f"{root}: no problems found")
    for note in found:
        if note.is_note:
            print(f"note: {note.path}: {note.what} ({note.remedy})")
    return 2 if problems else 0
