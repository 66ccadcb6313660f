"""Random colours."""

from __future__ import annotations

import random

import torch

from mscsa.data.transforms.colours import distort_colours


def test_each_colour_change_comes_in_half_of_the_cases() -> None:
    """All four stay out in a sixteenth; then the image is as it was."""
    random.seed(0)
    pixels = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    same = sum(torch.equal(distort_colours(pixels), pixels) for _ in range(800))
    assert 800 / 16 * 0.6 < same < 800 / 16 * 1.5
