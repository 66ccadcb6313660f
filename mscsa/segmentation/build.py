"""Building a segmenter by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mscsa.backbones.topformer import TopFormer
from mscsa.errors import UserError
from mscsa.models.build import build_pyramid, split_options
from mscsa.models.model import MSCSAModel
from mscsa.models.pyramid import BackbonePyramid
from mscsa.segmentation.segmenter import Segmenter
from mscsa.segmentation.semantic_fpn import Norm, SemanticFPNHead
from mscsa.segmentation.topformer_head import TopFormerHead, inject_tokens

Pyramid = MSCSAModel | BackbonePyramid


def semantic_fpn(
    pyramid: Pyramid,
    num_classes: int,
    *,
    fpn_channels: int = 256,
    head_channels: int = 128,
    norm: Norm = "bn",
    dropout: float = 0.1,
) -> tuple[nn.Module, nn.Module]:
    """Give the pyramid as it is, and a Semantic FPN for it; options as `SemanticFPNHead`."""
    channels, strides = _levels(pyramid)
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


def topformer_head(
    pyramid: Pyramid,
    num_classes: int,
    *,
    injected_channels: int | None = None,
    depthwise: bool | None = None,
    dropout: float = 0.1,
    extractor_drop_path_rate: float = 0.0,
) -> tuple[nn.Module, nn.Module]:
    """Give the pyramid with tokens injected, and TopFormer's head for it.

    Args:
        pyramid: Its parts are taken over.
        num_classes: K.
        injected_channels: M; by default that of the TopFormer, or 256 for other backbones.
        depthwise: Fuse each channel by itself; by default only TopFormer-T does.
        dropout: Rate at which whole channels are dropped before the classes.
        extractor_drop_path_rate: Of the last block of TopFormer's own extractor.
    """
    cfg: Any = pyramid.backbone.pretrained_cfg
    is_tiny = isinstance(pyramid.backbone, TopFormer) and cfg["architecture"] == "topformer_tiny"
    dense, channels = inject_tokens(pyramid, injected_channels, extractor_drop_path_rate)
    head = TopFormerHead(
        channels, num_classes, depthwise=is_tiny if depthwise is None else depthwise, dropout=dropout
    )
    return dense, head


SEGMENTERS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "semantic_fpn": semantic_fpn,
    "topformer_head": topformer_head,
}
"""Name -> pyramid, number of classes and options to (backbone, decode head)."""


def build_segmenter(name: str, backbone: str | Pyramid, num_classes: int, **options: Any) -> Segmenter:
    """Build a model that gives each pixel a class.

    >>> model = build_segmenter("semantic_fpn", "mscsa_resnet18", 21).eval()
    >>> tuple(model(torch.rand(1, 3, 97, 131)).shape)
    (1, 21, 97, 131)

    Args:
        name: One of `SEGMENTERS`.
        backbone: A timm name, or `mscsa_` + one; or a pyramid of `build_pyramid`, which is taken over.
        num_classes: K.
        **options: Those of `build_pyramid` (`pretrained`, `drop_path_rate`, `fields`, `budget`, ...) and
            of the segmenter's function in this module.
    Raises:
        UserError: If a name or an option is not known (names the nearest), or the backbone has no pyramid.
        ValueError: If an option is out of range.
    """
    if name not in SEGMENTERS:
        raise UserError(f"no segmenter is called {name!r}: give one of {', '.join(SEGMENTERS)}")
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} given: give 1 or more")
    of_head, of_pyramid = split_options(name, SEGMENTERS[name], options)
    if isinstance(backbone, str):
        backbone = build_pyramid(backbone, **of_pyramid)
    elif of_pyramid:
        raise UserError(f"{', '.join(of_pyramid)} given with a built backbone: build it with them")
    if name == "topformer_head":
        of_head.setdefault("extractor_drop_path_rate", of_pyramid.get("drop_path_rate") or 0.0)
    cfg, (_, strides) = backbone.pretrained_cfg, _levels(backbone)
    body, head = SEGMENTERS[name](backbone, num_classes, **of_head)
    return Segmenter(body, head, size_divisor=max(strides), cfg=dict(cfg))


def _levels(pyramid: Pyramid) -> tuple[list[int], list[int]]:
    """Give channels and strides of a pyramid's maps."""
    info: Any = pyramid.feature_info
    return list(info.channels()), [int(stride) for stride in info.reduction()]
