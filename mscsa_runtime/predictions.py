"""What an exported model says about images: classes, label maps, objects, maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa_runtime.artifact import Artifact
from mscsa_runtime.errors import ArtifactError
from mscsa_runtime.images import BadImage, decode_image
from mscsa_runtime.preprocessing import Prepared, prepare
from mscsa_runtime.resizing import largest_resized, paste_mask
from mscsa_runtime.selection import Found, select

MASK_THRESHOLD = 0.5
"""Least probability of a pixel that belongs to an object."""


@dataclass(frozen=True, kw_only=True)
class ClassPrediction:
    """What a classifier says about one file."""

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    """Name and probability of the likeliest classes, best first."""
    error: str | None = None
    """Why there is nothing, in one line."""


@dataclass(frozen=True)
class Objects:
    """What a detector found in an image, the surest first, in the image's own pixels."""

    boxes: NDArray[np.float32]
    """x1, y1, x2, y2, (N, 4)."""
    labels: NDArray[np.int64]
    """1..K, (N,)."""
    scores: NDArray[np.float32]
    """In 0..1, (N,)."""
    cells: NDArray[np.float32] | None
    """Probabilities inside each box, (N, m, m); None of detectors of boxes."""
    size: tuple[int, int]
    """(H, W) of the image."""

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Draw the mask of an object at the size of the image, (H, W).

        Raises:
            ArtifactError: If the detector gives no masks.
        """
        if self.cells is None:
            raise ArtifactError("this detector gives boxes alone: take a mask detector's for masks")
        return paste_mask(self.cells[index], self.boxes[index], self.size) >= MASK_THRESHOLD


def classify(
    artifact: Artifact, paths: Iterable[str | Path], *, top_k: int = 5, batch_size: int = 32
) -> Iterator[ClassPrediction]:
    """Classify image files, in their order; an unreadable one gets an `error` and stops nothing.

    Raises:
        ArtifactError: If the model is no classifier, or a number is not positive.
    """
    if top_k < 1 or batch_size < 1:
        raise ArtifactError(f"top_k={top_k} and batch_size={batch_size}: give 1 or more")
    _check_task(artifact, "classification")
    names = artifact.metadata.class_names
    rest = iter(paths)
    while batch := list(islice(rest, batch_size)):
        read = [_read(path) for path in batch]
        images = [image for image in read if isinstance(image, Image.Image)]
        answers: Iterator[NDArray[np.float32]] = iter(class_probabilities(artifact, images) if images else ())
        for path, image in zip(batch, read, strict=True):
            if isinstance(image, str):
                yield ClassPrediction(path=str(path), error=image)
                continue
            chances = next(answers)
            best = np.argsort(-chances, kind="stable")[:top_k]
            yield ClassPrediction(path=str(path), classes=tuple((names[i], float(chances[i])) for i in best))


def class_probabilities(artifact: Artifact, images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Give the probabilities of the classes, (N, K), of RGB images, one or more.

    Raises:
        ArtifactError: If there are none, or one is not RGB.
    """
    if not len(images):
        raise ArtifactError("no images given: give one or more")
    pixels = np.stack([prepare(image, artifact.metadata).pixels for image in images])
    logits = artifact.run(pixels)["logits"]
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def segment(artifact: Artifact, image: Image.Image) -> NDArray[np.uint8]:
    """Give the class of each pixel of an RGB image, (H, W).

    Raises:
        ArtifactError: If the model is no segmenter.
    """
    _check_task(artifact, "segmentation")
    given = prepare(image, artifact.metadata)
    logits = artifact.run(given.pixels[None])["logits"][0, :, : given.size[0], : given.size[1]]
    return largest_resized(logits, given.own_size)


def detect(artifact: Artifact, image: Image.Image) -> Objects:
    """Find the objects in an RGB image.

    Raises:
        ArtifactError: If the model is no detector.
    """
    _check_task(artifact, "detection", "instance_segmentation")
    given = prepare(image, artifact.metadata)
    (found,) = find_objects(artifact, given.pixels[None], [given.size])
    return at_own_size(found, given)


def find_objects(
    artifact: Artifact, images: NDArray[np.float32], sizes: Sequence[tuple[int, int]]
) -> list[Found]:
    """Find the objects in a batch.

    Args:
        artifact: A detector's.
        images: As of `Artifact.run`.
        sizes: (h, w) that each image takes at the upper left; boxes end there.
    Returns:
        Of each image, in the pixels of what was given.
    """
    of_images = np.array(sizes, np.float32).reshape(-1, 2)
    others: dict[str, Any] = {"sizes": of_images} if artifact.metadata.selection["takes_sizes"] else {}
    return select(artifact, artifact.run(images, **others), of_images)


def at_own_size(found: Found, given: Prepared) -> Objects:
    """Bring what was found to the pixels of the image itself."""
    (height, width), (own_height, own_width) = given.size, given.own_size
    scale = np.array([own_width / width, own_height / height] * 2, np.float32)
    return Objects(found.boxes * scale, found.labels, found.scores, found.cells, given.own_size)


def _read(path: str | Path) -> Image.Image | str:
    """Give the image, or why there is none."""
    try:
        return decode_image(path)
    except BadImage as bad:
        return f"{path}: {bad.what}; {bad.remedy}"


def _check_task(artifact: Artifact, *tasks: str) -> None:
    if artifact.metadata.task not in tasks:
        raise ArtifactError(
            f"{artifact.path} holds a model for {artifact.metadata.task}: give one for {' or '.join(tasks)}"
        )
