"""The recipes of Table 2: the paper's figures and the settings of its appendix."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mscsa.recipes import RECIPES
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.coco import COCO
from mscsa.recipes.spec import DetectionAugment, DetectionData, Recipe
from tests.paper_tables import lines_of

TABLE_2 = lines_of(2)
SWIN_T = "swin_tiny_patch4_window7_224"
ORIGINS = {"": "as printed", "r": "backbone re-trained by its authors", "t": "trained by its authors"}
"""What a recipe says of the marks in Table 2."""
IDS_2 = [f"{line['detector']}-{line['backbone']}-{line['mscsa']}" for line in TABLE_2]


def coco_recipe(line: dict[str, str]) -> Recipe:
    prefix = "mscsa_" if line["mscsa"] == "1" else ""
    return RECIPES[f"coco_{line['detector']}/{prefix}{line['backbone']}"]


@pytest.mark.parametrize("line", TABLE_2, ids=IDS_2)
def test_coco_recipes_are_the_rows_of_table_2(line: dict[str, str]) -> None:
    recipe = coco_recipe(line)
    assert (recipe.model.name, recipe.model.head) == (recipe.name.partition("/")[2], line["detector"])
    masks = f", {line['c4']} % mask AP" if recipe.model.task == "instance_segmentation" else ""
    assert recipe.expected.startswith(
        f"{line['c1']} % box AP{masks} on COCO val2017 (paper, Table 2, {ORIGINS[line['mark']]}"
    )
    assert recipe.expected.endswith("; not measured here")
    has_stronger_start = line["detector"] != "mask_rcnn" and line["mscsa"] == "0"
    assert ("not matched" in recipe.expected) == has_stronger_start
    assert recipe.cost.startswith(f"{line['gmacs']} GMACs (paper) at 800x1280 px")
    assert recipe.starts_from == f"imagenet/{recipe.model.name}"
    assert recipe.starts_from in RECIPES


REMARKS = {
    **{"coat_small": ", multi-scale with crops", SWIN_T: ", multi-scale with crops"},
    **{f"pvt_v2_b{i}": " at twice the rate" for i in range(3)},
}


@pytest.mark.parametrize("line", [line for line in TABLE_2 if line["detector"] == "mask_rcnn"])
def test_how_a_public_baseline_was_trained_otherwise(line: dict[str, str]) -> None:
    remark = REMARKS.get(line["backbone"], "") if line["mscsa"] == "0" else ""
    found = coco_recipe(line).expected
    assert f"{remark}); not measured here" in found
    assert any(each in found for each in set(REMARKS.values())) == bool(remark)


def test_table_2_is_complete() -> None:
    assert len(COCO) == len(TABLE_2) == 24


@pytest.mark.parametrize("line", TABLE_2, ids=IDS_2)
def test_schedules_of_appendix_c2(line: dict[str, str]) -> None:
    recipe = coco_recipe(line)
    optim, run, batch_size = recipe.optim, recipe.run, recipe.data.batch_size
    assert (optim.schedule, optim.decay_rate, run.steps) == ("multistep", 0.1, None)
    if line["detector"] == "deformable_detr":
        assert (run.epochs, optim.milestones, batch_size) == (50, (40,), 32)
        assert (optim.optimizer, optim.weight_decay) == ("adamw", 1e-4)
        # A tenth for the backbone, as the public settings have it.
        assert (optim.lr, optim.lr * optim.head_lr_factor) == (2e-5, pytest.approx(2e-4))
        assert (optim.warmup_steps, optim.clip_grad) == (0, 0.1)
        return
    assert (run.epochs, optim.milestones, batch_size) == (12, (8, 11), 16)
    assert optim.warmup_steps == 500
    assert optim.warmup_lr == pytest.approx(optim.lr / 1000)
    assert (optim.head_lr_factor, optim.clip_grad) == (1, None)
    if line["detector"] == "mask_rcnn":
        strong = line["backbone"] in ("coat_tiny", "coat_small", SWIN_T, "convnext_tiny")
        assert (optim.optimizer, optim.lr, optim.weight_decay) == ("adamw", 1e-4, 0.05 if strong else 1e-4)
    else:
        assert (optim.optimizer, optim.lr, optim.momentum, optim.weight_decay) == (
            "momentum",
            0.02,
            0.9,
            1e-4,
        )


@pytest.mark.parametrize("line", TABLE_2, ids=IDS_2)
def test_images_of_appendix_c2(line: dict[str, str]) -> None:
    recipe = coco_recipe(line)
    data, augment = recipe.data, recipe.augment
    assert isinstance(data, DetectionData)
    assert isinstance(augment, DetectionAugment)
    assert (data.kind, data.num_classes, data.eval_batch_size) == ("coco", 80, 1)
    assert (data.short_side, data.long_side, data.input_size) == (800, 1333, (800, 1280))
    assert (augment.hflip, augment.repeats) == (0.5, 1)
    is_detr = line["detector"] == "deformable_detr"
    multi_scale = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert augment.short_sides == (multi_scale if is_detr or line["backbone"].startswith("coat") else ())
    assert augment.crop_sides == ((384, 600) if is_detr else None)
    assert augment.crop_short_sides == (400, 500, 600)
    assert data.keep_empty == is_detr


@pytest.mark.parametrize("line", TABLE_2, ids=IDS_2)
def test_public_settings_where_appendix_c2_is_silent(line: dict[str, str]) -> None:
    recipe = coco_recipe(line)
    rates = {"coat_tiny": 0.0, "coat_small": 0.2, "resnet50": 0.0, "convnext_tiny": 0.4}
    assert recipe.model.drop_path_rate == rates.get(line["backbone"], 0.1)
    has_level_norm = line["backbone"] in (SWIN_T, "convnext_tiny")
    assert recipe.model.head_kwargs == ({"level_norm": True} if has_level_norm else {})
    is_convnext = line["backbone"] == "convnext_tiny"
    assert recipe.optim.layer_decay == (pytest.approx(0.95 ** (7 / 19), abs=1e-4) if is_convnext else None)
    assert recipe.run.sync_batchnorm
    assert bool(recipe.model.freeze) == (line["backbone"] == "resnet50")


RESNETS = [
    f"coco_{head}/{prefix}resnet50"
    for head in ("mask_rcnn", "cascade_mask_rcnn", "retinanet", "deformable_detr")
    for prefix in ("", "mscsa_")
]


@pytest.mark.parametrize("name", RESNETS)
def test_of_a_resnet_stem_and_first_stage_are_fixed(name: str) -> None:
    """In Deformable DETR, all its batch norms too; nothing of MSCSA, FPN or heads."""
    from mscsa.detection import build_detector
    from mscsa.training.freezing import freeze

    model = RECIPES[name].model
    assert model.head is not None
    with torch.device("meta"):
        detector = build_detector(model.head, model.name, 80)
    freeze(detector, model.freeze)
    fixed = {key for key, value in detector.named_parameters() if not value.requires_grad}
    place = f"{detector.body}backbone."
    expected = {
        key
        for key, value in detector.named_parameters()
        if key.startswith(place)
        and (
            key.removeprefix(place).startswith(("conv1", "bn1", "layer1."))
            or (model.head == "deformable_detr" and value.ndim == 1)
        )
    }
    assert fixed == expected


def test_a_resnet_has_its_names_in_each_detector() -> None:
    assert set(RESNETS) == {name for name in RECIPES if name.startswith("coco_") and "resnet" in name}


@pytest.mark.parametrize("line", TABLE_2[::2], ids=IDS_2[::2])
def test_the_arms_of_table_2_differ_in_the_backbone_alone(line: dict[str, str]) -> None:
    """`mscsa compare` gives each arm the classifier of its own model."""
    bare, recipe = coco_recipe(line), coco_recipe({**line, "mscsa": "1"})
    started = replace(recipe, model=replace(recipe.model, checkpoint="a", baseline_checkpoint="b"))
    baseline = baseline_of(started)
    assert baseline == replace(bare, model=replace(bare.model, checkpoint="b"))
    assert replace(baseline.model, name=started.model.name, checkpoint="a", baseline_checkpoint="b") == (
        started.model
    )
    place = bare.model.freeze[0].partition("backbone.conv1")[0] if bare.model.freeze else "net."
    held = replace(started.model, freeze=(*started.model.freeze, f"{place}mscsa.csa1"))
    assert baseline_of(replace(started, model=held)).model.freeze == bare.model.freeze
