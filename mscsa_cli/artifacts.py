"""`mscsa predict` and `mscsa eval` with an exported model, and no torch where nothing needs it."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mscsa_cli.parsing import fail

if TYPE_CHECKING:
    from mscsa.evaluation import DetectedObjects, Prediction, Segmentation
    from mscsa.pictures.detections import WrittenDetections
    from mscsa.pictures.segmentations import WrittenSegmentation
    from mscsa.report import Table
    from mscsa_runtime import Artifact

Found: TypeAlias = "Sequence[Prediction] | Sequence[WrittenSegmentation] | Sequence[WrittenDetections]"


def open_artifact(checkpoint: str, device: str) -> Artifact | None:
    """Open what a command was given, if it is an exported model; None if it is a checkpoint.

    Raises:
        ValueError: If it is not usable, or a GPU is asked for.
    """
    from mscsa_runtime import Artifact, find_artifact

    path = find_artifact(checkpoint)
    if path is None:
        return None
    if device == "gpu":
        raise ValueError(f"{path} runs on the CPU here: leave --device gpu out, or give the checkpoint")
    return Artifact(path)


def classify_images(
    artifact: Artifact, images: Sequence[str], *, top_k: int, batch_size: int, json: str | None
) -> int:
    """Classify images and print what was found, without torch."""
    from mscsa_runtime import classify

    found = list(classify(artifact, _files(images), top_k=top_k, batch_size=batch_size))
    if json:
        _write(Path(json), json_module.dumps([asdict(each) for each in found], indent=2) + "\n")
    rows = [
        (each.path if rank == 0 else "", name, f"{100 * chance:.1f}")
        for each in found
        for rank, (name, chance) in enumerate(each.classes)
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    for path, name, chance in rows:
        print(f"{path:<{widths[0]}}  {name:<{widths[1]}}  {chance:>5} %")
    errors = [each.error for each in found if each.error]
    for error in errors:
        fail(error)
    return 2 if errors else 0


def _files(images: Sequence[str]) -> Sequence[str]:
    """List the images of folders and patterns; looking into these imports torch."""
    if all(Path(each).is_file() for each in images):
        return images
    from mscsa.data.inputs import image_files

    return image_files(images)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all; `mscsa.files` would import torch."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}; give another file") from error


def draw_images(
    artifact: Artifact, images: Sequence[str], out: str | None, *, threshold: float, others: Sequence[str]
) -> tuple[Found, Table]:
    """Draw what a segmenter or detector says, as of a checkpoint; the pictures need torch.

    Args:
        artifact: Of the model.
        images: Files.
        out: Folder for the pictures.
        threshold: Of a detector.
        others: Files that the command writes beside them.
    Raises:
        ValueError: If the model is a bare pyramid, or the folder is not given or cannot be written.
    """
    from mscsa.errors import UserError
    from mscsa.pictures.detections import write_detections
    from mscsa.pictures.output import OutputFolder
    from mscsa.pictures.segmentations import write_segmentations
    from mscsa_cli.result_tables import detections_table, segmentations_table

    task = artifact.metadata.task
    if task == "pyramid":
        raise UserError(
            f"{artifact.path} gives maps, of which no prediction is made: use mscsa_runtime.Artifact"
        )
    if out is None:
        raise UserError(f"the result of {task} is a picture: give --out DIR, the folder for it")
    folder = OutputFolder(Path(out), [*images, str(artifact.path), *others])
    if task == "segmentation":
        segmented = list(write_segmentations(_segmented(artifact, images), folder))
        return segmented, segmentations_table(segmented)
    drawn = list(write_detections(_detected(artifact, images), folder, threshold=threshold))
    return drawn, detections_table(drawn)


def _segmented(artifact: Artifact, images: Sequence[str]) -> Iterator[Segmentation]:
    from mscsa.data import load_image
    from mscsa.errors import UserError
    from mscsa.evaluation import Segmentation
    from mscsa_runtime import segment

    for path in images:
        try:
            image = load_image(path)
        except UserError as error:
            yield Segmentation(path=path, error=str(error))
            continue
        labels = segment(artifact, image)
        yield Segmentation(path=path, image=image, labels=labels, class_names=artifact.metadata.class_names)


def _detected(artifact: Artifact, images: Sequence[str]) -> Iterator[DetectedObjects]:
    from mscsa.data import load_image
    from mscsa.errors import UserError
    from mscsa.evaluation import DetectedObjects
    from mscsa.export.detections import find_detections

    for path in images:
        try:
            image = load_image(path)
        except UserError as error:
            yield DetectedObjects(path=path, error=str(error))
            continue
        yield DetectedObjects(
            path=path,
            image=image,
            detections=find_detections(artifact, image),
            class_names=artifact.metadata.class_names,
            category_ids=artifact.metadata.category_ids,
        )
