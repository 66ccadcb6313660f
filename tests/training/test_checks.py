"""What a recipe cannot ask for is one line, before anything is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import DetectionAugment, ModelSpec, Recipe
from mscsa.training.checks import check_recipe
from tests.training.small_runs import plain_recipe, small_recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def changed(recipe: Recipe, part: str, **fields: Any) -> Recipe:
    return replace(recipe, **{part: replace(getattr(recipe, part), **fields)})


def refusal(recipe: Recipe, device: torch.device = CPU) -> str:
    with pytest.raises(UserError) as caught:
        check_recipe(recipe, device)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["scenes/resnet10t", "scenes_semantic_fpn/resnet10t", "scenes_mask_rcnn/resnet10t"]
)
def test_recipes_of_all_tasks_pass(name: str) -> None:
    check_recipe(RECIPES[name], CPU)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        *(("data", name) for name in ("image_size", "batch_size", "eval_batch_size")),
        *(("run", name) for name in ("epochs", "steps", "max_steps", "devices", "num_nodes", "accumulate")),
        *(("run", name) for name in ("checkpoint_every", "eval_every", "log_every", "threads")),
    ],
)
def test_counts_are_positive(part: str, field: str) -> None:
    assert refusal(changed(plain_recipe(), part, **{field: 0})).startswith(
        f"{part}.{field} 0 is not possible"
    )


def test_loaders_may_have_no_workers_but_not_fewer() -> None:
    check_recipe(changed(plain_recipe(), "data", workers=0), CPU)
    assert "data.workers -1 is not possible; give 0 or more" in refusal(
        changed(plain_recipe(), "data", workers=-1)
    )


def test_model_and_recipe_are_of_one_task() -> None:
    recipe = replace(RECIPES["scenes_semantic_fpn/resnet10t"], model=ModelSpec(name="resnet10t"))
    assert "model.head None makes a model for classification, but recipe" in refusal(recipe)


def test_scenes_have_a_least_size() -> None:
    check_recipe(changed(plain_recipe(), "data", image_size=32), CPU)
    assert "scenes of 31 px are too small; give 32 px or more" in refusal(
        changed(plain_recipe(), "data", image_size=31)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"short_sides": (0,)}, "augment.short_sides [0] is not possible"),
        ({"crop_short_sides": (0, 5)}, "augment.crop_short_sides [0, 5] is not possible"),
        ({"crop_sides": (0, 5)}, "augment.crop_sides [0, 5] is not possible"),
        ({"crop_sides": (60, 30)}, "augment.crop_sides [60, 30] with crop_short_sides"),
        ({"crop_short_sides": ()}, "is not possible; give the smaller side first, and one crop_short_side"),
    ],
)
def test_sizes_of_crops_make_sense(fields: dict[str, Any], message: str) -> None:
    recipe = RECIPES["scenes_mask_rcnn/resnet10t"]
    assert isinstance(recipe.augment, DetectionAugment)
    assert message in refusal(changed(recipe, "augment", **fields))


def test_the_longer_side_is_no_shorter() -> None:
    recipe = changed(RECIPES["scenes_mask_rcnn/resnet10t"], "data", short_side=64, long_side=63)
    assert "data.short_side 64 is more than data.long_side 63" in refusal(recipe)


def test_what_a_cpu_cannot_do() -> None:
    assert "run.precision 16-mixed needs a GPU" in refusal(plain_recipe(precision="16-mixed"))
    check_recipe(plain_recipe(sync_batchnorm=True), CPU)  # without effect in one process
    assert "works on GPUs only" in refusal(plain_recipe(sync_batchnorm=True, devices=2))


def test_no_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_recipe(plain_recipe(devices=2, precision="16-mixed", sync_batchnorm=True), GPU)
    assert "run.devices 4: torch sees 2 GPU(s)" in refusal(plain_recipe(devices=4), GPU)


def test_mixing_needs_pairs() -> None:
    odd = changed(small_recipe(), "data", batch_size=14)
    check_recipe(odd, CPU)
    message = "gives batches of 7 (2 share(s)), and mixup and cutmix mix pairs; give a multiple of 4"
    assert message in refusal(changed(odd, "run", accumulate=2))
    check_recipe(changed(changed(odd, "run", accumulate=2), "augment", mixup=0.0, cutmix=0.0), CPU)
    check_recipe(changed(changed(odd, "run", accumulate=2), "augment", mix_prob=0.0), CPU)


def test_a_frozen_backbone_needs_what_kept_maps_have() -> None:
    check_recipe(RECIPES["frozen_collages/mscsa_tf_efficientnet_lite0"], CPU)
    check_recipe(RECIPES["frozen_mask_rcnn/mscsa_tf_efficientnet_lite0"], CPU)
    assert "a classifier has no head on a pyramid" in refusal(changed(plain_recipe(), "model", frozen=True))
