"""Boxes are pooled with shapes that depend on no values; whole detectors: tests/runtime/test_selection.py."""

from __future__ import annotations

import torch

from mscsa.detection.mask_head import AlignedRoIPool
from mscsa.detection.two_stage_graphs import pool


def test_pooling_is_that_of_the_detector() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 4, 128 // stride, 192 // stride, generator=generator) for stride in (4, 8, 16)]
    corners = 128 * torch.rand(30, 2, 2, generator=generator).sort(dim=1).values
    boxes = torch.cat([corners.flatten(1), torch.tensor([[0.0, 0.0, 120.0, 120.0]])])
    pooler = AlignedRoIPool(7, (4, 8, 16))
    images = [boxes[:12], boxes[12:]]
    named = {str(i): each for i, each in enumerate(maps)}
    wanted = pooler(named, images, [(128, 192)] * 2)
    numbers = torch.tensor([0.0] * 12 + [1.0] * 19)[:, None]
    assert len(pooler.map_levels([boxes]).unique()) > 1
    torch.testing.assert_close(pool(pooler, maps, torch.cat([numbers, boxes], dim=1)), wanted)
