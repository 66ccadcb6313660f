"""What the paper prints: the figures of its Tables 1 to 7, each of them here and nowhere else.

Shang et al., "Vision Backbone Enhancement via Multi-Stage Cross-Scale Attention". Recipes are trained
towards them, and the cost tables set ours beside them. What the paper calls FLOPs are multiply-adds (MACs):
its totals for known backbones are the published MACs. Torch-free, for the sake of the recipes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mscsa.names import parse_model_name

LESS_THAN = 10.0
"""Sec. 1: "In most cases, this comes with less than 10% additional FLOPs and runtime", in %."""

TwoArms = tuple[float, float]
"""Without and with MSCSA."""

Origin = Literal["public", "re-trained", "trained"]
"""Where a baseline's figures come from: as others published them; the backbone re-trained by the authors
(printed with a dagger); all trained by the authors, for there is no public one (printed with an asterisk)."""


@dataclass(frozen=True, kw_only=True)
class ComponentRow:
    """One row of Table 1: a layer of MSCSA in PVTv2-B1+MSCSA at 224x224."""

    name: str
    gmacs: float
    percent: float
    """Share of the whole model."""


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """Two rows of a table: a backbone without and with MSCSA."""

    printed: str
    """Name as printed."""
    backbone: str
    """timm's name; with MSCSA it is `mscsa_` + this name."""
    gmacs: TwoArms
    origin: Origin = "public"

    def model_name(self, *, with_mscsa: bool) -> str:
        """Name the model of one of the two rows."""
        name = parse_model_name(self.backbone)
        return name.with_mscsa if with_mscsa else name.without_mscsa


@dataclass(frozen=True, kw_only=True)
class DetectorRow(PairRow):
    """Two rows of Table 2: a detector, COCO, 800x1280."""

    head: str
    box_ap: TwoArms
    """On val2017, in %."""
    mask_ap: TwoArms | None = None
    """The same, of the detectors that have masks."""


@dataclass(frozen=True, kw_only=True)
class SegmenterRow(PairRow):
    """Two rows of Table 3: a segmenter, ADE20K, 512x512."""

    head: str
    miou: TwoArms
    """At a single scale, in %."""


@dataclass(frozen=True, kw_only=True)
class ClassifierRow(PairRow):
    """Two rows of Table 6: a classifier, ImageNet-1k, 224x224."""

    top1: TwoArms
    """In %."""


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One row of Table 4 or 5: a variant of TopFormer-T+MSCSA, ImageNet-1k, 224x224."""

    name: str
    """Ours."""
    printed: str
    """Name as printed."""
    mmacs: float | None
    """Of the whole model; None where the source is unreadable."""
    top1: float
    """In %."""


@dataclass(frozen=True, kw_only=True)
class ConfigurationRow:
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


TABLE_1 = (
    ComponentRow(name="CSA", gmacs=0.049, percent=2.1),
    ComponentRow(name="FFN", gmacs=0.081, percent=3.5),
    ComponentRow(name="Intra-FFN", gmacs=0.030, percent=1.3),
)


def _detector(
    head: str,
    backbone: str,
    gmacs: TwoArms,
    box_ap: TwoArms,
    mask_ap: TwoArms | None = None,
    origin: Origin = "public",
) -> DetectorRow:
    return DetectorRow(
        printed=_PRINTED[backbone],
        backbone=backbone,
        gmacs=gmacs,
        origin=origin,
        head=head,
        box_ap=box_ap,
        mask_ap=mask_ap,
    )


def _segmenter(
    head: str, backbone: str, gmacs: TwoArms, miou: TwoArms, origin: Origin = "public"
) -> SegmenterRow:
    return SegmenterRow(
        printed=_PRINTED[backbone], backbone=backbone, gmacs=gmacs, origin=origin, head=head, miou=miou
    )


def _classifier(backbone: str, gmacs: TwoArms, top1: TwoArms, origin: Origin = "public") -> ClassifierRow:
    return ClassifierRow(printed=_PRINTED[backbone], backbone=backbone, gmacs=gmacs, origin=origin, top1=top1)


def _configuration(
    backbone: str,
    pools: tuple[int, int],
    squeeze_ratio: float,
    depth: int,
    num_heads: int,
    head_dim: int,
    mlp_ratio: float,
) -> ConfigurationRow:
    return ConfigurationRow(
        printed=_PRINTED[backbone],
        backbone=backbone,
        pool_stride=pools[0],
        dense_pool_stride=pools[1],
        squeeze_ratio=squeeze_ratio,
        depth=depth,
        num_heads=num_heads,
        head_dim=head_dim,
        mlp_ratio=mlp_ratio,
    )


_SWIN_T = "swin_tiny_patch4_window7_224"

_PRINTED = {
    "topformer_tiny": "TopFormer-T",
    "topformer_base": "TopFormer-B",
    "coat_tiny": "CoaT Tiny",
    "coat_small": "CoaT Small",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "pvt_v2_b0": "PVTv2-B0",
    "pvt_v2_b1": "PVTv2-B1",
    "pvt_v2_b2": "PVTv2-B2",
    "p2t_tiny": "P2T-Tiny",
    "shunted_tiny": "Shunted-T",
    _SWIN_T: "Swin-T",
    "convnext_tiny": "ConvNeXt-T",
}
"""timm's name of a backbone -> name as printed."""

