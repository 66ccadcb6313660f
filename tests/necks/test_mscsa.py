"""MSCSA's row gives what `mscsa.attention` gives."""

from __future__ import annotations

from mscsa.attention.config import MSCSAConfig
from mscsa.attention.cost import config_for_budget, mscsa_macs
from mscsa.attention.fusion import MSCSANeck
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks import cost
from mscsa.necks.mscsa import KIND, mscsa_neck_macs
from tests.necks.pyramids import sizes_at

CHANNELS, STRIDES, SIZES = (64, 128, 256, 512), (4, 8, 16, 32), sizes_at((224, 224))


def test_it_is_the_neck_itself() -> None:
    assert KIND.build is MSCSANeck and KIND.config is MSCSAConfig


def test_its_cost_is_of_the_levels_asked_for() -> None:
    for out_levels, fused in ((None, (0, 1, 2, 3)), ([3, 1], (3, 1))):
        expected = mscsa_macs(CHANNELS, STRIDES, SIZES, MSCSAConfig(), fused).total
        assert (
            mscsa_neck_macs(MeasuredPyramid.of(CHANNELS, STRIDES, SIZES, out_levels), MSCSAConfig())
            == expected
        )


def test_its_solver_is_its_own() -> None:
    start = {"num_heads": 4}
    ours = cost.neck_config_for_budget("mscsa", CHANNELS, STRIDES, SIZES, 0.2e9, start, [3], fixed=["depth"])
    expected = config_for_budget(
        CHANNELS, STRIDES, SIZES, 0.2e9, MSCSAConfig(num_heads=4), (3,), fixed=["depth"]
    )
    assert ours == expected
