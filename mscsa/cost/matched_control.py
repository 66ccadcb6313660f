"""A control of the cost of MSCSA: the baseline with a wider head that takes as many MACs."""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any, TypeVar

import torch
from torch import nn

from mscsa.assembly.build import build_model
from mscsa.cost.model_info import count_model
from mscsa.heads import NORM_GROUPS, find_head
from mscsa.recipes.arms import baseline_of, control_of
from mscsa.recipes.spec import ModelSpec, Recipe

SizeT = TypeVar("SizeT")

MAX_FACTOR = 8
"""A head that is wider still is another model."""


@dataclass(frozen=True)
class MatchedArm:
    """An arm that costs what a recipe with MSCSA costs, or why there is none."""

    recipe: Recipe | None
    note: str
    """What was made wider, or why nothing was: a sentence for below a table."""


def matched_control(recipe: Recipe, num_classes: int) -> MatchedArm:
    """Spend the MACs of MSCSA on a wider head instead.

    All options that widen the head (`Head.wider`) are multiplied by one factor and rounded up to widths that
    the head takes: the smallest factor at which the control costs at least as much as the model with MSCSA.

    Args:
        recipe: A recipe with MSCSA; MACs are counted at its input size, on the meta device.
        num_classes: Classes of the data set.
    Raises:
        UserError: If the recipe has no MSCSA, or its model cannot be built.
    """
    baseline = baseline_of(recipe)
    if recipe.model.head is None:
        return _none("a classifier has no head to make wider")
    if not find_head(recipe.model.head).wider:
        return _none(f"{recipe.model.head} has no width that is an option")
    target = count_recipe(recipe, num_classes)
    bare = build_on_meta(baseline, num_classes)
    if count_model(bare, recipe.data.input_size) >= target:
        return _none("MSCSA makes the model no dearer than its baseline")
    base = head_widths(baseline.model, bare)
    steps = width_steps(baseline.model)

    def cost(factor: Fraction) -> int:
        return count_recipe(control_of(recipe, _scaled(base, steps, factor)), num_classes)

    factor = first_as_dear(_factors(base, steps), cost, target)
    if factor is None:
        return _none(f"the head would have to be over {MAX_FACTOR} times as wide")
    widths = _scaled(base, steps, factor)
    control = control_of(recipe, widths)
    shown = ", ".join(f"{name} {base[name]} -> {width}" for name, width in widths.items())
    dearer = against_mscsa(count_recipe(control, num_classes), target)
    return MatchedArm(control, f"Control: the baseline with a wider head ({shown}), {dearer}.")


def first_as_dear(sizes: Sequence[SizeT], cost: Callable[[SizeT], int], target: int) -> SizeT | None:
    """Find the smallest size at which an arm costs at least `target`; None if there is none.

    Args:
        sizes: What makes an arm larger and dearer, ascending.
        cost: From a size to the multiply-adds of the whole model, head included.
        target: Multiply-adds.
    """
    place = bisect_left(sizes, target, key=cost)
    return None if place == len(sizes) else sizes[place]


def against_mscsa(macs: int, target: int) -> str:
    """Say how far a cost lies above that of the model with MSCSA."""
    return f"{100 * (macs / target - 1):+.2f} % MACs against MSCSA"


def head_widths(spec: ModelSpec, model: Any) -> dict[str, int]:
    """Give the widths of a model's head, by the options that set them.

    Args:
        spec: What it was built from.
        model: The model itself, a segmenter or detector: it knows the widths that its head chose.
    """
    head = find_head(str(spec.head))
    parameters = inspect.signature(head.load()).parameters
    given = {name: spec.head_kwargs.get(name, parameters[name].default) for name in head.wider}
    return {name: model.chosen_widths[name] if width is None else width for name, width in given.items()}


def width_steps(spec: ModelSpec) -> dict[str, int]:
    """Give what the width of each such option must be a multiple of."""
    head = find_head(str(spec.head))
    return {
        name: NORM_GROUPS if "gn" in [spec.head_kwargs.get(norm) for norm in norms] else 1
        for name, norms in head.wider.items()
    }


def count_recipe(recipe: Recipe, num_classes: int) -> int:
    """Count the multiply-adds of a recipe's model at its input size."""
    return count_model(build_on_meta(recipe, num_classes), recipe.data.input_size)


def build_on_meta(recipe: Recipe, num_classes: int) -> nn.Module:
    """Build a recipe's model on the meta device, without any file of weights."""
    return spec_on_meta(recipe.model, num_classes, recipe.data.input_size)


def spec_on_meta(spec: ModelSpec, num_classes: int, input_size: tuple[int, int]) -> nn.Module:
    """Build what a spec describes on the meta device, without any file of weights.

    Args:
        num_classes: Classes of the head.
        input_size: (H, W) in px at which a budget holds.
    """
    spec = replace(spec, pretrained=False, checkpoint=None)
    with torch.device("meta"):
        model = build_model(spec, num_classes, input_size=input_size)
    return model.to("meta").requires_grad_(False)


def _scaled(base: Mapping[str, int], steps: Mapping[str, int], factor: Fraction) -> dict[str, int]:
    return {name: steps[name] * ceil(width * factor / steps[name]) for name, width in base.items()}


def _factors(base: Mapping[str, int], steps: Mapping[str, int]) -> list[Fraction]:
    """List the factors above 1 at which a width changes: where it becomes a multiple of its step."""
    places = {
        Fraction(width, base[name])
        for name in base
        for width in range(base[name] + steps[name], MAX_FACTOR * base[name] + 1, steps[name])
    }
    return sorted(places)


def _none(reason: str) -> MatchedArm:
    return MatchedArm(None, f"No control of the same MACs: {reason}.")
