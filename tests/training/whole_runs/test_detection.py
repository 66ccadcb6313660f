"""A detector through the same training: exact resume, files that rebuild it, and the commands."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.assembly.weights_file import load_trained
from mscsa.checkpoints import read_state_dict, save_weights
from mscsa.data.scenes.detection import SceneDetection
from mscsa.data.scenes.scene import render_scene
from mscsa.errors import UserError
from mscsa.evaluation.coco_ap import InstanceScores
from mscsa.evaluation.detect import detect
from mscsa.evaluation.evaluate import evaluate
from mscsa.models.build import build_pyramid
from mscsa.recipes.spec import DetectionAugment, DetectionData, ModelSpec, OptimSpec, Recipe, RunSpec
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import NonFiniteError
from mscsa.training.run import train
from mscsa_cli import main
from tests.data.coco.coco_folder import write_coco
from tests.training.processes import finish, free_port, group_environment, run, start
from tests.training.small_runs import assert_same_run, before_step, train_killed, train_resumable

torch.set_num_threads(1)


def recipe(**changes: Any) -> Recipe:
    """All that is random in a step; two epochs of four steps."""
    return Recipe(
        name="test/detector",
        paper="",
        expected="",
        cost="",
        model=ModelSpec(
            name="test_resnet",
            head="mask_rcnn",
            head_kwargs={
                "fpn_channels": 16,
                "anchor_scale": 4.0,
                "proposals": 30,
                "detections_per_img": 20,
                "score_thresh": 0.0,
                "backbone_norm": "live",
            },
            mscsa={"pool_stride": 16},
            budget=0.5,
            drop_path_rate=0.2,
        ),
        data=DetectionData(
            kind="scenes",
            short_side=64,
            long_side=64,
            batch_size=4,
            eval_batch_size=3,
            workers=0,
            num_train=18,
            num_val=5,
            max_digits=3,
        ),
        augment=DetectionAugment(short_sides=(48, 64), crop_sides=(32, 48), crop_short_sides=(56, 64)),
        optim=OptimSpec(
            lr=1e-3,
            warmup_epochs=0.5,
            schedule="multistep",
            milestones=(1,),
            ema_decay=0.8,
            head_lr_factor=2.0,
        ),
        run=RunSpec(
            **{"epochs": 2, "seed": 1, "accelerator": "cpu", "checkpoint_every": 1, "log_every": 1, **changes}
        ),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector") / "run"
    assert run(train_resumable, recipe(), folder) == 0
    return folder


@pytest.mark.slow
def test_a_killed_run_ends_as_the_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    """Killed within the second epoch and resumed: the same weights and metrics to the last bit."""
    folder = tmp_path / "run"
    assert run(train_killed, recipe(), folder, SceneDetection, 16 + 5 + 6) == -signal.SIGKILL
    assert (folder / "last.ckpt").exists() and not (folder / "result.json").exists()
    assert run(train_resumable, recipe(), folder) == 0
    assert_same_run(folder, finished)
    rows = read_metrics(finished / "metrics.csv")
    assert [row["step"] for row in rows if row["val_ap"]] == ["4", "8"]


def train_killed_at_step(spec: Recipe, folder: Path, step: int) -> None:
    before_step(lambda each: os.kill(os.getpid(), signal.SIGKILL) if each == step else None)
    train(spec, folder)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_a_transformer_on_files_is_exact(tmp_path: Path, workers: int) -> None:
    """Dropout, crops, images of all sizes read from files, in loader processes or not."""
    small = recipe()
    options = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10, "dropout": 0.3}
    spec = replace(
        small,
        model=replace(
            small.model, head="deformable_detr", head_kwargs={**options, "backbone_norm": "frozen"}
        ),
        data=replace(
            small.data, kind="coco", root=str(write_coco(tmp_path / "coco")), batch_size=2, workers=workers
        ),
        run=replace(small.run, epochs=4),
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(train_resumable, spec, whole) == 0
    assert run(train_killed_at_step, spec, parts, 6) == -signal.SIGKILL  # within the third of four epochs
    assert run(train_resumable, spec, parts) == 0
    assert_same_run(parts, whole)


FRESH = """
import hashlib, sys, torch
from mscsa.assembly.weights_file import load_trained
torch.set_num_threads(1)
model, info = load_trained(sys.argv[1])
found = model([torch.load(sys.argv[2], weights_only=True)])[0]
torch.save(found, sys.argv[3])
from mscsa.data.scenes.scene import render_scene
scene = render_scene(7, seed=1, split="val", size=64, max_digits=4)
print(hashlib.sha256(scene.image.tobytes() + scene.masks.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_fresh_process_predicts_and_renders_the_same(finished: Path, tmp_path: Path) -> None:
    weights = finished / "last.safetensors"
    model, info = load_trained(weights, "instance_segmentation")
    assert info.class_names == tuple("0123456789") and info.category_ids == tuple(range(1, 11))
    assert info.model.mscsa is not None and info.model.budget is None  # nothing left to solve
    image = torch.rand(3, 61, 83, generator=torch.Generator().manual_seed(0))
    torch.save(image, tmp_path / "image.pt")
    arguments = [str(weights), str(tmp_path / "image.pt"), str(tmp_path / "found.pt")]
    answer = subprocess.run(
        [sys.executable, "-c", FRESH, *arguments], check=True, capture_output=True, text=True
    )
    fresh = torch.load(tmp_path / "found.pt", weights_only=True)
    with torch.inference_mode():
        here = model([image])[0]
    assert fresh.keys() == here.keys() and len(here["boxes"])
    assert all(torch.equal(fresh[key], here[key]) for key in here)
    scene = render_scene(7, seed=1, split="val", size=64, max_digits=4)
    assert answer.stdout.split() == [
        hashlib.sha256(scene.image.tobytes() + scene.masks.tobytes()).hexdigest()
    ]


def test_the_file_gives_the_score_of_the_run(finished: Path, tmp_path: Path) -> None:
    last = [row for row in read_metrics(finished / "metrics.csv") if row["val_ap"]][-1]
    found = evaluate(finished / "last.safetensors", results=tmp_path / "results.json").scores
    assert isinstance(found, InstanceScores)
    assert found.ap == pytest.approx(float(last["val_ap"]))
    assert found.mask_ap == pytest.approx(float(last["val_mask_ap"]))
    assert found.num_samples == 5
    written = json.loads((tmp_path / "results.json").read_text())
    assert {each["image_id"] for each in written} <= set(range(5)) and written
    assert {"image_id", "category_id", "bbox", "score"} == written[0].keys()
    masks = json.loads((tmp_path / "results_masks.json").read_text())
    assert {"image_id", "category_id", "score", "segmentation"} == masks[0].keys()


def test_predictions_are_drawn(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = render_scene(0, seed=0, split="val", size=60, max_digits=3)
    Image.fromarray(scene.image).resize((70, 45)).save("scene.png")
    Path("bad.png").write_bytes(b"x")
    weights = str(finished / "last.safetensors")
    assert main(["predict", "scene.png", "--checkpoint", weights]) == 2
    assert "instance_segmentation is a picture: give --out DIR" in capsys.readouterr().err
    command = ["predict", "scene.png", "bad.png", "--checkpoint", weights, "--out", "out"]
    assert main([*command, "--threshold", "0", "--json", "found.json"]) == 2  # of the bad one
    output = capsys.readouterr()
    assert "out/scene.png" in output.out and "bad.png" in output.err
    found = json.loads(Path("found.json").read_text())
    (detected,) = detect(weights, ["scene.png"])
    assert detected.detections is not None and detected.detections.masks is not None
    assert len(detected.detections.masks) == len(detected.detections.boxes)
    assert all(mask["size"] == [45, 70] for mask in detected.detections.masks)
    assert detected.detections.boxes[:, 2].max() <= 70 and detected.detections.boxes[:, 3].max() <= 45
    assert len(found[0]["objects"]) == found[0]["num_drawn"] == len(detected.detections.boxes) > 0
    assert found[0]["objects"][0]["class"] in "0123456789"
    with Image.open("out/scene.png") as picture:
        assert picture.size == (8 * 70, 8 * 45)
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    plain = np.asarray(Image.open("scene.png").convert("RGB").resize((560, 360), Image.Resampling.BILINEAR))
    assert (abs(drawn - plain) > 30).any(axis=-1).mean() > 0.02
    again = [*command[:2], *command[3:-1], "again", "--threshold", "1"]
    assert main(again) == 0  # nothing is drawn
    untouched = np.asarray(Image.open("again/scene.png"))
    assert np.array_equal(untouched, plain)
    assert main(["predict", "scene.png", "--checkpoint", weights, "--out", "."]) == 2
    assert "scene.png is a file that this command reads or writes itself" in capsys.readouterr().err
    assert main([*command, "--threshold", "2"]) == 2
    assert "--threshold 2 given" in capsys.readouterr().err


def test_the_commands_know_the_task(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = str(finished / "last.safetensors")
    assert main(["eval", weights, "--results", "found.json", "--json", "eval.json"]) == 0
    out = capsys.readouterr().out
    assert "box AP (%)" in out and "mask AP (%)" in out and "By class" in out
    assert json.loads(Path("eval.json").read_text())["num_samples"] == 5
    assert Path("found.json").exists()
    assert main(["eval", weights, "--window", "slide"]) == 2
    assert "for instance_segmentation: leave --window" in capsys.readouterr().err
    Image.new("RGB", (60, 50), "white").save("a.png")
    assert main(["saliency", "a.png", "--checkpoint", weights, "--out", "looks", "--query", "3,4"]) == 0
    assert Path("looks/a_query1.png").exists()


def test_a_folder_in_cocos_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids in the file, labels in the model, ids in the results; printed once, kept in the file of weights."""
    root = write_coco(tmp_path / "coco")
    small = recipe()
    head = {**small.model.head_kwargs, "backbone_norm": "frozen"}
    spec = replace(
        small,
        model=replace(small.model, head_kwargs=head),
        data=replace(small.data, kind="coco", root=str(root), batch_size=2),
        augment=DetectionAugment(),
        run=replace(small.run, epochs=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("mscsa.training.run.logger.info", lambda text, *values: lines.append(text % values))
        train(spec, tmp_path / "run")
    assert "category id -> label: 2 -> 1 (bar), 7 -> 2 (disc), 90 -> 3 (never)" in lines
    _, info = load_trained(tmp_path / "run/last.safetensors")
    assert (info.class_names, info.category_ids) == (("bar", "disc", "never"), (2, 7, 90))
    scores = evaluate(tmp_path / "run/last.safetensors", results=tmp_path / "results.json").scores
    assert scores.num_samples == 4
    assert {each["category_id"] for each in json.loads((tmp_path / "results.json").read_text())} <= {2, 7, 90}


def test_a_damaged_sample_stops_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = SceneDetection.__getitem__

    def spoilt(self: SceneDetection, key: Any) -> Any:
        image, target, index = original(self, key)
        return (image * float("nan") if index == 3 else image), target, index

    monkeypatch.setattr(SceneDetection, "__getitem__", spoilt)
    with pytest.raises(NonFiniteError, match=r"samples: scene 3 \(seed 0, train, up to 3 digits\);"):
        train(recipe(epochs=2), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    ["retinanet", "deformable_detr", pytest.param("cascade_mask_rcnn", marks=pytest.mark.long)],
)
def test_the_other_detectors_train(tmp_path: Path, head: str) -> None:
    small = recipe(max_steps=1)
    options = {
        "retinanet": {"fpn_channels": 16},
        "cascade_mask_rcnn": {"fpn_channels": 16, "proposals": 20},
        "deformable_detr": {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10, "two_stage": True},
    }[head]
    spec = replace(
        small, model=replace(small.model, head=head, head_kwargs={**options, "backbone_norm": "live"})
    )
    result = train(spec, tmp_path / "run")
    assert result.metric == "ap" and result.steps == 1
    assert ("mask_ap" in result.scores) == (head == "cascade_mask_rcnn")
    assert result.scores["num_samples"] == 5


def test_a_classifier_starts_training(tmp_path: Path) -> None:
    pyramid = build_pyramid("test_resnet")
    state = pyramid.backbone.state_dict()
    save_weights(state, tmp_path / "classifier.safetensors", {})
    small = recipe(max_steps=1)
    plain = replace(
        small,
        model=replace(
            small.model,
            mscsa=None,
            budget=None,
            checkpoint=str(tmp_path / "classifier.safetensors"),
            freeze=("net.backbone.body.backbone.conv1", "net.backbone.body.backbone.layer1"),
        ),
        augment=DetectionAugment(),
        optim=replace(small.optim, ema_decay=None),
    )
    train(plain, tmp_path / "run")
    trained, _ = read_state_dict(tmp_path / "run/last.safetensors")
    prefix = "net.backbone.body.backbone."
    for key, value in state.items():
        is_fixed = key.startswith(("conv1.", "layer1."))
        assert torch.equal(trained[prefix + key], value) or not is_fixed, key
    moved = [key for key, value in state.items() if not torch.equal(trained[prefix + key], value)]
    assert moved  # the others have learned, from what the file has
    assert all((trained[prefix + key] - state[key]).abs().max() < 0.1 for key in moved if "weight" in key)


def test_settings_that_cannot_run(tmp_path: Path) -> None:
    small = recipe()
    with pytest.raises(UserError, match="data.short_side 64 is more than data.long_side 32"):
        train(replace(small, data=replace(small.data, long_side=32)), tmp_path / "a")
    for sides in ({"short_sides": (0,)}, {"crop_sides": (60, 30)}, {"crop_short_sides": ()}):
        with pytest.raises(UserError, match=r"augment\.\w+ .* is not possible"):
            train(replace(small, augment=replace(small.augment, **sides)), tmp_path / "d")
    with pytest.raises(ValueError, match="no head is called 'yolo': give one of .*retinanet"):
        train(replace(small, model=ModelSpec(name="test_resnet", head="yolo")), tmp_path / "b")
    with pytest.raises(UserError, match="no option 'anchor_scael': did you mean anchor_scale"):
        train(replace(small, model=replace(small.model, head_kwargs={"anchor_scael": 2})), tmp_path / "c")


def train_of_rank(rank: int, spec: Recipe, folder: Path) -> None:
    train(spec, folder)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Float64, SGD, fixed batch statistics, no sampling of boxes: what two processes can do as one."""
    small = recipe(precision="64-true", checkpoint_every=100)
    options = {"fpn_channels": 16, "backbone_norm": "frozen", "mscsa_norm": "frozen"}
    spec = replace(
        small,
        model=replace(small.model, head="retinanet", head_kwargs=options, drop_path_rate=0.0),
        optim=OptimSpec(optimizer="sgd", lr=0.01, warmup_epochs=0.0, clip_grad=1.0, schedule="constant"),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(train_of_rank, 0, spec, one) == 0
    both = replace(spec, run=replace(spec.run, devices=2))
    port = free_port()
    pair = [start(train_of_rank, rank, both, two, env=group_environment(rank, 2, port)) for rank in (0, 1)]
    assert [finish(process) for process in pair] == [0, 0]
    ours, theirs = (read_state_dict(folder / "last.safetensors")[0] for folder in (one, two))
    for key, value in ours.items():
        assert (value.double() - theirs[key].double()).abs().max() <= 1e-9, key
    same = [torch.equal(value, theirs[key]) for key, value in ours.items()]
    assert not all(same), "equal to the last bit: was it two processes?"
    results = [json.loads((folder / "result.json").read_text())["scores"] for folder in (one, two)]
    assert results[0]["num_samples"] == results[1]["num_samples"] == 5
    assert results[0]["class_ap"] == pytest.approx(results[1]["class_ap"], abs=1e-6)


@pytest.mark.long
def test_half_precision_trains(tmp_path: Path) -> None:
    result = train(recipe(max_steps=2, precision="bf16-mixed"), tmp_path / "run")
    assert result.steps == 2
    weights, _ = read_state_dict(tmp_path / "run/last.safetensors")
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


@pytest.mark.long
def test_checkpointed_gradients_train_to_the_same(tmp_path: Path) -> None:
    """`run.grad_checkpointing` changes memory, not the run; drop path and sampling draw the same numbers."""
    small = recipe(max_steps=1)
    plain = replace(small, model=replace(small.model, drop_path_rate=0.0), augment=DetectionAugment())
    found = []
    for checkpointing in (False, True):
        folder = tmp_path / f"run{checkpointing}"
        train(replace(plain, run=replace(plain.run, grad_checkpointing=checkpointing)), folder)
        found.append(read_state_dict(folder / "last.safetensors")[0])
    weights = [key for key in found[0] if key.endswith("weight")]
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-5) for key in weights)
