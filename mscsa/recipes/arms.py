"""The arms of a comparison: what a recipe with MSCSA is set beside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mscsa.errors import UserError
from mscsa.names import parse_model_name
from mscsa.neck_table import find_neck
from mscsa.recipes import get_recipe, is_recipe
from mscsa.recipes.spec import ModelSpec, Recipe

_BASELINES = {"ablation": "imagenet"}
"""Family of recipes -> where the baselines of its models are, if elsewhere."""


def baseline_of(recipe: Recipe) -> Recipe:
    """Take MSCSA, or the neck in its place, out of a recipe and leave everything else as it is.

    Overrides stay, too.

    Raises:
        UserError: If the model has neither, or starts from a checkpoint, which holds it too.
    """
    model, (family, _, form) = recipe.model, recipe.name.partition("/")
    name, form_name = parse_model_name(model.name), parse_model_name(form)
    if model.neck_name is None:
        raise UserError(
            f"recipe {recipe.name} has no MSCSA to take out: give the one with it, "
            f"such as {family}/{form_name.with_mscsa}"
        )
    if model.checkpoint is not None and model.baseline_checkpoint is None:
        raise UserError(
            f"recipe {recipe.name} starts from {model.checkpoint}, which a model without MSCSA "
            "cannot: give model.baseline_checkpoint too, or compare from the backbone's weights "
            "(model.pretrained) or from scratch"
        )
    # A variant (BACKBONE.VARIANT) changes MSCSA alone, so that its baseline is that of the whole model; what
    # stands after the dot of a model's name says which weights the backbone starts from.
    is_variant = form_name.tag != name.tag
    bare = f"{_BASELINES.get(family, family)}/{form_name.baseline if is_variant else form_name.without_mscsa}"
    known = get_recipe(bare) if is_recipe(bare) else None
    return replace(
        recipe,
        name=bare,
        paper=known.paper if known else recipe.paper,
        expected=known.expected if known else "not measured here",
        cost=known.cost if known else "MACs of the backbone",
        starts_from=known.starts_from if known else None,
        model=replace(
            without_neck(model),
            checkpoint=model.baseline_checkpoint,
            baseline_checkpoint=None,
            freeze=_fixed_without_neck(model),
        ),
    )


def without_neck(model: ModelSpec) -> ModelSpec:
    """Take MSCSA, or the neck in its place, out of a model; where it starts from stays."""
    return replace(
        model,
        name=parse_model_name(model.name).without_mscsa,
        mscsa=None,
        neck=None,
        neck_kwargs={},
        budget=None,
        keep_classifier=False,
    )


def control_of(recipe: Recipe, widths: Mapping[str, int]) -> Recipe:
    """Take MSCSA out of a recipe and make the head wider instead.

    The name is the baseline's: `mscsa train` takes it with the control's own file of options.

    Args:
        recipe: A recipe with MSCSA.
        widths: Options of the head that stand in place of the recipe's.
    Raises:
        UserError: If it has no MSCSA, or no head.
    """
    if recipe.model.head is None:
        raise UserError(f"recipe {recipe.name} has no head to make wider: give one with a head")
    baseline = baseline_of(recipe)
    shown = ", ".join(f"{name} {width}" for name, width in widths.items())
    return replace(
        baseline,
        paper=f"not in the paper: {baseline.name} with a wider head ({shown})",
        expected="not measured here",
        cost="at least the MACs of the model with MSCSA",
        model=replace(baseline.model, head_kwargs={**baseline.model.head_kwargs, **widths}),
    )


def neck_arm_of(recipe: Recipe, neck: str, fields: Mapping[str, Any]) -> Recipe:
    """Put another neck in the place of MSCSA.

    The name is the baseline's, as of `control_of`.

    Args:
        recipe: A recipe with MSCSA and a head.
        neck: One of `mscsa.necks.NECKS`.
        fields: Of its configuration.
    Raises:
        UserError: If it has no MSCSA, or no head, or there is no such neck.
    """
    title = find_neck(neck).title
    if recipe.model.head is None:
        raise UserError(f"recipe {recipe.name} has no head on a pyramid for {title}: give one with a head")
    baseline = baseline_of(recipe)
    return replace(
        baseline,
        paper=f"not in the paper: {baseline.name} with {title}",
        expected="not measured here",
        cost="at least the MACs of the model with MSCSA",
        model=replace(baseline.model, neck=neck, neck_kwargs=dict(fields)),
    )


def variant_of(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe:
    """Build MSCSA otherwise; everything else stays. The name stays, too.

    Args:
        recipe: A recipe with MSCSA.
        fields: Of `MSCSAConfig`, in the place of the recipe's own; `budget` stands for `model.budget`, and a
            budget that stays is spent anew.
    """
    own = {**(recipe.model.mscsa or {}), **{name: fields[name] for name in fields if name != "budget"}}
    budget = fields.get("budget", recipe.model.budget)
    return replace(recipe, model=replace(recipe.model, mscsa=own, budget=budget))


def _fixed_without_neck(model: ModelSpec) -> tuple[str, ...]:
    """Name what stays fixed in the model without a neck: parts of the backbone, or of a dense task's head."""
    if model.head is not None:  # the backbone is `backbone.backbone` with a neck and without
        return tuple(part for part in model.freeze if not re.search(r"\.(mscsa|fusion|neck)\b", part))
    return tuple(part.removeprefix("backbone.") for part in model.freeze if part.startswith("backbone."))
