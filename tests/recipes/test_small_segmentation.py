"""Small segmentation recipes: both arms of each, which build with the options that they name."""

from __future__ import annotations

import pytest
import torch

from mscsa.assembly import build_model
from mscsa.attention import MSCSA
from mscsa.heads import HEADS
from mscsa.recipes.small_segmentation import SMALL_SEGMENTATION
from mscsa.recipes.spec import Recipe


def test_each_head_has_recipes_on_scenes() -> None:
    heads = {recipe.model.head for recipe in SMALL_SEGMENTATION if recipe.data.kind == "scenes"}
    assert heads == {name for name, head in HEADS.items() if head.task == "segmentation"}


@pytest.mark.parametrize("recipe", SMALL_SEGMENTATION, ids=lambda recipe: recipe.name)
def test_they_build_with_their_options(recipe: Recipe) -> None:
    with torch.device("meta"):
        model = build_model(recipe.model, recipe.data.num_classes or 2, input_size=recipe.data.input_size)
    found = [module for module in model.modules() if isinstance(module, MSCSA)]
    assert len(found) == ("/mscsa_" in recipe.name)
    # At the paper's stride of 32 such images would be a few tokens.
    assert all(each.config.pool_stride < 32 for each in found)
