"""Kept maps in the place of a backbone.

An image says then where its maps are: its three channels hold the number of the record and the place of a
crop in it. So models, padding, batches and losses are those of real images, and `BackboneModel.read`
alone differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mscsa.frozen.store import MapStore


def address(record: int, top: int, left: int, size: tuple[int, int]) -> Tensor:
    """Make the image that stands for a crop of a record.

    Args:
        record: Number of the record, below 2**24.
        top: First row of the crop in px, a multiple of the deepest stride.
        left: First column, likewise.
        size: (H, W) of the crop in px.
    Returns:
        (3, H, W) float32, without memory of its own.
    """
    return torch.tensor([record, top, left], dtype=torch.float32)[:, None, None].expand(3, *size)


class KeptMaps:
    """Gives the maps of the records that images stand for; what `BackboneModel.reading` may be."""

    def __init__(self, store: MapStore, strides: dict[int, int]) -> None:
        """Read from `store`.

        Args:
            strides: Index of each level that the store holds, in its order -> stride in px.
        """
        self.store = store
        self.strides = strides

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptMaps:
        return self  # it holds nothing that changes, and the copy of a model reads the same files

    def __call__(self, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Give the maps of the levels `indices`, (B, C_i, H_i, W_i).

        Args:
            images: As `address` makes them, (B, 3, H, W), padded on the right and below or not. Beyond the
                record's own maps they are 0.
        """
        places = images[:, :, 0, 0].round().long().tolist()
        return [self._level(images, places, index) for index in indices]

    def _level(self, images: Tensor, places: Sequence[Sequence[int]], index: int) -> Tensor:
        level, stride = list(self.strides).index(index), self.strides[index]
        height, width = images.shape[-2] // stride, images.shape[-1] // stride
        channels = self.store.map_of(places[0][0], level).shape[0]
        out = torch.zeros(len(places), channels, height, width, dtype=torch.float16)
        for row, (record, top, left) in enumerate(places):
            y, x = top // stride, left // stride
            part = torch.from_numpy(self.store.map_of(record, level)[:, y : y + height, x : x + width].copy())
            out[row, :, : part.shape[1], : part.shape[2]] = part
        return out.to(device=images.device, dtype=images.dtype).contiguous(memory_format=torch.channels_last)
