"""A model with MSCSA, or another neck, and the same backbone without, built alike, to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mscsa.backbones.timm_pyramid import build_backbone, check_model_name
from mscsa.detection.build import build_detector
from mscsa.errors import UserError
from mscsa.heads import find_head
from mscsa.models.build import build_pyramid, create_model
from mscsa.names import parse_model_name
from mscsa.neck_table import MSCSA_NECK, find_neck
from mscsa.segmentation.build import build_segmenter

IMAGE_CLASSES = 1000
"""Classes of ImageNet-1k."""
SEGMENTATION_CLASSES = 150
"""Classes of ADE20K."""
DETECTION_CLASSES = 80
"""Classes of COCO."""


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """Two models that differ in their neck alone."""

    baseline_name: str
    baseline: Any
    """The backbone as timm builds it; in the dense form its maps of stride >= 4."""
    name: str
    model: Any
    """The same with MSCSA, or with the neck asked for."""
    is_dense: bool
    """Whether both give a pyramid (dense tasks) instead of classes."""
    head: str | None = None
    """What stands on both pyramids; None for classifiers and bare pyramids."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Default (H, W) of the model in pixels."""
        height, width = self.model.pretrained_cfg["input_size"][-2:]
        return height, width


def build_pair(
    name: str,
    *,
    dense: bool = False,
    head: str | None = None,
    budget: float | None = None,
    size: tuple[int, int] | None = None,
    fields: Mapping[str, Any] | None = None,
    neck: str | None = None,
    neck_config: Mapping[str, Any] | None = None,
) -> ModelPair:
    """Build `name` with and without MSCSA, or another neck.

    Weights are random, the classes those of ImageNet, ADE20K or COCO. Both are built alike: what is not
    asked for is the backbone's own default in both.

    Args:
        name: timm name of a backbone, tag included, with `mscsa_` before it or not: the pair is the same.
        dense: Build the pyramid forms.
        head: Build segmenters or detectors of this name on the pyramid forms.
        budget: Share of the backbone's MACs that the neck may cost; as `mscsa.create_model`.
        size: (H, W) in pixels at which the budget holds.
        fields: `MSCSAConfig` fields by name.
        neck: Another neck in MSCSA's place, one of `mscsa.necks.NECKS`; there is a pyramid form alone then.
        neck_config: Fields of its configuration by name.
    Raises:
        UserError: If there is no such backbone, head or neck, the backbone has no pyramid, or nothing fits
            the budget; or if both `dense` and `head`, or fields of two necks, are given.
    """
    if dense and head is not None:
        raise UserError("both dense and head given: a head takes the pyramid form as it is; give one of them")
    parsed = parse_model_name(name)
    check_model_name(parsed.without_mscsa)
    built = shown = parsed.with_mscsa
    asked: dict[str, Any] = {"fields": dict(fields or {})}
    has_other = neck is not None and neck != MSCSA_NECK
    if neck is not None and neck != MSCSA_NECK:
        built = parsed.without_mscsa
        shown = f"{built} + {find_neck(neck).title}"
        asked = {"fields": fields or None, "neck": neck, "neck_config": dict(neck_config or {})}
    elif neck_config:
        raise UserError(
            "neck_config (--neck-config) given without another neck: name one by neck (--neck), or give "
            "MSCSA's fields as its own (fields; --mscsa)"
        )
    build = partial(_build, head=head, dense=dense or has_other)
    return ModelPair(
        baseline_name=parsed.without_mscsa,
        baseline=build(parsed.without_mscsa),
        name=shown,
        model=build(built, **asked, budget=budget, budget_size=size),
        is_dense=dense or has_other or head is not None,
        head=head,
    )


def _build(name: str, *, head: str | None, dense: bool, **neck: Any) -> Any:
    """Build one arm; `neck` are the arguments of `build_pyramid` that say what its neck is to be."""
    if head is not None:
        if find_head(head).task == "segmentation":
            return build_segmenter(head, name, SEGMENTATION_CLASSES, **neck)
        return build_detector(head, name, DETECTION_CLASSES, **neck)
    if dense:
        return build_pyramid(name, **neck)
    if neck:
        return create_model(name, num_classes=IMAGE_CLASSES, **neck.pop("fields"), **neck)
    return build_backbone(name, num_classes=IMAGE_CLASSES)
