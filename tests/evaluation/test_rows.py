"""Logits by rows: the same as all at once, and no more of them in memory than a few rows need."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mscsa.evaluation.rows import GivenRows, MirroredRows, ResizedRows, Rows, WindowRows, window_starts


def banded(rows: Rows, step: int) -> Tensor:
    height = rows.size[0]
    return torch.cat([rows(first, min(first + step, height)) for first in range(0, height, step)], dim=-2)


def test_windows_cover_everything_with_full_crops() -> None:
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(3, 4, 3) == window_starts(4, 4, 3) == [0]
    for length in range(5, 40):
        starts = window_starts(length, 5, 3)
        assert sorted({p for start in starts for p in range(start, start + 5)}) == list(range(length))


@pytest.mark.parametrize("given", [(5, 7), (40, 31), (23, 7), (1, 1)])
@pytest.mark.parametrize("step", [1, 4, 9, 23])
def test_resizing_by_rows_is_resizing_at_once(given: tuple[int, int], step: int) -> None:
    logits = torch.randn(2, 3, *given)
    wanted = F.interpolate(logits, (23, 29), mode="bilinear", align_corners=False)
    found = banded(ResizedRows(GivenRows(logits), (23, 29)), step)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    cut = banded(ResizedRows(GivenRows(logits), (23, 29), (21, 26)), step)
    torch.testing.assert_close(cut, wanted[..., :21, :26], rtol=0, atol=1e-4)


def test_twice_resized_and_mirrored() -> None:
    """As of a model that pads, at another scale."""
    logits = torch.randn(1, 2, 4, 6)
    padded = F.interpolate(logits, (16, 24), mode="bilinear")[..., :13, :22]
    wanted = F.interpolate(padded.flip(-1), (50, 61), mode="bilinear")
    own = MirroredRows(ResizedRows(GivenRows(logits), (16, 24), (13, 22)))
    torch.testing.assert_close(banded(ResizedRows(own, (50, 61)), 7), wanted, rtol=0, atol=1e-4)


def test_classes_that_are_others_in_a_mirror_image_are_swapped() -> None:
    logits = torch.randn(2, 3, 5, 7)
    found = banded(MirroredRows(GivenRows(logits), (0, 2, 1)), 2)
    assert torch.equal(found, torch.stack([logits[:, 0], logits[:, 2], logits[:, 1]], dim=1).flip(-1))


@pytest.mark.parametrize("step", [1, 3, 30])
def test_windows_are_averaged_once_each_and_forgotten(step: int) -> None:
    images, asked, kept = torch.randn(1, 2, 30, 25), [], []

    def ask(part: Tensor) -> Rows:
        asked.append(part.shape)
        return GivenRows(part * len(asked))

    rows = WindowRows(ask, images, crop=8, stride=5)
    total, counts = torch.zeros(1, 2, 30, 25), torch.zeros(30, 25)
    tops, lefts = window_starts(30, 8, 5), window_starts(25, 8, 5)
    for i, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        place = (..., slice(top, top + 8), slice(left, left + 8))
        total[place] += images[place] * (i + 1)
        counts[place] += 1
    found = []
    for first in range(0, 30, step):
        found.append(rows(first, min(first + step, 30)))
        kept.append(len(rows._seen))
    torch.testing.assert_close(torch.cat(found, dim=-2), total / counts)
    assert len(asked) == len(tops) * len(lefts)
    assert max(kept) <= (3 if step < 30 else len(tops))
