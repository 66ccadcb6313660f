"""Deformable DETR up to the logits and boxes of its queries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mscsa.graphs import Size


class QueryGraph(nn.Module):
    """The logits and boxes of the last layer, for images of one size or less."""

    def __init__(self, net: nn.Module, size: Size) -> None:
        """Take a Deformable DETR, for images of (H, W)."""
        super().__init__()
        self.net = net
        self.register_buffer("rows", torch.arange(size[0]).float(), persistent=False)
        self.register_buffer("columns", torch.arange(size[1]).float(), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W), and the (h, w) that each takes, (B, 2), to (B, Q, K) and (B, Q, 4)."""
        rows: Any = self.rows
        columns: Any = self.columns
        is_image = (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])
        net: Any = self.net
        logits, boxes = net.layers(images, is_image.long())
        return logits[-1], boxes[-1]
