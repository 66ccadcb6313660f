"""TopFormer's segmentation head, on any pyramid that TopFormer's dense form stands around.

Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.05525.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.backbones import topformer
from mscsa.backbones.timm_pyramid import drop_path_rate_of
from mscsa.backbones.topformer import TopFormer
from mscsa.backbones.topformer_parts import conv_batch_norm
from mscsa.dense import Pyramid
from mscsa.errors import UserError
from mscsa.segmentation.decode_head import DecodeHead
from mscsa.segmentation.dense_topformer import DenseTopFormer, inject_tokens
from mscsa.segmentation.segmenter import Segmenter

INJECTED_CHANNELS = 256
"""Channels of an injected map where the backbone is no TopFormer, as in TopFormer-B."""


class TopFormerHead(DecodeHead):
    """Sum of the injected maps at the finest of their sizes, a 1x1 convolution, and the classes."""

    def __init__(
        self, channels: int, num_classes: int, *, depthwise: bool = False, dropout: float = 0.1
    ) -> None:
        """Build for maps of one width.

        Args:
            channels: M, of each map.
            num_classes: K.
            depthwise: Fuse each channel by itself, as TopFormer-T does.
            dropout: Rate at which whole channels are dropped before the classes.
        """
        super().__init__()
        groups = channels if depthwise else 1
        # The official order of the keys.
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.linear_fuse = conv_batch_norm(channels, channels, groups=groups, conv_name="conv")
        self.dropout = nn.Dropout2d(dropout)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(self.conv_seg.bias)  # type: ignore[arg-type]
        fuse = self.linear_fuse.get_submodule("conv").get_parameter("weight")
        nn.init.kaiming_normal_(fuse, mode="fan_out", nonlinearity="relu")

    @property
    def classifier(self) -> nn.Module:  # type: ignore[override]
        """The convolution that ends in the classes."""
        return self.conv_seg

    @property
    def chosen_widths(self) -> Mapping[str, int]:  # type: ignore[override]
        """M, which is the backbone's by default."""
        return {"injected_channels": self.conv_seg.in_channels}

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, M, H_i, W_i), finest first, to logits (B, K, H_1, W_1)."""
        total, *coarser = maps
        for x in coarser:
            total = total + F.interpolate(x, total.shape[-2:], mode="bilinear", align_corners=False)
        return self.conv_seg(self.dropout(F.relu(self.linear_fuse(total))))


def topformer_head(
    pyramid: Pyramid,
    num_classes: int,
    *,
    injected_channels: int | None = None,
    depthwise: bool | None = None,
    dropout: float = 0.1,
    drop_path_rate: float | None = None,
) -> tuple[DenseTopFormer, TopFormerHead]:
    """Give the pyramid with tokens injected, and TopFormer's head for it.

    Args:
        pyramid: Its parts are taken over.
        num_classes: K.
        injected_channels: M; by default that of the TopFormer, or 256 for other backbones.
        depthwise: Fuse each channel by itself; by default only TopFormer-T does.
        dropout: Rate at which whole channels are dropped before the classes.
        drop_path_rate: Of the last block of TopFormer's own extractor; the backbone's if None.
    """
    backbone = pyramid.backbone
    channels, is_depthwise = INJECTED_CHANNELS, False
    if isinstance(backbone, TopFormer):
        channels, is_depthwise = backbone.size.injected_channels, backbone.size.has_depthwise_head
    channels = channels if injected_channels is None else injected_channels
    rate = drop_path_rate_of(backbone) if drop_path_rate is None else drop_path_rate
    dense = inject_tokens(pyramid, channels, rate)
    head = TopFormerHead(
        channels, num_classes, depthwise=is_depthwise if depthwise is None else depthwise, dropout=dropout
    )
    return dense, head


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official TopFormer checkpoint to a segmenter of the same size.

    Of a classifier, the head and the injection of the segmenter stay as built, as the official
    training starts.

    Args:
        state_dict: Entries by official key.
        model: `Segmenter` with TopFormer's dense form.
    Returns:
        Entries for `model.load_state_dict`.
    Raises:
        UserError: If the segmenter's backbone is no TopFormer.
    """
    if not (isinstance(model, Segmenter) and isinstance(model.backbone, DenseTopFormer)):
        raise UserError("only segmenters of TopFormer have official checkpoints: build topformer_head on one")
    dense = topformer.checkpoint_filter_fn(state_dict, model.backbone)
    source = model.state_dict() if "head.l.weight" in state_dict else state_dict
    head = {key: value for key, value in source.items() if key.startswith("decode_head.")}
    return {**{f"backbone.{key}": value for key, value in dense.items()}, **head}
