"""mIoU of samples of images, from the pixels of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mscsa.evaluation.miou import scores_of
from mscsa.evaluation.pixel_counts import PixelCounts, class_ious, nonzero_counts


def made(count: int, num_classes: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 50, (count, num_classes, num_classes + 1))
    matrices[rng.random(matrices.shape) < 0.6] = 0
    return torch.from_numpy(matrices)


def test_miou_of_a_sample_is_that_of_the_summed_matrix() -> None:
    matrices = made(7, 4)
    images = PixelCounts.of([(i, nonzero_counts(each)) for i, each in enumerate(matrices)], 4)
    weights = np.random.default_rng(1).multinomial(7, [1 / 7] * 7, 200)
    expected = [
        scores_of((matrices * torch.tensor(row)[:, None, None]).sum(dim=0), 0.0, 7).miou for row in weights
    ]
    assert images.scores(weights) == pytest.approx(expected, rel=1e-12)


def test_classes_that_are_nowhere_in_a_sample_are_left_out() -> None:
    """The first image has class 0 alone, half right; the second class 1 alone, all right; no pixel: NaN."""
    first = torch.tensor([[5, 0, 5], [0, 0, 0]])
    second = torch.tensor([[0, 0, 0], [0, 8, 0]])
    nothing = torch.zeros(2, 3, dtype=torch.int64)
    images = PixelCounts.of([(i, nonzero_counts(m)) for i, m in enumerate((first, second, nothing))], 2)
    found = images.scores(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 3]]))
    assert found[:3].tolist() == [50.0, 100.0, 75.0]
    assert np.isnan(found[3])
    assert images.truth().tolist() == [[10, 0], [0, 8], [0, 0]]
    assert images.cells.tolist() == [0, 2, 4] and images.pixels.tolist() == [5, 5, 8]


def test_a_wrong_prediction_is_in_both_unions() -> None:
    ious = class_ious(np.array([[6, 2, 0], [0, 2, 0]]))
    assert ious.tolist() == [100 * 6 / 8, 100 * 2 / 4]
