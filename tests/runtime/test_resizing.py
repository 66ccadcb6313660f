"""Resizing and pasting as torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mscsa.detection.mask_head import paste_masks
from mscsa_runtime.resizing import paste_mask, resize_bilinear

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(7, 9), (31, 20), (4, 5), (1, 40)])
def test_maps_are_resized_as_torch_does(size: tuple[int, int]) -> None:
    maps = RNG.random((3, 7, 9), np.float32)
    wanted = F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear")[0]
    np.testing.assert_allclose(resize_bilinear(maps, size), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("box", [(3.2, 4.7, 20.1, 15.0), (-5.0, -2.0, 90.0, 12.3), (8.0, 8.0, 8.0, 8.0)])
def test_masks_are_pasted_as_the_detectors_do(box: tuple[float, ...]) -> None:
    cells, corners = RNG.random((28, 28), np.float32), np.float32(box)
    wanted = paste_masks(torch.from_numpy(cells)[None, None], torch.from_numpy(corners)[None], (24, 40))
    np.testing.assert_allclose(paste_mask(cells, corners, (24, 40)), wanted[0, 0], rtol=0, atol=1e-5)
