"""The folder of a comparison is never another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from mscsa.compare.folder import open_folder
from mscsa.errors import UserError
from mscsa.recipes.arms import baseline_of, neck_arm_of
from mscsa.recipes.spec import WORDS, Recipe
from tests.compare.made import tiny_recipe, tiny_segmenter


def arms(recipe: Recipe) -> dict[str, Recipe]:
    return {"baseline": baseline_of(recipe), "mscsa": recipe}


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="give another --out"):
        open_folder(tmp_path, arms(tiny_recipe()))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        open_folder(tmp_path / "file" / "out", arms(tiny_recipe()))


def test_an_arm_may_join_later(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    open_folder(tmp_path, arms(recipe))
    open_folder(tmp_path, {**arms(recipe), "control": baseline_of(recipe)})
    assert (tmp_path / "control.yaml").read_text() == (tmp_path / "baseline.yaml").read_text()
    open_folder(tmp_path, arms(recipe))
    assert (tmp_path / "control.yaml").exists()


def test_a_neck_joins_by_its_name_and_stays_as_wide_as_it_was(tmp_path: Path) -> None:
    recipe = tiny_segmenter()
    open_folder(tmp_path, arms(recipe))
    open_folder(tmp_path, {**arms(recipe), "fpn": neck_arm_of(recipe, "fpn", {"channels": 8})})
    assert (tmp_path / "fpn.yaml").exists()
    with pytest.raises(UserError, match="model.neck_kwargs.channels = 8, now it is 9: go on with the former"):
        open_folder(tmp_path, {**arms(recipe), "fpn": neck_arm_of(recipe, "fpn", {"channels": 9})})


def test_a_folder_from_before_a_field_was_there_is_gone_on_with(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    open_folder(tmp_path, arms(recipe))
    for path in tmp_path.iterdir():
        content = yaml.safe_load(path.read_text())
        del content["model"]["neck"], content["model"]["neck_kwargs"], content["run"]["logger"]
        path.write_text(yaml.safe_dump(content))
    open_folder(tmp_path, arms(recipe))
    with pytest.raises(UserError, match="model.neck = None, now it is 'mscsa'"):
        open_folder(tmp_path, arms(replace(recipe, model=replace(recipe.model, neck="mscsa"))))


def test_the_same_recipes_are_found_again_and_others_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    open_folder(tmp_path, arms(recipe))
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written.keys() == {"baseline.yaml", "mscsa.yaml"}
    open_folder(tmp_path, arms(recipe))
    other = replace(recipe, optim=replace(recipe.optim, lr=0.5))
    with pytest.raises(UserError, match="optim.lr = 0.002, now it is 0.5: go on with the former"):
        open_folder(tmp_path, arms(other))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == written


def test_words_about_a_recipe_may_change(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    open_folder(tmp_path, arms(recipe))
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    words = {name: "measured since" for name in WORDS}
    open_folder(tmp_path, arms(replace(recipe, **words)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == written


def test_what_an_older_version_did_not_write_has_its_default(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    open_folder(tmp_path, arms(recipe))
    for path in tmp_path.iterdir():
        content = yaml.safe_load(path.read_text())
        del content["data"]["max_bad"], content["augment"]["hflip"], content["run"]["channels_last"]
        path.write_text(yaml.safe_dump(content))
    kept = replace(recipe, augment=replace(recipe.augment, hflip=type(recipe.augment)().hflip))
    open_folder(tmp_path, arms(kept))
    with pytest.raises(UserError, match="data.max_bad = 0, now it is 2"):
        open_folder(tmp_path, arms(replace(kept, data=replace(kept.data, max_bad=2))))
