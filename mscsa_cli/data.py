"""Commands about data sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from mscsa_cli.parsing import Device


def check_data(
    root: str | None = None,
    *,
    kind: Literal["auto", "folder", "masks", "ade20k", "coco"] = "auto",
    annotations_only: bool = False,
    train_annotations: str | None = None,
    train_images: str | None = None,
    val_annotations: str | None = None,
    val_images: str | None = None,
    json: str | None = None,
) -> int:
    """Look through a data set before training: unreadable files, wrong labels or objects, shared images.

    Example:
        mscsa check-data data/imagenette

    Args:
        root: Folder of the data set.
        kind: Its layout: images with one class each (folder), images with label maps, ADE20K's, or images
            with objects (coco, for YOLO's and Pascal VOC's layouts too); auto looks which it is.
        annotations_only: Objects: only see whether the images are there, instead of decoding them.
        train_annotations: File in COCO's format, wherever it is; then all four places, and no root.
        train_images: Folder of its images.
        val_annotations: File in COCO's format of the validation set.
        val_images: Folder of its images.
        json: Write the result to this file, too.
    """
    from mscsa.data import check_dataset
    from mscsa.data.contract import SPLITS
    from mscsa.data.datasets import given_files
    from mscsa.recipes.spec import DetectionData
    from mscsa.report import show, write_json
    from mscsa_cli.result_tables import problems_table

    data = DetectionData(
        kind="coco",
        root=root,
        train_annotations=train_annotations,
        train_images=train_images,
        val_annotations=val_annotations,
        val_images=val_images,
    )
    given = {split: files for split in SPLITS if (files := given_files(data, split)) is not None}
    if root is None and not given:
        raise ValueError("give the folder of the data set, such as `mscsa check-data data/imagenette`")
    found = check_dataset(root, kind, annotations_only=annotations_only, given=given)
    root = root or f"{train_annotations}, {val_annotations}"
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


def show_data(
    path: str,
    *,
    recipe: str | None = None,
    out: str = "show_data.png",
    count: int = 6,
    worst: int | None = None,
    root: str | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Show a data set: images with labels before and after augmentation, counts, sizes; or a run's worst.

    Example:
        mscsa show-data data/nuclei --recipe small_mask_rcnn/resnet18 --out nuclei.png

    Args:
        path: Folder of a data set, or of a run, for the data that it was trained on.
        recipe: Whose sizes and augmentation to show (`mscsa list --recipes`); a small one of the task if not
            given.
        out: PNG for the pictures, which is not there yet.
        count: How many images to draw, by chance.
        worst: Of a run: draw this many images of val that it is worst at, truth beside prediction.
        root: Of a run: folder of its data, where that is elsewhere now.
        seed: Which images, and which draws of the augmentation.
        device: Of --worst; auto takes the GPU if there is one.
    """
    from mscsa.report import show
    from mscsa_cli.shown_data import show_samples, show_worst

    if count < 1 or (worst is not None and worst < 1):
        raise ValueError("--count and --worst are numbers of images: give 1 or more")
    if worst is not None:
        for line in show_worst(path, Path(out), worst, device, root):
            print(line)
    else:
        show(*show_samples(path, recipe, Path(out), count, seed, root))
    print(f"pictures: {out}")
