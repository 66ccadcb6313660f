"""TopFormer's segmentation head, and TopFormer's dense form around any pyramid.

Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.05525.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.backbones import topformer
from mscsa.backbones.topformer import DenseTopFormer, TopFormer
from mscsa.backbones.topformer_parts import SemanticsExtractor, SemanticsInjection, conv_batch_norm
from mscsa.errors import UserError
from mscsa.models.model import MSCSAModel
from mscsa.models.pyramid import BackbonePyramid
from mscsa.segmentation.segmenter import Segmenter

CHANNELS_PER_HEAD = 48
"""Token channels for each head of an extractor, nearly: 208 / 4, 296 / 6, 384 / 8 in TopFormer-T, -S, -B."""

INJECTED_CHANNELS = 256
"""Channels of an injected map where the backbone is no TopFormer, as in TopFormer-B."""


class TopFormerHead(nn.Module):
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
    def classifier(self) -> nn.Module:
        """The convolution that ends in the classes."""
        return self.conv_seg

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, M, H_i, W_i), finest first, to logits (B, K, H_1, W_1)."""
        total, *coarser = maps
        for x in coarser:
            total = total + F.interpolate(x, total.shape[-2:], mode="bilinear", align_corners=False)
        return self.conv_seg(self.dropout(F.relu(self.linear_fuse(total))))


def inject_tokens(
    pyramid: MSCSAModel | BackbonePyramid, injected_channels: int | None, drop_path_rate: float
) -> tuple[DenseTopFormer, int]:
    """Turn a pyramid into TopFormer's dense form: raw maps, tokens, and their injection.

    The tokens come from MSCSA where the pyramid has it, whose fusion then has no place; else from a
    TopFormer extractor at 1/64 for the pyramid's channels.

    Args:
        pyramid: Built with all levels of stride >= 4; its parts are taken over.
        injected_channels: M; that of the TopFormer, or `INJECTED_CHANNELS`, if None.
        drop_path_rate: Of the extractor's last block.
    Returns:
        The dense form, and M.
    """
    info = pyramid.feature_info
    assert not isinstance(info, list)
    channels, strides = info.channels(), info.reduction()
    backbone = pyramid.backbone
    is_topformer = isinstance(backbone, TopFormer)
    maps = backbone.tpm if is_topformer else BackbonePyramid(backbone)
    if injected_channels is None:
        name = backbone.pretrained_cfg["architecture"]
        injected_channels = topformer.SIZES[name].injected_channels if is_topformer else INJECTED_CHANNELS
    extractor: nn.Module
    if isinstance(pyramid, MSCSAModel):
        extractor, token_channels = pyramid.mscsa, pyramid.mscsa.stage_channels
    else:
        num_heads = max(1, round(sum(channels) / CHANNELS_PER_HEAD))
        extractor = SemanticsExtractor(channels, strides, num_heads=num_heads, drop_path_rate=drop_path_rate)
        token_channels = tuple(channels)
    injection = SemanticsInjection(channels, injected_channels, token_channels=token_channels)
    return DenseTopFormer(maps, extractor, injection), injected_channels


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
