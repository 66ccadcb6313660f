"""Semantic FPN: the semantic branch of Panoptic FPN.

Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, Sec. 3 and Fig. 3,
https://arxiv.org/abs/1901.02446.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from mscsa.attention.folding import NormedSequential
from mscsa.dense import Pyramid, levels_of
from mscsa.errors import UserError
from mscsa.heads import NORM_GROUPS
from mscsa.segmentation.decode_head import DecodeHead

SemanticNorm = Literal["bn", "gn"]


class SemanticFPNHead(DecodeHead):
    """FPN, then per level convolutions and upsampling to the finest level, their sum, and the classes."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        *,
        fpn_channels: int = 256,
        head_channels: int = 128,
        norm: SemanticNorm = "bn",
        dropout: float = 0.1,
    ) -> None:
        """Build for a pyramid, finest level first.

        Args:
            channels: C_i of each level.
            strides: Stride of each level in input pixels.
            num_classes: K.
            fpn_channels: Channels of the FPN's maps.
            head_channels: Channels of the maps that are summed up.
            norm: Batch norm, as the public training settings of Semantic FPN have it (synchronised over
                processes there); or group norm of 32 groups, the paper's, for very small batches.
            dropout: Rate at which whole channels are dropped before the classes.
        Raises:
            UserError: If the channels do not divide into the norm's groups.
        """
        super().__init__()
        if norm == "gn" and head_channels % NORM_GROUPS:
            raise UserError(
                f"head_channels={head_channels} given: group norm needs a multiple of {NORM_GROUPS}"
            )
        self.fpn = FeaturePyramidNetwork(list(channels), fpn_channels)
        self.scale_heads = nn.ModuleList(
            _scale_head(fpn_channels, head_channels, round(math.log2(stride / strides[0])), norm)
            for stride in strides
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(head_channels, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map a pyramid (B, C_i, H_i, W_i) to logits (B, K, H_1, W_1)."""
        levels = self.fpn(OrderedDict((str(i), x) for i, x in enumerate(maps))).values()
        finest, *others = zip(self.scale_heads, levels, strict=True)
        total = finest[0](finest[1])
        for head, level in others:
            x = head(level)
            if x.shape[-2:] != total.shape[-2:]:  # strides that are no powers of two apart, or odd sizes
                x = F.interpolate(x, total.shape[-2:], mode="bilinear", align_corners=False)
            total = total + x
        return self.classifier(self.dropout(total))


def semantic_fpn(
    pyramid: Pyramid,
    num_classes: int,
    *,
    fpn_channels: int = 256,
    head_channels: int = 128,
    norm: SemanticNorm = "bn",
    dropout: float = 0.1,
) -> tuple[Pyramid, SemanticFPNHead]:
    """Give the pyramid as it is, and a Semantic FPN for it; options as `SemanticFPNHead`."""
    channels, strides = levels_of(pyramid)
    head = SemanticFPNHead(
        channels,
        strides,
        num_classes,
        fpn_channels=fpn_channels,
        head_channels=head_channels,
        norm=norm,
        dropout=dropout,
    )
    return pyramid, head


def _scale_head(in_channels: int, channels: int, doublings: int, norm: SemanticNorm) -> NormedSequential:
    """Build 3x3 convolutions with norm and ReLU, each followed by a doubling of the size, if any."""
    norms: dict[SemanticNorm, Callable[[], nn.Module]] = {
        "bn": lambda: nn.BatchNorm2d(channels),
        "gn": lambda: nn.GroupNorm(NORM_GROUPS, channels),
    }
    layers: list[nn.Module] = []
    for i in range(max(1, doublings)):
        conv = nn.Conv2d(in_channels if i == 0 else channels, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, norms[norm](), nn.ReLU(inplace=True)]
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return NormedSequential(*layers)
