"""The recipes by name, and that they say what the paper says."""

from __future__ import annotations

import csv
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch

from mscsa.errors import UserError
from mscsa.recipes import RECIPES, baseline_of, get_recipe
from mscsa.recipes.imagenet import ROWS
from mscsa.recipes.spec import HEADS, DetectionAugment, DetectionData, Recipe

OUR_NAME = {
    "topformer_t": "topformer_tiny",
    "topformer_b": "topformer_base",
    "shunted_t": "shunted_tiny",
    "swin_t": "swin_tiny_patch4_window7_224",
    "convnext_t": "convnext_tiny",
}
TABLE_6 = list(
    csv.DictReader(
        line
        for line in Path(__file__).with_name("table6_imagenet.csv").read_text().splitlines()
        if not line.startswith("#")
    )
)
WITH_MSCSA = [recipe for recipe in RECIPES.values() if "/mscsa_" in recipe.name]


@pytest.mark.parametrize("line", TABLE_6, ids=[f"{r['model']}-{r['mscsa']}" for r in TABLE_6])
def test_imagenet_recipes_are_the_rows_of_table_6(line: dict[str, str]) -> None:
    backbone = OUR_NAME.get(line["model"], line["model"])
    name = f"mscsa_{backbone}" if line["mscsa"] == "1" else backbone
    recipe = RECIPES[f"imagenet/{name}"]
    assert recipe.model.name == name
    assert recipe.expected.startswith(f"{line['top1']} % top-1 on ImageNet-1k (paper, Table 6")
    assert recipe.cost.startswith(f"{line['gmacs']} GMACs")
    assert ("re-trained" in recipe.expected) == (line["mark"] == "r")


def test_table_6_is_complete() -> None:
    in_paper = {OUR_NAME.get(line["model"], line["model"]) for line in TABLE_6}
    assert {row.backbone for row in ROWS} == in_paper
    beyond = {"imagenet/pvt_v2_b2", "imagenet/mscsa_pvt_v2_b2"}  # where Tables 2 and 3 start from
    assert sum(name.startswith("imagenet/") for name in RECIPES.keys() - beyond) == len(TABLE_6)


TABLE_3 = list(
    csv.DictReader(
        line
        for line in Path(__file__).with_name("table3_ade20k.csv").read_text().splitlines()
        if not line.startswith("#")
    )
)


@pytest.mark.parametrize("line", TABLE_3, ids=[f"{r['backbone']}-{r['mscsa']}" for r in TABLE_3])
def test_ade20k_recipes_are_the_rows_of_table_3(line: dict[str, str]) -> None:
    backbone = OUR_NAME.get(line["backbone"], line["backbone"])
    name = f"mscsa_{backbone}" if line["mscsa"] == "1" else backbone
    recipe = RECIPES[f"ade20k/{name}"]
    assert (recipe.model.name, recipe.model.head) == (name, line["head"])
    assert recipe.expected.startswith(f"{line['miou']} % mIoU on ADE20K (paper, Table 3")
    assert recipe.cost.startswith(f"{line['gmacs']} GMACs")
    assert ("re-trained" in recipe.expected) == (line["mark"] == "r")
    assert recipe.starts_from == f"imagenet/{name}"
    assert recipe.starts_from in RECIPES
    is_topformer = line["head"] == "topformer_head"
    settings = (recipe.run.steps, recipe.data.batch_size, recipe.optim.power, recipe.optim.weight_decay)
    assert settings == ((160_000, 16, 1.0, 0.01) if is_topformer else (40_000, 32, 0.9, 1e-4))
    assert (recipe.optim.warmup_steps, recipe.optim.head_lr_factor) == (
        (1500, 10) if is_topformer else (0, 1)
    )
    rates = {"topformer_tiny": 3e-4, "topformer_base": 1.2e-4}
    assert recipe.optim.lr == rates.get(backbone, 2e-4)


def test_table_3_is_complete() -> None:
    assert sum(name.startswith("ade20k/") for name in RECIPES) == len(TABLE_3) == 10


TABLE_2 = list(
    csv.DictReader(
        line
        for line in Path(__file__).with_name("table2_coco.csv").read_text().splitlines()
        if not line.startswith("#")
    )
)
ORIGINS = {"": "as printed", "r": "backbone re-trained by its authors", "t": "trained by its authors"}
"""What a recipe says of the marks in Table 2."""
IDS_2 = [f"{line['detector']}-{line['backbone']}-{line['mscsa']}" for line in TABLE_2]


def coco_recipe(line: dict[str, str]) -> Recipe:
    backbone = OUR_NAME.get(line["backbone"], line["backbone"])
    return RECIPES[f"coco_{line['detector']}/{'mscsa_' if line['mscsa'] == '1' else ''}{backbone}"]


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


def test_table_2_is_complete() -> None:
    assert sum(name.startswith("coco_") for name in RECIPES) == len(TABLE_2) == 24


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
        strong = line["backbone"] in ("coat_tiny", "coat_small", "swin_t", "convnext_t")
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
    rates = {"coat_tiny": 0.0, "coat_small": 0.2, "resnet50": 0.0, "convnext_t": 0.4}
    assert recipe.model.drop_path_rate == rates.get(line["backbone"], 0.1)
    has_level_norm = line["backbone"] in ("swin_t", "convnext_t")
    assert recipe.model.head_kwargs == ({"level_norm": True} if has_level_norm else {})
    is_convnext = line["backbone"] == "convnext_t"
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


