"""Every run the library knows by name.

`RECIPES` is built from the tables of the modules beside this one; a further recipe is a further line
there. Import the types from `mscsa.recipes.spec`.
"""

from __future__ import annotations

from dataclasses import replace

from mscsa.errors import UserError, unknown_name
from mscsa.names import parse_model_name
from mscsa.recipes.ablation import ABLATION
from mscsa.recipes.ade20k import ADE20K
from mscsa.recipes.coco import COCO
from mscsa.recipes.finetune import FINETUNE, PREFIX, finetune_recipe
from mscsa.recipes.frozen import FROZEN_RECIPES
from mscsa.recipes.imagenet import IMAGENET
from mscsa.recipes.small import SMALL
from mscsa.recipes.small_detection import SMALL_DETECTION
from mscsa.recipes.small_segmentation import SMALL_SEGMENTATION
from mscsa.recipes.spec import ModelSpec, Recipe

__all__ = ["RECIPES", "baseline_of", "get_recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(*SMALL, *SMALL_SEGMENTATION, *SMALL_DETECTION, *FROZEN_RECIPES, *FINETUNE),
        *(*IMAGENET, *ABLATION, *ADE20K, *COCO),
    )
}

_BASELINES = {"ablation": "imagenet"}
"""Family of recipes -> where the baselines of its models are, if elsewhere."""


def get_recipe(name: str) -> Recipe:
    """Look a recipe up.

    `finetune/` takes any timm name, with `mscsa_` before it or not; the others are in `RECIPES`.

    Raises:
        UserError: If there is none of this name; names the nearest.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name.startswith(PREFIX) and name != PREFIX:
        return finetune_recipe(name.removeprefix(PREFIX))
    raise unknown_name(
        "no recipe is called", name, RECIPES, all_names="`mscsa list --recipes` shows all names"
    )


def baseline_of(recipe: Recipe) -> Recipe:
    """Take MSCSA out of a recipe and leave everything else, overrides included, as it is.

    Raises:
        UserError: If the model has no MSCSA, or starts from a checkpoint, which holds MSCSA too.
    """
    model, (family, _, form) = recipe.model, recipe.name.partition("/")
    name, form_name = parse_model_name(model.name), parse_model_name(form)
    if not name.has_mscsa and model.mscsa is None and model.budget is None:
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
    known = RECIPES.get(bare)
    return replace(
        recipe,
        name=bare,
        paper=known.paper if known else recipe.paper,
        expected=known.expected if known else "not measured here",
        cost=known.cost if known else "MACs of the backbone",
        starts_from=known.starts_from if known else None,
        model=replace(
            model,
            name=name.without_mscsa,
            mscsa=None,
            budget=None,
            checkpoint=model.baseline_checkpoint,
            baseline_checkpoint=None,
            freeze=_without_mscsa(model),
        ),
    )


def _without_mscsa(model: ModelSpec) -> tuple[str, ...]:
    """Name what stays fixed in the model without MSCSA: parts of the backbone, or of a dense task's head."""
    if model.head is not None:  # the backbone is `backbone.backbone` with MSCSA and without
        return tuple(part for part in model.freeze if ".mscsa" not in part and ".fusion" not in part)
    return tuple(part.removeprefix("backbone.") for part in model.freeze if part.startswith("backbone."))
