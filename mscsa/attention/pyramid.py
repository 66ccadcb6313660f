"""A pyramid as costs know it: widths, strides and measured sizes of its stages, and the levels asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mscsa.attention.config import map_sizes, whole_numbers
from mscsa.attention.fusion import asked_levels
from mscsa.attention.module import check_pyramid

Sizes = Sequence[tuple[int, int]]
"""Measured (H_i, W_i) of each stage, finest first."""


@dataclass(frozen=True)
class MeasuredPyramid:
    """What the cost of MSCSA, or of another neck, depends on beside the configuration."""

    channels: Sequence[int]
    """C_i of each stage, finest first."""
    strides: Sequence[int]
    """Stride of each stage in input pixels."""
    sizes: Sizes
    """Measured (H_i, W_i) of each stage."""
    out_levels: Sequence[int]
    """Stages that the neck gives back, by index; none where MSCSA's tokens alone are read."""

    @classmethod
    def of(
        cls,
        channels: Sequence[int],
        strides: Sequence[int],
        sizes: Sizes,
        out_levels: Sequence[int] | None = None,
    ) -> MeasuredPyramid:
        """Take the arguments of a neck, checked as it checks them, and the sizes of its maps.

        Raises:
            ValueError: As `MSCSANeck`; or if there is not one size for each stage.
        """
        checked = whole_numbers("channels", channels), whole_numbers("strides", strides)
        check_pyramid(*checked)
        stages = len(checked[0])
        return cls(*checked, map_sizes(sizes, stages), asked_levels(out_levels, stages))
