"""A run may go on from a checkpoint of the same run alone; what does not shape the weights may change."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from typing import Any

import pytest

from mscsa.data.datasets import build_datasets
from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import GIVEN_PLACES, ModelSpec, Recipe
from mscsa.training.resuming import CHANGEABLE, check_same_run, is_extended, run_identity
from tests.refusals import one_line_error
from tests.training.small_runs import plain_recipe


def identity(recipe: Recipe) -> dict[str, Any]:
    return run_identity(recipe, *build_datasets(recipe.data, recipe.augment, {}, 0))


def changed(part: str, **fields: Any) -> Recipe:
    recipe = plain_recipe()
    return replace(recipe, **{part: replace(getattr(recipe, part), **fields)})


SAVED = identity(plain_recipe())


def test_an_identity_is_plain_values() -> None:
    """A checkpoint holds it, which is read without running code."""
    assert json.loads(json.dumps(SAVED)) == SAVED
    check_same_run(SAVED, identity(plain_recipe()), "last.ckpt")


@pytest.mark.parametrize(
    ("field", "part", "change"),
    [
        ("run.seed", "run", {"seed": 4}),
        ("run.epochs", "run", {"epochs": 4}),
        ("run.monitor", "run", {"monitor": "loss"}),
        ("run.compile", "run", {"compile": True}),
        ("run.matmul_precision", "run", {"matmul_precision": "high"}),
        ("run.deterministic", "run", {"deterministic": True}),
        ("run.precision", "run", {"precision": "64-true"}),
        ("data.batch_size", "data", {"batch_size": 6}),
        ("data.num_train", "data", {"num_train": 40}),
        ("optim.lr", "optim", {"lr": 2e-3}),
        ("augment.hflip", "augment", {"hflip": 0.0}),
        ("model.mscsa", "model", {"mscsa": {"pool_stride": 8}, "budget": 0.5}),
    ],
)
def test_another_run_is_refused_by_its_first_difference(
    field: str, part: str, change: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=rf"last.ckpt is of a run with {field} = .*, now it is ") as caught:
        check_same_run(SAVED, identity(changed(part, **change)), "last.ckpt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("run", {"max_steps": 7, "threads": 1}),
        ("run", {"strategy": "fsdp"}),
        ("run", {"checkpoint_every": 9, "eval_every": 9, "log_every": 9}),
        ("run", {"patience": 9, "keep": 9}),
        ("data", {"workers": 2, "eval_batch_size": 3, "max_bad": 4}),
    ],
)
def test_what_does_not_shape_the_weights_may_change(part: str, change: dict[str, Any]) -> None:
    assert {f"{part}.{name}" for name in change} <= CHANGEABLE
    check_same_run(SAVED, identity(changed(part, **change)), "last.ckpt")


@pytest.mark.parametrize("field", sorted(CHANGEABLE))
def test_changeable_fields_are_fields(field: str) -> None:
    is_given = field.removeprefix("data.") in GIVEN_PLACES
    where: Any = RECIPES["scenes_retinanet/resnet10t"] if is_given else plain_recipe()
    for name in field.split("."):
        where = getattr(where, name)


def test_a_run_may_go_on_longer_where_the_schedule_does_not_stretch_over_it() -> None:
    constant = replace(plain_recipe(), optim=replace(plain_recipe().optim, schedule="constant"))
    longer = replace(constant, run=replace(constant.run, epochs=9, steps=70))
    check_same_run(identity(constant), identity(longer), "last.ckpt")


def test_a_run_whose_schedule_stretches_over_it_is_extended_by_choice() -> None:
    longer, steps = identity(plain_recipe(epochs=9)), identity(plain_recipe(steps=70))
    for now in (longer, steps):
        with pytest.raises(UserError, match="add --extend for a longer schedule"):
            check_same_run(SAVED, now, "last.ckpt")
        check_same_run(SAVED, now, "last.ckpt", extend=True)
        assert is_extended(SAVED, now, 5, "last.ckpt")
    assert not is_extended(SAVED, SAVED, 5, "last.ckpt")
    assert not is_extended(SAVED, identity(plain_recipe(steps=15)), 5, "last.ckpt")  # as long as before
    with pytest.raises(UserError, match="of a run of 15 steps, and --extend makes one longer"):
        is_extended(SAVED, identity(plain_recipe(epochs=2)), 5, "last.ckpt")
    constant = replace(plain_recipe(epochs=9), optim=replace(plain_recipe().optim, schedule="constant"))
    assert not is_extended(identity(constant), identity(constant), 5, "last.ckpt")


def test_the_number_of_processes_and_the_classes_are_fixed() -> None:
    with pytest.raises(UserError, match="run with processes = 1, now it is 2"):
        check_same_run(SAVED, identity(plain_recipe(devices=2)), "last.ckpt")
    other = {**SAVED, "data": {**SAVED["data"], "class_names": "other"}}
    with pytest.raises(UserError, match="run with data.class_names = "):
        check_same_run(SAVED, other, "last.ckpt")


def test_devices_and_nodes_may_change_where_their_product_does_not() -> None:
    check_same_run(
        identity(plain_recipe(devices=6)), identity(plain_recipe(devices=2, num_nodes=3)), "last.ckpt"
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_images_are_refused(split: str) -> None:
    other = {**SAVED, "data": {**SAVED["data"], f"{split}_files": "other"}}
    one_line_error(
        lambda: check_same_run(SAVED, other, "last.ckpt"),
        "last.ckpt is of a run on other images: files were added",
    )


def test_what_an_older_version_did_not_write_is_its_default() -> None:
    """An upgrade that adds a field must end no run."""
    older = copy.deepcopy(SAVED)
    del older["recipe"]["run"]["grad_checkpointing"], older["recipe"]["model"]["head_kwargs"]
    del older["recipe"]["augment"]["hflip"], older["recipe"]["data"]["max_bad"], older["data"]["train_files"]
    check_same_run(older, SAVED, "last.ckpt")
    with pytest.raises(UserError, match="run with run.grad_checkpointing = False, now it is True"):
        check_same_run(older, identity(changed("run", grad_checkpointing=True)), "last.ckpt")
    with pytest.raises(UserError, match="run with augment.hflip = 0.5, now it is 0.0"):
        check_same_run(older, identity(changed("augment", hflip=0.0)), "last.ckpt")


@pytest.mark.parametrize(
    "field", [each.name for each in fields(ModelSpec) if each.default_factory is dict] + ["mscsa"]
)
def test_tables_of_the_model_are_compared_whole(field: str) -> None:
    saved, now = copy.deepcopy(SAVED), copy.deepcopy(SAVED)
    saved["recipe"]["model"][field], now["recipe"]["model"][field] = {}, {"width": 8}
    with pytest.raises(UserError, match=rf"model.{field} = \{{\}}, now it is \{{'width': 8\}}"):
        check_same_run(saved, now, "last.ckpt")
    saved["recipe"]["model"][field] = {"width": 8, "depth": 2}
    with pytest.raises(UserError, match=rf"model.{field} = .*'depth': 2"):
        check_same_run(saved, now, "last.ckpt")
