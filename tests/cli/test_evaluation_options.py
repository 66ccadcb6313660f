"""The options of `mscsa eval` that belong to single tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.recipes.spec import ClassificationData, DataSpec, DetectionData, SegmentationData
from mscsa_cli.evaluation_options import evaluation_options
from mscsa_cli.parsing import Asking

DATA: dict[str, DataSpec] = {
    "classification": ClassificationData(kind="folder"),
    "segmentation": SegmentationData(kind="masks", image_size=90),
    "detection": DetectionData(kind="coco"),
}


def options(task: str, results: str | None = None, **given: Any) -> dict[str, Any]:
    info: Any = SimpleNamespace(data=DATA[task], model=SimpleNamespace(task=task))
    return evaluation_options(info, Asking(**given), results=results)


def test_nothing_given_is_nothing_but_for_segmentation() -> None:
    assert options("classification") == options("detection") == {}
    inference = options("segmentation")["inference"]
    assert (inference.window, inference.scales, inference.flip) == ("whole", (1.0,), False)


def test_the_sliding_window_is_the_training_crop_unless_told() -> None:
    inference = options("segmentation", window="slide", scales=[0.5, 1.0], flip=True)["inference"]
    assert (inference.crop, inference.stride, inference.scales, inference.flip) == (90, 60, (0.5, 1.0), True)
    inference = options("segmentation", window="slide", crop=30, stride=7)["inference"]
    assert (inference.crop, inference.stride) == (30, 7)


def test_results_go_to_detection() -> None:
    assert options("detection", results="found.json") == {"results": "found.json"}


def test_tiles_and_mirror_images_go_to_detection() -> None:
    assert options("detection", tile=80, flip=True) == {
        "inference": DetectionInference(tile=80, overlap=None, flip=True)
    }


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("classification", {"results": "a.json"}, "for classification: leave --results out"),
        ("segmentation", {"results": "a.json"}, "for segmentation: leave --results out"),
        (
            "detection",
            {"flip": True, "crop": 3},
            "for detection: leave --window, --crop, --stride and --scales out",
        ),
        ("classification", {"scales": [1.0, 0.5]}, "which are for segmentation and detection"),
        ("segmentation", {"tile": 4}, "--tile and --overlap are for detection: give --window slide"),
        ("segmentation", {"stride": 4}, "--crop and --stride are of the sliding window"),
    ],
)
def test_what_is_of_another_task_is_refused(task: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(task, **given)


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("segmentation", {"window": "slide", "crop": 0}, "windows of 0 px are none: give crop=1 or more"),
        ("segmentation", {"window": "slide", "stride": 0}, "stride 0 of windows of 90 px"),
        ("segmentation", {"crop": 0}, "--crop and --stride are of the sliding window"),
        ("segmentation", {"tile": 0}, "--tile and --overlap are for detection"),
    ],
)
def test_zero_is_not_nothing(task: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(task, **given)
