"""What `mscsa predict` does with a model of each task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mscsa.errors import UserError
from mscsa.evaluation import Accuracy, DetectedObjects, Prediction, Segmentation
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.miou import SegmentationDetail
from mscsa.pictures.output import OutputFolder
from mscsa.recipes.spec import PARTS
from mscsa_cli import predictions
from mscsa_cli.parsing import Asking
from mscsa_cli.predictions import predict_images, write_evaluation
from tests.cli.test_detail_tables import SCORES
from tests.data.video_files import write_clip

AS_TOLD = Asking()


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


def predict(
    monkeypatch: pytest.MonkeyPatch, task: Any, out: str | None, asking: Asking = AS_TOLD
) -> tuple[Any, Any]:
    data = PARTS[task][0](kind="folder" if task == "classification" else "scenes")
    info = SimpleNamespace(model=SimpleNamespace(task=task), data=data)
    monkeypatch.setattr(predictions, "read_info", lambda _: info)
    options: dict[str, Any] = {"top_k": 3, "batch_size": 4, "threshold": 0.5, "device": "cpu"}
    options["asking"] = asking
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
    found, (table,) = predict(monkeypatch, task, None if task == "classification" else "out")
    assert list(calls) == [function]
    assert calls[function]["accelerator"] == "cpu"
    assert [each.error for each in found] == ["a.png: no image", "b.png: no image"]
    assert (table.title, list(table.rows)) == (title, [])


def test_a_classifier_needs_no_folder(monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any]) -> None:
    predict(monkeypatch, "classification", None)
    assert (calls["classify"]["top_k"], calls["classify"]["batch_size"]) == (3, 4)


def test_a_folder_for_pictures_that_nobody_draws_is_refused(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="--out out: a classifier draws no pictures of images; leave it out"):
        predict(monkeypatch, "classification", "out")


@pytest.mark.parametrize("task", ["segmentation", "detection", "instance_segmentation"])
def test_pictures_need_a_folder(monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], task: str) -> None:
    with pytest.raises(UserError, match=f"the result of {task} is a picture: give --out DIR"):
        predict(monkeypatch, task, None)
    assert not calls


def test_a_file_in_the_place_of_the_folder_is_refused_before_any_image(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out is no folder, in which pictures could be put"):
        predict(monkeypatch, "detection", str(tmp_path / "out"))
    assert not calls


def test_a_segmenter_is_asked_as_eval_asks_it(monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any]) -> None:
    predict(monkeypatch, "segmentation", "out", Asking(window="slide", crop=64, flip=True))
    inference = calls["segment"]["inference"]
    assert (inference.window, inference.crop, inference.flip) == ("slide", 64, True)
    with pytest.raises(UserError, match="--tile and --overlap are for detection: give --window slide"):
        predict(monkeypatch, "segmentation", "out", Asking(tile=64))


def test_a_detector_looks_at_tiles_and_mirror_images(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any]
) -> None:
    predict(monkeypatch, "detection", "out", Asking(tile=64, overlap=10, flip=True))
    assert calls["detect"]["inference"] == DetectionInference(tile=64, overlap=10, flip=True)
    with pytest.raises(UserError, match="leave --window, --crop, --stride and --scales out"):
        predict(monkeypatch, "detection", "out", Asking(scales=[0.5]))


def test_folders_stand_for_their_images(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(predictions, "image_files", lambda given: [f"{each}/1.png" for each in given])
    found, _ = predict(monkeypatch, "detection", "out")
    assert [each.path for each in found] == ["a.png/1.png", "b.png/1.png"]


def test_an_evaluation_is_written_as_json_and_pictures(tmp_path: Path) -> None:
    detail = SegmentationDetail(confusion=((5, 1, 0), (2, 8, 1)))
    result: Any = SimpleNamespace(
        scores=replace(SCORES, detail=detail), class_names=("cat", "dog"), task="segmentation"
    )
    file, folder = str(tmp_path / "a.json"), str(tmp_path / "pictures")
    write_evaluation(result, "best.safetensors", json=file, folder=OutputFolder(Path(folder), []))
    written = json.loads(Path(file).read_text())
    assert written["miou"] == 50.0 and written["class_names"] == ["cat", "dog"]
    assert written["detail"] == {"confusion": [[5, 1, 0], [2, 8, 1]]}
    assert [each.name for each in Path(folder).iterdir()] == ["confusion.png"]


def test_a_classifiers_evaluation_is_written_too(tmp_path: Path) -> None:
    confusion = np.array([[3, 1, 0], [2, 1, 1]])
    scores = Accuracy(top1=50.0, top5=None, loss=1.0, num_samples=8, confusion=confusion)
    result: Any = SimpleNamespace(scores=scores, class_names=("cat", "dog"), task="classification")
    file, folder = tmp_path / "a.json", tmp_path / "pictures"
    write_evaluation(result, "best.safetensors", json=str(file), folder=OutputFolder(folder, []))
    written = json.loads(file.read_text())
    assert written["confusion"] == [[3, 1], [2, 1]] and written["class_accuracy"] == [75.0, 25.0]
    assert [each.name for each in folder.iterdir()] == ["confusion.png"]


def test_images_and_videos_go_apart(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], tmp_path: Path
) -> None:
    """One table for each; what is wrong with a video stops nothing."""
    clip = write_clip(tmp_path / "clip.mp4", 3)
    names = ["a.png", str(clip), str(tmp_path / "gone.mp4")]
    monkeypatch.setattr(predictions, "image_files", lambda given: names)

    def segment(checkpoint: str, images: Any, **options: Any) -> Any:
        for each in images:
            if isinstance(each, str):
                yield Segmentation(path=each, error=f"{each}: no image")
                continue
            labels = np.zeros((each.image.height, each.image.width), np.uint8)
            yield Segmentation(path=str(each), image=each.image, labels=labels, class_names=("sky",))

    monkeypatch.setattr(predictions, "segment", segment)
    found, tables = predict(monkeypatch, "segmentation", str(tmp_path / "out"))
    assert [table.title for table in tables] == ["Segmentations", "Videos"]
    assert [each.error is None for each in found] == [False, True, False]
    assert "gone.mp4: no such file" in str(found[2].error) and found[1].classes == (("sky", 3),)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        *("clip.jsonl", "clip.mp4", "clip_frames")
    ]
    with pytest.raises(UserError, match="what is found in a video is written to files: give --out"):
        predict(monkeypatch, "classification", None)
