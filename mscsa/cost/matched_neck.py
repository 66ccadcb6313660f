"""Another neck in the place of MSCSA, as wide as the cost of MSCSA allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.cost.matched_control import (
    MatchedArm,
    against_mscsa,
    build_on_meta,
    count_recipe,
    first_as_dear,
)
from mscsa.cost.model_info import count_model
from mscsa.errors import UserError
from mscsa.models.configure import measure_backbone
from mscsa.models.pyramid import BackboneModel
from mscsa.neck_table import MSCSA_NECK, NECKS, OTHER_NECKS, find_neck
from mscsa.necks.budget import MAX_CHANNELS
from mscsa.necks.build import load_neck, neck_config
from mscsa.recipes.arms import baseline_of, neck_arm_of
from mscsa.recipes.spec import Recipe

STARTS: dict[str, dict[str, Any]] = {"bifpn": {"norm_momentum": 0.1}}
"""Fields that differ from a neck's defaults in a comparison. EfficientDet's momentum of 0.01 suits its 300
epochs; after some hundred steps the statistics of its norms would still be those of their start in part."""


def asked_necks(names: Sequence[str]) -> tuple[str, ...]:
    """Give the necks that MSCSA is to be compared with, each once, in the order of the table.

    Raises:
        UserError: If there is none of a name (names the nearest), or it is MSCSA, which is compared anyway.
    """
    for name in names:
        find_neck(name)
        if name == MSCSA_NECK:
            others = ", ".join(OTHER_NECKS)
            raise UserError(f"necks name {name}, which is compared with them anyway: give some of {others}")
    return tuple(name for name in OTHER_NECKS if name in names)


def matched_necks(recipe: Recipe, necks: Sequence[str], num_classes: int) -> dict[str, MatchedArm]:
    """Spend the MACs of MSCSA on other necks, each in its place.

    A neck's `channels` are chosen, by ones: the smallest number at which the whole model, with a head that
    reads maps of so many channels, costs at least as much as the model with MSCSA. All else is the neck's
    default but for `STARTS`: BiFPN has its three layers. TopFormer's neck has as many of its four blocks as
    cost half of what MSCSA adds, or one on squeezed tokens, as in `mscsa.necks.neck_config_for_budget`.

    Args:
        recipe: A recipe with MSCSA and a head; MACs are counted at its input size, on the meta device.
        necks: Of `mscsa.necks.NECKS`.
        num_classes: Classes of the data set.
    Returns:
        Neck -> its arm.
    Raises:
        UserError: If the recipe has no MSCSA or no head, or the head takes no such neck.
    """
    if not necks:
        return {}
    build_on_meta(neck_arm_of(recipe, necks[0], {}), num_classes)  # refuses what cannot be
    baseline = build_on_meta(baseline_of(recipe), num_classes)
    size = recipe.data.input_size
    target = count_recipe(recipe, num_classes)
    added = target - count_model(baseline, size)
    measured = _levels_of(baseline, size)
    return {neck: _matched(recipe, neck, num_classes, measured, target, added) for neck in necks}


def _matched(
    recipe: Recipe, neck: str, num_classes: int, measured: MeasuredPyramid, target: int, added: int
) -> MatchedArm:
    """Give one neck its width.

    Args:
        measured: What the neck sees.
        target: Multiply-adds of the model with MSCSA.
        added: Those of them that MSCSA adds to the baseline.
    """
    title, kind = NECKS[neck].title, load_neck(neck)
    start = kind.settle(measured, added, neck_config(neck, STARTS.get(neck)))

    def arm(channels: int) -> Recipe:
        return neck_arm_of(recipe, neck, {**asdict(start), "channels": channels})

    def rest(channels: int) -> int:
        """Count all but the neck."""
        own: int = kind.macs(measured, replace(start, channels=channels))
        return count_recipe(arm(channels), num_classes) - own

    # The head's first layers read the neck's maps: they cost in proportion to the channels.
    fixed = rest(1)
    each = rest(2) - fixed

    def cost(channels: int) -> int:
        own: int = kind.macs(measured, replace(start, channels=channels))
        return fixed + each * (channels - 1) + own

    channels = first_as_dear(range(1, MAX_CHANNELS + 1), cost, target)
    if channels is None or channels == 1:
        reason = f"even {MAX_CHANNELS} channels cost less" if channels is None else "one channel costs more"
        return MatchedArm(None, f"No {title} of the same MACs: {reason}.")
    chosen = replace(start, channels=channels)
    macs = count_recipe(arm(channels), num_classes)
    return MatchedArm(arm(channels), f"{title}: {_shown(neck, chosen)}, {against_mscsa(macs, target)}.")


def _shown(neck: str, config: Any) -> str:
    """Name the channels and what differs from the neck's defaults."""
    own = asdict(neck_config(neck))
    values = asdict(config).items()
    shown = [f"{name} {value}" for name, value in values if name == "channels" or value != own[name]]
    return ", ".join(shown)


def _levels_of(model: nn.Module, size: tuple[int, int]) -> MeasuredPyramid:
    """Measure what a neck in a model without one would see, of images padded as the model pads them."""
    pyramid = next(each for each in model.modules() if isinstance(each, BackboneModel))
    deepest = max(pyramid.levels[index].stride for index in pyramid.out_indices)
    padded = [side + -side % deepest for side in size]
    return measure_backbone(pyramid.backbone, type(pyramid.backbone).__name__, pyramid.out_indices, padded)[0]
