"""A segmenter through the same training: exact resume, files that rebuild it, and the commands."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.assembly.weights_file import load_trained
from mscsa.checkpoints import read_state_dict, save_weights
from mscsa.data.scenes.scene import render_scene
from mscsa.data.scenes.segmentation import SceneSegmentation
from mscsa.errors import UserError
from mscsa.evaluation.classify import classify
from mscsa.evaluation.evaluate import evaluate
from mscsa.evaluation.segment import segment
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.models.build import build_pyramid
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.palette import palette
from mscsa.pictures.segmentations import write_segmentations
from mscsa.recipes.spec import ModelSpec, OptimSpec, Recipe, RunSpec, SegmentationAugment, SegmentationData
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import NonFiniteError
from mscsa.training.run import train
from mscsa_cli import main
from tests.training.processes import run
from tests.training.small_runs import assert_same_run, train_killed, train_resumable

torch.set_num_threads(1)


def recipe(**changes: object) -> Recipe:
    """All that is random in a step; two epochs of four steps."""
    return Recipe(
        name="test/segmenter",
        paper="",
        expected="",
        cost="",
        model=ModelSpec(
            name="test_resnet",
            head="semantic_fpn",
            head_kwargs={"fpn_channels": 16, "head_channels": 16},
            mscsa={"pool_stride": 8},
            budget=0.5,
            drop_path_rate=0.2,
        ),
        data=SegmentationData(
            kind="scenes",
            image_size=32,
            short_side=40,
            long_side=40,
            batch_size=4,
            eval_batch_size=3,
            workers=0,
            num_train=18,
            num_val=5,
        ),
        augment=SegmentationAugment(),
        optim=OptimSpec(
            lr=1e-3, warmup_epochs=0.5, schedule="poly", min_lr=0.0, head_lr_factor=2.0, ema_decay=0.8
        ),
        run=RunSpec(
            **{"epochs": 2, "seed": 1, "accelerator": "cpu", "checkpoint_every": 1, "log_every": 1, **changes}
        ),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter") / "run"
    assert run(train_resumable, recipe(), folder) == 0
    return folder


@pytest.mark.slow
def test_a_killed_run_ends_as_the_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    """Killed within the second epoch and resumed: the same weights and metrics to the last bit."""
    folder = tmp_path / "run"
    assert run(train_killed, recipe(), folder, SceneSegmentation, 16 + 5 + 6) == -signal.SIGKILL
    assert (folder / "last.ckpt").exists() and not (folder / "result.json").exists()
    assert run(train_resumable, recipe(), folder) == 0
    assert_same_run(folder, finished)
    rows = read_metrics(finished / "metrics.csv")
    assert [row["step"] for row in rows if row["val_miou"]] == ["4", "8"]


def test_the_file_rebuilds_the_model_and_its_score(finished: Path) -> None:
    weights = finished / "last.safetensors"
    model, info = load_trained(weights, "segmentation")
    assert info.class_names[:2] == ("background", "0")
    assert info.model.mscsa is not None and info.model.budget is None  # nothing left to solve
    last = [row for row in read_metrics(finished / "metrics.csv") if row["val_miou"]][-1]
    found = evaluate(weights).scores
    assert found.miou == pytest.approx(float(last["val_miou"]))  # type: ignore[attr-defined]
    assert found.num_samples == 5
    augmented = evaluate(weights, inference=SegmentationInference(flip=True, scales=(1.0, 1.5))).scores
    assert augmented.num_samples == 5 and augmented != found
    with pytest.raises(UserError, match="holds a model for segmentation: give one for classification"):
        list(classify(weights, []))


def test_predictions_are_written_as_files(finished: Path, tmp_path: Path) -> None:
    scene = render_scene(0, seed=0, split="val", size=50, max_digits=3)
    Image.fromarray(scene.image).resize((70, 45)).save(tmp_path / "scene.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    weights = finished / "last.safetensors"
    paths = [tmp_path / "scene.png", tmp_path / "bad.png"]
    results = list(segment(weights, paths))
    assert results[0].labels is not None and results[0].labels.shape == (45, 70)
    assert results[1].labels is None and "bad.png" in str(results[1].error)
    written = list(write_segmentations(results, OutputFolder(tmp_path / "out", paths)))
    with Image.open(tmp_path / "out/scene.png") as label_map:
        assert label_map.mode == "P"
        assert np.array_equal(np.array(label_map), results[0].labels)
        assert np.array_equal(np.array(label_map.getpalette()[:33]).reshape(11, 3), palette(11))
    with Image.open(tmp_path / "out/scene_overlay.png") as overlay:
        assert min(overlay.size) > 150
    assert sum(share for _, share in written[0].classes) == pytest.approx(1)
    assert len(np.unique(palette(150), axis=0)) == 150


def test_the_commands_know_the_task(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = str(finished / "last.safetensors")
    assert main(["eval", weights, "--window", "slide", "--crop", "24", "--flip", "--json", "eval.json"]) == 0
    out = capsys.readouterr().out
    assert "mIoU (%)" in out and "background" in out and "IoU (%)" in out
    Image.new("RGB", (60, 50), "white").save("a.png")
    assert main(["predict", "a.png", "--checkpoint", weights]) == 2
    assert "give --out DIR" in capsys.readouterr().err
    assert main(["predict", "a.png", "--checkpoint", weights, "--out", "pictures"]) == 0
    assert (tmp_path / "pictures/a_overlay.png").exists()
    assert main(["saliency", "a.png", "--checkpoint", weights, "--out", "looks", "--query", "3,4"]) == 0
    assert (tmp_path / "looks/a_query1.png").exists()
    assert main(["eval", weights, "--stride", "4"]) == 2
    assert "sliding window" in capsys.readouterr().err


def test_a_classifier_starts_training(tmp_path: Path) -> None:
    pyramid = build_pyramid("test_resnet")
    state = {key: torch.full_like(value, 3) for key, value in pyramid.backbone.state_dict().items()}
    save_weights(state, tmp_path / "classifier.safetensors", {})
    plain = replace(
        recipe(),
        model=ModelSpec(
            name="test_resnet",
            head="semantic_fpn",
            head_kwargs={"fpn_channels": 16, "head_channels": 16},
            checkpoint=str(tmp_path / "classifier.safetensors"),
            freeze=("backbone.backbone.conv1",),
        ),
    )
    train(replace(plain, run=replace(plain.run, max_steps=1)), tmp_path / "run")
    trained, _ = read_state_dict(tmp_path / "run/last.safetensors")
    assert (trained["backbone.backbone.conv1.0.weight"] == 3).all()


def test_a_damaged_sample_stops_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = SceneSegmentation.__getitem__

    def spoilt(self: SceneSegmentation, key: object) -> object:
        image, labels, index = original(self, key)  # type: ignore[arg-type]
        return (image * float("nan") if index == 3 else image), labels, index

    monkeypatch.setattr(SceneSegmentation, "__getitem__", spoilt)
    with pytest.raises(NonFiniteError, match=r"samples: scene 3 \(seed 0, train, up to 6 digits\);"):
        train(recipe(epochs=2), tmp_path / "run")


def test_settings_of_another_task_are_refused(tmp_path: Path) -> None:
    wrong = replace(recipe(), model=ModelSpec(name="test_resnet"))
    with pytest.raises(UserError, match="model.head None makes a model for classification"):
        train(wrong, tmp_path / "run")
    with pytest.raises(ValueError, match="no head is called 'unet': give one of semantic_fpn"):
        train(replace(recipe(), model=ModelSpec(name="test_resnet", head="unet")), tmp_path / "run")
