"""Fusion of the token map with the backbone's own pyramid, for dense tasks (paper Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .config import MSCSAConfig
from .module import MSCSA


class LevelFusion(nn.Module):
    """out = X * up(gate) + up(bias): the tokens of one stage scale and shift its map (Fig. 5b).

    Gate and bias are 1x1 convolutions with batch norm at token resolution, upsampled afterwards:
    only this order reproduces the costs of the paper's Table 2. The gate is a hard-sigmoid.
    """

    def __init__(self, token_channels: int, channels: int, *, is_identity: bool) -> None:
        """Build for a stage of `channels` channels with `token_channels` in the token map.

        Args:
            token_channels: c_i.
            channels: C_i.
            is_identity: Start at gate exactly 1 and bias exactly 0.
        """
        super().__init__()
        self.channels = channels
        self.project = nn.Conv2d(token_channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        nn.init.trunc_normal_(self.project.weight, std=0.02)
        # A hard-sigmoid reaches 1 only where its gradient is 0. Twice a hard-sigmoid is 1 in the
        # middle of its slope, so that the gate can move from there.
        self.gate_scale = 2.0 if is_identity else 1.0
        if is_identity:
            nn.init.zeros_(self.norm.weight)

    def forward(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Fuse one level.

        Args:
            tokens: This stage's part of the token map, (B, c_i, h, w).
            x: The backbone's map, (B, C_i, H_i, W_i).
        Returns:
            (B, C_i, H_i, W_i).
        """
        gate, bias = self.norm(self.project(tokens)).split(self.channels, dim=1)
        gate = self.gate_scale * F.hardsigmoid(gate)
        size = (x.shape[2], x.shape[3])
        return x * _upsample(gate, size) + _upsample(bias, size)


class PyramidFusion(nn.ModuleList):
    """One `LevelFusion` for each level that is asked for; the others are not built."""

    def __init__(self, mscsa: MSCSA, levels: Sequence[int]) -> None:
        """Build for `levels`, indices into the stages that `mscsa` reads."""
        is_identity = mscsa.config.init == "identity"
        super().__init__(
            LevelFusion(mscsa.stage_channels[i], mscsa.channels[i], is_identity=is_identity) for i in levels
        )
        self.levels = tuple(levels)
        self.stage_channels = mscsa.stage_channels

    def forward(self, tokens: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Fuse the asked levels.

        Args:
            tokens: Token map, (B, D, h, w).
            maps: All stages, (B, C_i, H_i, W_i).
        Returns:
            One map for each of `levels`, of its stage's shape.
        """
        parts = tokens.split(self.stage_channels, dim=1)
        return [fuse(parts[level], maps[level]) for fuse, level in zip(self, self.levels, strict=True)]


class MSCSANeck(nn.Module):
    """A pyramid in, the same pyramid enriched by MSCSA out.

    >>> neck = MSCSANeck([64, 128, 320, 512], strides=[4, 8, 16, 32])
    >>> maps = [torch.rand(2, c, 224 // s, 224 // s) for c, s in zip(neck.mscsa.channels, neck.mscsa.strides)]
    >>> [tuple(x.shape) for x in neck(maps)]
    [(2, 64, 56, 56), (2, 128, 28, 28), (2, 320, 14, 14), (2, 512, 7, 7)]
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: MSCSAConfig | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid of two or more stages, finest first.

        Args:
            channels: C_i of each stage.
            strides: Stride of each stage in input pixels.
            config: Defaults of `MSCSAConfig` if None.
            out_levels: Stages to give back, by index; all if None. MSCSA reads all in any case.
        Raises:
            ValueError: As `MSCSA`; or if `out_levels` names a stage that is not there.
        """
        super().__init__()
        self.mscsa = MSCSA(channels, strides, config)
        levels = range(len(channels)) if out_levels is None else out_levels
        if not levels or not all(0 <= level < len(channels) for level in levels):
            raise ValueError(
                f"out_levels={list(levels)} given: give indices between 0 and {len(channels) - 1}"
            )
        self.fusion = PyramidFusion(self.mscsa, levels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Enrich `maps`, one (B, C_i, H_i, W_i) per stage; give back those of `out_levels`."""
        return self.fusion(self.mscsa(maps), maps)


def _upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
