"""Masks as COCO writes them: polygons and run lengths, checked before anything decodes them.

The compiled readers trust what they are given: counts beyond the image write beyond their buffer, and a
polygon takes memory by the pixel of its outline, so that one wrong coordinate ends the process. So counts and
coordinates are read here, and a mask is made of them only where they fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.data.transforms.frame import Frame
from mscsa.errors import needs_extra
from mscsa_runtime.errors import Unusable

MIN_POLYGON = 6
"""Least coordinates of a polygon: three points."""

FARTHEST = 10
"""Farthest coordinate of a polygon that is drawn, in longer sides of its image."""


class BadMask(Unusable):
    """A segmentation that gives no mask."""


def decode_segmentation(
    segmentation: Any, size: tuple[int, int], frame: Frame | None = None
) -> NDArray[np.bool_]:
    """Draw a segmentation of an annotation.

    Polygons are moved into the frame and drawn there; run lengths become pixels of the image first.

    Args:
        segmentation: Polygons ([[x1, y1, x2, y2, ...], ...], in pixels), whose union it is, or run lengths
            ({"size": [H, W], "counts": string or list}).
        size: (H, W) of the image in pixels.
        frame: Where to draw it; the image itself if None.
    Returns:
        Pixels of the object in the frame, (h, w).
    Raises:
        BadMask: If it is neither, or does not fit the image.
        UserError: If faster-coco-eval, which draws polygons as COCO does, is not installed.
    """
    frame = frame or Frame.whole(size)
    if isinstance(segmentation, dict):
        whole = decode_counts(read_counts(segmentation, size), size)
        return whole if frame == Frame.whole(size) else frame.sampled(whole)
    polygons = _near_polygons(segmentation, size)
    encoder = mask_encoder()
    pieces = encoder.frPyObjects([frame.outline(polygon) for polygon in polygons], *frame.size)
    return encoder.decode(encoder.merge(pieces)).astype(bool)


def without_stray_parts(segmentation: Any) -> Any:
    """Leave out polygons of one or two points, which have no pixel, where another one makes the object.

    Labelling tools leave them behind: a click too many. What is no list of lists stays as it is.
    """
    if not isinstance(segmentation, list) or not all(isinstance(each, list) for each in segmentation):
        return segmentation
    return [each for each in segmentation if len(each) >= MIN_POLYGON] or segmentation


def check_segmentation(segmentation: Any, size: tuple[int, int]) -> None:
    """Refuse what `decode_segmentation` would, without drawing it.

    Raises:
        BadMask: As there.
    """
    if isinstance(segmentation, dict):
        read_counts(segmentation, size)
    else:
        _near_polygons(segmentation, size)


def encode_masks(masks: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Write masks (N, H, W) as run lengths in COCO's compressed form, which JSON can hold.

    Raises:
        UserError: If faster-coco-eval is not installed.
    """
    if not len(masks):
        return []
    encoded = mask_encoder().encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [{"size": list(each["size"]), "counts": _text(each["counts"])} for each in encoded]


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
            _refuse_other_nesting(segmentation)
            count = len(polygon) if isinstance(polygon, list) else "no"
            raise BadMask(
                f"polygon of {count} coordinates",
                f"give x, y of three points or more ({MIN_POLYGON}, 8, ...)",
            )
        try:
            values = np.asarray(polygon)
        except ValueError:  # lists of different lengths
            values = np.empty(0)
        # Whole numbers of any length are objects to numpy, texts strings, and pairs have two dimensions.
        if values.shape != (len(polygon),) or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            _refuse_other_nesting(segmentation)
            raise BadMask("polygon with a coordinate that is no finite number", "correct it")
    return segmentation


def _refuse_other_nesting(segmentation: list[Any]) -> None:
    """Refuse what has a level of brackets too few or too many, with the one that is read.

    Raises:
        BadMask: If it is a polygon outside a list of polygons, run lengths in a list, or has points that are
            lists or objects of their own.
    """
    if all(type(each) in (int, float) for each in segmentation):
        raise BadMask(
            "segmentation is one polygon, not a list of polygons",
            "put it into a list: [[x1, y1, x2, y2, ...]]",
        )
    if any(isinstance(each, dict) and "counts" in each for each in segmentation):
        raise BadMask("segmentation has run lengths in a list", "give one object: {size, counts}")
    parts = [part for each in segmentation if isinstance(each, list) for part in each]
    pairs = len(segmentation) > 1 and all(isinstance(each, list) and len(each) == 2 for each in segmentation)
    if (
        pairs
        or any(isinstance(part, list) for part in parts)
        or any(isinstance(each, dict) for each in segmentation + parts)
    ):
        raise BadMask(
            "segmentation has each point in brackets of its own",
            "write the coordinates of a polygon one after another: [[x1, y1, x2, y2, ...]]",
        )


