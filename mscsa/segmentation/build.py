"""Building a segmenter by name."""

from __future__ import annotations

from typing import Any

from mscsa.dense import NormMode, Pyramid, build_head, coarsest_stride
from mscsa.segmentation.segmenter import Segmenter


def build_segmenter(
    name: str,
    backbone: str | Pyramid,
    num_classes: int,
    *,
    backbone_norm: NormMode = "live",
    **options: Any,
) -> Segmenter:
    """Build a model that gives each pixel a class.

    >>> model = build_segmenter("semantic_fpn", "mscsa_resnet18", 21).eval()
    >>> tuple(model(torch.rand(1, 3, 97, 131)).shape)
    (1, 21, 97, 131)

    Args:
        name: A head of `mscsa.heads.HEADS` for segmentation.
        backbone: A timm name, or `mscsa_` + one; or a pyramid of `build_pyramid`, which is taken over.
        num_classes: K.
        backbone_norm: `frozen` keeps the batch statistics of the backbone's pre-training, `live` takes the
            batch's; from scratch it must be `live`.
        **options: Those of `build_pyramid` (`pretrained`, `drop_path_rate`, `neck`, `fields`, `budget`, ...)
            and of the head's function.
    Raises:
        UserError: If a name or an option is not known (names the nearest), a value is out of range, or the
            backbone has no pyramid.
        ValueError: If an option of the neck is out of range.
    """
    built = build_head(name, backbone, num_classes, options, tasks=("segmentation",), also=("backbone_norm",))
    body, decode_head = built.parts
    cfg = dict(built.pyramid.pretrained_cfg)
    return Segmenter(
        body,
        decode_head,
        size_divisor=coarsest_stride(built.pyramid),
        cfg=cfg,
        backbone_norm=backbone_norm,
    )
