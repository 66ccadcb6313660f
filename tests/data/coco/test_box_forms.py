"""Shares and corners are told from boxes that are right, or wrong one by one."""

from __future__ import annotations

import numpy as np

from mscsa.data.coco.box_forms import CORNERS, SHARES, other_form

NAN = float("nan")


def form(*boxes: list[float], size: tuple[float, float] = (64, 48)) -> tuple[str, int] | None:
    return other_form(
        np.array(boxes, float).reshape(-1, 4), np.array([size] * len(boxes), float).reshape(-1, 2)
    )


def test_shares_are_more_than_half_of_the_boxes() -> None:
    small, large = [0.1, 0.2, 0.5, 0.5], [0.0, 0.0, 20.0, 30.0]
    assert form(small, small) == (SHARES, 0) and form(large, small, small) == (SHARES, 1)
    assert form([NAN] * 4, small, [-0.1, 0.0, 0.3, 1.0], size=(NAN, NAN)) == (SHARES, 1)
    assert form(small, large) is form(*[[3.1, 4.2, 0.6, 0.9]] * 2) is form() is None
    assert form(*[[0.1, 0.1, 0, 0.5]] * 2) is None
    assert form([0.0, 0.0, 1.0, 1.0]) is None  # one alone is a box of a pixel


def test_boxes_far_left_of_their_image_are_no_shares() -> None:
    assert form(*[[-50.0, 0.0, 1.0, 1.0]] * 2) is form(*[[0.0, -2.0, 0.5, 1.0]] * 2) is None


def test_corners_are_seen_where_all_boxes_fit_as_such() -> None:
    corners = [[10.0, 8, 60, 20], [30.0, 20, 64, 48], [1.0, 1, 9, 9]]
    assert form(*corners) == (CORNERS, 0) and form(*corners[::-1]) == (CORNERS, 1)
    assert form([NAN] * 4, *corners) == (CORNERS, 1)
    for without_area in ([20.0, 20, 20, 30], [20.0, 20, 20, 20], [0.0, 0, 0, 0], [20.0, 20, -1, 30]):
        assert form(without_area, *corners) == (CORNERS, 1)  # in either form it says nothing
        assert form(without_area, without_area, corners[0]) is None
    assert form(corners[0], corners[2]) is None  # one alone is a wrong box
    assert form(*corners, [20.0, 20, 10, 10]) is form(*corners, [10.0, 10, 66, 40]) is None
    assert form(*corners, [-3.0, 0, 20, 20]) is form(*corners, size=(NAN, NAN)) is None
