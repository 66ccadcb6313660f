"""Two models stand side by side where they belong there."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mscsa.assembly.weights_file import read_info
from mscsa.compare.folder import first_trained_pair
from mscsa.demo.pairing import differences, load_pair
from mscsa.errors import UserError
from mscsa.recipes import get_recipe
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.spec import Recipe
from tests.demo.shown import CLASSES, CLASSIFIER, bare, save_comparison, save_pair, save_untrained


def titles(*given: str | None) -> list[str]:
    return [each.title for each in load_pair(*given, accelerator="cpu")]


def test_the_model_without_mscsa_comes_first(classifiers: tuple[Path, Path], tmp_path: Path) -> None:
    both = ["test_resnet without MSCSA", "test_resnet with MSCSA"]
    with_mscsa, without = map(str, classifiers)
    assert titles(with_mscsa, without) == both
    assert titles(str(save_comparison(tmp_path / "compare")), None) == both
    assert titles(without, None) == both[:1]
    assert titles(with_mscsa, None) == both[1:]


def test_of_a_comparison_the_first_seed_that_both_arms_have(tmp_path: Path) -> None:
    folder = save_comparison(tmp_path, seeds=(2, 10))
    for gone in ("mscsa/seed2", "baseline/seed10"):
        (folder / gone / "last.safetensors").unlink()
    with pytest.raises(UserError, match="no seed that is trained with MSCSA and without"):
        load_pair(str(folder), None, accelerator="cpu")
    save_untrained(folder / "mscsa" / "seed2" / "last.safetensors", CLASSIFIER, CLASSES)
    assert first_trained_pair(folder) == tuple(
        folder / arm / "seed2" / "last.safetensors" for arm in ("mscsa", "baseline")
    )


@pytest.mark.slow
def test_what_does_not_belong_side_by_side_is_refused(classifiers: tuple[Path, Path], tmp_path: Path) -> None:
    with_mscsa, without = map(str, classifiers)
    _, segmenter = save_pair("segmentation", tmp_path)
    fewer = save_untrained(tmp_path / "fewer.safetensors", bare(CLASSIFIER), CLASSES)
    info = read_info(fewer)
    save_as(fewer, replace(info, class_names=tuple("abcdefghij")))
    cases: dict[tuple[str | None, str], str] = {
        (with_mscsa, with_mscsa): "has mscsa in it: give a model without MSCSA",
        (without, without): "has no MSCSA, as its baseline has none",
        (with_mscsa, str(segmenter)): "is for classification, .* for segmentation: give two of one task",
        (with_mscsa, str(fewer)): "have other classes",
        (None, without): "given alone: name the model with MSCSA before it",
        (str(save_comparison(tmp_path / "compare")), without): "has its own baseline: leave --baseline out",
    }
    for given, line in cases.items():
        with pytest.raises(UserError, match=line):
            load_pair(*given, accelerator="cpu")


def save_as(path: Path, info: Any) -> None:
    """Write the weights again under other words."""
    from safetensors.torch import load_file, save_file

    save_file(load_file(path), path, info.to_metadata())


def trained_by(recipe: Recipe, path: Path) -> Any:
    return replace(read_info(path), provenance={"recipe": asdict(recipe)})


def test_what_was_otherwise_in_training_is_named(classifiers: tuple[Path, Path]) -> None:
    recipe = get_recipe("scenes/mscsa_resnet10t")
    one = trained_by(recipe, classifiers[0])
    assert differences(one, trained_by(baseline_of(recipe), classifiers[1])) == []
    other = replace(
        recipe, optim=replace(recipe.optim, lr=1.0), run=replace(recipe.run, seed=7), model=bare(recipe.model)
    )
    assert differences(one, trained_by(other, classifiers[1])) == ["optim.lr", "run.seed"]
    assert differences(one, read_info(classifiers[1])) is None  # the file says no more than a name
