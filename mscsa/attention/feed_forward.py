"""Feed-forward with a depthwise convolution, dense (FFN) or block-diagonal over the stages (Intra-FFN).

Shapes, and the suffixes of tensors' names: B batch, D channels of the token map (c_i of stage i), R = r*D
hidden channels, h w size of the token map; F channels into a block-diagonal convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlockDiagonalConv1x1(nn.Module):
    """1x1 convolution whose matrix is block-diagonal: group i maps in_i to out_i channels on its own.

    `nn.Conv2d(groups=)` needs equal groups; the stages of a pyramid differ in width. Adapters that name
    modules and take convolutions alone (LoRA's `project`, which is this class in an Intra-FFN and a
    convolution elsewhere) find the convolutions under `blocks`.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], *, bias: bool) -> None:
        super().__init__()
        self.in_channels = tuple(in_channels)
        self.blocks = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 1, bias=bias)
            for c_in, c_out in zip(in_channels, out_channels, strict=True)
        )

    def forward(self, x_BFhw: Tensor) -> Tensor:
        """Map (B, sum(in), h, w) to (B, sum(out), h, w)."""
        parts = x_BFhw.split(self.in_channels, dim=1)
        return torch.cat([block(part) for block, part in zip(self.blocks, parts, strict=True)], dim=1)


class FeedForward(nn.Module):
    """1x1 projection to r times the width, 3x3 depthwise convolution, Hardswish, 1x1 projection back.

    Paper Sec. 3.3 and Fig. 3c. An Intra-FFN is the same feed-forward with both projections
    block-diagonal over the stages; its depthwise convolution runs once over all channels.
    """

    def __init__(self, stage_channels: Sequence[int], mlp_ratio: float, *, intra: bool) -> None:
        """Build for a token map of sum(stage_channels) channels.

        Args:
            stage_channels: Channels c_i of each stage in the token map.
            mlp_ratio: Expansion r.
            intra: Keep the stages apart in both projections (Intra-FFN).
        """
        super().__init__()
        widths = tuple(stage_channels)
        hidden = hidden_channels(widths, mlp_ratio)
        if not intra:
            widths, hidden = (sum(widths),), (sum(hidden),)
        self.expand = _projection(widths, hidden, bias=True)
        self.dwconv = nn.Conv2d(sum(hidden), sum(hidden), 3, padding=1, groups=sum(hidden))
        # No bias: the batch norm that next reads the residual stream cancels it.
        self.project = _projection(hidden, widths, bias=False)

    @property
    def expanding(self) -> list[nn.Module]:
        """The convolutions that read the input, in the order of the channels that each reads."""
        return list(self.expand.blocks) if isinstance(self.expand, BlockDiagonalConv1x1) else [self.expand]

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h, w)."""
        hidden_BRhw = self.dwconv(self.expand(x_BDhw))
        return self.project(F.hardswish(hidden_BRhw))


def hidden_channels(stage_channels: Sequence[int], mlp_ratio: float) -> tuple[int, ...]:
    """Channels between the two projections, for each stage: round(r * c_i), at least 1."""
    return tuple(max(1, round(mlp_ratio * channels)) for channels in stage_channels)


def _projection(in_channels: tuple[int, ...], out_channels: tuple[int, ...], *, bias: bool) -> nn.Module:
    if len(in_channels) == 1:
        return nn.Conv2d(in_channels[0], out_channels[0], 1, bias=bias)
    return BlockDiagonalConv1x1(in_channels, out_channels, bias=bias)
