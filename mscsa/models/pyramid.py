"""The one contract of pyramids: a timm backbone's levels, and what gives maps of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from timm.models import FeatureInfo
from timm.models._input import get_model_traits
from torch import Tensor, nn

from mscsa.attention.config import as_int, as_ints, one_line
from mscsa.attention.folding import refuse_training
from mscsa.backbones.timm_pyramid import FINEST_STRIDE, Level, pyramid_levels, read_pyramid
from mscsa.errors import UserError


class BackboneModel(nn.Module):
    """A timm backbone under the name `backbone`, and what timm's contract asks about it.

    The base of all that stands on a backbone. `levels` are all its levels, finest first; `out_indices`
    those whose maps a pyramid gives, ascending: `feature_info` and the maps have the same order. A
    classifier has no `out_indices`.
    """

    backbone: Any  # a timm model; its contract is not typed
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    def __init__(self, backbone: Any, out_indices: Sequence[int]) -> None:
        """Take a built backbone over.

        Args:
            backbone: A timm model with `feature_info` and `forward_intermediates`.
            out_indices: Of the levels, as `resolve_out_indices` gives them; none for a classifier.
        """
        super().__init__()
        self.levels = tuple(pyramid_levels(backbone))
        self.out_indices = tuple(out_indices)
        self.backbone = backbone
        self.in_chans: int = getattr(backbone, "in_chans", 3)
        self.grad_checkpointing = False
        self.reading: Callable[[Tensor, Sequence[int]], list[Tensor]] | None = None
        """What gives the backbone's maps in its place, as `read` does (`mscsa.frozen`); None for itself."""
        self.pretrained_cfg = self.default_cfg = getattr(backbone, "pretrained_cfg", None) or {}
        traits = get_model_traits(backbone)
        self._traits: dict[str, Any] = {
            key: traits[key] for key in ("img_size", "fixed_input_size") if key in traits
        }
        infos = [
            dict(num_chs=lv.channels, reduction=lv.stride, module=f"backbone.{lv.module}", index=lv.index)
            for lv in self.levels
        ]
        self.feature_info: Any = FeatureInfo(infos, self.out_indices) if self.out_indices else infos

    @property
    def is_pyramid(self) -> bool:
        """Whether this gives maps of levels (`features_only=True`)."""
        return bool(self.out_indices)

    def train(self, mode: bool = True) -> Any:
        """Set the mode.

        Raises:
            ValueError: If the norms are folded (`mscsa.fold_norms`) and it is to train.
        """
        refuse_training(self, mode)
        return super().train(mode)

    def read(self, image: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Give the backbone's own maps of levels, ascending: (B, C_i, H_i, W_i), NCHW.

        Raises:
            UserError: If the backbone refuses images of this size or form.
        """
        if self.reading is not None:
            return self.reading(image, indices)
        return read_pyramid(self.backbone, image, list(indices))

    def weight_parts(self) -> dict[str, str]:
        """Say where the weights of each part are: part -> prefix of its keys."""
        return {"backbone": "backbone."}

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the backbone spares from weight decay."""
        return prefixed_no_weight_decay(self.backbone, "backbone")

    def group_matcher(self, coarse: bool = False) -> Any:
        """Give timm's layer groups, patterns or a function: the backbone's; all else is the last group.

        Raises:
            UserError: If timm names no layer groups for the backbone.
        """
        matcher = layer_groups(self.backbone, coarse)
        if callable(matcher):  # the Inception and NASNet families number their layers by a function
            return partial(_group_below_backbone, matcher)
        return {
            group: _prefix_patterns(patterns) for group, patterns in matcher.items() if patterns is not None
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        Raises:
            UserError: If timm cannot recompute those of the backbone; nothing is changed then.
        """
        can_recompute = hasattr(self.backbone, "set_grad_checkpointing")
        try:
            if can_recompute:
                self.backbone.set_grad_checkpointing(enable)
        except AssertionError:  # how timm's models say that they cannot
            can_recompute = False
        if enable and not can_recompute:
            raise UserError(
                f"timm cannot recompute the activations of {type(self.backbone).__name__}: "
                "train it without gradient checkpointing"
            )
        self.grad_checkpointing = enable

    def set_input_size(self, img_size: int | tuple[int, int] | None = None, **options: Any) -> None:
        """Prepare the backbone for another image size (timm's contract).

        Args:
            img_size: (H, W) or the side of a square, in pixels.
            **options: Others of the backbone's own method (`window_size`, ...).
        Raises:
            UserError: If the backbone is made for one size and timm cannot change it.
        """
        if hasattr(self.backbone, "set_input_size"):
            self.backbone.set_input_size(img_size=img_size, **options)
            self._traits["img_size"] = get_model_traits(self.backbone).get("img_size")
            return
        if self._traits.get("fixed_input_size") or options:
            raise UserError(
                f"the input size of {type(self.backbone).__name__} cannot be changed"
                + (f" with {', '.join(options)}" if options else "")
                + ": build it for that size with img_size"
            )


class BackbonePyramid(BackboneModel):
    """The maps of a timm backbone without MSCSA, under the contract of `MSCSAModel`'s pyramid form."""

    def __init__(self, backbone: Any, out_indices: int | Sequence[int] | None = None) -> None:
        """Prune the classifier of a built backbone, and what comes after the deepest level asked for.

        Args:
            backbone: A timm model with `feature_info` and `forward_intermediates`.
            out_indices: Levels to give, as in timm: indices among all levels, negative ones from the end,
                or the number of last ones; all if None.
        Raises:
            UserError: If one is not there.
        """
        levels = pyramid_levels(backbone)
        super().__init__(backbone, resolve_out_indices(levels, out_indices))
        kept = [level.index for level in levels if level.index <= self.out_indices[-1]]
        backbone.prune_intermediate_layers(indices=kept, prune_norm=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to one map (B, C_i, H_i, W_i) per level of `out_indices`."""
        return self.read(x, self.out_indices)


def positions_in(attended: Sequence[Level], out_indices: Sequence[int], what: str) -> list[int]:
    """Find which of the levels that a neck reads it gives back.

    Args:
        attended: Levels of stride >= 4.
        out_indices: Levels asked for, as `resolve_out_indices` gives them; finer ones are passed over.
        what: The neck, for messages.
    Raises:
        UserError: If there is none.
    """
    positions = [place for place, level in enumerate(attended) if level.index in out_indices]
    if not positions:
        read = [level.index for level in attended]
        raise UserError(
            f"out_indices={tuple(out_indices)} asks for levels that {what} leaves as they are: name one with "
            f"stride >= {FINEST_STRIDE} among {read}, or use the plain backbone"
        )
    return positions


def resolve_out_indices(levels: Sequence[Level], out_indices: int | Sequence[int] | None) -> list[int]:
    """Turn timm's `out_indices` into ascending indices among all levels; None is all.

    Raises:
        UserError: If one is not there, or none is asked for.
    """
    total = len(levels)
    if out_indices is None:
        return list(range(total))
    asked = _whole_numbers(out_indices)
    if not asked or not all(-total <= i < total for i in asked):
        strides = {level.index: level.stride for level in levels}
        raise UserError(
            f"out_indices={one_line(out_indices)} given: the levels are {strides} (index: stride); name some "
            "of them"
        )
    return sorted({i % total for i in asked})


def _whole_numbers(out_indices: Any) -> list[int]:
    """Give `out_indices` as a list of ints, of any integer type (numpy's too); empty if it is none."""
    numbers = as_ints(out_indices)
    return list(range(-(as_int(out_indices) or 0), 0)) if numbers is None else numbers


def indices_of_strides(levels: Sequence[Level], strides: Sequence[int] | None, name: str) -> list[int]:
    """Find the level of each stride; where several have one, the last, which has seen the most layers.

    Args:
        levels: All levels of the backbone.
        strides: Finest first, in pixels; None is all from stride 4 on, every level of them.
        name: Of the backbone, for messages.
    Raises:
        UserError: If a stride is not there, or they are not given finest first.
    """
    if strides is None:
        return [level.index for level in levels if level.stride >= FINEST_STRIDE]
    asked = as_ints(strides)
    if asked is None:
        raise UserError(f"strides={one_line(strides)} given: give a list of strides in pixels, finest first")
    if not asked:
        raise UserError(
            "no strides given: name one level or more by its stride, or leave strides out for all"
        )
    if asked != sorted(set(asked)):
        raise UserError(f"strides {asked} given: give each once, finest first")
    index_of = {level.stride: level.index for level in levels}
    missing = [stride for stride in asked if stride not in index_of]
    if missing:
        raise UserError(
            f"the backbone {name} has maps at strides {sorted(index_of)}, not {missing}: this head needs "
            f"{asked}; choose another backbone"
        )
    return [index_of[stride] for stride in asked]


def layer_groups(backbone: Any, coarse: bool) -> Any:
    """Give timm's layer groups of a backbone, patterns or a function.

    Raises:
        UserError: If timm names none.
    """
    if not hasattr(backbone, "group_matcher"):
        raise UserError(
            f"timm names no layer groups for {type(backbone).__name__}: train it without layer decay"
        )
    return backbone.group_matcher(coarse=coarse)


def prefixed_no_weight_decay(module: Any, prefix: str) -> set[str]:
    """Name what `module` spares from weight decay, as seen from the model that holds it as `prefix`."""
    spared = module.no_weight_decay() if hasattr(module, "no_weight_decay") else ()
    return {f"{prefix}.{name}" for name in spared}


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
