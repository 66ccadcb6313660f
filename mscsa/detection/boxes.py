"""Anchors, and the precision that boxes need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class Anchors(AnchorGenerator):
    """torchvision's anchors at the levels' true strides, in float32 under autocast too, and not rounded.

    torchvision rounds their corners to pixels, which MMDetection and Detectron2 do not, and takes the size of
    the image over that of the map for the stride, which is too little where the size of the map was rounded
    up: 61 in place of 64 for the 13 rows of an image of 800.
    """

    def __init__(
        self, strides: Sequence[int], sizes: Sequence[Sequence[float]], ratios: Sequence[float]
    ) -> None:
        """Set the anchors of each level.

        Args:
            strides: Of each level, in pixels.
            sizes: Square roots of the anchors' areas at each level, in pixels.
            ratios: Height over width of the anchors.
        """
        super().__init__(tuple(tuple(each) for each in sizes), (tuple(ratios),) * len(sizes))
        self.strides = tuple(strides)

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Give the anchors of one level around 0, x1 y1 x2 y2 in pixels: all sizes of a ratio together."""
        device = device or torch.device("cpu")
        sizes = torch.as_tensor(scales, dtype=dtype, device=device)
        height_ratios = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        widths = (sizes / height_ratios[:, None]).flatten()
        heights = (sizes * height_ratios[:, None]).flatten()
        return torch.stack([-widths, -heights, widths, heights], dim=1) / 2

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Give the anchors (N, 4), x1 y1 x2 y2 in pixels, of all levels, for each image."""
        self.set_cell_anchors(_wide(feature_maps[0].dtype), feature_maps[0].device)
        grids: Any = [each.shape[-2:] for each in feature_maps]
        strides: Any = [(each, each) for each in self.strides]
        anchors = torch.cat(self.grid_anchors(grids, strides))
        return [anchors] * len(image_list.image_sizes)


def keep_precision(*heads: nn.Module) -> None:
    """Let modules that end in boxes or logits give float32 under autocast.

    What they give is decoded and compared outside of any layer. In bfloat16 a coordinate of 1000 px would be
    rounded to a multiple of 4.
    """
    for head in heads:
        head.register_forward_hook(_widen_output)


def _widen_output(_module: nn.Module, _args: Any, output: Any) -> Any:
    return _widen(output)


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(_wide(value.dtype))
    if isinstance(value, dict):
        return {key: _widen(each) for key, each in value.items()}
    return type(value)(_widen(each) for each in value)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
