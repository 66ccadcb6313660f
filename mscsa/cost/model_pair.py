"""A model with MSCSA and the same backbone without, built alike, so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from torch import nn

from mscsa.backbones.presets import REGISTERED
from mscsa.backbones.timm_pyramid import build_backbone, check_model_name
from mscsa.detection import DETECTORS, build_detector
from mscsa.errors import UserError
from mscsa.models.build import create_model
from mscsa.models.pyramid import BackbonePyramid
from mscsa.names import PREFIX
from mscsa.segmentation import SEGMENTERS, build_segmenter

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

    Args:
        name: timm name of a backbone, with `mscsa_` before it or not; both give the same pair.
        dense: Build the pyramid forms.
        head: Build segmenters or detectors of this name on the pyramid forms.
        budget: Share of the backbone's MACs that MSCSA may cost; as `mscsa.create_model`.
        size: (H, W) in pixels at which the budget holds.
        fields: `MSCSAConfig` fields by name.
    Raises:
        UserError: If there is no such backbone or head, the backbone has no pyramid, or nothing fits the
            budget; or if both `dense` and `head` are given.
    """
    baseline_name = name.removeprefix(PREFIX)
    check_model_name(baseline_name)
    registered = f"{PREFIX}{baseline_name}"
    if head is not None:
        if dense:
            raise UserError(
                "both dense and head given: a head takes the pyramid form as it is; give one of them"
            )
        return ModelPair(
            baseline_name=baseline_name,
            baseline=_build_with_head(head, baseline_name),
            name=registered,
            model=_build_with_head(head, registered, budget=budget, budget_size=size, fields=fields),
            is_dense=True,
            head=head,
        )
    if timm.is_model(registered.split(".")[0]) and budget is None:
        model: Any = timm.create_model(registered, features_only=dense, **(fields or {}))
    else:
        options: dict[str, Any] = dict(fields or {}, features_only=dense, budget=budget)
        backbone = REGISTERED.get(registered, baseline_name)
        model = create_model(backbone, budget_size=size, **options)
    return ModelPair(
        baseline_name=baseline_name,
        baseline=_build_baseline(baseline_name, dense=dense),
        name=registered,
        model=model,
        is_dense=dense,
    )


def parse_size(text: str) -> tuple[int, int]:
    """Read "224" or "800x1280" (height x width) as (H, W) in pixels.

    Raises:
        UserError: If it is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"size {text!r} is not a size: give 224, or HEIGHTxWIDTH such as 800x1280")
    return int(parts[0]), int(parts[-1])


def _build_with_head(head: str, backbone: str, **options: Any) -> nn.Module:
    if head in DETECTORS:
        return build_detector(head, backbone, DETECTION_CLASSES, **options)
    if head in SEGMENTERS:
        return build_segmenter(head, backbone, SEGMENTATION_CLASSES, **options)
    raise UserError(f"no head is called {head!r}: give one of {', '.join((*SEGMENTERS, *DETECTORS))}")


def _build_baseline(name: str, *, dense: bool) -> nn.Module:
    backbone = build_backbone(name, num_classes=0 if dense else 1000)
    return BackbonePyramid(backbone) if dense else backbone
