"""`mscsa predict` and `mscsa eval` with an exported model, and no torch where nothing needs it."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mscsa_cli.parsing import Asking, fail

if TYPE_CHECKING:
    from mscsa.data.videos import Frame
    from mscsa.evaluation import DetectedObjects, Prediction, Segmentation
    from mscsa.pictures.detections import WrittenDetections
    from mscsa.pictures.segmentations import WrittenSegmentation
    from mscsa.pictures.videos import WrittenVideo
    from mscsa_runtime import Artifact

Found: TypeAlias = "Prediction | WrittenSegmentation | WrittenDetections | WrittenVideo"
Ask: TypeAlias = "Callable[[Iterable[str | Frame]], Iterator[Any]]"


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


def no_pictures(out: str) -> str:
    """Say that a classifier draws nothing of images."""
    return (
        f"--out {out}: a classifier draws no pictures of images; leave it out, --json FILE has what it says"
    )


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
    """List the images of folders and patterns; looking into these imports torch.

    Raises:
        ValueError: If there is no image, or a video among them.
    """
    from mscsa_runtime.images import is_image

    if not all(Path(each).is_file() and is_image(each) for each in images):
        from mscsa.data.inputs import image_files
        from mscsa.data.videos import is_video

        images = image_files(images)
        if video := next((each for each in images if is_video(each)), None):
            raise ValueError(
                f"{video} is a video, which an exported classifier does not take: give the checkpoint"
            )
    return images


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all; `mscsa.files` would import torch."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}; give another file") from error


def asked_of_artifact(artifact: Artifact, asking: Asking) -> tuple[str, Ask]:
    """Give the task of an exported segmenter or detector, and how it is asked; what draws it needs torch.

    Raises:
        ValueError: If the model is a bare pyramid, or is to be asked more than once about an image.
    """
    task = artifact.metadata.task
    if asking != Asking():
        raise ValueError(
            f"{artifact.path} is asked once about an image: leave --window, --crop, --stride, --scales, "
            "--flip and --tile out, or give the checkpoint"
        )
    if task == "pyramid":
        raise ValueError(
            f"{artifact.path} gives maps, of which no prediction is made: use mscsa_runtime.Artifact"
        )
    return task, partial(_segmented if task == "segmentation" else _detected, artifact)


def _segmented(artifact: Artifact, images: Iterable[str | Frame]) -> Iterator[Segmentation]:
    from mscsa.data.videos import picture_of
    from mscsa.errors import UserError
    from mscsa.evaluation import Segmentation
    from mscsa_runtime import segment

    for path in images:
        try:
            image = picture_of(path)
        except UserError as error:
            yield Segmentation(path=str(path), error=str(error))
            continue
        labels = segment(artifact, image)
        yield Segmentation(
            path=str(path), image=image, labels=labels, class_names=artifact.metadata.class_names
        )


def _detected(artifact: Artifact, images: Iterable[str | Frame]) -> Iterator[DetectedObjects]:
    from mscsa.data.videos import picture_of
    from mscsa.errors import UserError
    from mscsa.evaluation import DetectedObjects
    from mscsa.export.detections import find_detections

    for path in images:
        try:
            image = picture_of(path)
        except UserError as error:
            yield DetectedObjects(path=str(path), error=str(error))
            continue
        yield DetectedObjects(
            path=str(path),
            image=image,
            detections=find_detections(artifact, image),
            class_names=artifact.metadata.class_names,
            category_ids=artifact.metadata.category_ids,
        )