TABLE_2 = (
    #                                       GMACs       box AP        mask AP
    _detector("mask_rcnn", "coat_tiny", (260, 237), (42.7, 43.9), (38.7, 39.8), "trained"),
    _detector("mask_rcnn", "coat_small", (428, 318), (46.5, 46.4), (41.8, 42.1)),
    _detector("mask_rcnn", "resnet50", (260, 271), (38.2, 42.2), (35.4, 38.7), "re-trained"),
    _detector("mask_rcnn", "pvt_v2_b0", (196, 199), (38.2, 41.0), (36.2, 37.8)),
    _detector("mask_rcnn", "pvt_v2_b1", (244, 250), (41.8, 43.8), (38.8, 40.0)),
    _detector("mask_rcnn", "pvt_v2_b2", (309, 322), (45.3, 46.0), (41.2, 41.5)),
    _detector("mask_rcnn", "p2t_tiny", (225, 232), (43.3, 44.9), (39.6, 40.7)),
    _detector("mask_rcnn", _SWIN_T, (267, 284), (43.7, 44.3), (39.8, 40.5)),
    _detector("mask_rcnn", "convnext_tiny", (262, 279), (43.8, 45.6), (40.2, 41.7), "trained"),
    _detector("cascade_mask_rcnn", "resnet50", (394, 405), (41.2, 43.4), (35.9, 37.7)),
    _detector("retinanet", "resnet50", (239, 253), (36.5, 39.0)),
    _detector("deformable_detr", "resnet50", (173, 185), (44.5, 45.6)),
)

TABLE_3 = (
    #                                              GMACs         mIoU
    _segmenter("topformer_head", "topformer_tiny", (0.55, 0.55), (33.6, 34.1), "re-trained"),
    _segmenter("topformer_head", "topformer_base", (1.8, 1.8), (38.3, 38.9), "re-trained"),
    _segmenter("semantic_fpn", "pvt_v2_b0", (25, 26), (37.2, 40.1)),
    _segmenter("semantic_fpn", "pvt_v2_b1", (34, 36), (42.5, 44.1)),
    _segmenter("semantic_fpn", "pvt_v2_b2", (46, 49), (45.2, 46.3)),
)

TABLE_4 = (
    AblationRow(name="all_removed", printed="All opt. removed", mmacs=129, top1=65.1),
    AblationRow(name="pcp", printed="+ w. PCP", mmacs=129, top1=65.7),
    AblationRow(name="pcp_intra", printed="++ w. Intra-FFN", mmacs=130, top1=66.0),
    AblationRow(name="pcp_intra_msp", printed="+++ w. MSP", mmacs=132, top1=67.1),
)

TABLE_5 = (
    AblationRow(name="parallel_dwconv", printed="TopFormer-T+MSCSA", mmacs=132, top1=67.1),
    AblationRow(name="parallel_avgpool", printed="-/+ AvgPool", mmacs=None, top1=66.7),
    AblationRow(name="cascaded_dwconv", printed="-/+ Cas. Conv", mmacs=None, top1=66.9),
    AblationRow(name="single_dwconv", printed="-/+ Sin. Conv", mmacs=None, top1=66.4),
)

TABLE_6 = (
    #                            GMACs         top-1
    _classifier("topformer_tiny", (0.13, 0.13), (65.1, 67.1), "re-trained"),
    _classifier("topformer_base", (0.38, 0.38), (75.0, 75.5), "re-trained"),
    _classifier("coat_tiny", (4.4, 4.4), (78.3, 81.1)),
    _classifier("coat_small", (13, 13), (82.1, 83.0)),
    _classifier("resnet50", (4.1, 4.6), (78.3, 79.9), "re-trained"),
    _classifier("pvt_v2_b0", (0.57, 0.65), (70.5, 74.6)),
    _classifier("pvt_v2_b1", (2.1, 2.3), (78.7, 80.0)),
    _classifier("p2t_tiny", (1.8, 2.0), (79.8, 80.9)),
    _classifier("shunted_tiny", (2.1, 2.3), (79.8, 81.0)),
    _classifier(_SWIN_T, (4.4, 5.0), (81.3, 81.5)),
    _classifier("convnext_tiny", (4.5, 5.1), (82.1, 82.0)),
)

TABLE_7 = (
    #                                 pools     squeeze depth heads head_dim mlp_ratio
    _configuration("topformer_tiny", (32, 64), 1, 2, 4, 14, 3),
    _configuration("topformer_base", (32, 64), 1, 2, 8, 12, 5),
    _configuration("coat_tiny", (16, 32), 1, 3, 8, 22, 1.5),
    _configuration("coat_small", (16, 32), 1, 3, 8, 52, 2),
    _configuration("resnet18", (32, 32), 0.625, 1, 8, 24, 2),
    _configuration("resnet50", (32, 32), 0.25, 1, 8, 32, 2),
    _configuration("pvt_v2_b0", (32, 32), 0.75, 1, 8, 15, 2),
    _configuration("pvt_v2_b1", (32, 32), 0.625, 1, 8, 24, 2),
    _configuration("pvt_v2_b2", (32, 32), 1, 1, 8, 35, 2),
    _configuration("p2t_tiny", (32, 32), 0.75, 1, 8, 36, 2),
    _configuration("shunted_tiny", (32, 32), 0.625, 1, 8, 30, 2),
    _configuration(_SWIN_T, (32, 32), 0.75, 1, 12, 28, 2),
    _configuration("convnext_tiny", (32, 32), 0.75, 1, 12, 28, 2),
)
