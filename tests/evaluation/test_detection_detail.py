"""A detector's scores in depth: equal to pycocotools' lines, and right on cases worked out by hand."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mscsa.evaluation.coco_ap import DetectionScores, score_results
from mscsa.evaluation.detection_detail import DetectionDetail, confusion_of
from tests.evaluation.test_coco_ap import Truth, make_case, result


def scored(truth: dict[str, Any], results: list[Any], limit: int = 100) -> DetectionScores:
    ids = [each["id"] for each in truth["images"]]
    return score_results(truth, results, Truth(truth), ids, limit, True, with_detail=True)  # type: ignore[arg-type]


def detail_of(truth: dict[str, Any], results: list[Any]) -> DetectionDetail:
    detail = scored(truth, results).detail
    assert detail is not None
    return detail


def by_pycocotools(truth: dict[str, Any], results: list[Any], kind: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(truth)) | {"info": {}}
        reference.createIndex()
        kept = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
        found = reference.loadRes([{key: each[key] for key in kept} for each in results])
        evaluation = COCOeval(reference, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(3))
def test_the_twelve_lines_are_those_of_pycocotools(seed: int) -> None:
    truth, results = make_case(seed)
    detail = detail_of(truth, results)
    assert detail.masks is not None
    for kind, overlap in (("bbox", detail.boxes), ("segm", detail.masks)):
        reference = by_pycocotools(truth, results, kind)
        assert len(overlap.summary) == 12
        ours = [-1 if value is None else value / 100 for _, value in overlap.summary]
        np.testing.assert_allclose(ours, reference.stats, atol=1e-9)
        # By class, in the order of the labels: 3, 1, 8; the last has no object.
        places = [reference.params.catIds.index(each) for each in (3, 1, 8)]
        recall = reference.eval["recall"][:, :, 0, -1].mean(axis=0)[places]
        curve = reference.eval["precision"][0, :, :, 0, -1][:, places]
        assert [overlap.class_ar[2], overlap.class_ap50[2], overlap.class_precision[2]] == [None] * 3
        np.testing.assert_allclose(overlap.class_ar[:2], 100 * recall[:2])
        np.testing.assert_allclose(overlap.class_ap50[:2], 100 * curve.mean(axis=0)[:2])
        np.testing.assert_allclose(np.array(overlap.class_precision[:2]), 100 * curve.T[:2])


def test_scores_are_the_same_with_and_without() -> None:
    truth, results = make_case(0)
    ids = [each["id"] for each in truth["images"]]
    plain = score_results(truth, results, Truth(truth), ids, 100, True)  # type: ignore[arg-type]
    assert plain.detail is None and plain == scored(truth, results)


BOX, FAR = [10.0, 10.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]


def small_case() -> dict[str, Any]:
    """Four objects of 3 and one of 1 in as many images, and a crowd of 3 in the first."""
    images = [{"id": i, "height": 120, "width": 160, "file_name": ""} for i in range(1, 6)]
    objects = [(1, 3, BOX, 0), (2, 3, BOX, 0), (3, 3, BOX, 0), (4, 3, BOX, 0), (5, 1, BOX, 0), (1, 3, FAR, 1)]
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "area": 400, "iscrowd": crowd}
        | {"segmentation": result(image, category, box, 1.0)["segmentation"]}
        for i, (image, category, box, crowd) in enumerate(objects, start=1)
    ]
    categories = [{"id": each, "name": str(each)} for each in (1, 3, 8)]
    return {"images": images, "annotations": annotations, "categories": categories}


def small_results() -> list[Any]:
    """Hits at 0.9 and 0.8, an invention at 0.7, a third hit at 0.6, and inventions from 0.5 on. The object of
    1 is taken for 8; the crowd takes one that counts nowhere."""
    return [
        result(1, 3, BOX, 0.9),
        result(2, 3, BOX, 0.8),
        result(2, 3, FAR, 0.7),
        result(3, 3, BOX, 0.6),
        *(result(3, 3, [90.0, 10.0, 10.0 + i, 10.0], 0.5 - 0.01 * i) for i in range(9)),
        result(5, 8, BOX, 0.95),
        result(1, 3, FAR, 0.99),
    ]


def test_the_best_threshold_worked_out_by_hand() -> None:
    detail = detail_of(small_case(), small_results())
    best = detail.class_best[0]  # label 1: category 3
    assert best is not None and best.threshold == pytest.approx(0.6)
    # Three of four objects, with one invention: F1 = 6 / (4 + 4).
    assert (best.found, best.missed, best.invented) == (3, 1, 1)
    assert (best.f1, best.precision, best.recall) == pytest.approx((0.75, 0.75, 0.75))
    assert detail.class_best[1:] == (None, None)
    # All classes: one more object, and one more invention, of class 8.
    overall = detail.best
    assert overall is not None and (overall.found, overall.missed, overall.invented) == (3, 2, 2)
    assert overall.f1 == pytest.approx(6 / (5 + 5))


def test_detections_of_one_score_come_and_go_together() -> None:
    results = [{**each, "score": 0.5} for each in small_results()]
    best = detail_of(small_case(), results).class_best[0]
    assert best is not None and (best.found, best.invented) == (3, 10)


def test_confusions_worked_out_by_hand() -> None:
    detail = detail_of(small_case(), small_results())
    # Labels 3, 1, 8; then what is missed, and what is invented. Above 0.6: the object of 1 is found as 8, the
    # invention at 0.7 is nothing, the detection on the crowd counts nowhere.
    assert detail.confusion == ((3, 0, 0, 1), (0, 0, 1, 0), (0, 0, 0, 0), (1, 0, 0, 0))


def test_an_object_of_its_own_class_comes_before_a_surer_one_of_another() -> None:
    truth = small_case()
    truth["annotations"] = truth["annotations"][:1]
    results = [result(1, 1, BOX, 0.9), result(1, 3, BOX, 0.8)]
    counts = confusion_of(truth, results, [1], (3, 1, 8), 0.5)
    assert counts[0, 0] == 1 and counts[3, 1] == 1 and counts.sum() == 2


@pytest.mark.parametrize("seed", range(3))
def test_every_object_is_counted_once(seed: int) -> None:
    truth, results = make_case(seed)
    before = copy.deepcopy(truth)
    ids = [each["id"] for each in truth["images"]]
    counts = confusion_of(truth, results, ids, (3, 1, 8), 0.3)
    objects = [each for each in truth["annotations"] if not each["iscrowd"]]
    for label, category in enumerate((3, 1, 8)):
        assert counts[label].sum() == sum(each["category_id"] == category for each in objects)
    assert counts[:, :3].sum() <= sum(each["score"] >= 0.3 for each in results)
    assert truth == before


def test_nothing_found_has_no_threshold() -> None:
    detail = detail_of(small_case(), [])
    assert detail.best is None and detail.confusion[0] == (0, 0, 0, 4)
