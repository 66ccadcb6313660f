"""Small pyramids of any number of levels, and every neck small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mscsa.neck_table import NECKS
from mscsa.necks.bifpn import FusionNode
from mscsa.necks.build import build_neck
from tests.attention.weights import images, randomise

STRIDES = (4, 8, 16, 32, 64)
CHANNELS = (6, 8, 12, 16, 10)

SMALL: dict[str, dict[str, Any]] = {
    "mscsa": {"num_heads": 2, "head_dim": 3},
    "fpn": {"channels": 8},
    "pafpn": {"channels": 8},
    "bifpn": {"channels": 8, "depth": 2},
    "topformer": {"channels": 8, "depth": 2, "num_heads": 2, "head_dim": 4, "pool_stride": 32},
}
assert set(SMALL) == set(NECKS), "give each neck a small configuration"


def sizes_at(size: tuple[int, int], levels: int = 4, *, rounds_down: bool = False) -> list[tuple[int, int]]:
    """Sizes of the maps of an image, rounded up as by padded convolutions, or down as by patches."""
    if rounds_down:
        return [(size[0] // s, size[1] // s) for s in STRIDES[:levels]]
    return [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES[:levels]]


def maps_of(sizes: Sequence[tuple[int, int]], batch: int = 2) -> list[Tensor]:
    """Random maps in float64."""
    return [images((batch, c, *size), i) for i, (c, size) in enumerate(zip(CHANNELS, sizes, strict=False))]


def small_neck(
    name: str, levels: int = 4, out_levels: Sequence[int] | None = None, **fields: Any
) -> nn.Module:
    """A neck of its small configuration in which no weight is neutral; float64, eval mode."""
    config = {**SMALL[name], **fields}
    neck = randomise(build_neck(name, CHANNELS[:levels], STRIDES[:levels], config, out_levels=out_levels))
    with torch.no_grad():
        for each in neck.modules():
            if isinstance(each, FusionNode):
                each.weights.copy_(each.weights.abs() + 0.5)  # below 0 they cut their map off
    return neck


def largest_error(ours: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest deviation of maps, relative to the largest expected value."""
    pairs = list(zip(ours, expected, strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def counted_sizes() -> list[list[tuple[int, int]]]:
    """Sizes at which costs are counted: even, odd, and rounded down."""
    return [sizes_at((128, 192)), sizes_at((97, 131)), sizes_at((250, 333), rounds_down=True)]


def on_meta(sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """One image's maps without data."""
    return [torch.empty(1, c, *s, device="meta") for c, s in zip(CHANNELS, sizes, strict=False)]
