"""Scores: named and shown alike for all tasks, and measured as each task asks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from mscsa.assembly.weights_file import load_trained
from mscsa.data.datasets import build_dataset
from mscsa.data.loading import build_eval_loader
from mscsa.errors import UserError
from mscsa.evaluation.coco_ap import InstanceScores
from mscsa.evaluation.miou import SegmentationScores
from mscsa.evaluation.scores import (
    CLASS_SCORES,
    SCORES,
    describe_scores,
    format_score,
    main_label,
    measure,
    score_names,
)
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.top1 import Accuracy
from mscsa.recipes.spec import PARTS, Task

CPU = torch.device("cpu")
CLASS_TABLES = {"classification": 0, "segmentation": 1, "detection": 1, "instance_segmentation": 2}


@pytest.mark.parametrize("task", SCORES)
def test_scores_of_a_task_are_described_fields(task: Task) -> None:
    kind = SCORES[task]
    known = {field.name for field in fields(kind)}
    assert set(score_names(kind)) < known and "num_samples" in known
    assert score_names(kind)[0] == kind.MAIN
    assert kind.LABELS[kind.MAIN][1] == "%"
    assert main_label(task) == kind.LABELS[kind.MAIN][0]
    assert {CLASS_SCORES[name] for name in score_names(kind) if name in CLASS_SCORES} <= known
    assert len([name for name in known if name in CLASS_SCORES]) == CLASS_TABLES[task]


def test_every_task_has_scores() -> None:
    assert SCORES.keys() == PARTS.keys()
    assert len({main_label(task) for task in ("classification", "segmentation", "detection")}) == 3


def test_scores_are_shown_with_their_units() -> None:
    assert format_score(12.345, "%") == "12.35" or format_score(12.345, "%") == "12.34"
    assert format_score(0.123456, "nats") == "0.1235"
    assert format_score(None, "%") == "-"
    scores = Accuracy(top1=50.0, top5=75.0, loss=1.5, num_samples=8)
    assert describe_scores(scores) == "top-1 50.00 %, top-5 75.00 %, loss 1.5000 nats on 8 images"


@pytest.mark.parametrize(
    ("fixture", "kind"),
    [("classifier", Accuracy), ("segmenter", SegmentationScores), ("detector", InstanceScores)],
)
def test_each_task_is_measured_by_its_own_scores(
    request: pytest.FixtureRequest, fixture: str, kind: type, tmp_path: Path
) -> None:
    model, info = load_trained(request.getfixturevalue(fixture))
    task = info.model.task
    dataset = build_dataset("val", info.data, PARTS[task][1](), info.input, 0, with_masks=True)
    loader = build_eval_loader(dataset, info.data)
    model.train()
    scores = measure(task, model, loader, device=CPU)
    assert type(scores) is kind and model.training
    assert scores.num_samples == 9
    assert measure(task, model, loader, device=CPU, stop=lambda: True) is None
    if kind is not SegmentationScores:
        with pytest.raises(UserError, match="is for segmentation, the model for .*: leave it out"):
            measure(task, model, loader, device=CPU, inference=SegmentationInference(flip=True))
    if kind is not InstanceScores:
        with pytest.raises(UserError, match="is for detection, the model for .*: leave it out"):
            measure(task, model, loader, device=CPU, results=tmp_path / "results.json")
        assert not (tmp_path / "results.json").exists()
