"""MSCSA among the necks: the neck, its cost and its solver are those of `mscsa.attention`."""

from __future__ import annotations

from collections.abc import Sequence

from mscsa.attention.config import MSCSAConfig
from mscsa.attention.cost import config_for_budget, mscsa_macs
from mscsa.attention.fusion import MSCSANeck
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks.neck import NeckKind


def mscsa_neck_macs(pyramid: MeasuredPyramid, config: MSCSAConfig) -> int:
    """Count the multiply-adds of an `MSCSANeck` for one image."""
    return mscsa_macs(pyramid.channels, pyramid.strides, pyramid.sizes, config, pyramid.out_levels).total


def _fit(pyramid: MeasuredPyramid, budget: float, config: MSCSAConfig, fixed: Sequence[str]) -> MSCSAConfig:
    return config_for_budget(
        pyramid.channels, pyramid.strides, pyramid.sizes, budget, config, pyramid.out_levels, fixed=fixed
    )


KIND = NeckKind(build=MSCSANeck, config=MSCSAConfig, macs=mscsa_neck_macs, fit=_fit)
"""MSCSA in the table of necks."""
