"""Tables of what scores are made of."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from mscsa.evaluation import Accuracy
from mscsa.evaluation.coco_ap import score_results
from mscsa.evaluation.miou import SegmentationDetail, SegmentationScores
from mscsa.report import Table
from mscsa_cli.detail_tables import detail_tables
from tests.evaluation.test_coco_ap import Truth, make_case

SCORES = SegmentationScores(
    miou=50.0,
    mean_accuracy=60.0,
    loss=1.0,
    pixel_accuracy=70.0,
    class_iou=(50.0, None),
    class_accuracy=(60.0, None),
    num_samples=3,
)


def tables_of(scores: Any, *names: str) -> dict[str, Table]:
    result: Any = SimpleNamespace(scores=scores, class_names=names)
    return {table.title: table for table in detail_tables(result)}


def test_what_a_classifier_takes_for_what() -> None:
    bare = Accuracy(top1=50.0, top5=90.0, loss=1.25, num_samples=8)
    assert tables_of(bare, "cat", "dog") == {}
    confusion = np.array([[3, 1, 0], [2, 1, 1]])
    (table,) = tables_of(replace(bare, confusion=confusion), "cat", "dog").values()
    assert table.rows == [
        ("cat", "4", "75.00", "60.00", "1 x dog"),
        ("dog", "4", "25.00", "50.00", "2 x cat"),
    ]


def test_classes_that_are_not_there_are_a_dash() -> None:
    (table,) = tables_of(SCORES, "cat", "dog").values()
    assert table.rows == [("cat", "50.00", "60.00"), ("dog", "-", "-")]


def test_pixels_taken_for_another_class_the_most_frequent_first() -> None:
    detail = SegmentationDetail(confusion=((5, 1000, 0), (2000, 8000, 1)))
    table = tables_of(replace(SCORES, detail=detail), "cat", "dog")["Most frequent confusions"]
    assert table.rows == [
        ("dog", "cat", "2,000", "20.0"),
        ("cat", "dog", "1,000", "99.5"),
        ("dog", "not finite", "1", "0.0"),
    ]


def test_a_detector_has_cocos_lines_thresholds_and_confusions() -> None:
    truth, results = make_case(0)
    ids = [each["id"] for each in truth["images"]]
    scores = score_results(truth, results, Truth(truth), ids, 100, True, with_detail=True)  # type: ignore[arg-type]
    tables = tables_of(scores, "a", "b", "c")
    lines = tables["COCO's figures"]
    assert lines.columns == ("", "boxes (%)", "masks (%)") and len(lines.rows) == 12
    assert lines.rows[0] == ("AP", f"{scores.ap:.2f}", f"{scores.mask_ap:.2f}")  # type: ignore[attr-defined]
    assert tables["By class"].columns[1:4] == ("box AP (%)", "AP50 (%)", "AR (%)")
    best = tables["Least score of the best F1, boxes at IoU 0.50"]
    assert [row[0] for row in best.rows] == ["all classes", "a", "b", "c"]
    # No object of the third class: nothing to be best at.
    assert best.rows[3][1:] == ("-",) * 7
    named = tables["Most frequent confusions, at that score"].rows
    assert any(row[1] == "missed" for row in named) and any(row[0] == "invented" for row in named)
