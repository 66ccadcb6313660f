"""A whole run: what lies in its folder, what it refuses, and how it stops."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from mscsa.assembly.weights_file import load_trained, read_info
from mscsa.checkpoints import read_state_dict
from mscsa.data.datasets import build_datasets
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import evaluate
from mscsa.evaluation.scores import score_values
from mscsa.evaluation.top1 import Accuracy, Hits
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import GIVEN_PLACES, DetectionData, ModelSpec, Recipe, SegmentationAugment
from mscsa.run_files import LAST
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.interrupt import SIGNALS, StopRequest
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import TrainingModule
from mscsa.training.resuming import run_identity
from mscsa.training.run import RunResult, _publishable, train
from tests.evaluation.sided import DOORS, write_maps
from tests.training.processes import run
from tests.training.small_runs import before_step, plain_recipe, small_recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    folder = tmp_path_factory.mktemp("run") / "deep" / "run"
    return folder, train(small_recipe(), folder)


def test_a_run_leaves_what_it_promises(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    assert {entry.name for entry in folder.iterdir()} == {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        ".lock",
        "log.txt",
        "last.ckpt",
        "previous.ckpt",
        "best.safetensors",
        "best_other.safetensors",
        "last.safetensors",
        "last_other.safetensors",
        "last_images.npz",
        "result.json",
    }
    assert json.loads((folder / "result.json").read_text()) == asdict(result)
    assert (result.steps, result.seed) == (15, 3)
    recipe = small_recipe()
    sets = build_datasets(recipe.data, recipe.augment, {}, recipe.run.seed)
    assert result.data == run_identity(recipe, *sets)["data"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config == json.loads(json.dumps(asdict(small_recipe())))
    (session,) = json.loads((folder / "environment.json").read_text())["sessions"]
    assert session["versions"]["torch"] == torch.__version__.split("+")[0]
    assert session["seed"] == 3
    assert session["command"]


def test_metrics_and_result_agree(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    rows = read_metrics(folder / "metrics.csv")
    evaluations = [row for row in rows if row["val_top1"]]
    assert [int(row["step"]) for row in evaluations] == [5, 10, 15]
    assert [int(row["step"]) for row in rows if row["train_loss"]] == [2, 4, 6, 8, 10, 12, 14, 15]
    assert float(evaluations[-1]["val_top1"]) == result.scores["top1"]
    best = max(evaluations, key=lambda row: float(row["val_top1"]))
    assert (float(best["val_top1"]), float(best["epoch"])) == (result.best_score, result.best_epoch)


def test_the_last_evaluation_is_kept_by_image(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    images = Hits.load(folder / "last_images.npz")
    assert images.index.tolist() == list(range(11))
    assert 100 * images.hits.mean() == pytest.approx(result.scores["top1"])
    assert "images" not in result.scores


def test_exported_weights_rebuild_the_model_and_its_accuracy(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    last = evaluate(folder / "last.safetensors").scores
    assert isinstance(last, Accuracy)
    assert score_values(last) == {**result.scores, "loss": pytest.approx(result.scores["loss"], rel=1e-5)}
    assert evaluate(folder / "best.safetensors").scores.top1 == result.best_score
    model, info = load_trained(folder / "best.safetensors")
    assert info.class_names == tuple("0123456789")
    assert info.data.image_size == 32
    assert info.provenance["recipe"] == json.loads(json.dumps(asdict(small_recipe())))
    assert info.provenance["result"]["top1"] == result.best_score
    assert sum(p.numel() for p in model.parameters()) == result.num_parameters
    saved = read_checkpoint(folder / LAST)
    by_kind = {"average": saved["state_dict"], "raw": saved["current_model_state"]}  # Lightning's places
    kinds = set()
    for name in ("last.safetensors", "last_other.safetensors"):
        exported, said = read_state_dict(folder / name)
        kind = json.loads(said["result"])["weights"]
        kinds.add(kind)
        assert all(torch.equal(by_kind[kind][f"model.{key}"], value) for key, value in exported.items())
    assert kinds == {"average", "raw"}


def test_weights_say_what_a_mirror_image_swaps(tmp_path: Path) -> None:
    """As the data says, or the recipe in its place, also where training draws no mirror image."""
    options = {"fpn_channels": 8, "head_channels": 8}
    spec = ModelSpec(name="test_resnet", head="semantic_fpn", head_kwargs=options)
    others = (("wall", "left_door"),)
    data = write_maps(tmp_path / "data", {"left_door": "right_door"})
    for augment, expected in (
        (SegmentationAugment(hflip=0.0), DOORS),
        (SegmentationAugment(flip_pairs=others), others),
    ):
        recipe = replace(plain_recipe(max_steps=1), model=spec, augment=augment)
        folder = tmp_path / f"run_{augment.hflip}"
        train(replace(recipe, data=replace(data, batch_size=2)), folder)
        assert read_info(folder / "best.safetensors").flip_pairs == expected


def test_weights_name_no_folder_and_a_run_finds_its_data_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, count in (("train", 8), ("val", 2)):
        for name in ("ant", "bee"):
            for i in range(count):
                path = tmp_path / "data" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (9 * i, 0, 99 if name == "bee" else 0)).save(path)
    monkeypatch.chdir(tmp_path)
    recipe = plain_recipe(epochs=1)
    start = tmp_path / "start.safetensors"
    train(plain_recipe(max_steps=1), tmp_path / "before")
    shutil.copy(tmp_path / "before" / "last.safetensors", start)
    recipe = replace(
        recipe,
        data=replace(recipe.data, kind="folder", root="data"),
        model=replace(recipe.model, checkpoint=str(start)),
    )
    train(recipe, Path("run"))
    weights = (tmp_path / "run" / "best.safetensors").read_bytes()
    assert str(tmp_path).encode() not in weights and b'root\\": null' in weights
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert evaluate(tmp_path / "run").scores.num_samples == 4
    shutil.copy(tmp_path / "run" / "best.safetensors", "given.safetensors")
    with pytest.raises(UserError, match="does not say where its data is.*give --root PATH"):
        evaluate("given.safetensors")
    assert evaluate("given.safetensors", {"root": str(tmp_path / "data")}).scores.num_samples == 4
    assert train(recipe_from(tmp_path / "run"), tmp_path / "run", resume=True).steps == 2


def test_all_places_are_found_from_anywhere_and_none_goes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = get_recipe("scenes_retinanet/resnet10t")
    data = DetectionData(kind="coco", **{name: name for name in GIVEN_PLACES})
    whole = replace(recipe, data=data.with_whole_places())
    assert whole.data.places == {name: str(tmp_path / name) for name in GIVEN_PLACES}
    assert str(tmp_path) not in json.dumps(_publishable(whole))


def recipe_from(folder: Path) -> Recipe:
    """A recipe of a run in another folder, by its configuration."""
    root = yaml.safe_load((folder / "config.yaml").read_text())["data"]["root"]
    recipe = plain_recipe(epochs=1)
    checkpoint = str(folder.parent / "start.safetensors")
    return replace(
        recipe,
        data=replace(recipe.data, kind="folder", root=root),
        model=replace(recipe.model, checkpoint=checkpoint),
    )


def test_a_folder_in_use_is_refused_and_untouched(finished: tuple[Path, RunResult]) -> None:
    folder, _ = finished
    before = {entry: entry.stat().st_mtime_ns for entry in folder.iterdir()}
    with pytest.raises(UserError, match="is there already and nothing is overwritten"):
        train(plain_recipe(), folder)
    assert {entry: entry.stat().st_mtime_ns for entry in folder.iterdir()} == before


def test_a_place_that_cannot_hold_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is there already|cannot make") as caught:
            train(plain_recipe(), place)
        assert "\n" not in str(caught.value)


def test_a_folder_that_vanishes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    before = TrainingModule.training_step

    def remove_folder(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        shutil.rmtree(folder, ignore_errors=True)
        return before(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", remove_folder)
    with pytest.raises(UserError, match="cannot write .*No such file") as caught:
        train(plain_recipe(), folder)
    assert "\n" not in str(caught.value)


def test_signals_are_given_back(finished: tuple[Path, RunResult]) -> None:
    # What they were before depends on who started the tests: in the background SIGINT is ignored.
    for signum in SIGNALS:
        assert not isinstance(getattr(signal.getsignal(signum), "__self__", None), StopRequest)


def test_leftovers_of_a_killed_save_are_removed_on_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(plain_recipe(max_steps=2), folder)
    leftover = folder / f".{LAST}.77.tmp"
    leftover.write_bytes(b"half")
    train(plain_recipe(max_steps=3), folder, resume=True)
    assert not leftover.exists()
    assert len(json.loads((folder / "environment.json").read_text())["sessions"]) == 2


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("run", {"accumulate": 3}, "batch_size 8 does not divide"),
        ("data", {"batch_size": 100}, "43 images, fewer than data.batch_size 100"),
        ("data", {"kind": "folder"}, "needs data.root"),
        ("data", {"kind": "folder", "root": "/nowhere/at/all"}, "no such folder"),
        ("data", {"num_classes": 12}, "10 classes, but data.num_classes is 12"),
        ("model", {"name": "resnet10tt"}, "no model is called 'resnet10tt': did you mean"),
        ("model", {"freeze": ("stem",)}, "model.freeze 'stem' names no parameter"),
        ("model", {"checkpoint": "/nowhere.safetensors"}, "is not there"),
        ("model", {"backbone_kwargs": {"depht": 3}}, "does not take"),
        ("optim", {"warmup_epochs": 3.0}, "would never be reached"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, part: str, change: dict[str, Any], message: str) -> None:
    recipe = plain_recipe()
    recipe = replace(recipe, **{part: replace(getattr(recipe, part), **change)})
    with pytest.raises(UserError, match=message) as caught:
        train(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / LAST).exists()


def test_an_image_size_that_the_model_refuses(tmp_path: Path) -> None:
    recipe = plain_recipe()
    recipe = replace(
        recipe,
        model=replace(recipe.model, name="test_vit"),
        data=replace(recipe.data, image_size=33),
    )
    with pytest.raises(UserError, match="test_vit does not take images of 33x33") as caught:
        train(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_training_starts_from_a_checkpoint(tmp_path: Path, finished: tuple[Path, RunResult]) -> None:
    start = finished[0] / "best.safetensors"
    recipe = small_recipe(max_steps=1)
    recipe = replace(
        recipe,
        model=replace(recipe.model, checkpoint=str(start)),
        optim=replace(recipe.optim, lr=0.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0),
    )
    train(recipe, tmp_path / "run")
    before, after = read_state_dict(start)[0], read_state_dict(tmp_path / "run" / "last.safetensors")[0]
    for key, value in before.items():
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(after[key], value), key


def test_a_bad_image_in_a_worker_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (40, 40), (60 * i, 0, 0)).save(root / split / name / f"{i}.png")
    (root / "train" / "cat" / "2.png").write_bytes(b"no image")
    recipe = plain_recipe()
    data = replace(recipe.data, kind="folder", root=str(root), workers=1)
    with pytest.raises(UserError, match="2.png: not an image") as caught:
        train(replace(recipe, data=data), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("remove or replace it, or give --data.max_bad 1 to train without it")


def signalled_as_a_group(recipe: Recipe, folder: Path) -> None:
    os.setpgrp()

    def signal_group(step: int) -> None:
        if step == 3:
            os.killpg(os.getpid(), signal.SIGTERM)
            time.sleep(1)
            if len(multiprocessing.active_children()) != 2:  # the loader's workers
                os._exit(99)

    before_step(signal_group)
    train(recipe, folder)


def test_workers_outlive_a_signal_to_the_whole_group(tmp_path: Path) -> None:
    recipe = plain_recipe()
    recipe = replace(recipe, data=replace(recipe.data, workers=2))
    folder = tmp_path / "run"
    assert run(signalled_as_a_group, recipe, folder) == 143
    assert read_checkpoint(folder / LAST)["global_step"] == 3


@pytest.mark.parametrize("precision", [pytest.param("bf16-mixed", marks=pytest.mark.slow), "64-true"])
def test_other_arithmetic_runs(tmp_path: Path, precision: str) -> None:
    result = train(small_recipe(max_steps=2, precision=precision), tmp_path / "run")
    assert result.steps == 2
    weights, _ = read_state_dict(tmp_path / "run" / "last.safetensors")
    expected = torch.float64 if precision == "64-true" else torch.float32
    assert weights["head.weight"].dtype == expected
