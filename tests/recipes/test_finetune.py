"""Fine-tuning recipes: any timm backbone, plain or with MSCSA, tags included."""

from __future__ import annotations

import pytest
import torch

from mscsa.assembly import build_model
from mscsa.models.model import MSCSAModel
from mscsa.recipes import RECIPES, get_recipe
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.finetune import FINETUNE, FROZEN, finetune_recipe
from mscsa.recipes.spec import Recipe


def test_fine_tuning_takes_any_backbone() -> None:
    recipe = get_recipe("finetune/mscsa_edgenext_small")
    assert recipe.model.name == "edgenext_small"
    assert recipe.model.budget == 0.1
    assert recipe.model.pretrained
    assert recipe.optim.layer_decay == 0.75
    assert get_recipe("finetune/resnet50") is RECIPES["finetune/resnet50"]


def test_both_arms_of_each_backbone_are_there() -> None:
    expected = {f"finetune/{prefix}{backbone}" for backbone in FROZEN for prefix in ("", "mscsa_")}
    assert {recipe.name for recipe in FINETUNE} == expected


@pytest.mark.parametrize("recipe", FINETUNE, ids=lambda recipe: recipe.name)
def test_what_stays_fixed_is_there(recipe: Recipe) -> None:
    with torch.device("meta"):
        model = build_model(recipe.model.__class__(**{**vars(recipe.model), "pretrained": False}), 10)
    names = [name for name, _ in model.named_parameters()]
    assert isinstance(model, MSCSAModel) == ("/mscsa_" in recipe.name)
    assert recipe.model.freeze
    assert all(any(name.startswith(f"{part}.") for name in names) for part in recipe.model.freeze)


def test_a_tag_chooses_the_weights_of_both_arms() -> None:
    """What is fixed, the rates and the baseline are those of the backbone of this name."""
    recipe = finetune_recipe("mscsa_convnext_tiny.in12k_ft_in1k")
    assert recipe.model.name == "convnext_tiny.in12k_ft_in1k"
    assert recipe.model.freeze == RECIPES["finetune/mscsa_convnext_tiny"].model.freeze
    baseline = baseline_of(recipe)
    assert baseline.name == "finetune/convnext_tiny.in12k_ft_in1k"
    assert get_recipe(baseline.name).model == baseline.model
    assert baseline.model.name == "convnext_tiny.in12k_ft_in1k"


def test_stochastic_depth_of_other_backbones_is_their_own() -> None:
    """Not every backbone has it; in both arms it is the same."""
    for prefix in ("", "mscsa_"):
        assert finetune_recipe(f"{prefix}densenet121").model.drop_path_rate is None
        assert finetune_recipe(f"{prefix}resnet50").model.drop_path_rate == 0.1


def test_weights_of_the_hub_are_a_backbone_too() -> None:
    recipe = get_recipe("finetune/mscsa_hf-hub:owner/name")
    assert recipe.model.name == "hf-hub:owner/name"
    assert baseline_of(recipe).name == "finetune/hf-hub:owner/name"
