"""Random pyramids of any sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tests.attention.weights import images

CHANNELS = [6, 9, 12, 16]
STRIDES = [4, 8, 16, 32]


def pyramid(
    height: int, width: int, batch: int = 2, channels: Sequence[int] = CHANNELS, scale: float = 1.0
) -> list[torch.Tensor]:
    """Maps in float64 for an image of `height` x `width`, with the sizes of a padded convolution net."""
    maps = []
    for seed, (stride, c) in enumerate(zip(STRIDES, channels, strict=False)):
        maps.append(scale * images((batch, c, -(-height // stride), -(-width // stride)), seed))
    return maps
