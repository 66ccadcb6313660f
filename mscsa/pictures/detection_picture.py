"""Detections as pictures for people: boxes, masks, class names and scores drawn on the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from mscsa.data.coco.masks import decode_segmentation
from mscsa.errors import UserError
from mscsa.evaluation import DetectedObjects
from mscsa.evaluation.coco_ap import Result, coco_results
from mscsa.pictures.segmentation_picture import check_not_input, palette

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
    detected: Iterable[DetectedObjects], out: Path, *, threshold: float = 0.5
) -> Iterator[WrittenDetections]:
    """Draw the objects of each image into OUT/NAME.png; an unreadable image keeps its error.

    Args:
        out: Folder for the pictures.
        threshold: Least score of an object that is drawn, in 0..1.
    Raises:
        ValueError: If the threshold is not in 0..1.
        UserError: If the folder cannot be written, or a picture would overwrite its image.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} given: give a score in 0..1")
    written: set[str] = set()
    for position, each in enumerate(detected):
        if each.detections is None or each.image is None:
            yield WrittenDetections(path=each.path, error=each.error)
            continue
        name = Path(each.path).stem
        while name in written:  # images of one name from several folders
            name += "_"
        written.add(name)
        picture = out / f"{name}.png"
        check_not_input(picture, each.path)
        try:
            out.mkdir(parents=True, exist_ok=True)
            draw_objects(each, threshold).save(picture)
        except OSError as error:
            raise UserError(
                f"cannot write to {out}: {error.strerror}; give a folder that can be written"
            ) from error
        yield _summary(each, position, str(picture), threshold)


def draw_objects(detected: DetectedObjects, threshold: float) -> Image.Image:
    """Draw boxes, masks, class names and scores of the objects above a score; the surest on top."""
    assert detected.image is not None and detected.detections is not None
    found = detected.detections
    chosen = np.flatnonzero(found.scores >= threshold)[::-1]
    factor = max(1, -(-_LEAST_SIDE // max(detected.image.size)))
    size = (factor * detected.image.width, factor * detected.image.height)
    pixels = torch.from_numpy(np.array(detected.image.resize(size, Image.Resampling.BILINEAR)))
    pixels = pixels.permute(2, 0, 1).contiguous()
    if not len(chosen):
        return _to_image(pixels)
    labels = found.labels[chosen]
    colours = [tuple(palette(len(detected.class_names))[label - 1].tolist()) for label in labels]
    if found.masks is not None:
        own = (detected.image.height, detected.image.width)
        # One at a time: together, those of a large photograph would be gigabytes.
        for i, colour in zip(chosen, colours, strict=True):
            mask = torch.from_numpy(_enlarged(decode_segmentation(found.masks[i], own), factor))
            pixels = draw_segmentation_masks(pixels, mask, alpha=_OPACITY, colors=[colour])
    texts = [
        f"{detected.class_names[label - 1]} {100 * score:.0f}"
        for label, score in zip(labels, found.scores[chosen], strict=True)
    ]
    side = max(size)
    pixels = draw_bounding_boxes(
        pixels,
        torch.from_numpy(found.boxes[chosen] * factor),
        labels=texts,
        colors=colours,
        width=max(2, side // 400),
        font=_font(),
        font_size=max(12, side // 50),
        label_colors="white",
        fill_labels=True,
    )
    return _to_image(pixels)


def _summary(each: DetectedObjects, position: int, picture: str, threshold: float) -> WrittenDetections:
    found = each.detections
    assert found is not None
    names = [each.class_names[label - 1] for label in found.labels]
    results = [
        {**result, "class": name, "image_id": position}
        for result, name in zip(coco_results(position, found, each.category_ids), names, strict=True)
    ]
    drawn = Counter(name for name, score in zip(names, found.scores, strict=True) if score >= threshold)
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


def _font() -> str:
    """Find the font that comes with matplotlib: Pillow's own small one has no sizes.

    Raises:
        UserError: If matplotlib is missing.
    """
    try:
        from matplotlib.font_manager import findfont
    except ModuleNotFoundError as error:
        raise UserError(
            "the picture needs matplotlib, which is not installed; run: pip install mscsa[detection]"
        ) from error
    return findfont("DejaVu Sans")
