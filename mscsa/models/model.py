"""A timm backbone with MSCSA: one model, as a classifier or as a pyramid, under timm's contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from mscsa.attention import MSCSA, MSCSAConfig, PyramidFusion
from mscsa.backbones.timm_pyramid import (
    FINEST_STRIDE,
    Level,
    attended_levels,
    pyramid_levels,
    read_pyramid,
)
from mscsa.errors import UserError


class MSCSAModel(nn.Module):
    """Backbone + MSCSA. A classifier pools the token map; a pyramid gives back fused maps.

    Both forms share the keys `backbone.*` and `mscsa.*`, so that a classifier's checkpoint starts a
    pyramid (and back). The classifier adds `norm` and `head`, the pyramid `fusion`.
    """

    backbone: Any  # a timm model; its contract is not typed
    feature_info: FeatureInfo | list[dict[str, Any]]
    head: nn.Module
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    def __init__(
        self,
        backbone: Any,
        config: MSCSAConfig,
        *,
        num_classes: int = 1000,
        drop_rate: float = 0.0,
        out_indices: int | Sequence[int] | None = None,
        features_only: bool = False,
        pool_first: bool = False,
        name: str | None = None,
    ) -> None:
        """Compose the model from a built backbone.

        Args:
            backbone: A timm model with `feature_info` and `forward_intermediates`; its classifier is
                pruned.
            config: Configuration of MSCSA.
            num_classes: Classes of the classifier; 0 gives the pooled features.
            drop_rate: Dropout before the classifier.
            out_indices: Levels of the pyramid form, as in timm: indices among all levels of the
                backbone, or the number of last ones. None gives all with stride >= 4.
            features_only: Build the pyramid form.
            pool_first: Classify as TopFormer does: pool, batch norm, linear; else norm before pooling.
            name: What error messages call the backbone.
        Raises:
            UserError: If the backbone has no pyramid or `out_indices` names a level it does not have.
            ValueError: If the configuration does not fit.
        """
        super().__init__()
        levels = pyramid_levels(backbone)
        attended = attended_levels(levels, name or type(backbone).__name__)
        self._levels = levels
        self._attended = [level.index for level in attended]
        self._out_indices = resolve_out_indices(levels, out_indices) if features_only else []
        backbone.prune_intermediate_layers(indices=[level.index for level in levels], prune_norm=True)
        self.backbone = backbone
        self.mscsa = MSCSA(
            [level.channels for level in attended], [level.stride for level in attended], config
        )
        self.num_features = self.head_hidden_size = self.mscsa.num_features
        self.in_chans = getattr(backbone, "in_chans", 3)
        self.grad_checkpointing = False
        infos = [
            dict(num_chs=lv.channels, reduction=lv.stride, module=f"backbone.{lv.module}", index=lv.index)
            for lv in levels
        ]
        if features_only:
            fused = [self._attended.index(i) for i in self._out_indices if i in self._attended]
            if not fused:
                raise UserError(
                    f"out_indices={out_indices} asks for levels that MSCSA leaves as they are: name one with "
                    f"stride >= {FINEST_STRIDE} among {self._attended}, or use the plain backbone"
                )
            self.fusion = PyramidFusion(self.mscsa, fused)
            self.feature_info = FeatureInfo(infos, tuple(self._out_indices))
        else:
            self.feature_info = infos
            self.pool_first = pool_first
            self.norm = (nn.BatchNorm1d if pool_first else nn.BatchNorm2d)(self.num_features)
            self.head_drop = nn.Dropout(drop_rate)
            self.reset_classifier(num_classes)

    @property
    def is_pyramid(self) -> bool:
        """Whether this is the pyramid form (`features_only=True`)."""
        return bool(self._out_indices)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Classify, or give the fused pyramid.

        Args:
            x: Images, (B, in_chans, H, W).
        Returns:
            Logits (B, num_classes); in the pyramid form one map (B, C_i, H_i, W_i) per out index.
        """
        if self.is_pyramid:
            return self.forward_intermediates(x)[1]
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Give the token map, (B, num_features, h, w), normed where the classifier norms before pooling."""
        return self._normed(self.mscsa(read_pyramid(self.backbone, x, self._attended)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the token map and classify: (B, num_features, h, w) to (B, num_classes)."""
        x = x.mean(dim=(2, 3))
        x = self.head_drop(self.norm(x) if self.pool_first else x)
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Give the token map and the maps of single levels.

        The pyramid form gives its fused maps. The classifier has no fusion and gives the backbone's.

        Args:
            x: Images, (B, in_chans, H, W).
            indices: Levels, as `out_indices`; None gives all that the form has.
            norm: Give the token map as `forward_features` does, normed.
            stop_early: Without effect: MSCSA reads all levels.
            output_fmt: Only "NCHW".
            intermediates_only: Give the list of maps alone.
        Returns:
            Token map (B, num_features, h, w) and a list of maps (B, C_i, H_i, W_i); or the list alone.
        Raises:
            UserError: If `indices` names a level that the model does not have, or another format is
                asked for.
        """
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt={output_fmt!r} given: only 'NCHW' is possible")
        available = self._out_indices or [level.index for level in self._levels]
        chosen = available if indices is None else resolve_out_indices(self._levels, indices)
        if not set(chosen) <= set(available):
            raise UserError(f"levels {chosen} asked for: this model was built for {available}")
        read = sorted({*self._attended, *chosen})
        maps = dict(zip(read, read_pyramid(self.backbone, x, read), strict=True))
        if not self.is_pyramid and intermediates_only:
            return [maps[i] for i in chosen]
        attended = [maps[i] for i in self._attended]
        tokens = self.mscsa(attended)
        if self.is_pyramid:
            fused = self.fusion(tokens, attended)
            maps.update(
                {self._attended[level]: x for level, x in zip(self.fusion.levels, fused, strict=True)}
            )
        elif norm:
            tokens = self._normed(tokens)
        intermediates = [maps[i] for i in chosen]
        return intermediates if intermediates_only else (tokens, intermediates)

    def _normed(self, tokens: Tensor) -> Tensor:
        return tokens if self.is_pyramid or self.pool_first else self.norm(tokens)

    def get_classifier(self) -> nn.Module:
        """Give the classifier; nothing in the pyramid form."""
        return nn.Identity() if self.is_pyramid else self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one for `num_classes`; 0 leaves the pooled features.

        Raises:
            UserError: In the pyramid form, or if another pooling than the average is asked for.
        """
        if self.is_pyramid:
            raise UserError(
                "a pyramid (features_only=True) has no classifier to reset: build the classifier form"
            )
        if global_pool not in (None, "avg"):
            raise UserError(f"global_pool={global_pool!r} given: MSCSA's classifier pools by 'avg'")
        self.num_classes = num_classes
        if num_classes == 0:
            self.head = nn.Identity()
            return
        reference = self.norm.weight
        head = nn.Linear(self.num_features, num_classes, device=reference.device, dtype=reference.dtype)
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        self.head = head

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of backbone and MSCSA in the backward pass."""
        self.grad_checkpointing = enable
        self.backbone.set_grad_checkpointing(enable)
        self.mscsa.set_grad_checkpointing(enable)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Any:
        """Give timm's layer groups, patterns or a function: the backbone's, then MSCSA and the head.

        Raises:
            UserError: If timm names no layer groups for the backbone.
        """
        if not hasattr(self.backbone, "group_matcher"):
            raise UserError(
                f"timm names no layer groups for {type(self.backbone).__name__}: train it without layer decay"
            )
        matcher = self.backbone.group_matcher(coarse=coarse)
        if callable(matcher):  # the Inception and NASNet families number their layers by a function
            return partial(_group_below_backbone, matcher)
        return {
            group: _prefix_patterns(patterns) for group, patterns in matcher.items() if patterns is not None
        }

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the backbone spares from weight decay."""
        spared = self.backbone.no_weight_decay() if hasattr(self.backbone, "no_weight_decay") else ()
        return {f"backbone.{name}" for name in spared}


