"""Detections as pictures for people: boxes, masks, class names and scores drawn on the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from mscsa.data.coco.masks import decode_segmentation
from mscsa.errors import UserError
from mscsa.evaluation.coco_ap import Result, coco_results
from mscsa.evaluation.detect import DetectedObjects
from mscsa.evaluation.detections import Detections
from mscsa.pictures.figure import cannot_write, label_font
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.palette import palette

_OPACITY = 0.45
_LEAST_SIDE = 512
"""Smaller images are drawn enlarged, in pixels: names would cover them otherwise."""


@dataclass(frozen=True, kw_only=True)
class WrittenDetections:
    """What was found in one image, and where it is drawn."""

    path: str
    picture: str = ""
    objects: tuple[Result, ...] = ()
    """In COCO's form: category id, box (x, y, width, height in pixels), score, run lengths of the mask; and
    the name of the class."""
    num_drawn: int = 0
    """Objects in the picture: those above the threshold."""
    counts: tuple[tuple[str, int], ...] = ()
    """Name of each class drawn and how often, the most frequent first."""
    error: str | None = None
    """Why there is nothing, in one line."""


def write_detections(
    detected: Iterable[DetectedObjects], folder: OutputFolder, *, threshold: float = 0.5
) -> Iterator[WrittenDetections]:
    """Draw the objects of each image into FOLDER/NAME.png; an unreadable image keeps its error.

    Args:
        folder: For the pictures.
        threshold: Least score of an object that is drawn, in 0..1.
    Raises:
        UserError: If the threshold is not in 0..1, the folder cannot be written, or a picture would
            overwrite an image.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold={threshold} given: give a score in 0..1")
    for position, each in enumerate(detected):
        if each.detections is None or each.image is None:
            yield WrittenDetections(path=each.path, error=each.error)
            continue
        (picture,) = folder.paths(each.path, ".png")
        drawn = draw_objects(each.image, each.detections, each.class_names, threshold)
        try:
            picture.parent.mkdir(parents=True, exist_ok=True)
            drawn.save(picture)
        except OSError as error:
            raise cannot_write(picture, error) from error
        yield _summary(each, each.detections, position, str(picture), threshold)


def draw_objects(
    image: Image.Image,
    found: Detections,
    class_names: Sequence[str],
    threshold: float,
    *,
    with_scores: bool = True,
) -> Image.Image:
    """Draw boxes, masks, class names and scores of the objects above a score; the surest on top."""
    chosen = np.flatnonzero(found.scores >= threshold)[::-1]
    factor = max(1, -(-_LEAST_SIDE // max(image.size)))
    size = (factor * image.width, factor * image.height)
    pixels = torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR)))
    pixels = pixels.permute(2, 0, 1).contiguous()
    if not len(chosen):
        return _to_image(pixels)
    labels = found.labels[chosen]
    colours = [tuple(palette(len(class_names))[label - 1].tolist()) for label in labels]
    if found.masks is not None:
        own = (image.height, image.width)
        # One at a time: together, those of a large photograph would be gigabytes.
        for i, colour in zip(chosen, colours, strict=True):
            mask = torch.from_numpy(_enlarged(decode_segmentation(found.masks[i], own), factor))
            pixels = draw_segmentation_masks(pixels, mask, alpha=_OPACITY, colors=[colour])
    is_plain = not with_scores and len(class_names) == 1
    texts = [
        f"{class_names[label - 1]} {100 * score:.0f}" if with_scores else class_names[label - 1]
        for label, score in zip(labels, found.scores[chosen], strict=True)
    ]
    side = max(size)
    pixels = draw_bounding_boxes(
        pixels,
        torch.from_numpy(found.boxes[chosen] * factor),
        labels=None if is_plain else texts,
        colors=colours,
        width=max(2, side // 400),
        font=label_font(),
        font_size=max(12, side // 50),
        label_colors=None if is_plain else "white",
        fill_labels=not is_plain,
    )
    return _to_image(pixels)


def detected_objects(each: DetectedObjects, found: Detections, image_id: int) -> list[Result]:
    """Give objects in COCO's form of results, with the names of their classes."""
    results = coco_results(image_id, found, each.category_ids)
    names = [each.class_names[label - 1] for label in found.labels]
    return [{**result, "class": name} for result, name in zip(results, names, strict=True)]


def _summary(
    each: DetectedObjects, found: Detections, position: int, picture: str, threshold: float
) -> WrittenDetections:
    results = detected_objects(each, found, position)
    drawn = Counter(result["class"] for result in results if result["score"] >= threshold)
    return WrittenDetections(
        path=each.path,
        picture=picture,
        objects=tuple(results),
        num_drawn=sum(drawn.values()),
        counts=tuple(drawn.most_common()),
    )


def _enlarged(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    return np.ascontiguousarray(mask.repeat(factor, axis=0).repeat(factor, axis=1))


def _to_image(pixels: Any) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
