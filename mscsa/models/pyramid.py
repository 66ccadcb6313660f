"""The pyramid that a dense task's head stands on: any timm backbone, with or without MSCSA."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from mscsa.attention import MSCSAConfig
from mscsa.backbones.presets import REGISTERED
from mscsa.backbones.timm_pyramid import (
    FINEST_STRIDE,
    attended_levels,
    build_backbone,
    check_model_name,
    pyramid_levels,
    read_pyramid,
)
from mscsa.errors import UserError
from mscsa.models.build import create_model
from mscsa.models.model import MSCSAModel

PREFIX = "mscsa_"
"""Before a backbone's name: the same with MSCSA."""


class BackbonePyramid(nn.Module):
    """The pyramid of a timm backbone without MSCSA, under the contract of `MSCSAModel`'s pyramid form."""

    def __init__(self, backbone: Any, out_indices: Sequence[int] | None = None) -> None:
        """Prune the classifier of a built backbone, and what comes after the deepest level.

        Args:
            backbone: A timm model with `feature_info` and `forward_intermediates`.
            out_indices: Levels to give, as in timm; all of stride >= 4 if None.
        """
        super().__init__()
        levels = pyramid_levels(backbone)
        if out_indices is None:
            out_indices = [level.index for level in levels if level.stride >= FINEST_STRIDE]
        self.indices = list(out_indices)
        kept = [level.index for level in levels if level.index <= max(self.indices)]
        backbone.prune_intermediate_layers(indices=kept, prune_norm=True)
        self.backbone = backbone
        infos = [
            dict(num_chs=lv.channels, reduction=lv.stride, module=f"backbone.{lv.module}", index=lv.index)
            for lv in levels
        ]
        self.feature_info = FeatureInfo(infos, tuple(self.indices))
        self.pretrained_cfg: dict[str, Any] = backbone.pretrained_cfg

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to one map (B, C_i, H_i, W_i) per level."""
        return read_pyramid(self.backbone, x, self.indices)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the backbone spares from weight decay."""
        spared = self.backbone.no_weight_decay() if hasattr(self.backbone, "no_weight_decay") else ()
        return {f"backbone.{name}" for name in spared}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the backbone's activations in the backward pass."""
        self.backbone.set_grad_checkpointing(enable)


def build_pyramid(
    name: str,
    *,
    strides: Sequence[int] | None = None,
    pretrained: bool = False,
    drop_path_rate: float | None = None,
    fields: Mapping[str, Any] | None = None,
    budget: float | None = None,
    budget_size: tuple[int, int] | None = None,
    config: MSCSAConfig | None = None,
    backbone_kwargs: Mapping[str, Any] | None = None,
) -> MSCSAModel | BackbonePyramid:
    """Build a backbone as a pyramid, with MSCSA where `name` or an argument says so.

    Args:
        name: A timm name, or `mscsa_` + one for MSCSA in the paper's configuration where it has one.
        strides: Levels to give, by stride, finest first; all of stride >= 4 if None. MSCSA reads all
            levels in any case and fuses only these.
        pretrained: Load timm's weights into the backbone.
        drop_path_rate: Stochastic depth of backbone and MSCSA; the backbone's default if None.
        fields: `MSCSAConfig` fields by name; adds MSCSA, {} with all choices left to `create_model`.
        budget: Add MSCSA and let it cost at most this share of the backbone's MACs.
        budget_size: (H, W) in pixels at which the budget holds.
        config: The whole configuration of MSCSA.
        backbone_kwargs: Arguments of the backbone's own timm constructor.
    Returns:
        Images (B, 3, H, W) to a list of maps (B, C_i, H_i, W_i), with timm's `feature_info`.
    Raises:
        UserError: If there is no such backbone, or it has no level of a stride asked for.
        ValueError: If a field is out of range.
    """
    bare = name.removeprefix(PREFIX)
    check_model_name(bare)
    if bare == name and fields is None and budget is None and config is None:
        backbone = build_backbone(
            bare, pretrained=pretrained, drop_path_rate=drop_path_rate, **(backbone_kwargs or {})
        )
        attended_levels(pyramid_levels(backbone), bare)  # refuses what has one stride, as with MSCSA
        return BackbonePyramid(backbone, _out_indices(strides, backbone, bare))
    backbone_name = REGISTERED.get(name, bare)
    out_indices = None
    if strides is not None:
        with torch.device("meta"):
            known = build_backbone(backbone_name, **(backbone_kwargs or {}))
            out_indices = _out_indices(strides, known, bare)
    return create_model(
        backbone_name,
        pretrained=pretrained,
        features_only=True,
        out_indices=out_indices,
        drop_path_rate=drop_path_rate,
        budget=budget,
        budget_size=budget_size,
        config=config,
        backbone_kwargs=dict(backbone_kwargs or {}),
        **(fields or {}),
    )


def split_options(
    name: str, build: Callable[..., Any], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort the options of a dense model into its head's and those of `build_pyramid`.

    Args:
        name: Of the head, for messages.
        build: The function or class that makes it; its keyword arguments are its options.
        options: What was given.
    Raises:
        UserError: If one is neither; names the nearest.
    """
    of_head, of_pyramid = (
        [p.name for p in inspect.signature(f).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for f in (build, build_pyramid)
    )
    # The head settles the strides, and its name what else it is made of.
    known = [each for each in (*of_head, *of_pyramid) if each not in ("strides", "cascade")]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.0)[0]
            raise UserError(
                f"{name} has no option {option!r}: did you mean {near}? It has {', '.join(known)}"
            )
    chosen = {key: value for key, value in options.items() if key in of_head}
    return chosen, {key: value for key, value in options.items() if key not in chosen}


def _out_indices(strides: Sequence[int] | None, backbone: Any, name: str) -> tuple[int, ...] | None:
    """Find the level of each stride; where several have one, the last, which has seen the most layers."""
    if strides is None:
        return None
    index_of = {level.stride: level.index for level in pyramid_levels(backbone)}
    missing = [stride for stride in strides if stride not in index_of]
    if missing:
        raise UserError(
            f"the backbone {name} has maps at strides {sorted(index_of)}, not {missing}: this head needs "
            f"{list(strides)}; choose another backbone"
        )
    return tuple(index_of[stride] for stride in strides)
