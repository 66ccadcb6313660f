"""Anchors at the levels' true strides, and boxes in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from mscsa.detection.boxes import Anchors, keep_precision

RATIOS = (0.5, 1.0, 2.0)


def test_anchors_stand_at_the_levels_strides() -> None:
    """On 800 x 1344 px the 13 rows of stride 64 are 64 px apart; torchvision says 61."""
    strides, sizes = (16, 32, 64), ([32.0, 48.0], [64.0], [128.0])
    anchors = Anchors(strides, sizes, RATIOS)
    image = ImageList(torch.zeros(2, 3, 800, 1344), [(800, 1333), (790, 1344)])
    maps = [torch.zeros(2, 1, -(-800 // stride), -(-1344 // stride)) for stride in strides]
    first, second = anchors(image, maps)
    assert torch.equal(first, second)
    expected = [
        (x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2)
        for stride, level in zip(strides, sizes, strict=True)
        for y in range(-(-800 // stride))
        for x in range(-(-1344 // stride))
        for ratio in RATIOS
        for size in level
        for w, h in [(size / ratio**0.5, size * ratio**0.5)]
    ]
    assert (first - torch.tensor(expected)).abs().max() <= 0.5 + 1e-4  # torchvision rounds them to pixels
    assert anchors.num_anchors_per_location() == [6, 3, 3]
    assert anchors(image, [each.bfloat16() for each in maps])[0].dtype == torch.float32
    assert anchors(image, [each.double() for each in maps])[0].dtype == torch.float64


class Heads(nn.Module):
    """Gives what it is given, as heads give tensors, lists and dicts of them."""

    def forward(self, x: object) -> object:
        return x


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
)
def test_outputs_are_widened_to_float32_at_least(dtype: torch.dtype, expected: torch.dtype) -> None:
    head = Heads()
    keep_precision(head)
    x = torch.rand(2, 3).to(dtype)
    assert head(x).dtype == expected
    assert [each.dtype for each in head([x, x])] == [expected] * 2
    assert isinstance(head((x, x)), tuple)
    assert head({"boxes": [x]})["boxes"][0].dtype == expected
