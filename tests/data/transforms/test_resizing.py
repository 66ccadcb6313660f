"""Sizes of resized images."""

from __future__ import annotations

from mscsa.data.transforms.resizing import resized_size


def test_the_ratio_is_kept_within_both_limits() -> None:
    assert resized_size((640, 480), 512, 2048) == (683, 512)
    assert resized_size((4000, 500), 512, 2048) == (2048, 256)
    assert resized_size((480, 640), 800, 1333) == (800, 1067)


def test_a_factor_moves_both_limits() -> None:
    assert resized_size((640, 480), 512, 2048, 0.5) == (341, 256)
    assert resized_size((4000, 500), 512, 2048, 0.5) == (1024, 128)


def test_no_side_vanishes() -> None:
    assert resized_size((4000, 2), 512, 100) == (100, 1)
