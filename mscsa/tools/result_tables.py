"""Tables of what trained models say, how good they are, and what is wrong with data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mscsa.data import Problem
from mscsa.errors import UserError
from mscsa.evaluation import Evaluation, Prediction
from mscsa.evaluation.miou import SegmentationScores
from mscsa.evaluation.scores import format_score
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.weights_file import ModelInfo
from mscsa.recipes.spec import SegmentationData
from mscsa.tools.report import Table
from mscsa.tools.saliency_picture import WrittenSaliency
from mscsa.tools.segmentation_picture import WrittenSegmentation


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
    """Lay out scores by class, where the task has them."""
    scores = result.scores
    if not isinstance(scores, SegmentationScores):
        return []
    by_class = zip(result.class_names, scores.class_iou, scores.class_accuracy, strict=True)
    return [
        Table(
            title="By class",
            columns=("class", "IoU (%)", "accuracy (%)"),
            rows=[
                (name, format_score(iou, "%"), format_score(accuracy, "%"))
                for name, iou, accuracy in by_class
            ],
            notes=("A dash: the class is neither in the images nor predicted, and not in the mean.",),
        )
    ]


def inference_options(
    info: ModelInfo,
    *,
    window: str,
    crop: int | None,
    stride: int | None,
    scales: Sequence[float],
    flip: bool,
) -> dict[str, Any]:
    """Turn the options of `mscsa eval` for segmentation into those of `evaluate`.

    Raises:
        UserError: If one is given and the model is for another task.
    """
    if not isinstance(info.data, SegmentationData):
        if window != "whole" or crop or stride or flip or tuple(scales) != (1.0,):
            raise UserError(
                f"the model is for {info.model.task}: leave --window, --crop, --stride, --scales and --flip "
                "out, which are for segmentation"
            )
        return {}
    if window == "whole" and (crop or stride):
        raise UserError(
            "--crop and --stride are of the sliding window: give --window slide, or leave them out"
        )
    side = crop or info.data.image_size
    inference = SegmentationInference(
        window=window,  # type: ignore[arg-type]
        crop=side,
        stride=stride or max(1, 2 * side // 3),
        scales=tuple(scales),
        flip=flip,
    )
    return {"inference": inference}


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
    """Lay out the problems of an image folder."""
    return Table(
        title=f"{len(problems)} problems in {root}",
        columns=("path", "problem", "what to do"),
        rows=[(problem.path, problem.what, problem.remedy) for problem in problems],
        num_text_columns=3,
    )
