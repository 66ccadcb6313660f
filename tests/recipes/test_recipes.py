"""The recipes by name, and that they say what the paper says."""

from __future__ import annotations

import csv
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from mscsa.errors import UserError
from mscsa.recipes import RECIPES, baseline_of, get_recipe
from mscsa.recipes.imagenet import ROWS
from mscsa.recipes.spec import Recipe

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


def test_a_dense_baseline_takes_its_own_checkpoint() -> None:
    recipe = RECIPES["ade20k/mscsa_pvt_v2_b0"]
    started = replace(recipe, model=replace(recipe.model, checkpoint="a", baseline_checkpoint="b"))
    baseline = baseline_of(started)
    assert (baseline.model.checkpoint, baseline.model.baseline_checkpoint) == ("b", None)
    assert (baseline.name, baseline.starts_from) == ("ade20k/pvt_v2_b0", "imagenet/pvt_v2_b0")
    frozen = ("backbone.backbone.patch_embed", "backbone.mscsa")
    held = replace(recipe, model=replace(recipe.model, freeze=frozen))
    assert baseline_of(held).model.freeze == ("backbone.backbone.patch_embed",)


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
    assert not any(part.startswith("backbone.") for part in spec.freeze)
    assert len(spec.freeze) == len(recipe.model.freeze)


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
