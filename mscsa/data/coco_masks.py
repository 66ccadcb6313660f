"""Masks as COCO writes them: polygons and run lengths, checked before anything decodes them.

The compiled readers of run lengths trust what they are given: counts beyond the image write beyond their
buffer. So the counts are read here, and a mask is made of them only where they fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.errors import UserError

MIN_POLYGON = 6
"""Least coordinates of a polygon: three points."""


class BadMask(Exception):
    """A segmentation that gives no mask: what is wrong with it, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw a segmentation of an annotation.

    Args:
        segmentation: Polygons ([[x1, y1, x2, y2, ...], ...], in pixels), whose union it is, or run lengths
            ({"size": [H, W], "counts": string or list}).
        size: (H, W) of the image in pixels.
    Returns:
        Pixels of the object, (H, W).
    Raises:
        BadMask: If it is neither, or does not fit the image.
        UserError: If faster-coco-eval, which draws polygons as COCO does, is not installed.
    """
    if isinstance(segmentation, dict):
        return decode_counts(read_counts(segmentation, size), size)
    polygons = read_polygons(segmentation)
    encoder = mask_encoder()
    pieces = encoder.frPyObjects([list(map(float, polygon)) for polygon in polygons], *size)
    return encoder.decode(encoder.merge(pieces)).astype(bool)


def encode_masks(masks: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Write masks (N, H, W) as run lengths in COCO's compressed form, which JSON can hold.

    Raises:
        UserError: If faster-coco-eval is not installed.
    """
    if not len(masks):
        return []
    encoded = mask_encoder().encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [
        {"size": list(each["size"]), "counts": _text(each["counts"])}
        for each in encoded  # type: ignore[union-attr]
    ]


def read_polygons(segmentation: Any) -> Sequence[Sequence[float]]:
    """Check polygons and give them as they are.

    Raises:
        BadMask: If there are none, or one has fewer than three points, an odd number of coordinates or one
            that is not a finite number.
    """
    if not isinstance(segmentation, list) or not segmentation:
        raise BadMask("segmentation is empty or neither polygons nor run lengths", "draw it or remove it")
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < MIN_POLYGON or len(polygon) % 2:
            count = len(polygon) if isinstance(polygon, list) else "no"
            raise BadMask(
                f"polygon of {count} coordinates", f"give x, y of three points or more ({MIN_POLYGON}, 8, ...)"
            )
        try:
            is_finite = bool(np.isfinite(np.asarray(polygon, np.float64)).all())
        except (TypeError, ValueError):
            is_finite = False
        if not is_finite:
            raise BadMask("polygon with a coordinate that is no finite number", "correct it")
    return segmentation


def read_counts(segmentation: dict[str, Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """Read run lengths: pixels outside, inside, outside, ... the object, down the columns.

    Args:
        segmentation: {"size": [H, W], "counts": compressed string or list of whole numbers}.
        size: (H, W) of the image in pixels.
    Raises:
        BadMask: If they are damaged, or of another size than the image.
    """
    if list(segmentation.get("size", ())) != list(size):
        raise BadMask(
            f"run lengths of size {segmentation.get('size')}, the image has {list(size)} (height, width)",
            "give masks of the size of their images",
        )
    counts = segmentation.get("counts")
    if isinstance(counts, (str, bytes)):
        lengths = _decompress(counts.encode() if isinstance(counts, str) else counts)
    else:
        try:
            lengths = np.asarray(counts)
        except (TypeError, ValueError):
            lengths = np.empty(0)
        if lengths.ndim != 1 or not np.issubdtype(lengths.dtype, np.integer):
            raise BadMask("run lengths that are no whole numbers", "encode the mask again")
        lengths = lengths.astype(np.int64)
    total = int(lengths.sum()) if len(lengths) else 0
    if len(lengths) and int(lengths.min()) < 0:
        raise BadMask("run lengths below 0", "encode the mask again")
    if total != size[0] * size[1]:
        raise BadMask(
            f"run lengths of {total} pixels, the image has {size[0] * size[1]}", "encode the mask again"
        )
    return lengths


def decode_counts(counts: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Turn run lengths that `read_counts` gave into a mask (H, W)."""
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size, order="F")


def mask_encoder() -> Any:
    """Give COCO's mask functions.

    Raises:
        UserError: If faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import mask
    except ImportError as error:
        raise UserError(
            f"COCO's masks and scores need faster-coco-eval, which cannot be imported ({error}); "
            "run: pip install mscsa[detection]"
        ) from error
    return mask


def _decompress(text: bytes) -> NDArray[np.int64]:
    """Read COCO's compressed run lengths: 5 bits a character, each count from the third on as a difference.

    Raises:
        BadMask: If a character is none of the code, or the last count is cut off.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise BadMask("run lengths that are damaged", "encode the mask again")
    is_last = (codes & 0x20) == 0
    starts = np.concatenate(([0], np.flatnonzero(is_last)[:-1] + 1))
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    if place.max() > 6:  # 35 bits: more than any image has pixels
        raise BadMask("run lengths that are damaged", "encode the mask again")
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    ends = np.flatnonzero(is_last)
    values -= ((codes[ends] >> 4) & 1) << (5 * (place[ends] + 1))  # the highest bit is the sign
    # From the fourth on (index 3), a count is the difference from the one two before it.
    lengths = values.copy()
    for first in (1, 2):
        lengths[first::2] = np.cumsum(values[first::2])
    return lengths


def _text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts
