"""Dense fine-tuning recipes: any timm backbone, plain or with MSCSA, at a lower rate, norms frozen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mscsa.assembly import build_model
from mscsa.recipes import RECIPES, get_recipe
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.finetune import FROZEN
from mscsa.recipes.finetune_dense import DENSE_BUILDERS, FINETUNE_DENSE
from mscsa.recipes.spec import Recipe
from mscsa.training.optimization import build_optimizer

RESNETS = [recipe for recipe in FINETUNE_DENSE if recipe.name.endswith("resnet18")]


def test_both_arms_of_each_backbone_are_there() -> None:
    expected = {f"{p}{arm}{name}" for p in DENSE_BUILDERS for name in FROZEN for arm in ("", "mscsa_")}
    assert {recipe.name for recipe in FINETUNE_DENSE} == expected


@pytest.mark.parametrize("prefix", DENSE_BUILDERS)
def test_any_backbone_is_taken(prefix: str) -> None:
    recipe = get_recipe(f"{prefix}mscsa_edgenext_small")
    assert (recipe.model.name, recipe.model.budget, recipe.model.freeze) == ("edgenext_small", 0.1, ())
    assert recipe.model.pretrained and recipe.model.drop_path_rate is None
    baseline = baseline_of(recipe)
    assert get_recipe(baseline.name).model == baseline.model
    assert get_recipe(f"{prefix}resnet50") is RECIPES[f"{prefix}resnet50"]


@pytest.mark.parametrize("recipe", RESNETS, ids=lambda recipe: recipe.name)
def test_the_backbone_learns_slower_with_its_norms_and_stem_frozen(recipe: Recipe) -> None:
    with torch.device("meta"):
        model = build_model(replace(recipe.model, pretrained=False), 10).train()
    names = [name for name, _ in model.named_parameters()]
    assert all(any(name.startswith(f"{part}.") for name in names) for part in recipe.model.freeze)
    assert len(recipe.model.freeze) == 3
    inside = next(name for name in names if name.endswith("layer2.0.conv1.weight"))
    body = inside.removesuffix("layer2.0.conv1.weight")
    norms = {
        name: module.training
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert not any(live for name, live in norms.items() if name.startswith(body))
    assert all(live for name, live in norms.items() if not name.startswith(body))
    assert ("mscsa" in recipe.name) == any("mscsa" in name for name in names)
    groups = build_optimizer(model, recipe.optim).param_groups
    factors = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    of = dict(model.named_parameters())
    assert factors[id(of[inside])] == 1.0
    head = next(name for name in names if name.startswith(("decode_head.", "net.head.", "net.roi_heads.")))
    assert factors[id(of[head])] == 10.0
    assert recipe.optim.ema_decay
