"""Collages of bundled photographs: reproducible, of all classes, their halves apart."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from mscsa.data.scenes import collage
from mscsa.data.scenes.collage import COLLAGE_CLASSES, CollageCollection, quarters, render_collage
from mscsa.errors import UserError


def test_a_collage_is_a_function_of_its_arguments() -> None:
    first, again = (render_collage(3, seed=1, split="val", size=64) for _ in range(2))
    assert (first.image == again.image).all() and (first.semantic == again.semantic).all()
    for other in (dict(seed=2), dict(split="train")):
        changed = render_collage(3, **{"seed": 1, "split": "val", "size": 64, **other})  # type: ignore[arg-type]
        assert not (first.image == changed.image).all()
    assert first.image.shape == (64, 64, 3) and first.image.dtype == np.uint8
    assert first.semantic.shape == (64, 64) and first.semantic.dtype == np.uint8


def test_all_photographs_and_piece_sizes_are_seen() -> None:
    collages = CollageCollection(split="train", num_scenes=150, size=64)
    counts = np.zeros(len(COLLAGE_CLASSES), int)
    shares = []
    for index in range(150):
        labels = collages.render(index).semantic
        found = np.bincount(labels.ravel(), minlength=len(COLLAGE_CLASSES))
        counts += found
        shares += [count / labels.size for count in found if count]
    assert counts.min() > 0.2 * counts.mean() and counts.max() < 3 * counts.mean()
    assert min(shares) < 0.01 and max(shares) > 0.9


def test_the_two_splits_share_no_pixel() -> None:
    """The four quarters of a photograph, put together again, are all of it."""
    for train, val in zip(quarters("train"), quarters("val"), strict=True):
        (upper_left, lower_right), (upper_right, lower_left) = train, val
        assert upper_left.shape[0] == upper_right.shape[0] and lower_left.shape[0] == lower_right.shape[0]
        assert upper_left.shape[1] == lower_left.shape[1] and upper_right.shape[1] == lower_right.shape[1]
        assert not any(np.array_equal(a, b) for a in train for b in val)


def test_a_piece_is_of_the_photograph_that_its_label_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """With photographs of one value each, and a patch that keeps it, the image is its own label map."""
    sources = [(np.full((96, 96, 3), 10 * label, np.uint8),) for label in range(len(COLLAGE_CLASSES))]
    monkeypatch.setattr(collage, "quarters", lambda split: sources)
    monkeypatch.setattr(
        collage, "_patch", lambda rng, source, size: np.full((size, size, 3), source[0][0, 0, 0] / 255)
    )
    for index in range(20):
        made = collage.render_collage(index, seed=0, split="train", size=64)
        assert (made.image == 10 * made.semantic[:, :, None]).all()


def test_numbers_that_are_not_there() -> None:
    collages = CollageCollection(split="val", num_scenes=2, size=32)
    assert len(collages) == 2 and collages.describe(1) == "collage 1 (seed 0, val)"
    with pytest.raises(IndexError, match="collage 2 of 2"):
        collages.render(2)
    with pytest.raises(ValueError, match="give at least 32 px"):
        render_collage(0, seed=0, split="val", size=31)


def test_without_the_photographs_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_skimage(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "skimage":
            raise ImportError(name)
        return real(name, *arguments, **options)

    quarters.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_skimage)
    with pytest.raises(UserError, match=r"run: pip install 'mscsa\[train\]'"):
        quarters("val")
    quarters.cache_clear()
