"""Any timm backbone as a pyramid: what its levels are, and how they are read."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models.coat import CoaT
from torch import Tensor

from mscsa.backbones.coat import accept_any_size
from mscsa.errors import UserError

FINEST_STRIDE = 4
"""MSCSA reads the levels from this stride on; finer ones pass through unfused."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a pyramid, as timm's `feature_info` describes it."""

    index: int
    """Position among all levels of the backbone; what `out_indices` means in timm."""
    channels: int
    stride: int
    """Input pixels per map pixel."""
    module: str
    """Name of the module that ends the level."""


def check_model_name(name: str) -> None:
    """Raise a UserError that names the nearest models unless timm knows `name`."""
    bare = name.split(".")[0]
    if ":" in name or timm.is_model(bare):  # "hf-hub:..." and "local-dir:..." are timm's to resolve
        return
    near = difflib.get_close_matches(bare, timm.list_models(), n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "`mscsa list` shows all names"
    raise UserError(f"no model is called {name!r}: {hint}")


def build_backbone(
    name: str,
    *,
    pretrained: bool = False,
    in_chans: int = 3,
    num_classes: int = 0,
    drop_path_rate: float | None = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: str | None = None,
    **backbone_kwargs: Any,
) -> Any:
    """Build the timm backbone `name`, by default without classifier.

    Backbones of one fixed input size are built to take any, where timm offers it (`dynamic_img_size`).

    Raises:
        UserError: If there is no such model, it has no pyramid, or it refuses an argument.
    """
    check_model_name(name)
    options = dict(backbone_kwargs, in_chans=in_chans, num_classes=num_classes)
    if drop_path_rate is not None:
        options["drop_path_rate"] = drop_path_rate
    try:
        if _is_fixed_size(name) and not {"dynamic_img_size", "strict_img_size", "img_size"} & options.keys():
            with torch.device("meta"):
                signature = inspect.signature(type(timm.create_model(name, **options)).__init__)
            if "dynamic_img_size" in signature.parameters:
                options["dynamic_img_size"] = True
        backbone = timm.create_model(
            name,
            pretrained=pretrained,
            pretrained_cfg_overlay=pretrained_cfg_overlay,
            cache_dir=cache_dir,
            **options,
        )
    except TypeError as error:
        given = {k: v for k, v in options.items() if k not in ("num_classes", "in_chans")}
        raise UserError(f"the backbone {name} does not take {given}: {error}") from error
    if isinstance(backbone, CoaT):
        accept_any_size(backbone)
    if not hasattr(backbone, "forward_intermediates") or not getattr(backbone, "feature_info", None):
        raise UserError(
            f"the backbone {name} gives no feature pyramid: choose one with maps at several strides"
        )
    return backbone


def pyramid_levels(backbone: Any) -> list[Level]:
    """List the levels of a timm model, finest first."""
    return [
        Level(index=i, channels=info["num_chs"], stride=int(info["reduction"]), module=info["module"])
        for i, info in enumerate(backbone.feature_info)
    ]


def attended_levels(levels: Sequence[Level], name: str) -> list[Level]:
    """Choose the levels that MSCSA reads: all with stride >= 4.

    Raises:
        UserError: If fewer than two strides are left, as for a plain vision transformer.
    """
    chosen = [level for level in levels if level.stride >= FINEST_STRIDE]
    if len({level.stride for level in chosen}) < 2:
        raise UserError(
            f"the backbone {name} has maps at strides {sorted({level.stride for level in levels})}: MSCSA "
            f"needs two or more strides from {FINEST_STRIDE} on; choose a backbone with a feature pyramid"
        )
    return chosen


def read_pyramid(backbone: Any, image: Tensor, indices: list[int]) -> list[Tensor]:
    """Run the backbone and give the maps of the levels `indices`, (B, C_i, H_i, W_i), always NCHW.

    Raises:
        UserError: If the backbone refuses the input size.
    """
    try:
        return backbone.forward_intermediates(
            image, indices=indices, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
    except AssertionError as error:  # how timm's models refuse a size
        height, width = image.shape[-2:]
        raise UserError(
            f"the backbone {type(backbone).__name__} refuses {height}x{width} images: {error}; resize them, "
            "or build it for that size with backbone_kwargs"
        ) from error


def drop_path_rate_of(backbone: Any) -> float:
    """Find the largest stochastic-depth rate of a timm model; 0 if it has none."""
    rates = [float(m.drop_prob or 0) for m in backbone.modules() if isinstance(m, DropPath)]
    return round(max(rates, default=0.0), 6)  # timm computes the rates of its blocks in float32


def _is_fixed_size(name: str) -> bool:
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(cfg is not None and cfg.fixed_input_size)
