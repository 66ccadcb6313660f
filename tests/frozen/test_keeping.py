"""What each task keeps: variants, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from mscsa.errors import UserError
from mscsa.frozen.dataset import FrozenDetection, FrozenSegmentation
from mscsa.frozen.keeping import check_frozen, keeping_of
from tests.frozen.frozen_recipe import frozen_detection, frozen_recipe
from tests.training.small_runs import plain_recipe

CFG = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def test_variants_of_images_with_objects_are_shorter_sides_and_mirror_images() -> None:
    recipe = frozen_detection("retinanet", None, short_sides=(48, 64), hflip=0.5)
    keeping = keeping_of(recipe, CFG, step=32)
    image = Image.linear_gradient("L").rotate(90).resize((60, 80)).convert("RGB")  # darker on one side
    made = [each(image, {})[0] for each in keeping.variants]
    assert [each.shape for each in made] == [(3, 64, 48)] * 2 + [(3, 85, 64)] * 2
    for plain, mirrored in (made[:2], made[2:]):
        assert torch.allclose(plain.flip(-1), mirrored, atol=0.02) and not torch.allclose(plain, mirrored)
    assert keeping.whole(image, {})[0].shape == (3, 85, 64)
    assert keeping.training.func is FrozenDetection  # type: ignore[attr-defined]
    assert not keeping.has_labels


def test_images_with_objects_are_normalised_as_detectors_normalise_them() -> None:
    keeping = keeping_of(frozen_detection("retinanet", None), CFG, step=32)
    white = Image.new("RGB", (64, 64), "white")
    expected = [(1 - mean) / std for mean, std in zip(CFG["mean"], CFG["std"], strict=True)]
    for each in (*keeping.variants, keeping.whole):
        pixels = each(white, {})[0]
        assert pixels[:, 5, 9].tolist() == pytest.approx(expected)


def test_segmentation_keeps_labels() -> None:
    keeping = keeping_of(frozen_recipe(None, scale=(0.5, 1.0), hflip=0.5), CFG, step=32)
    assert len(keeping.variants) == 4 and keeping.has_labels
    assert keeping.evaluation is FrozenSegmentation


@pytest.mark.parametrize("hflip", [0.0, 0.1, 1.0])
def test_mirror_images_are_as_frequent_as_the_recipe_says(hflip: float) -> None:
    for recipe in (frozen_recipe(None, hflip=hflip), frozen_detection("retinanet", None, hflip=hflip)):
        keeping = keeping_of(recipe, CFG, step=32)
        assert keeping.training.keywords["hflip"] == hflip  # type: ignore[attr-defined]


def test_what_the_variants_depend_on_differs_with_them() -> None:
    """Other maps must not be found under the same key."""
    recipes = [
        frozen_recipe(None, scale=(1.0, 1.0)),
        frozen_recipe(None, scale=(0.5, 1.0)),
        frozen_recipe(None, scale=(1.0, 1.0), hflip=0.0),
        frozen_detection("retinanet", None),
        frozen_detection("retinanet", None, hflip=0.0),
        frozen_detection("retinanet", None, short_sides=(48, 64)),
    ]
    assert len({str(keeping_of(each, CFG, step=32).identity) for each in recipes}) == len(recipes)
    same = frozen_detection("mask_rcnn", None, hflip=0.3)
    assert keeping_of(same, CFG, 32).identity == keeping_of(recipes[3], CFG, 32).identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint": None}, "keeps the backbone as it starts, which is at random here"),
        ({}, "keeps maps of images as they are: give --augment.photometric false"),
    ],
)
def test_what_cannot_be_kept_is_one_line(change: dict[str, Any], message: str) -> None:
    recipe = frozen_recipe("weights.safetensors", photometric=not change)
    with pytest.raises(UserError, match=message):
        check_frozen(replace(recipe, model=replace(recipe.model, **change)))


def test_crops_of_images_with_objects_are_one_line() -> None:
    recipe = frozen_detection("mask_rcnn", "weights.safetensors", crop_sides=(32, 48))
    with pytest.raises(UserError, match="not of crops: give --augment.crop_sides null"):
        check_frozen(recipe)
    check_frozen(replace(recipe, augment=replace(recipe.augment, crop_sides=None)))


OFF: list[dict[str, Any]] = [{"vflip": 0.5}, {"quarter_turns": 0.5}, {"copy_paste": 0.5}]
OFF += [{"photometric": True}, {"scale": (0.5, 2.0)}]


@pytest.mark.parametrize("change", OFF, ids=lambda change: next(iter(change)))
def test_no_maps_are_kept_of_what_has_no_variants(change: dict[str, Any]) -> None:
    recipe = frozen_detection("mask_rcnn", "weights.safetensors", **change)
    with pytest.raises(UserError, match=f"keeps maps of images.*--augment.{next(iter(change))}"):
        check_frozen(recipe)
    if next(iter(change)) == "vflip":
        with pytest.raises(UserError, match="leave --augment.rotation out"):
            check_frozen(frozen_recipe("weights.safetensors", rotation=5.0))


def test_classifiers_are_one_line() -> None:
    recipe = plain_recipe()
    with pytest.raises(UserError, match="a classifier has no head on a pyramid .* give a recipe with a head"):
        check_frozen(replace(recipe, model=replace(recipe.model, frozen=True, pretrained=True)))
