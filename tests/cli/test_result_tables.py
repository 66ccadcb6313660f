"""Tables of what trained models say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.data import Problem
from mscsa.evaluation import Accuracy, Prediction
from mscsa.export import Exported
from mscsa.pictures.detections import WrittenDetections
from mscsa.pictures.saliency_maps import WrittenSaliency
from mscsa.pictures.segmentations import WrittenSegmentation
from mscsa.pictures.videos import WrittenVideo
from mscsa.report import Table
from mscsa_cli.result_tables import (
    detections_table,
    exported_table,
    predictions_table,
    problems_table,
    saliency_table,
    scores_table,
    segmentations_table,
    show_with_errors,
    videos_table,
)
from tests.runtime.small_files import METADATA


def test_scores_have_their_units_and_the_number_of_images() -> None:
    scores = Accuracy(top1=50.0, top5=90.0, loss=1.25, num_samples=8)
    evaluation: Any = SimpleNamespace(scores=scores, class_names=("cat", "dog"))
    table = scores_table("best.safetensors", evaluation)
    (row,) = table.rows
    assert row[0] == "best.safetensors" and row[-1] == "8"
    assert dict(zip(table.columns, row, strict=True))["top-1 (%)"] == "50.00"


@pytest.mark.parametrize(("precision", "lost"), [("int8", "1.25"), ("float32", None)])
def test_what_8_bits_lose_is_said(precision: Any, lost: str | None) -> None:
    both: Any = [
        SimpleNamespace(scores=Accuracy(top1=top1, top5=None, loss=1.0, num_samples=8))
        for top1 in (50, 48.75)
    ]
    exported = Exported(
        path=Path("out/model.onnx"),
        metadata=replace(METADATA, precision=precision),
        difference=1e-7,
        scores=(both[0], both[1]),
    )
    rows = dict(exported_table(exported).rows)
    assert rows["top-1 (%), model and artifact"] == "50.00, 48.75"
    assert rows.get("top-1 (%) that 8 bits lose") == lost


def test_a_line_for_each_class_and_none_for_what_failed() -> None:
    good = Prediction(path="a.png", classes=(("cat", 0.75), ("dog", 0.25)))
    table = predictions_table([good, Prediction(path="b.png", error="no image")])
    assert table.rows == [("a.png", "cat", "75.0"), ("", "dog", "25.0")]


def test_pictures_with_their_most_frequent_classes() -> None:
    counts = (("cat", 3), ("dog", 2), ("cow", 1), ("owl", 1))
    good = WrittenDetections(path="a.png", picture="out/a.png", num_drawn=7, counts=counts)
    table = detections_table([good, WrittenDetections(path="b.png", error="no image")])
    assert table.rows == [("a.png", "out/a.png", "7", "3 x cat, 2 x dog, 1 x cow")]


def test_label_maps_with_their_largest_classes() -> None:
    classes = (("sky", 0.5), ("sea", 0.25), ("sand", 0.125), ("boat", 0.125))
    good = WrittenSegmentation(path="a.png", label_map="a_.png", overlay="a_overlay.png", classes=classes)
    table = segmentations_table([WrittenSegmentation(path="b.png", error="no image"), good])
    assert table.rows == [("a.png", "a_.png", "a_overlay.png", "sky 50.0 %, sea 25.0 %, sand 12.5 %")]


def test_shares_of_attention_by_layer() -> None:
    shares = (("block 1, first CSA", (0.5, 0.25, 0.25)), ("block 1, second CSA", (1.0, 0.0, 0.0)))
    good = WrittenSaliency(path="a.png", files=("a.json", "a.png"), shares=shares)
    table = saliency_table([WrittenSaliency(path="b.png", error="no image"), good])
    assert table.columns[2:] == ("X_0", "X_1", "X_2")
    assert [row[:2] for row in table.rows] == [("a.png", shares[0][0]), ("", shares[1][0])]
    assert table.rows[0][2:] == ("50.0", "25.0", "25.0")
    assert table.notes == ("Written: a.json, a.png",)


def test_problems_are_counted() -> None:
    problems = [Problem(path="a", what="empty", remedy="remove it", count=1_200)]
    assert problems_table("data", problems).title == "1,200 problems in data"


@pytest.mark.parametrize(("errors", "code"), [([None, None], 0), ([None, "b.png: no image"], 2), ([], 0)])
def test_errors_follow_the_table(
    capsys: pytest.CaptureFixture[str], errors: list[str | None], code: int
) -> None:
    assert show_with_errors([Table(title="t", columns=("a",), rows=[("1",)])], errors) == code
    out, err = capsys.readouterr()
    assert out == "t\na\n1\n"
    assert err == "".join(f"error: {error}\n" for error in errors if error)


def test_a_video_is_shown_with_its_files_if_a_frame_could_be_read() -> None:
    cut = WrittenVideo(
        path="a.mp4", video="out/a.mp4", lines="out/a.jsonl", frames=7, classes=(("cat", 6),), error="cut off"
    )
    lines_alone = WrittenVideo(path="b.mp4", lines="out/b.jsonl", frames=2)
    table = videos_table([cut, WrittenVideo(path="c.mp4", error="no video"), lines_alone])
    assert list(table.rows) == [
        ("a.mp4", "7", "out/a.mp4", "out/a.jsonl", "cat in 6"),
        ("b.mp4", "2", "-", "out/b.jsonl", ""),
    ]
