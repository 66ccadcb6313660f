"""Pooling, mask targets and pasting: nothing is shifted, and masks of small objects survive."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mscsa.detection.mask_head import AlignedRoIPool, mask_targets, paste_masks
from tests.detection.small import batch, fresh, small


def ellipse(
    size: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float], turn: float
) -> Tensor:
    """Draw an ellipse: a pixel whose centre lies in it is its own, (H, W)."""
    y = (torch.arange(size[0]) + 0.5 - centre[0])[:, None]
    x = (torch.arange(size[1]) + 0.5 - centre[1])[None]
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return ((u / axes[0]) ** 2 + (v / axes[1]) ** 2 <= 1).float()


def around(centre: tuple[float, float], axes: tuple[float, float], turn: float) -> list[float]:
    """Give the box around an ellipse, x1 y1 x2 y2."""
    half_x = math.hypot(axes[0] * math.cos(turn), axes[1] * math.sin(turn))
    half_y = math.hypot(axes[0] * math.sin(turn), axes[1] * math.cos(turn))
    return [centre[1] - half_x, centre[0] - half_y, centre[1] + half_x, centre[0] + half_y]


@pytest.mark.parametrize("scale", [0.75, 1.0, 2.3])
def test_perfect_masks_of_small_objects_come_back(scale: float) -> None:
    """Ellipses of 6 to 40 px, seen at another size, cut to 28x28 and pasted at the image's own."""
    size = (120, 150)
    seen = (round(size[0] * scale), round(size[1] * scale))
    generator = torch.Generator().manual_seed(0)
    ious, shifts = [], []
    for a, b, y, x, turn in torch.rand(60, 5, generator=generator).tolist():
        axes, centre = (3 + 17 * a, 3 + 17 * b), (25 + 70 * y, 25 + 100 * x)
        box = torch.tensor([around(centre, axes, math.pi * turn)])
        own = ellipse(size, centre, axes, math.pi * turn)
        factors = (seen[0] / size[0], seen[1] / size[1])
        grid = F.interpolate(own[None, None], seen, mode="bilinear", antialias=True)[0] >= 0.5
        at_seen = box * torch.tensor([factors[1], factors[0]]).repeat(2)
        target = mask_targets(grid.to(torch.uint8), at_seen, torch.zeros(1, dtype=torch.int64), 28)
        pasted = paste_masks(target[:, None], box, size)[0, 0] >= 0.5
        ious.append(float((pasted & own.bool()).sum() / (pasted | own.bool()).sum()))
        shifts.append(
            [
                float(one.float().mean() - other.float().mean())
                for one, other in zip(torch.where(pasted), torch.where(own), strict=True)
            ]
        )
    assert sum(ious) / len(ious) > 0.93
    assert torch.tensor(shifts).mean(0).abs().max() < 0.05


def test_a_pasted_mask_is_the_interpolated_one() -> None:
    """Against torch's own sampling, inside, across the border and outside of the image."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(4, 1, 28, 28, generator=generator, dtype=torch.float64)
    boxes = torch.tensor(
        [[3.3, 4.7, 20.1, 17.2], [-6.5, 2, 9, 44.5], [0, 0, 31, 40], [50, 60, 70, 90.0]]
    ).double()
    found = paste_masks(masks, boxes, (40, 31))
    y, x = torch.arange(40).double() + 0.5, torch.arange(31).double() + 0.5
    for mask, box, pasted in zip(masks, boxes, found, strict=True):
        u = (x - box[0]) / (box[2] - box[0]) * 2 - 1
        v = (y - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack([u.expand(40, -1), v[:, None].expand(-1, 31)], dim=-1)
        assert torch.allclose(
            pasted, F.grid_sample(mask[None], grid[None], align_corners=False)[0], atol=1e-12
        )
    assert not found[3].any()
    assert paste_masks(masks[:0], boxes[:0], (40, 31)).shape == (0, 1, 40, 31)


def test_pooling_reads_maps_where_they_are() -> None:
    """On maps that hold their own coordinates each cell gives its centre, on every level."""
    strides = [4, 8, 16, 32]
    maps = {}
    for i, stride in enumerate(strides):
        places = (torch.arange(1024 // stride) + 0.5) * stride
        maps[str(i)] = torch.stack(torch.meshgrid(places, places, indexing="ij"))[None]
    boxes = torch.tensor(
        [[100.0, 120, 150, 180], [203, 101, 330, 299], [64, 80, 440, 500], [50, 40, 900, 950]]
    )
    pool = AlignedRoIPool(7, strides)
    assert pool.map_levels([boxes]).tolist() == [0, 1, 2, 3]
    cells = (torch.arange(7) + 0.5) / 7
    for cut, box in zip(pool(maps, [boxes], [(1024, 1024)]), boxes, strict=True):
        assert torch.allclose(cut[0, :, 0], box[1] + cells * (box[3] - box[1]), atol=1e-2)
        assert torch.allclose(cut[1, 0], box[0] + cells * (box[2] - box[0]), atol=1e-2)


def test_found_masks_are_those_inside_their_boxes() -> None:
    model: Any = fresh("mask_rcnn").eval()
    images, _ = batch((80, 112, 2))
    with torch.inference_mode():
        (inside,), (whole,) = model.find(images), model(images)
    assert inside["masks"].shape[1:] == (1, 28, 28) and len(inside["masks"])
    assert torch.equal(whole["masks"], paste_masks(inside["masks"], inside["boxes"], (80, 112)))
    assert all(torch.equal(inside[key], whole[key]) for key in ("boxes", "labels", "scores"))


def test_heads_train_without_an_object() -> None:
    losses = fresh("mask_rcnn")(*batch((64, 64, 0)))
    assert losses["loss_mask"] == 0 and losses["loss_mask"].requires_grad


def test_pasting_passes_gradients_on() -> None:
    masks = torch.rand(2, 1, 4, 4, requires_grad=True)
    boxes = torch.tensor([[1.0, 1.0, 6.0, 7.0], [0.0, 2.0, 5.0, 8.0]])
    paste_masks(masks, boxes, (9, 9)).sum().backward()
    assert masks.grad is not None and bool((masks.grad > 0).any())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_mask_rcnn"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    model = small(name).to(dtype)
    images, targets = batch((64, 64, 2), dtype=dtype)
    assert all(loss.isfinite() for loss in model(images, targets).values())
    with torch.no_grad():
        (found,) = model.eval()(images)
    assert len(found["masks"]) == len(found["boxes"]) > 0
