"""A recipe with overrides of a file and of the command line: order, types, errors with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser, Namespace

from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.options import parse_recipe, read_recipe_file, recipe_yaml
from mscsa.recipes.spec import Recipe, SegmentationData
from tests.refusals import one_line_error

NAME = "scenes/resnet10t"


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="test", exit_on_error=False)
    made.add_argument("recipe")
    return made


def parse(*argv: str, resumed: Path | None = None) -> Recipe:
    return parse_recipe(parser, argv, lambda _: resumed)[0]


def written(folder: Path, text: str, name: str = "file.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_command_line_comes_after_the_file_and_that_after_the_resumed_run(tmp_path: Path) -> None:
    resumed = Path(written(tmp_path, "run: {seed: 1, epochs: 2}\noptim: {lr: 0.5}\n", "run.yaml"))
    file = written(tmp_path, "run: {seed: 3}\n")
    recipe = parse(NAME, "--config", file, "--run.epochs", "4", resumed=resumed)
    assert (recipe.run.seed, recipe.run.epochs, recipe.optim.lr) == (3, 4, 0.5)
    unchanged = RECIPES[NAME]
    assert (recipe.name, recipe.data, recipe.augment) == (NAME, unchanged.data, unchanged.augment)


IN_STEPS = "frozen_collages/mscsa_tf_efficientnet_lite0"


@pytest.mark.parametrize("options", [["--run.epochs", "7"], ["--run.epochs=300"], ["--run", "{epochs: 7}"]])
def test_epochs_of_a_run_that_is_counted_in_steps_are_refused(options: list[str]) -> None:
    one_line_error(
        lambda: parse(IN_STEPS, *options),
        "--run.epochs is given, but the length of .* is run.steps 200, .* or --run.steps null for epochs",
    )
    assert parse(IN_STEPS, *options, "--run.steps", "null").run.steps is None
    assert parse(NAME, *options).run.epochs in (7, 300)
    for recipe in (NAME, IN_STEPS):
        assert parse(recipe, *options, "--run.steps", "50").run.steps == 50


def test_epochs_of_a_file_are_refused_by_their_line_unless_it_has_steps_too(tmp_path: Path) -> None:
    file = written(tmp_path, "run:\n  seed: 1\n  epochs: 7\n")
    one_line_error(
        lambda: parse(IN_STEPS, "--config", file), "file.yaml:3: run.epochs is given, but the length"
    )
    assert parse(IN_STEPS, "--config", file, "--run.steps", "null").run.epochs == 7
    # As runs and comparisons write them.
    whole = Path(written(tmp_path, recipe_yaml(RECIPES[IN_STEPS]), "whole.yaml"))
    assert parse(IN_STEPS, "--config", str(whole), resumed=whole) == RECIPES[IN_STEPS]
    one_line_error(lambda: parse(IN_STEPS, "--config", file, resumed=whole), "file.yaml:3: run.epochs")


def test_no_overrides_are_the_recipe_itself() -> None:
    assert parse(NAME) == RECIPES[NAME]
    # Data and augmentation have a type for each task.
    for name in ("scenes_semantic_fpn/resnet10t", "scenes_retinanet/mscsa_resnet10t"):
        assert parse(name) == RECIPES[name]


def test_any_backbone_has_the_options_of_its_family() -> None:
    name = "finetune_segmentation/mscsa_tf_efficientnet_lite0"
    assert name not in RECIPES
    recipe = parse(name, "--data.short_side", "288", "--augment.max_class_share", "1")
    assert isinstance(recipe.data, SegmentationData)
    assert (recipe.name, recipe.data.short_side) == (name, 288)
    # A folder's name may read like another family's recipe.
    recipe = parse("--data.root", "finetune/resnet10t", name, "--data.short_side", "288")
    assert (recipe.name, recipe.data.root) == (name, "finetune/resnet10t")


def test_null_leaves_a_number_to_the_backbone() -> None:
    recipe = parse("finetune/resnet50", "--model.drop_path_rate", "null", "--model.drop_rate", "0.2")
    assert (recipe.model.drop_path_rate, recipe.model.drop_rate) == (None, 0.2)


@pytest.mark.parametrize("name", [NAME, "scenes_mask_rcnn/mscsa_resnet10t", "ade20k/mscsa_topformer_tiny"])
def test_a_printed_recipe_is_read_back(name: str, tmp_path: Path) -> None:
    file = written(tmp_path, recipe_yaml(RECIPES[name]))
    assert parse(name, "--config", file) == RECIPES[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run:\n  seed: 1\noptim:\n  lrr: 1\n", ":4: unknown key 'optim.lrr': did you mean optim.lr"),
        ("optimm:\n  lr: 1\n", ":1: unknown key 'optimm': did you mean optim"),
        ("optim: 3\n", ":1: optim is int: give its fields, such as optim.optimizer"),
        ("- 1\n", ":1: list given: give keys such as optim"),
        ("optim: [\n", ":2: malformed YAML"),
        ("optim: !!python/object/apply:os.getcwd []\n", "not readable as YAML|malformed YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_recipe_file(written(tmp_path, text), RECIPES[NAME])
    assert "\n" not in str(caught.value) and "file.yaml" in str(caught.value)


def test_a_file_for_another_recipe_is_one_line(tmp_path: Path) -> None:
    file = written(tmp_path, "run: {seed: 1}\nname: scenes/resnet18\n")
    with pytest.raises(UserError, match=":2: written for recipe scenes/resnet18, not scenes/resnet10t"):
        parse(NAME, "--config", file)
    with pytest.raises(UserError, match="config .*nowhere.yaml: no such file or directory; check the path"):
        parse(NAME, "--config", str(tmp_path / "nowhere.yaml"))


def test_resuming_is_asked_with_what_was_parsed() -> None:
    seen: list[str] = []

    def ask(parsed: Namespace) -> None:
        seen.append(parsed.recipe)

    parse_recipe(parser, [NAME], ask)
    assert seen == [NAME]
