"""Fine-tuning recipes: any timm backbone, plain or with MSCSA, tags included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mscsa.assembly import build_model
from mscsa.backbones import FAMILIES
from mscsa.backbones.weight_sources import exist_somewhere
from mscsa.checkpoints import load_weights, save_weights
from mscsa.models.model import MSCSAModel
from mscsa.models.register import backbone_names
from mscsa.recipes import RECIPES, get_recipe
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.finetune import FINETUNE, FROZEN, WITHOUT_WEIGHTS, finetune_recipe
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


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=recipe.name, marks=() if "resnet" in recipe.name else pytest.mark.slow)
        for recipe in FINETUNE
    ],
)
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


@pytest.mark.parametrize("prefix", ["finetune", "finetune_segmentation", "finetune_detection"])
def test_a_backbone_without_weights_says_what_it_needs(prefix: str) -> None:
    recipe = get_recipe(f"{prefix}/mscsa_p2t_tiny")
    assert recipe.model.pretrained
    assert recipe.cost.endswith("; needs --model.checkpoint FILE, timm has no weights of p2t_tiny")
    assert recipe.starts_from == "imagenet/p2t_tiny" and recipe.starts_from in RECIPES
    assert recipe.command.endswith(" --model.checkpoint FILE")
    with_none = get_recipe(f"{prefix}/p2t_base")  # no recipe trains it
    assert "needs --model.checkpoint FILE" in with_none.cost and with_none.starts_from is None
    other = get_recipe(f"{prefix}/mscsa_coat_lite_tiny")
    assert "checkpoint" not in other.cost and other.starts_from is None


def test_which_backbones_here_have_no_weights_is_what_timm_says() -> None:
    own = [module.__name__.rpartition(".")[2] for module in FAMILIES]
    names = [name for module in own for name in backbone_names(module)]
    assert len(names) > 10
    for name in names:
        assert name.startswith(WITHOUT_WEIGHTS) != exist_somewhere(name), name
    for name in ("coat_tiny", "mscsa_coat_tiny"):  # with its parallel blocks, as timm has it
        assert "checkpoint" not in finetune_recipe(name).cost and finetune_recipe(name).starts_from is None


@pytest.mark.parametrize(
    "prefix", ["finetune", pytest.param("finetune_segmentation", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("backbone", ["topformer_tiny", pytest.param("p2t_tiny", marks=pytest.mark.slow)])
def test_the_weights_that_a_recipe_names_start_its_model(tmp_path: Path, prefix: str, backbone: str) -> None:
    recipe, size = get_recipe(f"{prefix}/mscsa_{backbone}"), (64, 64)
    assert recipe.starts_from is not None
    save_weights(
        build_model(get_recipe(recipe.starts_from).model, 3, input_size=size), tmp_path / "w.safetensors"
    )
    spec = replace(recipe.model, pretrained=False)
    report = load_weights(build_model(spec, 3, input_size=size), tmp_path / "w.safetensors")
    assert not [key for key in report.missing if report.parts[key] == "backbone"]
