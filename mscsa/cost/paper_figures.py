"""Figures printed in the paper's tables, to set ours beside them.

Shang et al., "Vision Backbone Enhancement via Multi-Stage Cross-Scale Attention". What the paper
calls FLOPs are multiply-adds (MACs): its totals for known backbones are the published MACs.
"""

from __future__ import annotations

from dataclasses import dataclass

LESS_THAN = 10.0
"""Sec. 1: "In most cases, this comes with less than 10% additional FLOPs and runtime", in %."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """One row of Table 1: a layer of MSCSA in PVTv2-B1+MSCSA at 224x224."""

    name: str
    gmacs: float
    percent: float
    """Share of the whole model."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows of Table 6: a backbone without and with MSCSA, ImageNet-1k, 224x224."""

    printed: str
    """Name as printed."""
    backbone: str
    """timm's name; with MSCSA it is `mscsa_` + this name."""
    gmacs: tuple[float, float]
    """Without and with MSCSA."""


@dataclass(frozen=True, kw_only=True)
class HeadPair:
    """Two rows of Table 2 or 3: a detector (COCO, 800x1280) or segmenter (ADE20K, 512x512)."""

    printed: str
    """Name as printed."""
    head: str
    backbone: str
    """timm's name; with MSCSA it is `mscsa_` + this name."""
    gmacs: tuple[float, float]
    """Without and with MSCSA."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One row of Table 7."""

    printed: str
    backbone: str
    pool_stride: int
    dense_pool_stride: int
    squeeze_ratio: float
    """1 where the paper prints a dash."""
    depth: int
    num_heads: int
    head_dim: int
    mlp_ratio: float


_SWIN_T = "swin_tiny_patch4_window7_224"

TABLE_1 = (
    Component(name="CSA", gmacs=0.049, percent=2.1),
    Component(name="FFN", gmacs=0.081, percent=3.5),
    Component(name="Intra-FFN", gmacs=0.030, percent=1.3),
)

TABLE_6 = (
    Pair(printed="TopFormer-T", backbone="topformer_tiny", gmacs=(0.13, 0.13)),
    Pair(printed="TopFormer-B", backbone="topformer_base", gmacs=(0.38, 0.38)),
    Pair(printed="CoaT Tiny", backbone="coat_tiny", gmacs=(4.4, 4.4)),
    Pair(printed="CoaT Small", backbone="coat_small", gmacs=(13, 13)),
    Pair(printed="ResNet-50", backbone="resnet50", gmacs=(4.1, 4.6)),
    Pair(printed="PVTv2-B0", backbone="pvt_v2_b0", gmacs=(0.57, 0.65)),
    Pair(printed="PVTv2-B1", backbone="pvt_v2_b1", gmacs=(2.1, 2.3)),
    Pair(printed="P2T-Tiny", backbone="p2t_tiny", gmacs=(1.8, 2.0)),
    Pair(printed="Shunted-T", backbone="shunted_tiny", gmacs=(2.1, 2.3)),
    Pair(printed="Swin-T", backbone=_SWIN_T, gmacs=(4.4, 5.0)),
    Pair(printed="ConvNeXt-T", backbone="convnext_tiny", gmacs=(4.5, 5.1)),
)

TABLE_2 = (
    HeadPair(printed="CoaT Tiny", head="mask_rcnn", backbone="coat_tiny", gmacs=(260, 237)),
    HeadPair(printed="CoaT Small", head="mask_rcnn", backbone="coat_small", gmacs=(428, 318)),
    HeadPair(printed="ResNet-50", head="mask_rcnn", backbone="resnet50", gmacs=(260, 271)),
    HeadPair(printed="PVTv2-B0", head="mask_rcnn", backbone="pvt_v2_b0", gmacs=(196, 199)),
    HeadPair(printed="PVTv2-B1", head="mask_rcnn", backbone="pvt_v2_b1", gmacs=(244, 250)),
    HeadPair(printed="PVTv2-B2", head="mask_rcnn", backbone="pvt_v2_b2", gmacs=(309, 322)),
    HeadPair(printed="P2T-Tiny", head="mask_rcnn", backbone="p2t_tiny", gmacs=(225, 232)),
    HeadPair(printed="Swin-T", head="mask_rcnn", backbone=_SWIN_T, gmacs=(267, 284)),
    HeadPair(printed="ConvNeXt-T", head="mask_rcnn", backbone="convnext_tiny", gmacs=(262, 279)),
    HeadPair(printed="ResNet-50", head="cascade_mask_rcnn", backbone="resnet50", gmacs=(394, 405)),
    HeadPair(printed="ResNet-50", head="retinanet", backbone="resnet50", gmacs=(239, 253)),
    HeadPair(printed="ResNet-50", head="deformable_detr", backbone="resnet50", gmacs=(173, 185)),
)

TABLE_3 = (
    HeadPair(printed="TopFormer-T", head="topformer_head", backbone="topformer_tiny", gmacs=(0.55, 0.55)),
    HeadPair(printed="TopFormer-B", head="topformer_head", backbone="topformer_base", gmacs=(1.8, 1.8)),
    HeadPair(printed="PVTv2-B0", head="semantic_fpn", backbone="pvt_v2_b0", gmacs=(25, 26)),
    HeadPair(printed="PVTv2-B1", head="semantic_fpn", backbone="pvt_v2_b1", gmacs=(34, 36)),
    HeadPair(printed="PVTv2-B2", head="semantic_fpn", backbone="pvt_v2_b2", gmacs=(46, 49)),
)


def _row(
    printed: str,
    backbone: str,
    pools: tuple[int, int],
    squeeze_ratio: float,
    depth: int,
    num_heads: int,
    head_dim: int,
    mlp_ratio: float,
) -> Configuration:
    return Configuration(
        printed=printed,
        backbone=backbone,
        pool_stride=pools[0],
        dense_pool_stride=pools[1],
        squeeze_ratio=squeeze_ratio,
        depth=depth,
        num_heads=num_heads,
        head_dim=head_dim,
        mlp_ratio=mlp_ratio,
    )


TABLE_7 = (
    #                                                      pools     squeeze depth heads head_dim mlp_ratio
    _row("TopFormer-T", "topformer_tiny", (32, 64), 1, 2, 4, 14, 3),
    _row("TopFormer-B", "topformer_base", (32, 64), 1, 2, 8, 12, 5),
    _row("CoaT Tiny", "coat_tiny", (16, 32), 1, 3, 8, 22, 1.5),
    _row("CoaT Small", "coat_small", (16, 32), 1, 3, 8, 52, 2),
    _row("ResNet-18", "resnet18", (32, 32), 0.625, 1, 8, 24, 2),
    _row("ResNet-50", "resnet50", (32, 32), 0.25, 1, 8, 32, 2),
    _row("PVTv2-B0", "pvt_v2_b0", (32, 32), 0.75, 1, 8, 15, 2),
    _row("PVTv2-B1", "pvt_v2_b1", (32, 32), 0.625, 1, 8, 24, 2),
    _row("PVTv2-B2", "pvt_v2_b2", (32, 32), 1, 1, 8, 35, 2),
    _row("P2T-Tiny", "p2t_tiny", (32, 32), 0.75, 1, 8, 36, 2),
    _row("Shunted-T", "shunted_tiny", (32, 32), 0.625, 1, 8, 30, 2),
    _row("Swin-T", _SWIN_T, (32, 32), 0.75, 1, 12, 28, 2),
    _row("ConvNeXt-T", "convnext_tiny", (32, 32), 0.75, 1, 12, 28, 2),
)
