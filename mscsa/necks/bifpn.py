"""The bidirectional FPN of EfficientDet: down and up again, every sum with learned weights.

Tan et al., "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020,
https://arxiv.org/abs/1911.09070, Sec. 3, Fig. 2(d); without the levels P6 and P7 that EfficientDet adds: as
many come out as go in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.attention.config import number_between, whole_number
from mscsa.attention.folding import NormedSequential, fold_behind
from mscsa.attention.init import initialize
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.necks.budget import widest
from mscsa.necks.config import NeckConfig, keep
from mscsa.necks.layers import conv_macs, resize_nearest, size_of, step_between
from mscsa.necks.neck import Neck, NeckKind

EPSILON = 1e-4
"""Of the fast normalised fusion (Sec. 3.3)."""

NORM_EPSILON = 1e-3
"""Of the batch norms (Sec. 5.1)."""


@dataclass(frozen=True, kw_only=True)
class BiFPNConfig(NeckConfig):
    """How a BiFPN is built; the defaults are EfficientDet-D0's."""

    channels: int = 64
    """Channels inside the neck and of each of its maps ("#channels" of Table 1)."""
    depth: int = 3
    """Number of layers, each down and up once ("#layers" of Table 1)."""
    norm_momentum: float = 0.01
    """Share of a batch in the running statistics of the norms (Sec. 5.1: decay 0.99). They are those of the
    data only after hundreds of steps: give 0.1, as other necks have, for shorter runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        keep(self, "depth", whole_number("depth", self.depth))
        keep(self, "norm_momentum", number_between("norm_momentum", self.norm_momentum, 0.0, 1.0, "low"))


class Source(NamedTuple):
    """A map that goes into a node."""

    level: int
    """Its level, that of the node or a neighbour."""
    channels: int


class FusionNode(nn.Module):
    """out = conv(swish(sum(w_i * resize(x_i)) / (sum(w_i) + eps))), w_i >= 0 (Sec. 3.3).

    A map of another width first goes through a 1x1 convolution and a norm, at its own size. A finer one is
    max-pooled, 3x3 at stride 2; a coarser one upsampled by its nearest values. The convolution is a
    depthwise and a 1x1 one, and a norm. That the swish stands before it is of EfficientDet's public code.
    """

    def __init__(
        self, level: int, sources: Sequence[Source], strides: Sequence[int], config: BiFPNConfig
    ) -> None:
        super().__init__()
        width = config.channels
        self.weights = nn.Parameter(torch.ones(len(sources)))
        self.projections = nn.ModuleDict(
            {
                str(i): NormedSequential(nn.Conv2d(source.channels, width, 1, bias=False), _norm(config))
                for i, source in enumerate(sources)
                if source.channels != width
            }
        )
        self.steps = [step_between(strides[source.level], strides[level]) for source in sources]
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm = _norm(config)

    def forward(self, inputs: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Fuse maps (B, C_i, h_i, w_i), the sources, to one (B, width, H, W) of `size`."""
        weights = F.relu(self.weights)
        shares = weights / (weights.sum() + EPSILON)
        fused = shares[0] * self._resample(0, inputs[0], size)
        for i in range(1, len(inputs)):
            fused = fused + shares[i] * self._resample(i, inputs[i], size)
        out: Tensor = self.norm(self.pointwise(self.depthwise(F.silu(fused))))
        return out

    def fuse(self) -> FusionNode:
        """Fold the norm into the convolution before it, for inference."""
        fold_behind(self, "pointwise", "norm")
        return self.eval()

    def _resample(self, index: int, x: Tensor, size: tuple[int, int]) -> Tensor:
        if str(index) in self.projections:
            x = self.projections[str(index)](x)
        step = self.steps[index]
        if step > 1:
            # Of an odd kernel, as "same" padding asks: sizes are rounded up, at odd steps too.
            x = F.max_pool2d(x, step // 2 * 2 + 1, step, step // 2)
        return resize_nearest(x, size)


class BiFPNLayer(nn.Module):
    """Once down and once up; children are named by the level whose map they make."""

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], config: BiFPNConfig, *, num_levels: int
    ) -> None:
        """Build for maps of `channels`; the finest `num_levels` come out."""
        super().__init__()
        self.top_down, self.bottom_up = (
            nn.ModuleDict(
                {str(level): FusionNode(level, sources, strides, config) for level, sources in nodes.items()}
            )
            for nodes in _layer_plan(channels, config.channels, num_levels)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map (B, C_i, H_i, W_i) to (B, width, H_i, W_i), finest first."""
        sizes = [size_of(x) for x in maps]
        merged = {len(maps) - 1: maps[-1]}
        for name, node in self.top_down.items():
            level = int(name)
            merged[level] = node([maps[level], merged[level + 1]], sizes[level])
        outputs = [merged[0]]
        for name, node in self.bottom_up.items():
            level = int(name)
            own = [maps[level]] if level == len(maps) - 1 else [maps[level], merged[level]]
            outputs.append(node([*own, outputs[-1]], sizes[level]))
        return outputs


class BiFPN(Neck):
    """BiFPN: layers of top-down and bottom-up paths over all levels.

    As in EfficientDet's public code, the first layer brings the maps to one width, separately for each
    node that takes them. Pooling is by the levels' strides; where its result and the coarser map differ
    in size (in a backbone that rounds down), the nearest values are taken. The paper does not say how it
    starts: here the convolutions keep variances (`fan_in` of `mscsa.attention.init`), and the fusion
    weights start at 1.
    """

    config_type = BiFPNConfig
    config: BiFPNConfig

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: BiFPNConfig | Mapping[str, Any] | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid; arguments and errors as `Neck`."""
        super().__init__(channels, strides, config, out_levels=out_levels)
        self.layers = nn.ModuleList(
            BiFPNLayer(widths, self.strides, self.config, num_levels=num_levels)
            for widths, num_levels in _layers(self.channels, self.out_levels, self.config)
        )
        initialize(self, "fan_in")

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Go through all layers."""
        for layer in self.layers:
            maps = layer(maps)
        return [maps[level] for level in self.out_levels]


def bifpn_macs(pyramid: MeasuredPyramid, config: BiFPNConfig) -> int:
    """Count the multiply-adds of a BiFPN for one image; the weighted sums count 0."""
    width, sizes = config.channels, pyramid.sizes
    macs = 0
    for widths, num_levels in _layers(pyramid.channels, pyramid.out_levels, config):
        top_down, bottom_up = _layer_plan(widths, width, num_levels)
        for level, sources in [*top_down.items(), *bottom_up.items()]:
            macs += conv_macs(width, width, sizes[level], 3, groups=width)
            macs += conv_macs(width, width, sizes[level])
            macs += sum(
                conv_macs(source.channels, width, sizes[source.level])
                for source in sources
                if source.channels != width
            )
    return macs


def _layers(
    channels: Sequence[int], out_levels: Sequence[int], config: BiFPNConfig
) -> list[tuple[Sequence[int], int]]:
    """Channels that each layer takes, and how many levels it gives; the last no more than are asked for."""
    count = len(channels)
    layers: list[tuple[Sequence[int], int]] = [
        (channels if i == 0 else (config.channels,) * count, count) for i in range(config.depth)
    ]
    layers[-1] = (layers[-1][0], max(out_levels) + 1)
    return layers


def _layer_plan(
    channels: Sequence[int], width: int, num_levels: int
) -> tuple[dict[int, list[Source]], dict[int, list[Source]]]:
    """Sources of the nodes of a layer, by level in the order they run: (down to level 0, up from level 1)."""
    last = len(channels) - 1
    own = [Source(level, c) for level, c in enumerate(channels)]
    top_down = {
        level: [own[level], own[last] if level + 1 == last else Source(level + 1, width)]
        for level in reversed(range(last))
    }
    bottom_up = {
        level: [own[level], *([Source(level, width)] if level < last else []), Source(level - 1, width)]
        for level in range(1, num_levels)
    }
    return top_down, bottom_up


def _norm(config: BiFPNConfig) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(config.channels, eps=NORM_EPSILON, momentum=config.norm_momentum)


KIND = NeckKind(build=BiFPN, config=BiFPNConfig, macs=bifpn_macs, fit=widest(bifpn_macs))
"""BiFPN in the table of necks."""
