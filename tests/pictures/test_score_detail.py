"""Pictures of what scores are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from mscsa.errors import UserError
from mscsa.evaluation import Accuracy
from mscsa.evaluation.miou import SegmentationDetail
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.score_detail import PICTURES, draw_detail
from tests.cli.test_detail_tables import SCORES
from tests.evaluation.test_coco_ap import make_case
from tests.evaluation.test_detection_detail import scored


def drawn(scores: Any, folder: Path, *names: str) -> list[str]:
    result: Any = SimpleNamespace(scores=scores, class_names=names)
    return draw_detail(result, OutputFolder(folder, []))


def names_of(task: Any, folder: Path) -> list[str]:
    return [str(folder / f"{name}.png") for name in PICTURES[task]]


def test_a_detector_has_curves_and_confusions(tmp_path: Path) -> None:
    files = drawn(scored(*make_case(0)), tmp_path, "cat", "dog", "cow")
    assert files == [str(tmp_path / "precision_recall.png"), str(tmp_path / "confusion.png")]
    assert files == names_of("detection", tmp_path) == names_of("instance_segmentation", tmp_path)
    sizes = [Image.open(file).size for file in files]
    assert sizes[0][0] > 1.5 * sizes[0][1] and min(sizes[1]) > 300
    with pytest.raises(UserError, match="is there already and is not overwritten"):
        drawn(scored(*make_case(0)), tmp_path, "cat", "dog", "cow")


@pytest.mark.slow
def test_a_segmenter_has_confusions_of_any_number_of_classes(tmp_path: Path) -> None:
    count = 60
    rows = tuple(tuple(10 * (i == j) + j for j in range(count)) + (0,) for i in range(count))
    names = [f"class {i}" for i in range(count)]
    (file,) = drawn(replace(SCORES, detail=SegmentationDetail(confusion=rows)), tmp_path, *names)
    assert Image.open(file).width > 1000


def test_a_classifier_has_none(tmp_path: Path) -> None:
    assert drawn(Accuracy(top1=1.0, top5=2.0, loss=1.0, num_samples=1), tmp_path, "cat") == []
