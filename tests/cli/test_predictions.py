"""What `mscsa predict` does with a model of each task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.evaluation import DetectedObjects, Prediction, Segmentation
from mscsa_cli import predictions
from mscsa_cli.predictions import predict_images


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each task's function was called with; every image is unreadable."""
    called: dict[str, Any] = {}

    def stand_in(kind: type, name: str) -> None:
        def of_task(checkpoint: str, images: list[str], **options: Any) -> list[Any]:
            called[name] = options
            return [kind(path=path, error=f"{path}: no image") for path in images]

        monkeypatch.setattr(predictions, name, of_task)

    for kind, name in ((Prediction, "classify"), (Segmentation, "segment"), (DetectedObjects, "detect")):
        stand_in(kind, name)
    return called


def predict(monkeypatch: pytest.MonkeyPatch, task: str, out: str | None) -> tuple[Any, Any]:
    info = SimpleNamespace(model=SimpleNamespace(task=task))
    monkeypatch.setattr(predictions, "read_info", lambda _: info)
    options: dict[str, Any] = {"top_k": 3, "batch_size": 4, "threshold": 0.5, "device": "cpu"}
    return predict_images("best.safetensors", ["a.png", "b.png"], out, **options)


@pytest.mark.parametrize(
    ("task", "function", "title"),
    [
        ("classification", "classify", "Predictions"),
        ("segmentation", "segment", "Segmentations"),
        ("detection", "detect", "Detections"),
        ("instance_segmentation", "detect", "Detections"),
    ],
)
def test_each_task_has_its_function(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], task: str, function: str, title: str
) -> None:
    found, table = predict(monkeypatch, task, "out")
    assert list(calls) == [function]
    assert calls[function]["accelerator"] == "cpu"
    assert [each.error for each in found] == ["a.png: no image", "b.png: no image"]
    assert (table.title, list(table.rows)) == (title, [])


def test_a_classifier_needs_no_folder(monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any]) -> None:
    predict(monkeypatch, "classification", None)
    assert (calls["classify"]["top_k"], calls["classify"]["batch_size"]) == (3, 4)


@pytest.mark.parametrize("task", ["segmentation", "detection", "instance_segmentation"])
def test_pictures_need_a_folder(monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], task: str) -> None:
    with pytest.raises(UserError, match=f"the result of {task} is a picture: give --out DIR"):
        predict(monkeypatch, task, None)
    assert not calls
