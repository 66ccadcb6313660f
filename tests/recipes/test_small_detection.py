"""Small detection recipes: one for each detector, which build with the options that they name."""

from __future__ import annotations

import pytest
import torch

from mscsa.detection import build_detector
from mscsa.heads import HEADS
from mscsa.models.model import MSCSAModel
from mscsa.recipes.small_detection import SMALL_DETECTION
from mscsa.recipes.spec import Recipe

DETECTORS = [name for name, head in HEADS.items() if head.task != "segmentation"]


def test_each_detector_has_recipes_on_scenes() -> None:
    backbones = ("resnet10t", "mscsa_resnet10t")
    expected = {f"scenes_{detector}/{backbone}" for detector in DETECTORS for backbone in backbones}
    assert {recipe.name for recipe in SMALL_DETECTION if recipe.data.kind == "scenes"} == expected


@pytest.mark.parametrize("recipe", SMALL_DETECTION, ids=lambda recipe: recipe.name)
def test_small_detectors_build_with_their_options(recipe: Recipe) -> None:
    model, data = recipe.model, recipe.data
    assert model.head is not None
    with torch.device("meta"):
        detector = build_detector(
            model.head,
            model.name,
            data.num_classes or 1,
            fields=model.mscsa,
            budget=model.budget,
            budget_size=None if model.budget is None else data.input_size,
            **model.head_kwargs,
        )
    assert isinstance(detector.pyramid, MSCSAModel) == ("/mscsa_" in recipe.name)
    if data.kind == "scenes":  # mirrored digits are others or none
        assert (data.num_classes, recipe.augment.hflip) == (10, 0.0)
