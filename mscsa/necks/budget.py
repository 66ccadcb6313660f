"""The configuration of a neck that fits a budget of multiply-adds.

A neck's size knob is its width: its structure is given by the levels, and papers scale it by its channels
(EfficientDet by the number of layers too). What that makes of "equal MACs" is said in `mscsa.necks.cost`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from mscsa.attention.cost import LOWEST_SHARE, no_fit
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks.config import NeckConfig

NeckConfigT = TypeVar("NeckConfigT", bound=NeckConfig)

WIDTH_MULTIPLE = 8
"""Widths that fast kernels and group norms take."""

MAX_CHANNELS = 4096
"""A neck that is wider still is no neck of its paper any more."""

_MOST_LAYERS = 8


def widest(
    macs: Callable[[MeasuredPyramid, NeckConfigT], int],
) -> Callable[[MeasuredPyramid, float, NeckConfigT, Sequence[str]], NeckConfigT]:
    """Make the solver of a neck that is scaled by its width.

    It gives the widest multiple of 8 channels, up to `MAX_CHANNELS`, whose cost lies within [0.9, 1.0] of the
    budget, or where there is none the widest at all. Where `channels` is fixed it gives the largest `depth`
    that fits, up to 8, if the neck has one that is not fixed.

    Args:
        macs: Cost of a configuration.
    Returns:
        (pyramid, budget in multiply-adds, configuration to start at, fields that stay) -> configuration; a
        ValueError names the nearest possible costs if none fits.
    """

    def fit(
        pyramid: MeasuredPyramid, budget: float, config: NeckConfigT, fixed: Sequence[str]
    ) -> NeckConfigT:
        def cost_of(candidate: NeckConfigT) -> int:
            return macs(pyramid, candidate)

        if "channels" not in fixed:
            return _first_that_fits(_by_width(budget, config, cost_of), budget, cost_of, fixed)
        if hasattr(config, "depth") and "depth" not in fixed:
            depths = range(_MOST_LAYERS, 0, -1)
            return _first_that_fits((_of_depth(config, depth) for depth in depths), budget, cost_of, fixed)
        return _first_that_fits([config], budget, cost_of, fixed)

    return fit


def _of_depth(config: NeckConfigT, depth: int) -> NeckConfigT:
    return replace(config, **{"depth": depth})


def _by_width(
    budget: float, config: NeckConfigT, cost_of: Callable[[NeckConfigT], int]
) -> Iterator[NeckConfigT]:
    """All widths whose cost is near the budget: multiples of 8 first, each time the widest first.

    Costs grow with the width but for small dips: a BiFPN of a stage's own width projects less.
    """
    top = 1
    while top < MAX_CHANNELS and cost_of(replace(config, channels=top)) <= 2 * budget:
        top *= 2
    near = []
    for channels in range(top, 0, -1):
        candidate = replace(config, channels=channels)
        near.append(candidate)
        if cost_of(candidate) < LOWEST_SHARE / 2 * budget:
            break
    yield from (each for each in near if each.channels % WIDTH_MULTIPLE == 0)
    yield from (each for each in near if each.channels % WIDTH_MULTIPLE != 0)


def _first_that_fits(
    candidates: Iterable[NeckConfigT],
    budget: float,
    cost_of: Callable[[NeckConfigT], int],
    fixed: Sequence[str],
) -> NeckConfigT:
    """Give the first candidate that costs [0.9, 1.0] of the budget; all are of one kind, one at least."""
    costs, name = [], ""
    for candidate in candidates:
        cost = cost_of(candidate)
        if LOWEST_SHARE * budget <= cost <= budget:
            return candidate
        costs.append(cost)
        name = type(candidate).__name__.removesuffix("Config")
    raise no_fit(name, budget, costs, "fix fewer fields" if fixed else "")
