"""A model with MSCSA and the same backbone without, built alike, so that they can be compared."""

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
from mscsa.segmentation.build import build_segmenter

IMAGE_CLASSES = 1000
"""Classes of ImageNet-1k."""
SEGMENTATION_CLASSES = 150
"""Classes of ADE20K."""
DETECTION_CLASSES = 80
"""Classes of COCO."""


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """Two models that differ in MSCSA alone."""

    baseline_name: str
    baseline: Any
    """The backbone as timm builds it; in the dense form its maps of stride >= 4."""
    name: str
    model: Any
    """The same with MSCSA."""
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
) -> ModelPair:
    """Build `name` with and without MSCSA, with random weights and the classes of ImageNet, ADE20K or COCO.

    Both are built alike: what is not asked for is the backbone's own default in both.

    Args:
        name: timm name of a backbone, tag included, with `mscsa_` before it or not: the pair is the same.
        dense: Build the pyramid forms.
        head: Build segmenters or detectors of this name on the pyramid forms.
        budget: Share of the backbone's MACs that MSCSA may cost; as `mscsa.create_model`.
        size: (H, W) in pixels at which the budget holds.
        fields: `MSCSAConfig` fields by name.
    Raises:
        UserError: If there is no such backbone or head, the backbone has no pyramid, or nothing fits the
            budget; or if both `dense` and `head` are given.
    """
    if dense and head is not None:
        raise UserError("both dense and head given: a head takes the pyramid form as it is; give one of them")
    parsed = parse_model_name(name)
    check_model_name(parsed.without_mscsa)
    build = partial(_build, head=head, dense=dense)
    return ModelPair(
        baseline_name=parsed.without_mscsa,
        baseline=build(parsed.without_mscsa),
        name=parsed.with_mscsa,
        model=build(parsed.with_mscsa, fields=dict(fields or {}), budget=budget, budget_size=size),
        is_dense=dense or head is not None,
        head=head,
    )


def _build(name: str, *, head: str | None, dense: bool, **mscsa: Any) -> Any:
    """Build one arm; `mscsa` are the arguments of `build_pyramid` that say what MSCSA is to be."""
    if head is not None:
        if find_head(head).task == "segmentation":
            return build_segmenter(head, name, SEGMENTATION_CLASSES, **mscsa)
        return build_detector(head, name, DETECTION_CLASSES, **mscsa)
    if dense:
        return build_pyramid(name, **mscsa)
    if mscsa:
        return create_model(name, num_classes=IMAGE_CLASSES, **mscsa.pop("fields"), **mscsa)
    return build_backbone(name, num_classes=IMAGE_CLASSES)
