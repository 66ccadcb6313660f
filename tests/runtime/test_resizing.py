"""Resizing and pasting as torch's."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mscsa.detection.mask_head import paste_masks
from mscsa_runtime.resizing import largest_resized, paste_mask, resize_bilinear

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(7, 9), (31, 20), (4, 5), (1, 40)])
def test_maps_are_resized_as_torch_does(size: tuple[int, int]) -> None:
    maps = RNG.random((3, 7, 9), np.float32)
    wanted = F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear")[0]
    np.testing.assert_allclose(resize_bilinear(maps, size), wanted, rtol=0, atol=1e-5)


def test_the_largest_map_is_found_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = RNG.random((3, 7, 9), np.float32)
    wanted = resize_bilinear(maps, (31, 20)).argmax(axis=0)
    monkeypatch.setattr("mscsa_runtime.resizing._BAND_VALUES", 3 * 20 * 4)
    assert np.array_equal(largest_resized(maps, (31, 20)), wanted)
    tracemalloc.start()
    largest_resized(maps, (2000, 200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 2000 * 200  # all maps are 12 bytes a pixel


@pytest.mark.parametrize("box", [(3.2, 4.7, 20.1, 15.0), (-5.0, -2.0, 90.0, 12.3), (8.0, 8.0, 8.0, 8.0)])
def test_masks_are_pasted_as_the_detectors_do(box: tuple[float, ...]) -> None:
    cells, corners = RNG.random((28, 28), np.float32), np.float32(box)
    wanted = paste_masks(torch.from_numpy(cells)[None, None], torch.from_numpy(corners)[None], (24, 40))
    np.testing.assert_allclose(paste_mask(cells, corners, (24, 40)), wanted[0, 0], rtol=0, atol=1e-5)
