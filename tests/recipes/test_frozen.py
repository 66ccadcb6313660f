"""Recipes on frozen backbones: arms that differ by MSCSA alone, and maps that can be kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mscsa.assembly import build_model
from mscsa.backbones.shipped_weights import SHIPPED
from mscsa.frozen.keeping import check_frozen
from mscsa.recipes import get_recipe
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.frozen import BACKBONES, FROZEN_BUILDERS, FROZEN_RECIPES
from mscsa.recipes.spec import Recipe


def test_the_backbones_are_those_whose_weights_come_with_pip() -> None:
    assert set(BACKBONES) == set(SHIPPED)


@pytest.mark.parametrize("recipe", FROZEN_RECIPES, ids=lambda recipe: recipe.name)
def test_maps_can_be_kept(recipe: Recipe) -> None:
    check_frozen(recipe)
    assert recipe.data.workers == 0
    assert recipe.model.pretrained and recipe.model.frozen


def test_the_arms_differ_by_mscsa_alone() -> None:
    by_name = {recipe.name: recipe for recipe in FROZEN_RECIPES}
    for name, recipe in by_name.items():
        family, _, model = name.partition("/")
        if not model.startswith("mscsa_"):
            continue
        bare = by_name[f"{family}/{model.removeprefix('mscsa_')}"]
        assert baseline_of(recipe) == bare
        assert recipe.model.budget == 0.25
        assert replace(recipe.model, mscsa=None, budget=None) == bare.model


@pytest.mark.parametrize("prefix", FROZEN_BUILDERS)
def test_any_backbone_is_taken(prefix: str) -> None:
    recipe = get_recipe(f"{prefix}mscsa_edgenext_small")
    check_frozen(recipe)
    assert (recipe.model.name, recipe.model.budget) == ("edgenext_small", 0.25)
    assert baseline_of(recipe) == get_recipe(f"{prefix}edgenext_small")
    with torch.device("meta"):
        build_model(replace(recipe.model, pretrained=False), 10)
    # timm has no weights of it.
    assert "--model.checkpoint FILE" in get_recipe(f"{prefix}topformer_tiny").cost


def test_there_are_detectors_of_boxes_and_of_masks() -> None:
    tasks = {recipe.name: recipe.model.task for recipe in FROZEN_RECIPES}
    for backbone in BACKBONES:
        for model in (backbone, f"mscsa_{backbone}"):
            assert tasks[f"frozen_retinanet/{model}"] == "detection"
            assert tasks[f"frozen_mask_rcnn/{model}"] == "instance_segmentation"
