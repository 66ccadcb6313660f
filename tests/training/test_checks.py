"""What a recipe cannot ask for is one line, before anything is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import ModelSpec, Recipe
from mscsa.training.checks import check_classes, check_recipe
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


def test_model_and_recipe_are_of_one_task() -> None:
    recipe = replace(RECIPES["scenes_semantic_fpn/resnet10t"], model=ModelSpec(name="resnet10t"))
    assert "model.head None makes a model for classification, but recipe" in refusal(recipe)


def test_losses_are_chosen_for_segmentation_alone() -> None:
    check_recipe(changed(RECIPES["scenes_semantic_fpn/resnet10t"], "model", loss={"dice": 1.0}), CPU)
    message = refusal(changed(RECIPES["scenes_mask_rcnn/resnet10t"], "model", loss={"dice": 1.0}))
    assert "model.loss is for segmentation, recipe scenes_mask_rcnn/resnet10t for instance_seg" in message


def test_scenes_have_a_least_size() -> None:
    check_recipe(changed(plain_recipe(), "data", image_size=32), CPU)
    assert "scenes of 31 px are too small; give 32 px or more" in refusal(
        changed(plain_recipe(), "data", image_size=31)
    )


def test_a_classifier_has_something_to_tell_apart() -> None:
    assert check_classes(plain_recipe(), ["ant", "bee"]) == 2
    assert check_classes(RECIPES["scenes_retinanet/resnet10t"], ["ant"]) == 1
    with pytest.raises(
        UserError, match="the scenes has one class alone, ant, and a classifier of it"
    ) as caught:
        check_classes(plain_recipe(), ["ant"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("scenes/resnet10t", "top1, top5, loss"),
        ("scenes_semantic_fpn/resnet10t", "miou, mean_accuracy, pixel_accuracy, loss"),
        ("scenes_retinanet/resnet10t", "ap, ap50, ap75, ap_small, ap_medium, ap_large"),
    ],
)
def test_a_run_is_ranked_by_a_score_of_its_task(name: str, scores: str) -> None:
    recipe = RECIPES[name]
    for score in scores.split(", "):
        check_recipe(changed(recipe, "run", monitor=score), CPU)
    said = refusal(changed(recipe, "run", monitor="top_1"))
    assert f"run.monitor 'top_1' is no score of {recipe.model.task}: give one of {scores}" in said


def test_what_is_read_from_kept_maps_is_not_compiled() -> None:
    recipe = RECIPES["frozen_collages/mscsa_tf_efficientnet_lite0"]
    check_recipe(recipe, CPU)
    assert "run.compile cannot make a program of maps" in refusal(changed(recipe, "run", compile=True))


def test_crops_need_a_side() -> None:
    recipe = changed(RECIPES["scenes_mask_rcnn/resnet10t"], "augment", crop_short_sides=())
    assert "augment.crop_short_sides [] is not possible; give one side or more" in refusal(recipe)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "sgd", "betas": (0.9, 0.99)}, "optim.betas means nothing to optim.optimizer sgd"),
        ({"optimizer": "rmsproptf", "betas": (0.9, 0.99)}, "optim.betas means nothing"),
        ({"optimizer": "momentum", "eps": 1e-3}, "optim.eps means nothing to optim.optimizer momentum"),
    ],
)
def test_what_the_optimiser_would_not_read(fields: dict[str, Any], message: str) -> None:
    assert message in refusal(changed(plain_recipe(), "optim", **fields))


def test_what_each_optimiser_reads() -> None:
    check_recipe(changed(plain_recipe(), "optim", betas=(0.9, 0.99), eps=1e-6), CPU)
    check_recipe(changed(plain_recipe(), "optim", optimizer="rmsproptf", eps=1e-3), CPU)


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


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (
            "run",
            {"devices": 1},
            "run.strategy fsdp shares a model among processes, and this run has one: give",
        ),
        (
            "run",
            {"precision": "16-mixed"},
            "run.precision 16-mixed does not go with run.strategy fsdp: give bf16",
        ),
        ("run", {"compile": True}, "run.compile does not go with run.strategy fsdp: leave it out, or take"),
        (
            "run",
            {"sync_batchnorm": True},
            "run.sync_batchnorm does not go with run.strategy fsdp: leave it out",
        ),
    ],
)
def test_what_does_not_go_with_a_model_that_is_shared(
    part: str, fields: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    shared = plain_recipe(devices=2, strategy="fsdp")
    check_recipe(shared, CPU)
    check_recipe(shared, GPU)
    assert message in refusal(changed(shared, part, **fields), GPU)


def test_maps_that_are_kept_leave_nothing_to_share() -> None:
    recipe = RECIPES["frozen_collages/mscsa_tf_efficientnet_lite0"]
    recipe = changed(recipe, "run", devices=2, strategy="fsdp")
    assert "model.frozen does not go with run.strategy fsdp: leave it out" in refusal(recipe)


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
    tolerant = changed(RECIPES["frozen_collages/mscsa_tf_efficientnet_lite0"], "data", max_bad=3)
    assert "data.max_bad 3 is for images that are read during the run" in refusal(tolerant)
    assert "a classifier has no head on a pyramid" in refusal(changed(plain_recipe(), "model", frozen=True))
