"""What a cost depends on beside the configuration."""

from __future__ import annotations

import re

import pytest

from mscsa.attention.pyramid import MeasuredPyramid


def test_a_pyramid_is_checked_as_a_neck_checks_it() -> None:
    pyramid = MeasuredPyramid.of([4, 6], [8, 16], [(5, 3), (3, 2)])
    assert pyramid == MeasuredPyramid((4, 6), (8, 16), ((5, 3), (3, 2)), (0, 1))
    for arguments, message in (
        (([4, 6], [8, 16], [(5, 3)]), "sizes=[(5, 3)] is not allowed: give one (H, W) for each of 2"),
        (([4, 6], [8, 16], None), "sizes=None is not allowed: give one (H, W) for each of 2 stages"),
        (([4, 6], [16, 8], [(5, 3), (3, 2)]), "strides [16, 8] are not a pyramid"),
        (([4, 6], [8, 16], [(5, 3), (3, 2)], [2]), "out_levels=[2] given"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            MeasuredPyramid.of(*arguments)  # type: ignore[arg-type]
