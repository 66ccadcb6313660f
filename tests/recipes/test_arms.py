"""What a recipe with MSCSA is set beside: its baseline, and a control of the same MACs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mscsa.errors import UserError
from mscsa.recipes import RECIPES, get_recipe
from mscsa.recipes.arms import baseline_of, control_of, neck_arm_of
from mscsa.recipes.spec import Recipe

WITH_MSCSA = [recipe for recipe in RECIPES.values() if "/mscsa_" in recipe.name]


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


def test_a_control_is_the_baseline_with_a_wider_head() -> None:
    recipe = RECIPES["scenes_semantic_fpn/mscsa_resnet10t"]
    changed = replace(recipe, run=replace(recipe.run, epochs=2))
    baseline, control = baseline_of(changed), control_of(changed, {"head_channels": 80})
    assert control.model.head_kwargs == {"fpn_channels": 64, "head_channels": 80}
    assert replace(control.model, head_kwargs=baseline.model.head_kwargs) == baseline.model
    for part in ("name", "data", "augment", "optim", "run"):
        assert getattr(control, part) == getattr(baseline, part), part
    assert "head_channels 80" in control.paper


def test_no_control_without_a_head_or_without_mscsa() -> None:
    with pytest.raises(UserError, match="scenes/mscsa_resnet10t has no head to make wider"):
        control_of(RECIPES["scenes/mscsa_resnet10t"], {"head_channels": 80})
    with pytest.raises(UserError, match="no MSCSA to take out"):
        control_of(RECIPES["scenes_semantic_fpn/resnet10t"], {"head_channels": 80})


def test_another_neck_takes_the_place_of_mscsa() -> None:
    recipe = RECIPES["scenes_semantic_fpn/mscsa_resnet10t"]
    arm, baseline = neck_arm_of(recipe, "bifpn", {"channels": 8}), baseline_of(recipe)
    assert (arm.model.neck, arm.model.neck_kwargs) == ("bifpn", {"channels": 8})
    assert replace(arm.model, neck=None, neck_kwargs={}) == baseline.model
    assert (arm.name, arm.data, arm.optim, arm.run) == (baseline.name, recipe.data, recipe.optim, recipe.run)
    with pytest.raises(UserError, match="scenes/mscsa_resnet10t has no head on a pyramid for FPN"):
        neck_arm_of(RECIPES["scenes/mscsa_resnet10t"], "fpn", {})


def test_a_baseline_has_no_neck_at_all() -> None:
    bare = RECIPES["scenes_semantic_fpn/resnet10t"]
    frozen = ("backbone.backbone.layer1", "backbone.neck")
    necked = replace(
        bare, model=replace(bare.model, neck="fpn", neck_kwargs={"channels": 8}, budget=None, freeze=frozen)
    )
    expected = replace(bare.model, freeze=("backbone.backbone.layer1",))
    assert necked.model.neck_name == "fpn" and baseline_of(necked).model == expected
