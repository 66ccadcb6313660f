"""A neck in the place of MSCSA is never cheaper than it, and the next narrower one is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mscsa.cost.matched_control import count_recipe
from mscsa.cost.matched_neck import STARTS, asked_necks, matched_necks
from mscsa.errors import UserError
from mscsa.neck_table import NECKS, OTHER_NECKS
from mscsa.recipes import RECIPES
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.spec import Recipe
from tests.cost.test_matched_control import recipe_with

CASES = {
    "semantic_fpn": recipe_with("semantic_fpn"),
    "retinanet": recipe_with("retinanet", fpn_channels=32),
}


def macs(recipe: Recipe) -> int:
    return count_recipe(recipe, 5)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "necks"), [("semantic_fpn", OTHER_NECKS), ("retinanet", ("fpn",))])
def test_a_neck_costs_what_mscsa_does_or_just_more(case: str, necks: tuple[str, ...]) -> None:
    """Measured on the whole models, whose cost the search only predicts."""
    recipe = CASES[case]
    target = macs(recipe)
    arms = matched_necks(recipe, necks, 5)
    assert list(arms) == list(necks)
    for neck, arm in arms.items():
        assert arm.recipe is not None, arm.note
        spec = arm.recipe.model
        assert (spec.neck, spec.mscsa, spec.budget, spec.name) == (neck, None, None, "test_resnet")
        assert spec.neck_kwargs.items() >= STARTS.get(neck, {}).items()
        narrower = {**spec.neck_kwargs, "channels": spec.neck_kwargs["channels"] - 1}
        below = replace(arm.recipe, model=replace(spec, neck_kwargs=narrower))
        assert macs(below) < target <= macs(arm.recipe)
        assert arm.note.startswith(f"{NECKS[neck].title}: channels {spec.neck_kwargs['channels']}")
        assert arm.note.endswith(" % MACs against MSCSA.")
        changed = replace(arm.recipe.model, neck=None, neck_kwargs={})
        assert changed == baseline_of(recipe).model


@pytest.mark.slow
def test_a_size_that_the_model_pads() -> None:
    case = CASES["semantic_fpn"]
    recipe = replace(case, data=replace(case.data, image_size=100))
    arm = matched_necks(recipe, ["pafpn"], 5)["pafpn"].recipe
    assert arm is not None and 1 <= macs(arm) / macs(recipe) < 1.01


@pytest.mark.slow
def test_a_comparison_gives_bifpn_a_momentum_for_short_runs() -> None:
    note = matched_necks(CASES["retinanet"], ["bifpn"], 5)["bifpn"].note
    assert "norm_momentum 0.1" in note and "depth" not in note


def test_what_has_no_place_is_one_line() -> None:
    with pytest.raises(UserError, match="has no head on a pyramid for FPN"):
        matched_necks(RECIPES["scenes/mscsa_resnet10t"], ["fpn"], 5)
    with pytest.raises(UserError, match="topformer_head on the neck bifpn"):
        matched_necks(recipe_with("topformer_head"), ["bifpn"], 5)
    with pytest.raises(UserError, match="no MSCSA to take out"):
        matched_necks(RECIPES["scenes_semantic_fpn/resnet10t"], ["fpn"], 5)
    assert matched_necks(RECIPES["scenes/mscsa_resnet10t"], [], 5) == {}


def test_necks_are_asked_for_once_and_in_the_order_of_the_table() -> None:
    assert asked_necks(["bifpn", "fpn", "bifpn"]) == ("fpn", "bifpn")
    with pytest.raises(UserError, match="no neck is called 'fpm': did you mean fpn?"):
        asked_necks(["fpm"])
    with pytest.raises(UserError, match="necks name mscsa, which is compared with them anyway"):
        asked_necks(["fpn", "mscsa"])
