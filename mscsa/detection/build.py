"""Building a detector by name."""

from __future__ import annotations

from typing import Any

from mscsa.dense import NormMode, Pyramid, build_head
from mscsa.detection.detector import Detector


def build_detector(
    name: str,
    backbone: str | Pyramid,
    num_classes: int,
    *,
    backbone_norm: NormMode = "frozen",
    mscsa_norm: NormMode = "live",
    **options: Any,
) -> Detector:
    """Build a model that finds objects.

    >>> model = build_detector("retinanet", "mscsa_resnet18", 20).eval()
    >>> sorted(model([torch.rand(3, 97, 131)])[0])
    ['boxes', 'labels', 'scores']

    Args:
        name: A head of `mscsa.heads.HEADS` for detection or instance segmentation.
        backbone: A timm name, or `mscsa_` + one; or a pyramid of `build_pyramid`, which is taken over, with
            the levels that the detector takes.
        num_classes: K; labels are 1..K.
        backbone_norm: `frozen` keeps the batch statistics of the backbone's pre-training, `live` takes the
            batch's; from scratch it must be `live`.
        mscsa_norm: The same of the neck, MSCSA or any other in its place.
        **options: Those of `build_pyramid` (`pretrained`, `drop_path_rate`, `neck`, `fields`, `budget`, ...)
            and of the detector's function.
    Raises:
        UserError: If a name or an option is not known (names the nearest), a value is out of range, the
            backbone has no pyramid or not the levels, or transformers is not installed.
        ValueError: If an option of the neck is out of range.
    """
    built = build_head(
        name,
        backbone,
        num_classes,
        options,
        tasks=("detection", "instance_segmentation"),
        also=("backbone_norm", "mscsa_norm"),
    )
    return Detector(
        built.parts,
        num_classes,
        has_masks=built.head.has_masks,
        cfg=dict(built.pyramid.pretrained_cfg),
        backbone_norm=backbone_norm,
        mscsa_norm=mscsa_norm,
    )
