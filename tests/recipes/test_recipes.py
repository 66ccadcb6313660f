"""The recipes by name."""

from __future__ import annotations

import pytest

from mscsa.errors import UserError
from mscsa.recipes import RECIPES, get_recipe
from mscsa.recipes.spec import Recipe

DETECTION = [
    recipe for recipe in RECIPES.values() if recipe.model.task in ("detection", "instance_segmentation")
]


@pytest.mark.parametrize("recipe", DETECTION, ids=lambda recipe: recipe.name)
def test_norms_live_in_detectors_from_scratch_alone(recipe: Recipe) -> None:
    """Without pre-training, frozen statistics would be those of no image at all."""
    is_live = recipe.model.head_kwargs.get("backbone_norm", "frozen") == "live"
    assert is_live == (recipe.starts_from is None and not recipe.model.pretrained)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean .*imagenet/pvt_v2_b1"):
        get_recipe("imagenet/pvtv2_b1")
    with pytest.raises(UserError, match="no recipe is called 'finetune/'"):
        get_recipe("finetune/")
    for given in (None, ["finetune/resnet18"]):
        with pytest.raises(UserError, match="no recipe is called .*: `mscsa list --recipes` shows all names"):
            get_recipe(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_each_recipe_says_what_it_is(recipe: Recipe) -> None:
    assert recipe.name in RECIPES
    for text in (recipe.paper, recipe.expected, recipe.cost):
        assert text and "\n" not in text
    assert "paper" in recipe.expected or "not measured here" in recipe.expected or "%" in recipe.expected
    assert recipe.command.startswith(f"mscsa train {recipe.name}")
    assert ("--data.root" in recipe.command) == (recipe.data.kind not in ("scenes", "collages"))
