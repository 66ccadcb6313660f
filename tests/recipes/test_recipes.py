"""The recipes by name, and their baselines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mscsa.errors import UserError
from mscsa.recipes import RECIPES, baseline_of, get_recipe
from mscsa.recipes.spec import Recipe

WITH_MSCSA = [recipe for recipe in RECIPES.values() if "/mscsa_" in recipe.name]


DETECTION = [
    recipe for recipe in RECIPES.values() if recipe.model.task in ("detection", "instance_segmentation")
]


@pytest.mark.parametrize("recipe", DETECTION, ids=lambda recipe: recipe.name)
def test_norms_live_in_detectors_from_scratch_alone(recipe: Recipe) -> None:
    """Without pre-training, frozen statistics would be those of no image at all."""
    is_live = recipe.model.head_kwargs.get("backbone_norm", "frozen") == "live"
    assert is_live == (recipe.starts_from is None)


def test_a_dense_baseline_takes_its_own_checkpoint() -> None:
    recipe = RECIPES["ade20k/mscsa_pvt_v2_b0"]
    started = replace(recipe, model=replace(recipe.model, checkpoint="a", baseline_checkpoint="b"))
    baseline = baseline_of(started)
    assert (baseline.model.checkpoint, baseline.model.baseline_checkpoint) == ("b", None)
    assert (baseline.name, baseline.starts_from) == ("ade20k/pvt_v2_b0", "imagenet/pvt_v2_b0")
    frozen = ("backbone.backbone.patch_embed", "backbone.mscsa")
    held = replace(recipe, model=replace(recipe.model, freeze=frozen))
    assert baseline_of(held).model.freeze == ("backbone.backbone.patch_embed",)


@pytest.mark.parametrize("recipe", WITH_MSCSA, ids=lambda recipe: recipe.name)
def test_a_baseline_differs_in_the_model_alone(recipe: Recipe) -> None:
    baseline = baseline_of(recipe)
    for part in ("data", "augment", "optim", "run"):
        assert getattr(baseline, part) == getattr(recipe, part), part
    spec = baseline.model
    assert (spec.mscsa, spec.budget) == (None, None)
    assert not spec.name.startswith("mscsa_")
    for field in ("pretrained", "drop_path_rate", "drop_rate", "backbone_kwargs"):
        assert getattr(spec, field) == getattr(recipe.model, field), field
    if spec.head is None:  # the backbone is the model itself
        assert not any(part.startswith("backbone.") for part in spec.freeze)
        assert len(spec.freeze) == len(recipe.model.freeze)
    else:
        assert (spec.head, spec.head_kwargs) == (recipe.model.head, recipe.model.head_kwargs)
        assert spec.freeze == recipe.model.freeze


@pytest.mark.parametrize("name", ["imagenet/pvt_v2_b1", "scenes/resnet10t", "finetune/resnet50"])
def test_a_baseline_is_the_recipe_of_that_name(name: str) -> None:
    family, _, model = name.partition("/")
    assert baseline_of(RECIPES[f"{family}/mscsa_{model}"]) == RECIPES[name]


@pytest.mark.parametrize("recipe", WITH_MSCSA, ids=lambda recipe: recipe.name)
def test_a_baseline_is_a_recipe_by_its_name(recipe: Recipe) -> None:
    """`mscsa compare` starts both arms by their names."""
    baseline = baseline_of(recipe)
    assert get_recipe(baseline.name).model == baseline.model


def test_a_baseline_keeps_what_was_changed() -> None:
    recipe = RECIPES["scenes/mscsa_resnet10t"]
    changed = replace(recipe, run=replace(recipe.run, seed=7, epochs=2))
    assert baseline_of(changed).run == changed.run


def test_no_baseline_of_a_baseline_or_of_a_checkpoint() -> None:
    with pytest.raises(UserError, match="no MSCSA to take out.*imagenet/mscsa_resnet50"):
        baseline_of(RECIPES["imagenet/resnet50"])
    recipe = RECIPES["imagenet/mscsa_resnet50"]
    started = replace(recipe, model=replace(recipe.model, checkpoint="weights.safetensors"))
    with pytest.raises(UserError, match="starts from weights.safetensors"):
        baseline_of(started)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean .*imagenet/pvt_v2_b1"):
        get_recipe("imagenet/pvtv2_b1")
    with pytest.raises(UserError, match="no recipe is called 'finetune/'"):
        get_recipe("finetune/")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_each_recipe_says_what_it_is(recipe: Recipe) -> None:
    assert recipe.name in RECIPES
    for text in (recipe.paper, recipe.expected, recipe.cost):
        assert text and "\n" not in text
    assert "paper" in recipe.expected or "not measured here" in recipe.expected or "%" in recipe.expected
    assert recipe.command.startswith(f"mscsa train {recipe.name}")
    assert ("--data.root" in recipe.command) == (recipe.data.kind != "scenes")
