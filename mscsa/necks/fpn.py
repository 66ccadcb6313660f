"""The feature pyramid network: from the coarsest level down, each is added to the next finer one.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, https://arxiv.org/abs/1612.03144,
Fig. 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks.budget import widest
from mscsa.necks.config import NeckConfig, NeckNorm, check_norm
from mscsa.necks.layers import conv_macs, conv_norm, resize_nearest, size_of, start_convolutions
from mscsa.necks.neck import Neck, NeckKind


@dataclass(frozen=True, kw_only=True)
class FPNConfig(NeckConfig):
    """How an FPN is built."""

    norm: NeckNorm = "none"
    """Norm after each convolution; the paper and torchvision have none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_norm(self.norm)


class FPN(Neck):
    """FPN as torchvision has it: nearest upsampling to the finer map's size, no activations.

    The keys of its weights are those of `torchvision.ops.FeaturePyramidNetwork`, which makes the same of
    the same weights. They start as torchvision's: uniform with variance 1 / fan-in, biases 0.

    >>> neck = FPN([64, 128, 320, 512], strides=[4, 8, 16, 32])
    >>> neck.out_channels
    (256, 256, 256, 256)
    """

    config_type = FPNConfig
    config: FPNConfig

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: FPNConfig | Mapping[str, Any] | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid; arguments and errors as `Neck`."""
        super().__init__(channels, strides, config, out_levels=out_levels)
        width, norm = self.config.channels, self.config.norm
        self.inner_blocks = nn.ModuleDict(
            {
                str(level): conv_norm(self.channels[level], width, norm=norm)
                for level in range(min(self.out_levels), len(self.channels))
            }
        )
        self.layer_blocks = nn.ModuleDict(
            {str(level): conv_norm(width, width, 3, norm=norm) for level in sorted(set(self.out_levels))}
        )
        start_convolutions(self, partial(nn.init.kaiming_uniform_, a=1))

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Add from the coarsest level down; smooth the levels asked for."""
        merged: dict[str, Tensor] = {}
        above: Tensor | None = None
        for level, inner in reversed(list(self.inner_blocks.items())):
            x = inner(maps[int(level)])
            above = x if above is None else x + resize_nearest(above, size_of(x))
            merged[level] = above
        mixed = {level: layer(merged[level]) for level, layer in self.layer_blocks.items()}
        return [mixed[str(level)] for level in self.out_levels]


def fpn_macs(pyramid: MeasuredPyramid, config: FPNConfig) -> int:
    """Count the multiply-adds of an FPN for one image."""
    width, levels = config.channels, set(pyramid.out_levels)
    inner = sum(
        conv_macs(pyramid.channels[level], width, pyramid.sizes[level])
        for level in range(min(levels), len(pyramid.channels))
    )
    return inner + sum(conv_macs(width, width, pyramid.sizes[level], 3) for level in levels)


KIND = NeckKind(build=FPN, config=FPNConfig, macs=fpn_macs, fit=widest(fpn_macs))
"""FPN in the table of necks."""
