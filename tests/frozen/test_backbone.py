"""A frozen backbone whose maps are kept: the model says what it says of images; what cannot be kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mscsa.assembly.build import build_model
from mscsa.assembly.weights_file import load_trained
from mscsa.data.datasets import build_datasets
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import evaluate
from mscsa.frozen.backbone import cache_folder, check_frozen, freeze_backbone, frozen_prefix, prepare
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.spec import Recipe
from mscsa.training.run import train
from tests.frozen.frozen_recipe import backbone_file, frozen_recipe
from tests.training.small_runs import plain_recipe

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def built(recipe: Recipe) -> tuple[Any, Any]:
    torch.manual_seed(1)
    model: Any = build_model(recipe.model, 11, input_size=recipe.data.input_size)
    return model, build_datasets(recipe.data, recipe.augment, dict(model.pretrained_cfg), 0)


@pytest.mark.parametrize("with_mscsa", [True, False])
def test_a_model_says_the_same_of_kept_maps_as_of_images(tmp_path: Path, with_mscsa: bool) -> None:
    """80 px are no multiple of the deepest stride: padding is the same, too."""
    model, sets = built(frozen_recipe(backbone_file(tmp_path), with_mscsa=with_mscsa))
    model.eval()
    with torch.no_grad():
        expected = [model(sets[1][i][0][None]) for i in range(3)]
        kept = freeze_backbone(model, frozen_recipe(backbone_file(tmp_path)), sets)[1]
        found = [model(kept[i][0][None]) for i in range(3)]
    for ours, theirs, i in zip(found, expected, range(3), strict=True):
        assert (ours - theirs).abs().max() < 5e-3 * theirs.abs().max()  # half precision
        assert torch.equal(kept[i][1], sets[1][i][1])


def test_variants_are_scales_and_mirror_images(tmp_path: Path) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path), scale=(0.5, 1.5), hflip=0.5)
    model, sets = built(recipe)
    train_set, val_set = freeze_backbone(model, recipe, sets)
    sizes = train_set.store.sizes
    assert len(sizes) == 8 * 6 + 3
    assert sizes[::8][:6] == [(40, 40)] * 2 + [(80, 80)] * 2 + [(120, 120)] * 2
    plain, mirrored = train_set.store.labels_of(16), train_set.store.labels_of(24)
    assert (plain == mirrored[:, ::-1]).all() and not (plain == mirrored).all()
    assert len(val_set) == 3


def test_maps_are_found_again(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    prepare(recipe)
    (folder,) = (cache / "frozen").iterdir()
    monkeypatch.setattr("mscsa.frozen.backbone.write_store", None)  # whoever computed again would fail
    prepare(recipe)
    prepare(
        baseline_of(replace(recipe, model=replace(recipe.model, baseline_checkpoint=recipe.model.checkpoint)))
    )
    prepare(replace(recipe, data=replace(recipe.data, image_size=64, batch_size=2)))
    assert list((cache / "frozen").iterdir()) == [folder]


@pytest.mark.parametrize("part", ["weights", "size", "scale"])
def test_other_maps_are_others(tmp_path: Path, cache: Path, part: str) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    prepare(recipe)
    changed = {
        "weights": replace(recipe, model=replace(recipe.model, checkpoint=backbone_file(tmp_path, 1))),
        "size": replace(recipe, data=replace(recipe.data, short_side=96, long_side=96)),
        "scale": frozen_recipe(backbone_file(tmp_path), scale=(0.5, 1.0)),
    }[part]
    prepare(changed)
    assert len(list((cache / "frozen").iterdir())) == 2


def test_a_run_trains_neck_and_head_and_leaves_the_backbone(tmp_path: Path) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    result = train(recipe, tmp_path / "run")
    start, _ = built(recipe)
    trained, info = load_trained(tmp_path / "run" / "last.safetensors")
    assert not info.model.frozen
    before, after = start.state_dict(), trained.state_dict()
    prefix = frozen_prefix(start)
    assert prefix == "backbone.backbone"
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(f"{prefix}.")} <= same
    assert not {name for name, _ in start.named_parameters() if not name.startswith(f"{prefix}.")} & same
    scores = evaluate(tmp_path / "run" / "last.safetensors").scores
    assert scores.miou == pytest.approx(result.scores["miou"], abs=0.5)


def test_a_resumed_run_reads_the_maps_of_its_backbone(tmp_path: Path, cache: Path) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    straight = train(recipe, tmp_path / "straight")
    train(replace(recipe, run=replace(recipe.run, max_steps=1)), tmp_path / "stopped")
    resumed = train(recipe, tmp_path / "stopped", resume=True)
    assert resumed.scores == straight.scores
    assert len(list((cache / "frozen").iterdir())) == 1


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


def test_other_tasks_are_one_line() -> None:
    recipe = plain_recipe()
    with pytest.raises(UserError, match="kept maps are for segmentation"):
        check_frozen(replace(recipe, model=replace(recipe.model, frozen=True)))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot keep maps in .*; set MSCSA_CACHE"):
        prepare(frozen_recipe(backbone_file(tmp_path)))


def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSCSA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/mscsa")
