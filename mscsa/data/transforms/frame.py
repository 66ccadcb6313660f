"""Where an image's own pixels lie in a sample that was flipped, cut and resized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_OUTWARDS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The map x -> scale * x + shift from an image's own pixels to those of a sample, for each axis of the
    sample.

    Coordinates are continuous: pixel i covers i to i + 1. Boxes and outlines are mapped exactly, and a mask
    is drawn once, in the sample's own pixels.
    """

    own_size: tuple[int, int]
    """(H, W) of the image in pixels."""
    size: tuple[int, int]
    """(H, W) of the sample in pixels."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Of x and y of the sample; below 0 where the sample runs the other way."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Of x and y in pixels of the sample."""
    is_cut: bool = False
    """Whether parts of the image may lie outside the sample."""
    is_turned: bool = False
    """Whether the sample's x is the image's y and the other way round."""

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Frame:
        """Take an image of (H, W) px as it is."""
        return cls(own_size=size, size=size)

    @property
    def is_mirrored(self) -> bool:
        """Whether what is left in the image is right in the sample, however that is turned."""
        return (self.scale[0] * self.scale[1] < 0) != self.is_turned

    def mirrored(self) -> Frame:
        """Swap left and right."""
        (scale_x, scale_y), (shift_x, shift_y) = self.scale, self.shift
        return replace(self, scale=(-scale_x, scale_y), shift=(self.size[1] - shift_x, shift_y))

    def flipped(self) -> Frame:
        """Swap top and bottom."""
        (scale_x, scale_y), (shift_x, shift_y) = self.scale, self.shift
        return replace(self, scale=(scale_x, -scale_y), shift=(shift_x, self.size[0] - shift_y))

    def turned(self) -> Frame:
        """Turn by 90 degrees, counter-clockwise."""
        (scale_x, scale_y), (shift_x, shift_y) = self.scale, self.shift
        height, width = self.size
        return replace(
            self,
            size=(width, height),
            scale=(scale_y, -scale_x),
            shift=(shift_y, width - shift_x),
            is_turned=not self.is_turned,
        )

    def resized(self, size: tuple[int, int]) -> Frame:
        """Bring the sample to (H, W) px."""
        factors = (size[1] / self.size[1], size[0] / self.size[0])
        scale_x, scale_y = (a * b for a, b in zip(self.scale, factors, strict=True))
        shift_x, shift_y = (a * b for a, b in zip(self.shift, factors, strict=True))
        return replace(self, size=size, scale=(scale_x, scale_y), shift=(shift_x, shift_y))

    def cropped(self, top: int, left: int, height: int, width: int) -> Frame:
        """Keep a rectangle of the sample."""
        shift = (self.shift[0] - left, self.shift[1] - top)
        return replace(self, size=(height, width), shift=shift, is_cut=True)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Map boxes (N, 4), x1 y1 x2 y2 in the image's pixels, to the sample's; they may reach beyond it."""
        if self.is_turned:
            boxes = boxes[:, [1, 0, 3, 2]]
        corners = boxes.double() * _twice(self.scale) + _twice(self.shift)
        first, second = corners[:, :2], corners[:, 2:]
        ordered = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
        return ordered.to(boxes.dtype)

    def outline(self, polygon: Sequence[float]) -> list[float]:
        """Map a polygon x1, y1, x2, y2, ... in the image's pixels to the sample's."""
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        placed = (points[:, ::-1] if self.is_turned else points) * self.scale + self.shift
        return list(map(float, placed.ravel()))

    def sampled(self, masks: NDArray[Any]) -> NDArray[np.bool_]:
        """Bring masks (..., H, W) of the image into the sample, (..., h, w).

        Of each pixel of the sample four points are looked up, at a quarter and three quarters of its sides:
        half of them make it one of the object. The point at its centre alone would move masks, since for some
        sizes it lies on the border of two pixels of the image everywhere.
        """
        if self.is_turned:
            masks = masks.swapaxes(-1, -2)
        rows, columns = (
            _under(length, own, self.scale[axis], self.shift[axis])
            for length, own, axis in zip(self.size, masks.shape[-2:], (1, 0), strict=True)
        )
        found = np.zeros((*masks.shape[:-2], *self.size), bool)
        # Nearly all of an image is not the object: only where it lies is looked up.
        flat = masks.reshape(-1, *masks.shape[-2:])
        down, across = _reached(flat.any(axis=(0, 2)), rows), _reached(flat.any(axis=(0, 1)), columns)
        points = masks[..., rows.reshape(-1, 2)[down].reshape(-1, 1), columns.reshape(-1, 2)[across].ravel()]
        height, width = (length // 2 for length in points.shape[-2:])
        fours = points.astype(np.uint8, copy=False).reshape(*points.shape[:-2], height, 2, width, 2)
        counts: NDArray[np.uint8] = fours.sum(axis=(-3, -1), dtype=np.uint8)
        found[..., down, across] = counts >= 2
        return found


def _reached(is_filled: Any, under: NDArray[np.int64]) -> slice:
    """Find the pixels of a sample, along one axis, that have a filled one of the image under them."""
    places = np.flatnonzero(np.asarray(is_filled)[under].reshape(-1, 2).any(axis=1))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _twice(values: tuple[float, float]) -> Tensor:
    return torch.tensor([*values, *values], dtype=torch.float64)


def _under(length: int, own: int, scale: float, shift: float) -> NDArray[np.int64]:
    """Find the pixels of an image under two points of each of a sample's, along one axis."""
    # A point on the border of two pixels takes the outer one.
    points = np.arange(length)[:, None] + (0.25 - _OUTWARDS, 0.75 + _OUTWARDS)
    return np.floor((points.ravel() - shift) / scale).astype(np.int64).clip(0, own - 1)
