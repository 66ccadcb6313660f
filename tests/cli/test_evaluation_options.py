"""The options of `mscsa eval` that belong to single tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationData, DataSpec, DetectionData, SegmentationData
from mscsa_cli.evaluation_options import evaluation_options

DATA: dict[str, DataSpec] = {
    "classification": ClassificationData(kind="folder"),
    "segmentation": SegmentationData(kind="masks", image_size=90),
    "detection": DetectionData(kind="coco"),
}
DEFAULTS: dict[str, Any] = {
    **{"window": "whole", "crop": None, "stride": None, "scales": (1.0,), "flip": False, "results": None},
    "confusion": None,
}


def options(task: str, **given: Any) -> dict[str, Any]:
    info: Any = SimpleNamespace(data=DATA[task], model=SimpleNamespace(task=task))
    return evaluation_options(info, **{**DEFAULTS, **given})


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
    assert options("classification", confusion="a.png") == {}  # drawn of what is measured anyway


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("classification", {"results": "a.json"}, "for classification: leave --results out"),
        ("segmentation", {"results": "a.json"}, "for segmentation: leave --results out"),
        ("detection", {"flip": True}, "for detection: leave --window, --crop, --stride, --scales and --flip"),
        ("classification", {"scales": (1.0, 0.5)}, "which are for segmentation"),
        ("segmentation", {"confusion": "a.png"}, "for segmentation: leave --confusion out"),
        ("detection", {"confusion": "a.png"}, "for detection: leave --confusion out"),
        ("segmentation", {"stride": 4}, "--crop and --stride are of the sliding window"),
    ],
)
def test_what_is_of_another_task_is_refused(task: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(task, **given)
