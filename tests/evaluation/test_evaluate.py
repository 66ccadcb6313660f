"""A file of weights is enough to evaluate, alone or by several processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mscsa.data.scenes.collection import SceneCollection
from mscsa.errors import UserError
from mscsa.evaluation.detect import detect
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.evaluate import evaluate, evaluate_model
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.recipes.spec import GIVEN_PLACES
from tests.evaluation.process_groups import run_group
from tests.evaluation.sided import DOORS, SideFinder, SidePainter, info_of, write_maps, write_objects


def test_the_validation_set_is_the_files_own(classifier: Path) -> None:
    found = evaluate(classifier)
    assert found.task == "classification"
    assert found.class_names == tuple("0123456789")
    assert found.scores.num_samples == 9


def test_other_data_of_the_same_classes_may_be_given(classifier: Path) -> None:
    more = evaluate(classifier, {"num_val": 13, "eval_batch_size": 5})
    assert more.scores.num_samples == 13
    with pytest.raises(UserError, match="no field 'rot': did you mean root"):
        evaluate(classifier, {"rot": "x"})
    with pytest.raises(UserError, match="no such folder"):
        evaluate(classifier, {"kind": "folder", "root": "/nowhere/at/all"})


def test_other_data_may_lack_a_class(classifier: Path, tmp_path: Path) -> None:
    for name in "358":
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (60, 9, 20 * int(name))).save(tmp_path / "val" / name / "a.png")
    scores: Any = evaluate(classifier, {"kind": "folder", "root": str(tmp_path)}).scores
    assert [each.num_samples for each in scores.by_class()] == [0, 0, 0, 1, 0, 1, 0, 0, 1, 0]
    assert scores.by_class()[0].recall is None
    (tmp_path / "val" / "x").mkdir()
    with pytest.raises(UserError, match="unknown 'x', missing '0', '1', '2'"):
        evaluate(classifier, {"kind": "folder", "root": str(tmp_path)})


def test_an_unreadable_image_is_left_out_where_the_run_allowed_for_it(
    classifier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "0123456789":
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (60, 9, 20 * int(name))).save(tmp_path / "val" / name / "a.png")
    (tmp_path / "val/3/a.png").write_bytes(b"no image")
    data = {"kind": "folder", "root": str(tmp_path)}
    with pytest.raises(UserError, match="val/3/a.png"):
        evaluate(classifier, data)
    scores = evaluate(classifier, {**data, "max_bad": 1}).scores
    assert scores.num_samples == 9
    assert "val/3/a.png" in caplog.text and "it is left out of the scores" in caplog.text


def test_places_that_are_given_one_by_one_need_no_root(detector: Path) -> None:
    with pytest.raises(UserError, match="does not say where its data is"):
        evaluate(detector, {"kind": "coco"})
    with pytest.raises(UserError, match="data.val_annotations gone is not there"):
        evaluate(detector, {"kind": "coco", **dict.fromkeys(GIVEN_PLACES, "gone")})


def test_a_segmenter_may_be_asked_otherwise(segmenter: Path) -> None:
    plain = evaluate(segmenter)
    averaged = evaluate(segmenter, inference=SegmentationInference(flip=True, scales=(1.0, 1.5)))
    assert plain.scores.num_samples == averaged.scores.num_samples == 9
    assert plain.scores != averaged.scores
    detail = getattr(plain.scores, "detail")  # noqa: B009 (of segmenters and detectors alone)
    hits = sum(row[i] for i, row in enumerate(detail.confusion))
    total = sum(map(sum, detail.confusion))
    assert 100 * hits / total == pytest.approx(getattr(plain.scores, "pixel_accuracy"))  # noqa: B009
    with pytest.raises(UserError, match="is for detection, the model for segmentation"):
        evaluate(segmenter, results="results.json")


def test_what_a_detector_finds_may_be_kept(detector: Path, tmp_path: Path) -> None:
    evaluate(detector, {"num_val": 2}, results=tmp_path / "results.json")
    written = json.loads((tmp_path / "results.json").read_text())
    assert {each["image_id"] for each in written} == {0, 1}


def test_a_detector_is_asked_in_tiles_as_of_single_images(detector: Path, tmp_path: Path) -> None:
    """Scenes have 48 px: tiles of 64 cut none, those of 32 do."""
    plain = evaluate(detector, {"num_val": 3})
    whole = evaluate(detector, {"num_val": 3, "workers": 1}, inference=DetectionInference(tile=64))
    assert whole == plain
    views = DetectionInference(tile=32, flip=True)
    found = evaluate(detector, {"num_val": 3}, inference=views, results=tmp_path / "results.json")
    assert found.scores.num_samples == 3
    scenes = SceneCollection(split="val", num_scenes=3, size=48, max_digits=3)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        Image.fromarray(scenes.render(i).image).save(file)
    alone = list(detect(detector, files, inference=views))
    written = json.loads((tmp_path / "results.json").read_text())
    assert [each["score"] for each in written] == [
        float(score) for each in alone if each.detections for score in each.detections.scores
    ]
    assert len(written) > sum(
        len(each.detections.scores) for each in detect(detector, files) if each.detections
    )


def test_tiles_are_for_detectors(segmenter: Path, classifier: Path) -> None:
    for checkpoint, task in ((segmenter, "segmentation"), (classifier, "classification")):
        with pytest.raises(UserError, match=f"is for detection, the model for {task}"):
            evaluate(checkpoint, inference=DetectionInference(tile=32))


BY_DATA = {"left_door": "right_door", "right_door": "left_door"}


@pytest.mark.parametrize(
    ("pairs", "flips", "warning"),
    [
        (DOORS, None, None),
        ((), BY_DATA, None),
        (DOORS, BY_DATA, None),
        ((), None, "names say left and right: leave --flip out"),
    ],
    ids=["weights", "data", "both", "none"],
)
@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_mirror_images_swap_the_classes_of_the_weights_or_else_of_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, task: str, pairs: Any, flips: Any, warning: str | None
) -> None:
    """Models that are exact stay so; a file of before has no pairs, and the data may have none."""
    is_maps = task == "segmentation"
    data: Any = (write_maps if is_maps else write_objects)(tmp_path, flips)
    inference = SegmentationInference(flip=True) if is_maps else DetectionInference(flip=True)

    def score(inference: Any) -> float:
        model = (SidePainter() if is_maps else SideFinder()).eval()
        info, device = info_of(data, pairs), torch.device("cpu")
        found: Any = evaluate_model(
            model, info, None, device=device, precision="32-true", inference=inference
        )
        value = found.scores.miou if is_maps else found.scores.ap
        return float(value)

    assert score(None) == pytest.approx(100) and not caplog.records
    if warning is None:
        assert score(inference) == pytest.approx(100) and not caplog.records
    else:
        assert score(inference) < 90
        assert [warning in record.getMessage() for record in caplog.records] == [True]


def _evaluate_share(rank: int, size: int, folder: Path, checkpoint: Path) -> None:
    (folder / f"{rank}.txt").write_text(repr(evaluate(checkpoint)))


def test_processes_of_a_group_share_the_images(classifier: Path, tmp_path: Path) -> None:
    run_group(_evaluate_share, 2, tmp_path, classifier)
    first, second = ((tmp_path / f"{rank}.txt").read_text() for rank in (0, 1))
    assert first == second and "num_samples=9" in first
    alone = evaluate(classifier).scores
    assert f"top1={alone.top1!r}" in first  # type: ignore[attr-defined]


def _evaluate_with_bad(rank: int, size: int, folder: Path, classifier: Path) -> None:
    data = {"kind": "folder", "root": str(folder), "eval_batch_size": 2}
    scores = evaluate(classifier, {**data, "max_bad": 4}).scores
    with pytest.raises(UserError, match="4 images cannot be used, data.max_bad allows 3"):
        evaluate(classifier, {**data, "max_bad": 3})
    (folder / f"{rank}.txt").write_text(str(scores.num_samples))


def test_unreadable_images_are_counted_over_all_processes(classifier: Path, tmp_path: Path) -> None:
    for name in "0123456789":
        (tmp_path / "val" / name).mkdir(parents=True)
        image = tmp_path / "val" / name / "a.png"
        Image.new("RGB", (32, 32), (60, 9, 20 * int(name))).save(image)
        if name in "0123":  # two for each process
            image.write_bytes(b"no image")
    run_group(_evaluate_with_bad, 2, tmp_path, classifier)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["6", "6"]
