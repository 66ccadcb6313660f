"""The base of the necks, and what a cost depends on."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from mscsa.necks.config import NeckConfig
from mscsa.necks.neck import MeasuredPyramid, Neck


class Same(Neck):
    """A neck that does nothing."""

    config_type = NeckConfig

    def mix(self, maps: list[Tensor]) -> list[Tensor]:  # type: ignore[override]
        return [maps[level] for level in self.out_levels]


def test_the_base_checks_and_the_neck_mixes() -> None:
    neck = Same([4, 4], [8, 16], {"channels": 4}, out_levels=[1])
    maps = [torch.rand(1, 4, 5, 3), torch.rand(1, 4, 3, 2)]
    assert neck(maps) == [maps[1]] and neck.out_channels == (4,)
    with pytest.raises(ValueError, match="1 maps of shapes"):
        neck(maps[:1])
    with pytest.raises(TypeError, match="abstract"):
        Neck([4, 4], [8, 16])  # type: ignore[abstract]


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