DETECTORS = [name for name, task in HEADS.items() if task in ("detection", "instance_segmentation")]
DETECTION = [recipe for recipe in RECIPES.values() if recipe.model.head in DETECTORS]
SMALL = [recipe for recipe in DETECTION if not recipe.name.startswith("coco_")]


def test_each_detector_has_recipes_on_scenes() -> None:
    backbones = ("resnet10t", "mscsa_resnet10t")
    expected = {f"scenes_{detector}/{backbone}" for detector in DETECTORS for backbone in backbones}
    assert {recipe.name for recipe in SMALL if recipe.data.kind == "scenes"} == expected


@pytest.mark.parametrize("recipe", SMALL, ids=lambda recipe: recipe.name)
def test_small_detectors_build_with_their_options(recipe: Recipe) -> None:
    from mscsa.detection import build_detector
    from mscsa.models.model import MSCSAModel

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


@pytest.mark.parametrize("recipe", DETECTION, ids=lambda recipe: recipe.name)
def test_norms_live_in_detectors_from_scratch_alone(recipe: Recipe) -> None:
    """Without pre-training, frozen statistics would be those of no image at all."""
    is_live = recipe.model.head_kwargs.get("backbone_norm", "frozen") == "live"
    assert is_live == (recipe.starts_from is None)


def test_a_dense_baseline_takes_its_own_checkpoint() -> None:
    recipe = RECIPES["ade20k/mscsa_pvt_v2_b0"]
    started = replace(recipe, model=replace(recipe.model, checkpoint="a", baseline_checkpoint="b"))
    baseline = baseline_of(started)
    assert (baseline.model.checkpoint, baseline.model.baseline_checkpoint) == ("b", None)
    assert (baseline.name, baseline.starts_from) == ("ade20k/pvt_v2_b0", "imagenet/pvt_v2_b0")
    frozen = ("backbone.backbone.patch_embed", "backbone.mscsa")
    held = replace(recipe, model=replace(recipe.model, freeze=frozen))
    assert baseline_of(held).model.freeze == ("backbone.backbone.patch_embed",)


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


@pytest.mark.parametrize(
    ("backbone", "warmup"),
    [
        ("resnet50", 5),
        ("pvt_v2_b0", 5),
        ("pvt_v2_b1", 5),
        ("swin_tiny_patch4_window7_224", 20),
        ("convnext_tiny", 20),
    ],
)
@pytest.mark.parametrize("prefix", ["", "mscsa_"])
def test_settings_of_appendix_c1(prefix: str, backbone: str, warmup: int) -> None:
    recipe = RECIPES[f"imagenet/{prefix}{backbone}"]
    assert (recipe.run.epochs, recipe.data.batch_size, recipe.data.image_size) == (300, 1024, 224)
    optim, augment = recipe.optim, recipe.augment
    assert (optim.optimizer, optim.lr, optim.weight_decay) == ("adamw", 1e-3, 0.05)
    assert (optim.schedule, optim.warmup_epochs, optim.ema_decay) == ("cosine", warmup, None)
    assert (augment.mixup, augment.cutmix, augment.label_smoothing) == (0.8, 1.0, 0.1)
    assert augment.random_erasing == 0.25
    assert augment.repeats > 1
    assert augment.auto_augment is not None
    assert recipe.model.drop_path_rate > 0


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


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean .*imagenet/pvt_v2_b1"):
        get_recipe("imagenet/pvtv2_b1")
    with pytest.raises(UserError, match="no recipe is called 'finetune/'"):
        get_recipe("finetune/")


def test_fine_tuning_takes_any_backbone() -> None:
    recipe = get_recipe("finetune/mscsa_edgenext_small")
    assert recipe.model.name == "edgenext_small"
    assert recipe.model.mscsa == {"init": "identity"}
    assert recipe.model.pretrained
    assert recipe.optim.layer_decay == 0.75
    assert get_recipe("finetune/resnet50") is RECIPES["finetune/resnet50"]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_each_recipe_says_what_it_is(recipe: Recipe) -> None:
    assert recipe.name in RECIPES
    for text in (recipe.paper, recipe.expected, recipe.cost):
        assert text and "\n" not in text
    assert "paper" in recipe.expected or "not measured here" in recipe.expected or "%" in recipe.expected
    assert recipe.command.startswith(f"mscsa train {recipe.name}")
    assert ("--data.root" in recipe.command) == (recipe.data.kind != "scenes")


def test_every_field_is_explained() -> None:
    """A string follows each field in the source, since that is what `--help` shows."""
    import inspect

    from mscsa.recipes import spec

    lines = [line.strip() for line in inspect.getsource(spec).splitlines()]
    for part in vars(spec).values():
        if not is_dataclass(part):
            continue
        for field in fields(part):
            place = next(i for i, line in enumerate(lines) if line.startswith(f"{field.name}: "))
            following = lines[place + 1 : place + 3]
            assert any(line.startswith('"""') for line in following), field.name
