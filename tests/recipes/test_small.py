"""Small classification recipes: which configuration MSCSA gets, and that it costs what the recipe says."""

from __future__ import annotations

import pytest
import torch

from mscsa.assembly import build_model
from mscsa.backbones.presets import PRESETS
from mscsa.models.model import MSCSAModel
from mscsa.names import parse_model_name
from mscsa.recipes.small import OWN_CONFIGURATION, SCENES_EPOCHS, SMALL, scenes_recipe
from mscsa.recipes.spec import Recipe


def test_both_arms_of_each_backbone_are_there() -> None:
    names = {recipe.name for recipe in SMALL}
    expected = {f"scenes/{prefix}{backbone}" for backbone in SCENES_EPOCHS for prefix in ("", "mscsa_")}
    assert expected <= names
    assert {name.replace("/", "/mscsa_") for name in names if "mscsa_" not in name} == {
        name for name in names if "mscsa_" in name
    }


@pytest.mark.parametrize("recipe", SMALL, ids=lambda recipe: recipe.name)
def test_mscsa_is_as_the_recipe_says(recipe: Recipe) -> None:
    name = parse_model_name(recipe.name.partition("/")[2])
    with torch.device("meta"):
        model = build_model(recipe.model, 10, input_size=recipe.data.input_size)
    assert isinstance(model, MSCSAModel) == name.has_mscsa
    assert ("+25%" in recipe.cost) == (recipe.model.budget is not None)
    if not isinstance(model, MSCSAModel) or model.mscsa is None:
        return
    assert (recipe.model.budget is None) == (name.baseline in OWN_CONFIGURATION)
    config = model.mscsa.config
    assert config.pool_stride == (8 if recipe.data.kind == "scenes" else 16)
    if recipe.model.budget is None:  # the paper's, but for the pooling
        paper = PRESETS[name.backbone].config
        assert (config.depth, config.num_heads, config.head_dim, config.mlp_ratio) == (
            paper.depth,
            paper.num_heads,
            paper.head_dim,
            paper.mlp_ratio,
        )


def test_a_recipe_is_built_by_its_models_name() -> None:
    plain, added = scenes_recipe("coat_tiny"), scenes_recipe("mscsa_coat_tiny")
    assert (plain.model.name, added.model.name) == ("coat_tiny", "mscsa_coat_tiny")
    assert plain.run == added.run and plain.run.epochs == SCENES_EPOCHS["coat_tiny"]
