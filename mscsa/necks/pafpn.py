"""The path-aggregation FPN: an FPN, then from its finest level up, each is added to the next coarser one.

Liu et al., "Path Aggregation Network for Instance Segmentation", CVPR 2018,
https://arxiv.org/abs/1803.01534, Sec. 3.1; without the paper's ReLUs, as MMDetection's `PAFPN`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks.budget import widest
from mscsa.necks.config import NeckConfig, NeckNorm, check_norm
from mscsa.necks.fpn import FPN, FPNConfig, fpn_macs
from mscsa.necks.layers import (
    conv_macs,
    conv_norm,
    resize_nearest,
    size_of,
    start_convolutions,
    step_between,
    strided_size,
)
from mscsa.necks.neck import Neck, NeckKind


@dataclass(frozen=True, kw_only=True)
class PAFPNConfig(NeckConfig):
    """How a PAFPN is built."""

    norm: NeckNorm = "bn"
    """Norm after each convolution; "none" is MMDetection's default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_norm(self.norm)


class PAFPN(Neck):
    """An FPN P_i and a second path: N_0 = P_0, N_i = P_i + conv(N_(i-1)); of i > 0 comes out conv(N_i).

    All convolutions of the second path are 3x3, those between levels strided. Where a strided map and the
    coarser one differ in size (in a backbone that rounds down), the nearest values are taken. Convolutions
    start as MMDetection's: Xavier uniform, biases 0.
    """

    config_type = PAFPNConfig
    config: PAFPNConfig

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: PAFPNConfig | Mapping[str, Any] | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid; arguments and errors as `Neck`."""
        super().__init__(channels, strides, config, out_levels=out_levels)
        width, norm = self.config.channels, self.config.norm
        self.fpn = FPN(
            channels, strides, _fpn_config(self.config), out_levels=range(max(self.out_levels) + 1)
        )
        self.downsamples = nn.ModuleDict()
        for level in range(1, max(self.out_levels) + 1):
            step = step_between(self.strides[level - 1], self.strides[level])
            self.downsamples[str(level)] = conv_norm(width, width, 3, stride=step, norm=norm)
        self.outputs = nn.ModuleDict(
            {
                str(level): conv_norm(width, width, 3, norm=norm)
                for level in sorted(set(self.out_levels) - {0})
            }
        )
        start_convolutions(self, nn.init.xavier_uniform_)

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Go down, and up again."""
        mixed = self.fpn(maps)
        for level, downsample in self.downsamples.items():
            i = int(level)
            mixed[i] = mixed[i] + resize_nearest(downsample(mixed[i - 1]), size_of(mixed[i]))
        smooth = {int(level): output(mixed[int(level)]) for level, output in self.outputs.items()}
        return [smooth[level] if level else mixed[0] for level in self.out_levels]


def pafpn_macs(pyramid: MeasuredPyramid, config: PAFPNConfig) -> int:
    """Count the multiply-adds of a PAFPN for one image."""
    width, last = config.channels, max(pyramid.out_levels)
    macs = fpn_macs(replace(pyramid, out_levels=range(last + 1)), _fpn_config(config))
    for level in range(1, last + 1):
        step = step_between(pyramid.strides[level - 1], pyramid.strides[level])
        macs += conv_macs(width, width, strided_size(pyramid.sizes[level - 1], step), 3)
        if level in pyramid.out_levels:
            macs += conv_macs(width, width, pyramid.sizes[level], 3)
    return macs


def _fpn_config(config: PAFPNConfig) -> FPNConfig:
    return FPNConfig(channels=config.channels, norm=config.norm)


KIND = NeckKind(build=PAFPN, config=PAFPNConfig, macs=pafpn_macs, fit=widest(pafpn_macs))
"""PAFPN in the table of necks."""
