"""A file of weights is enough to evaluate and to predict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mscsa
from mscsa.assembly.build import build_model, resolved_spec
from mscsa.assembly.weights_file import INPUT_FIELDS, ModelInfo, load_trained
from mscsa.checkpoints import read_state_dict, save_weights
from mscsa.data.scenes.scene import render_scene
from mscsa.errors import UserError
from mscsa.evaluation.classify import classify
from mscsa.evaluation.evaluate import evaluate
from mscsa.evaluation.running import choose_device
from mscsa.recipes.spec import ClassificationData, ModelSpec

SPEC = ModelSpec(name="test_resnet", mscsa={"pool_stride": 8}, budget=0.5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained classifier of scenes."""
    torch.manual_seed(0)
    model = build_model(SPEC, 10)
    model.head.weight.data.mul_(30)  # type: ignore[union-attr, operator]
    info = ModelInfo(
        model=resolved_spec(SPEC, model),
        data=ClassificationData(
            kind="scenes", image_size=32, num_train=8, num_val=9, eval_batch_size=4, workers=0
        ),
        class_names=tuple("0123456789"),
        input={key: model.pretrained_cfg[key] for key in INPUT_FIELDS if key in model.pretrained_cfg},  # type: ignore[index, operator]
        provenance={"recipe": {"name": "test"}},
    )
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_weights(model, path, info.to_metadata())
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for index in range(5):
        scene = render_scene(index, seed=0, split="val", size=32)
        paths.append(folder / f"{index}.png")
        Image.fromarray(scene.image).save(paths[-1])
    return paths


def test_the_file_says_all_about_itself(checkpoint: Path) -> None:
    model, info = load_trained(checkpoint)
    assert not model.training
    assert info.class_names == tuple("0123456789")
    assert info.provenance == {"recipe": {"name": "test"}}
    assert info.model.budget is None
    weights, _ = read_state_dict(checkpoint)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_evaluate_takes_other_data_of_the_same_classes(checkpoint: Path) -> None:
    assert evaluate(checkpoint).scores.num_samples == 9
    more = evaluate(checkpoint, {"num_val": 13, "eval_batch_size": 5})
    assert more.scores.num_samples == 13
    with pytest.raises(UserError, match="no field 'rot': did you mean root"):
        evaluate(checkpoint, {"rot": "x"})
    with pytest.raises(UserError, match="no such folder"):
        evaluate(checkpoint, {"kind": "folder", "root": "/nowhere/at/all"})


def test_predictions_are_the_models_own(checkpoint: Path, images: list[Path]) -> None:
    found = list(classify(checkpoint, images, top_k=3, batch_size=2))
    assert [each.path for each in found] == [str(path) for path in images]
    model, info = load_trained(checkpoint)
    mean, std = (torch.tensor(info.input[key])[:, None, None] for key in ("mean", "std"))
    for path, prediction in zip(images, found, strict=True):
        image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255  # scenes are not cropped
        chances = model(((image - mean) / std)[None]).softmax(1)[0]
        expected = chances.topk(3)
        names = [info.class_names[i] for i in expected.indices.tolist()]
        assert [name for name, _ in prediction.classes] == names
        assert [p for _, p in prediction.classes] == pytest.approx(expected.values.tolist(), rel=1e-4)


def test_an_unreadable_image_stops_nothing(checkpoint: Path, images: list[Path], tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.png"
    empty.write_bytes(b"")
    text.write_text("no image")
    mixed = [empty, images[0], tmp_path / "missing.png", images[1], text]
    found = list(classify(checkpoint, mixed, batch_size=2))
    assert [each.error is None for each in found] == [False, True, False, True, False]
    assert [len(each.classes) for each in found] == [0, 5, 0, 5, 0]
    for path, each in zip(mixed, found, strict=True):
        if each.error is not None:
            assert str(path) in each.error and "\n" not in each.error
    alone = list(classify(checkpoint, images[:2]))
    for ours, expected in zip((found[1], found[3]), alone, strict=True):
        assert dict(ours.classes) == pytest.approx(dict(expected.classes), rel=1e-4)


def test_more_classes_asked_for_than_there_are(checkpoint: Path, images: list[Path]) -> None:
    (found,) = classify(checkpoint, images[:1], top_k=50)
    assert len(found.classes) == 10
    assert sum(p for _, p in found.classes) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="give 1 or more"):
        list(classify(checkpoint, images, top_k=0))


def rewritten(checkpoint: Path, path: Path, change: Any) -> Path:
    weights, metadata = read_state_dict(checkpoint)
    change(weights, metadata)
    save_weights(weights, path, metadata)
    return path


def test_files_that_cannot_be_used_are_one_line(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(mscsa.create_model("test_resnet", num_classes=3, budget=0.5, pool_stride=8), path, {})
    cases = [(path, "does not say how it was made")]
    cases.append((tmp_path / "none.safetensors", "is not there"))

    def shorten(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        del weights["head.weight"]

    def widen(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["class_names"] = json.dumps(list("0123456789a"))

    def from_the_future(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["model"] = json.dumps({"name": "test_resnet", "flavour": 1})

    def garble(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        metadata["data"] = "{"

    for i, (change, message) in enumerate(
        [
            (shorten, "does not fit the model it describes"),
            (widen, "does not fit the model it describes"),
            (from_the_future, "flavour.*later version"),
            (garble, "its metadata cannot be read"),
        ]
    ):
        cases.append((rewritten(checkpoint, tmp_path / f"{i}.safetensors", change), message))
    for path, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            load_trained(path)
        assert "\n" not in str(caught.value)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="torch sees none"):
        choose_device("gpu")
    with pytest.raises(UserError, match="'tpu' is not known"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("gpu").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def test_nothing_here_imports_lightning() -> None:

    code = (
        "import sys, mscsa.evaluation; print('lightning' in sys.modules, 'pytorch_lightning' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