def resolve_out_indices(levels: Sequence[Level], out_indices: int | Sequence[int] | None) -> list[int]:
    """Turn timm's `out_indices` into ascending indices among all levels."""
    total = len(levels)
    if out_indices is None:
        return [level.index for level in levels if level.stride >= FINEST_STRIDE]
    asked = list(range(-out_indices, 0)) if isinstance(out_indices, int) else list(out_indices)
    if not asked or not all(-total <= i < total for i in asked):
        strides = {level.index: level.stride for level in levels}
        raise UserError(f"out_indices={out_indices} given: the levels are {strides} (index: stride)")
    return sorted({i % total for i in asked})


def _group_below_backbone(matcher: Callable[[str], Any], name: str) -> Any:
    """Number a parameter as the backbone does; all others get the last group."""
    inner = name.removeprefix("backbone.")
    return (float("inf"),) if inner == name else matcher(inner)


def _prefix_patterns(patterns: Any) -> Any:
    """Move the anchor of timm's group patterns, a regex or a list of (regex, order), to `backbone.`.

    timm matches from the start of a name, so alternatives count as anchored with or without their own ^.
    """
    if isinstance(patterns, str):
        unanchored = re.sub(r"(?<!\[)\^", "", patterns)
        return rf"^backbone\.(?:{unanchored})"
    return [(_prefix_patterns(pattern), order) for pattern, order in patterns]
