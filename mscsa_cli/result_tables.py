"""Tables of what trained models say, how good they are, and what is wrong with data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mscsa.data import Problem
from mscsa.evaluation import DetectionScores, Evaluation, InstanceScores, Prediction
from mscsa.evaluation.miou import SegmentationScores
from mscsa.evaluation.scores import format_score
from mscsa.evaluation.top1 import Accuracy
from mscsa.pictures.confusion import draw_confusion
from mscsa.pictures.detections import WrittenDetections
from mscsa.pictures.saliency_maps import WrittenSaliency
from mscsa.pictures.segmentations import WrittenSegmentation
from mscsa.report import Table, show
from mscsa_cli.parsing import fail


def scores_table(checkpoint: str, result: Evaluation) -> Table:
    """Lay out measured scores."""
    labels, scores = result.scores.LABELS, result.scores
    figures = [format_score(getattr(scores, name), unit) for name, (_, unit) in labels.items()]
    return Table(
        title="Validation",
        columns=("checkpoint", *(f"{label} ({unit})" for label, unit in labels.values()), "images"),
        rows=[(checkpoint, *figures, str(scores.num_samples))],
    )


def class_table(result: Evaluation) -> list[Table]:
    """Lay out scores by class."""
    scores = result.scores
    if isinstance(scores, Accuracy):
        return [_accuracy_table(scores, result.class_names)]
    if isinstance(scores, SegmentationScores):
        columns = {"IoU (%)": scores.class_iou, "accuracy (%)": scores.class_accuracy}
        note = "A dash: the class is neither in the images nor predicted, and not in the mean."
    elif isinstance(scores, DetectionScores):
        columns = {"box AP (%)": scores.class_ap}
        if isinstance(scores, InstanceScores):
            columns["mask AP (%)"] = scores.class_mask_ap
        note = "A dash: the images have no object of the class, and it is not in the mean."
    else:
        return []
    by_class = zip(result.class_names, *columns.values(), strict=True)
    return [
        Table(
            title="By class",
            columns=("class", *columns),
            rows=[(name, *(format_score(value, "%") for value in values)) for name, *values in by_class],
            notes=(note,),
        )
    ]


def counts_by_class(result: Evaluation) -> dict[str, Any]:
    """Give what `score_values` leaves out of a classifier: images by label and predicted class, by name."""
    scores = result.scores
    if not isinstance(scores, Accuracy) or scores.confusion is None:
        return {}
    return {
        "class_names": list(result.class_names),
        "class_accuracy": [each.recall for each in scores.by_class()],
        "confusion": scores.confusion[:, :-1].tolist(),
    }


def draw_confusion_of(result: Evaluation, path: str) -> None:
    """Draw a classifier's confusion matrix."""
    assert isinstance(result.scores, Accuracy) and result.scores.confusion is not None
    draw_confusion(result.scores.confusion, result.class_names, Path(path))


def _accuracy_table(scores: Accuracy, names: Sequence[str]) -> Table:
    rows = []
    for name, each in zip(names, scores.by_class(), strict=True):
        figures = [format_score(value, "%") for value in (each.recall, each.precision)]
        other = "-" if each.taken_for is None else f"{each.taken_for[1]} x {names[each.taken_for[0]]}"
        rows.append((name, str(each.num_samples), *figures, other))
    return Table(
        title="By class",
        columns=("class", "images", "called right (%)", "right where called (%)", "mostly taken for"),
        rows=rows,
        notes=("A dash: there is no such image.",),
    )


def detections_table(detected: Sequence[WrittenDetections]) -> Table:
    """Lay out what was drawn for each image, and its most frequent classes."""
    return Table(
        title="Detections",
        columns=("image", "picture", "objects", "classes"),
        rows=[
            (
                each.path,
                each.picture,
                str(each.num_drawn),
                ", ".join(f"{count} x {name}" for name, count in each.counts[:3]),
            )
            for each in detected
            if each.error is None
        ],
        num_text_columns=4,
    )


def segmentations_table(segmentations: Sequence[WrittenSegmentation]) -> Table:
    """Lay out what was written for each image, and its largest classes."""
    return Table(
        title="Segmentations",
        columns=("image", "label map", "overlay", "largest classes"),
        rows=[
            (
                each.path,
                each.label_map,
                each.overlay,
                ", ".join(f"{name} {100 * share:.1f} %" for name, share in each.classes[:3]),
            )
            for each in segmentations
            if each.error is None
        ],
        num_text_columns=4,
    )


def saliency_table(written: Sequence[WrittenSaliency]) -> Table:
    """Lay out how each layer's attention is shared out over the scales, by image."""
    drawn = [each for each in written if each.error is None]
    num_scales = len(drawn[0].shares[0][1])
    return Table(
        title="Share of the attention that falls on the keys of each scale (%)",
        columns=("image", "layer", *(f"X_{j}" for j in range(num_scales))),
        rows=[
            (each.path if i == 0 else "", layer, *(f"{100 * share:.1f}" for share in shares))
            for each in drawn
            for i, (layer, shares) in enumerate(each.shares)
        ],
        num_text_columns=2,
        notes=(f"Written: {', '.join(file for each in drawn for file in each.files)}",),
    )


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """Lay out predictions, a line per class; images without one are left out."""
    return Table(
        title="Predictions",
        columns=("image", "class", "probability %"),
        rows=[
            (prediction.path if rank == 0 else "", name, f"{100 * probability:.1f}")
            for prediction in predictions
            for rank, (name, probability) in enumerate(prediction.classes)
        ],
        num_text_columns=2,
    )


def problems_table(root: str, problems: Sequence[Problem]) -> Table:
    """Lay out the problems of a data set."""
    return Table(
        title=f"{sum(problem.count for problem in problems):,} problems in {root}",
        columns=("path", "problem", "what to do"),
        rows=[(problem.path, problem.what, problem.remedy) for problem in problems],
        num_text_columns=3,
    )


def show_with_errors(tables: Sequence[Table], errors: Sequence[str | None]) -> int:
    """Show what was made of images, and a line for each that failed; give the exit code."""
    show(*tables)
    for error in errors:
        if error:
            fail(error)
    return 2 if any(errors) else 0
