"""A model with MSCSA and the same backbone without, built alike, so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from torch import Tensor, nn

import mscsa
from mscsa.backbones.presets import REGISTERED
from mscsa.backbones.timm_pyramid import (
    FINEST_STRIDE,
    build_backbone,
    check_model_name,
    pyramid_levels,
    read_pyramid,
)
from mscsa.errors import UserError

PREFIX = "mscsa_"


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

    @property
    def input_size(self) -> tuple[int, int]:
        """Default (H, W) of the model in pixels."""
        height, width = self.model.pretrained_cfg["input_size"][-2:]
        return height, width


class BackbonePyramid(nn.Module):
    """The pyramid of a timm backbone: what the dense form of MSCSA fuses into, without MSCSA."""

    def __init__(self, backbone: Any) -> None:
        """Prune the classifier of a built backbone and keep its levels of stride >= 4."""
        super().__init__()
        levels = pyramid_levels(backbone)
        self.indices = [level.index for level in levels if level.stride >= FINEST_STRIDE]
        backbone.prune_intermediate_layers(indices=[level.index for level in levels], prune_norm=True)
        self.backbone = backbone

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to one map (B, C_i, H_i, W_i) per level."""
        return read_pyramid(self.backbone, x, self.indices)


def build_pair(
    name: str,
    *,
    dense: bool = False,
    budget: float | None = None,
    size: tuple[int, int] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> ModelPair:
    """Build `name` with and without MSCSA, with random weights and 1000 classes.

    Args:
        name: timm name of a backbone, with `mscsa_` before it or not; both give the same pair.
        dense: Build the pyramid forms.
        budget: Share of the backbone's MACs that MSCSA may cost; as `mscsa.create_model`.
        size: (H, W) in pixels at which the budget holds.
        fields: `MSCSAConfig` fields by name.
    Raises:
        UserError: If there is no such backbone, it has no pyramid, or nothing fits the budget.
    """
    baseline_name = name.removeprefix(PREFIX)
    check_model_name(baseline_name)
    registered = f"{PREFIX}{baseline_name}"
    if timm.is_model(registered.split(".")[0]) and budget is None:
        model: Any = timm.create_model(registered, features_only=dense, **(fields or {}))
    else:
        options: dict[str, Any] = dict(fields or {}, features_only=dense, budget=budget)
        backbone = REGISTERED.get(registered, baseline_name)
        model = mscsa.create_model(backbone, budget_size=size, **options)
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


def _build_baseline(name: str, *, dense: bool) -> nn.Module:
    backbone = build_backbone(name, num_classes=0 if dense else 1000)
    return BackbonePyramid(backbone) if dense else backbone
