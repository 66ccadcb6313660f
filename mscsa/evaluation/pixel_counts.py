"""Pixels by label and prediction, image by image, and the mIoU of any sample of the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mscsa.evaluation.image_counts import ImageCounts, Record

_SAMPLES_AT_ONCE = 64
# The matrices of 64 samples of ADE20K's 150 classes are 12 megabytes.


@dataclass(frozen=True, eq=False)
class PixelCounts(ImageCounts):
    """The matrix (K, K + 1) of each image; only what is not 0 is kept, for few classes meet in an image."""

    ends: NDArray[np.int64]
    """Where the entries of each image end, (N,); they begin where the image's before end."""
    cells: NDArray[np.int64]
    """Label * (K + 1) + prediction of each entry, (E,)."""
    pixels: NDArray[np.int64]
    """Pixels of each entry, (E,)."""
    num_classes: NDArray[np.int64]
    """K, ()."""

    @classmethod
    def of(cls, records: list[Record], num_classes: int) -> PixelCounts:
        """Make it of (place, `nonzero_counts`) of each image."""
        places, entries = zip(*records, strict=True)
        return cls(
            np.array(places, np.int64),
            np.cumsum([len(cells) for cells, _ in entries], dtype=np.int64),
            np.concatenate([cells for cells, _ in entries]),
            np.concatenate([pixels for _, pixels in entries]),
            np.array(num_classes, np.int64),
        )

    def scores(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Take the mIoU of samples (R, N) of the images, in %, (R,); NaN where no pixel has a class."""
        parts = [
            self._scores(weights[first : first + _SAMPLES_AT_ONCE])
            for first in range(0, len(weights), _SAMPLES_AT_ONCE)
        ]
        return np.concatenate(parts)

    def truth(self) -> NDArray[np.int64]:
        """Give the pixels of each label in each image, (N, K)."""
        count = int(self.num_classes)
        totals = np.zeros((len(self.index), count), np.int64)
        image = np.searchsorted(self.ends, np.arange(len(self.cells)), side="right")
        np.add.at(totals, (image, self.cells // (count + 1)), self.pixels)
        return totals

    def _scores(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        count = int(self.num_classes)
        matrices = np.zeros((len(weights), count * (count + 1)), np.int64)
        starts = [0, *self.ends[:-1].tolist()]
        for image, (start, end) in enumerate(zip(starts, self.ends.tolist(), strict=True)):
            matrices[:, self.cells[start:end]] += weights[:, image, None] * self.pixels[start:end]
        ious = class_ious(matrices.reshape(-1, count, count + 1))
        is_known = ~np.isnan(ious)
        with np.errstate(invalid="ignore"):
            return np.where(is_known, ious, 0).sum(axis=1) / is_known.sum(axis=1)


def nonzero_counts(matrix: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the cells of a matrix (K, K + 1), numbered by rows, that are not 0, and what is in them."""
    flat = matrix.reshape(-1).numpy()
    cells = np.flatnonzero(flat)
    return cells.astype(np.int64), flat[cells].astype(np.int64)


def class_ious(matrices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give intersection / union of each class in %, NaN where it is neither in the labels nor predicted.

    Args:
        matrices: Pixels by label and prediction, (..., K, K + 1); the last column is right for no class.
    Returns:
        (..., K).
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    unions = matrices.sum(axis=-1) + matrices.sum(axis=-2)[..., :-1] - hits
    with np.errstate(invalid="ignore"):
        return 100 * hits / unions
