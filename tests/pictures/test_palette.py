"""Colours of classes."""

from __future__ import annotations

import numpy as np

from mscsa.pictures.palette import palette


def test_colours_are_distinct_and_stay_when_classes_are_added() -> None:
    colours = palette(150)
    assert colours.shape == (150, 3) and colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == 150
    assert np.array_equal(palette(11), colours[:11])


def test_neighbours_are_far_apart() -> None:
    colours = palette(150).astype(int)
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 60
