"""Objects of another image pasted into an image.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021,
https://arxiv.org/abs/2012.07177.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mscsa.data.transforms.detection import Objects, boxes_around
from mscsa.errors import UserError

Drawn = tuple[Tensor, Objects]
"""A training sample: (3, h, w) float and its objects, masks among them."""


def draw_with_pasted(draw: Callable[[int], Drawn], index: int, count: int, probability: float) -> Drawn:
    """Draw a training sample, and paste some objects of another one into it.

    What is drawn comes from torch's generator. Another image that cannot be read gives nothing: it is told of
    when its own turn comes.

    Args:
        draw: From the place of an image to a sample of it.
        index: Which image it is.
        count: Images in all.
        probability: Of pasting.
    """
    own = draw(index)
    if not bool(torch.rand(1) < probability):
        return own
    try:
        other = draw(int(torch.randint(count, ())))
    except UserError:
        return own
    return paste_objects(own, other)


def paste_objects(own: Drawn, other: Drawn) -> Drawn:
    """Paste about half of the objects of a sample into another one, at a place where as much as can be fits.

    What they cover is taken from the masks and boxes that were there; what has no pixel left is left out.

    Args:
        own: What is pasted into.
        other: Whose objects are pasted.
    """
    pixels, objects = own
    chosen = (torch.rand(len(other[1]["labels"])) < 0.5).nonzero()[:, 0]
    height, width = pixels.shape[-2:]
    down, right = (_offset(a, b) for a, b in zip(pixels.shape[-2:], other[0].shape[-2:], strict=True))
    masks = _placed(other[1]["masks"][chosen], height, width, down, right)
    boxes = other[1]["boxes"][chosen]
    moved = boxes + boxes.new_tensor([right, down, right, down])
    is_whole = ((moved[:, :2] >= 0) & (moved[:, 2:] <= moved.new_tensor([width, height]))).all(dim=1)
    pasted = {
        "boxes": torch.where(is_whole[:, None], moved, boxes_around(masks).to(moved)),
        "labels": other[1]["labels"][chosen],
        "masks": masks,
    }
    cover = masks.bool().any(dim=0)
    pixels = torch.where(cover, _placed(other[0], height, width, down, right), pixels)
    both = [_uncovered(objects, cover), pasted]
    joined = {key: torch.cat([each[key] for each in both]) for key in ("boxes", "labels", "masks")}
    has_pixel = joined["masks"].flatten(1).bool().any(dim=1)
    return pixels, {key: value[has_pixel] for key, value in joined.items()}


def _uncovered(objects: Objects, cover: Tensor) -> Objects:
    """Take what is covered (h, w) out of masks, and draw the boxes of these anew."""
    masks = objects["masks"] * ~cover
    is_less = (objects["masks"].bool() & cover).flatten(1).any(dim=1)
    boxes = torch.where(is_less[:, None], boxes_around(masks).to(objects["boxes"]), objects["boxes"])
    return {"boxes": boxes, "labels": objects["labels"], "masks": masks}


def _offset(length: int, other: int) -> int:
    """Draw where the smaller of two lies inside the larger, along one axis, as the second's shift."""
    least, most = sorted((0, length - other))
    return int(torch.randint(least, most + 1, ()))


def _placed(values: Tensor, height: int, width: int, down: int, right: int) -> Tensor:
    """Move values (..., h, w) down and right on a field of zeros of (height, width)."""
    field = values.new_zeros(*values.shape[:-2], height, width)
    to, of = zip(
        *(
            _overlap(length, other, shift)
            for length, other, shift in ((height, values.shape[-2], down), (width, values.shape[-1], right))
        ),
        strict=True,
    )
    field[..., to[0], to[1]] = values[..., of[0], of[1]]
    return field


def _overlap(length: int, other: int, shift: int) -> tuple[slice, slice]:
    """Give where two intervals meet, of which the second begins at `shift`, as parts of each."""
    first, last = max(0, shift), min(length, shift + other)
    return slice(first, last), slice(first - shift, last - shift)