def read_counts(segmentation: dict[str, Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """Read run lengths: pixels outside, inside, outside, ... the object, down the columns.

    Args:
        segmentation: {"size": [H, W], "counts": compressed string or list of whole numbers}.
        size: (H, W) of the image in pixels.
    Raises:
        BadMask: If they are damaged, or of another size than the image.
    """
    counts = segmentation.get("counts")
    if isinstance(counts, (str, bytes)):
        lengths, _ = decompress(
            [counts.encode(errors="surrogatepass") if isinstance(counts, str) else counts]
        )
    else:
        try:
            given = np.asarray(counts)
        except (TypeError, ValueError):
            given = np.empty(0)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise BadMask("run lengths that are no whole numbers", "encode the mask again")
        lengths = given.astype(np.int64)
    check_counts(lengths, segmentation.get("size"), size)
    return lengths


def check_counts(lengths: NDArray[np.int64], given: Any, size: tuple[int, int]) -> None:
    """Check that run lengths are those of an image.

    Args:
        lengths: The run lengths.
        given: The size that stands with them.
        size: (H, W) of the image in pixels.
    Raises:
        BadMask: If they are not.
    """
    if not isinstance(given, (list, tuple)) or list(given) != list(size):
        raise BadMask(
            f"run lengths of size {given!r}, the image has {list(size)} (height, width)",
            "give masks of the size of their images",
        )
    area = size[0] * size[1]
    if len(lengths) and int(lengths.min()) < 0:
        raise BadMask("run lengths below 0", "encode the mask again")
    # Each by itself first: a sum of damaged ones may wrap round to the right one.
    if len(lengths) and int(lengths.max()) > area:
        raise BadMask(f"a run of {lengths.max()} pixels, the image has {area}", "encode the mask again")
    total = int(lengths.sum())
    if total != area:
        raise BadMask(f"run lengths of {total} pixels, the image has {area}", "encode the mask again")


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
        what = f"COCO's masks and scores need faster-coco-eval, which cannot be imported ({error})"
        raise needs_extra(what, "detection") from error
    return mask


def decompress(texts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read COCO's compressed run lengths: 5 bits a character, from the fourth on each count as a difference.

    Args:
        texts: Those of one mask or more.
    Returns:
        The run lengths of all masks, one mask after the other, and where each mask's begin.
    Raises:
        BadMask: If a character is none of the code, or the last count of a mask is cut off.
    """
    codes = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - 48
    text_ends = np.cumsum([len(text) for text in texts])
    if (
        min(map(len, texts)) == 0
        or codes.min() < 0
        or codes.max() > 63
        or (codes[text_ends - 1] & 0x20).any()
    ):
        raise BadMask("run lengths that are damaged", "encode the mask again")
    ends = np.flatnonzero((codes & 0x20) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:  # 35 bits: more than any image has pixels
        raise BadMask("run lengths that are damaged", "encode the mask again")
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    values -= ((codes[ends] >> 4) & 1) << (5 * (place[ends] + 1))  # the highest bit is the sign
    firsts = np.concatenate(([0], np.searchsorted(ends, text_ends[:-1])))
    # From the fourth on (index 3), a count is the difference from the one two before it. So counts of odd and
    # of even index are sums of their own, which begin anew with each mask.
    number = np.diff(firsts, append=len(values))
    index = np.arange(len(values)) - np.repeat(firsts, number)
    lengths = values.copy()
    for rest in (1, 0):
        is_summed = (index % 2 == rest) & (index > 0)
        sums = np.cumsum(np.where(is_summed, values, 0))
        sums -= np.repeat(sums[firsts], number)
        lengths[is_summed] = sums[is_summed]
    return lengths, firsts


def _near_polygons(segmentation: Any, size: tuple[int, int]) -> Sequence[Sequence[float]]:
    """Check polygons, and that none lies so far away that drawing it would take minutes."""
    polygons = read_polygons(segmentation)
    farthest = max(float(np.abs(polygon).max()) for polygon in polygons)
    if farthest > FARTHEST * max(size):
        raise BadMask(
            f"polygon with the coordinate {farthest:g}, the image has {list(size)} (height, width)",
            "give coordinates in pixels of the image",
        )
    return polygons


def _text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts
