"""Logits that are asked for some rows at a time, so that those of a large image are never there at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Rows(Protocol):
    """Logits (B, K, H, W) whose rows are asked for from the top to the bottom."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    def __call__(self, start: int, stop: int) -> Tensor:
        """Give the rows from `start` to before `stop`, (B, K, stop - start, W).

        What is asked for later never starts above what was asked for before.
        """


class GivenRows:
    """Rows of logits (B, K, H, W) that are there."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.size = (logits.shape[-2], logits.shape[-1])

    def __call__(self, start: int, stop: int) -> Tensor:
        """As `Rows`."""
        return self.logits[..., start:stop, :]


class ResizedRows:
    """Rows of others at another size, as `F.interpolate` gives them without `align_corners`.

    Args:
        given: What is resized.
        whole: (H, W) that it is resized to.
        size: (h, w) of the upper left part that is kept of that; all if None.
    """

    def __init__(self, given: Rows, whole: tuple[int, int], size: tuple[int, int] | None = None) -> None:
        self.given = given
        self.whole = whole
        self.size = size or whole

    def __call__(self, start: int, stop: int) -> Tensor:
        """As `Rows`."""
        height, width = self.size
        if self.given.size == self.whole:
            return self.given(start, stop)[..., :width]
        if (start, stop) == (0, height):
            return _resized(self.given(0, self.given.size[0]), self.whole)[..., :height, :width]
        length = self.given.size[0]
        places = torch.arange(start, stop, dtype=torch.float64) + 0.5
        places = (places * (length / self.whole[0]) - 0.5).clamp(0, length - 1)
        above = places.floor().long()
        below = (above + 1).clamp(max=length - 1)
        first = int(above[0])
        rows = self.given(first, int(below[-1]) + 1).float()
        share = (places - above).to(rows)[:, None]
        upper, lower = (rows[..., (each - first).to(rows.device), :] for each in (above, below))
        return _resized(torch.lerp(upper, lower, share), (stop - start, self.whole[1]))[..., :width]


class MirroredRows:
    """Rows of others, left and right exchanged.

    Args:
        given: Of the mirror image.
        mirrored: What each class is in a mirror image, K; itself if empty.
    """

    def __init__(self, given: Rows, mirrored: tuple[int, ...] = ()) -> None:
        self.given = given
        self.mirrored = mirrored
        self.size = given.size

    def __call__(self, start: int, stop: int) -> Tensor:
        """As `Rows`."""
        rows = self.given(start, stop).flip(-1)
        return rows[:, list(self.mirrored)] if self.mirrored else rows


class WindowRows:
    """Means of the logits of the windows that see a pixel; only windows that rows are asked of are kept.

    Args:
        ask: From a part of the images (B, 3, h, w) to its logits, at its size.
        images: (B, 3, H, W).
        crop: Side of the square windows in pixels; those of smaller images are smaller.
        stride: Pixels between two windows.
    """

    def __init__(self, ask: Callable[[Tensor], Rows], images: Tensor, crop: int, stride: int) -> None:
        self.size = (images.shape[-2], images.shape[-1])
        self._ask = ask
        self._images = images
        self._crop = crop
        self._tops, self._lefts = (window_starts(length, crop, stride) for length in self.size)
        self._seen: dict[int, list[Rows]] = {}

    def __call__(self, start: int, stop: int) -> Tensor:
        """As `Rows`."""
        self._seen = {top: seen for top, seen in self._seen.items() if top + self._crop > start}
        tops = [top for top in self._tops if top < stop and top + self._crop > start]
        counts = torch.zeros(stop - start, self.size[1], device=self._images.device)
        total: Tensor | None = None
        for top in tops:
            if top not in self._seen:
                self._seen[top] = [self._ask(self._window(top, left)) for left in self._lefts]
            for left, window in zip(self._lefts, self._seen[top], strict=True):
                first, last = max(start, top), min(stop, top + window.size[0])
                logits = window(first - top, last - top).float()
                if total is None:
                    total = logits.new_zeros(*logits.shape[:2], stop - start, self.size[1])
                place = slice(first - start, last - start), slice(left, left + window.size[1])
                total[(..., *place)] += logits
                counts[place] += 1
        assert total is not None, "windows cover all rows"
        return total / counts

    def _window(self, top: int, left: int) -> Tensor:
        return self._images[..., top : top + self._crop, left : left + self._crop]


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Place windows of `crop` pixels along `length`: every `stride`, the last one at the end."""
    if length <= crop:
        return [0]
    return [*range(0, length - crop, stride), length - crop]


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
