"""The solver of the necks that are scaled by their width."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks.bifpn import BiFPNConfig, bifpn_macs
from mscsa.necks.budget import MAX_CHANNELS, widest
from mscsa.necks.config import NeckConfig

PYRAMID = MeasuredPyramid.of([64, 128, 320, 512], [4, 8, 16, 32], [(56, 56), (28, 28), (14, 14), (7, 7)])


@dataclass(frozen=True, kw_only=True)
class DeepConfig(NeckConfig):
    depth: int = 2


def square(pyramid: MeasuredPyramid, config: DeepConfig) -> int:
    """A cost that is easy to take the root of."""
    return config.depth * config.channels**2


def test_a_multiple_of_8_comes_before_a_wider_one() -> None:
    fit = widest(square)
    assert fit(PYRAMID, 2 * 100**2, DeepConfig(), ()) == DeepConfig(channels=96)  # 0.92 of the budget
    assert fit(PYRAMID, 2 * 102**2, DeepConfig(), ()) == DeepConfig(
        channels=102
    )  # 96 is too little, 104 too much
    assert fit(PYRAMID, 2 * 64**2, DeepConfig(), ()) == DeepConfig(channels=64)
    assert fit(PYRAMID, 3 * 64**2, DeepConfig(depth=3), ("depth",)) == DeepConfig(depth=3, channels=64)


def test_a_fixed_width_leaves_the_depth() -> None:
    fit = widest(square)
    start = DeepConfig(channels=10)
    assert fit(PYRAMID, 505, start, ("channels",)) == DeepConfig(channels=10, depth=5)
    assert fit(PYRAMID, 205, start, ("channels", "depth")) == start


@pytest.mark.parametrize(
    ("budget", "fixed", "nearest"),
    [
        (1, (), "2e-09"),
        (4, (), "2e-09 or 8e-09"),
        (560, ("channels",), "5e-07 or 6e-07"),
        (5000, ("channels",), "8e-07"),
        (500, ("channels", "depth"), "2e-07"),
    ],
)
def test_what_does_not_fit_names_the_nearest_costs(
    budget: float, fixed: tuple[str, ...], nearest: str
) -> None:
    with pytest.raises(ValueError) as caught:
        widest(square)(PYRAMID, budget, DeepConfig(channels=10), fixed)
    assert str(caught.value) == (
        f"no Deep fits a budget of {budget / 1e9:.4g} GMACs: the nearest cost {nearest} GMACs; "
        f"give another budget{', or fix fewer fields' * bool(fixed)}"
    )


def test_the_widest_is_still_a_neck() -> None:
    fit = widest(square)
    assert fit(PYRAMID, 2 * MAX_CHANNELS**2, DeepConfig(), ()) == DeepConfig(channels=MAX_CHANNELS)
    with pytest.raises(ValueError, match=r"the nearest cost 0\.03355 GMACs; give another budget$"):
        fit(PYRAMID, 4 * MAX_CHANNELS**2, DeepConfig(), ())


def test_a_dip_in_the_cost_hides_no_width() -> None:
    """At the width of a stage a BiFPN projects less, and costs less than one channel narrower."""
    narrower, own = (bifpn_macs(PYRAMID, BiFPNConfig(channels=width, depth=1)) for width in (127, 128))
    assert own < narrower
    fit = widest(bifpn_macs)
    assert fit(PYRAMID, 1.001 * own, BiFPNConfig(depth=1), ()).channels == 128
