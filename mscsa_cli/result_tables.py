"""Tables of what trained models say, how good they are, and what is wrong with data."""

from __future__ import annotations

from collections.abc import Sequence

from mscsa.data import Problem
from mscsa.evaluation import Evaluation, Prediction
from mscsa.evaluation.scores import format_score
from mscsa.export import Exported
from mscsa.pictures.detections import WrittenDetections
from mscsa.pictures.saliency_maps import WrittenSaliency
from mscsa.pictures.segmentations import WrittenSegmentation
from mscsa.pictures.videos import WrittenVideo
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


def exported_table(exported: Exported) -> Table:
    """Lay out what was exported, and how it compares with the model."""
    metadata = exported.metadata
    rows = [
        ("files", ", ".join(str(exported.path.with_name(name)) for name in metadata.parts)),
        ("images", f"any batch, {metadata.sizes}"),
        ("largest difference, random inputs", f"{exported.difference:.2g} of the largest value"),
    ]
    if exported.difference_on_images is not None:
        rows.append(
            ("largest difference, images", f"{exported.difference_on_images:.2g} of the largest value")
        )
    if exported.scores is not None:
        model, artifact = (each.scores for each in exported.scores)
        for name, (label, unit) in model.LABELS.items():
            figures = (format_score(getattr(each, name), unit) for each in (model, artifact))
            rows.append((f"{label} ({unit}), model and artifact", ", ".join(figures)))
        if metadata.precision == "int8":
            label, unit = model.LABELS[model.MAIN]
            lost = getattr(model, model.MAIN) - getattr(artifact, model.MAIN)
            rows.append((f"{label} ({unit}) that 8 bits lose", format_score(lost, unit)))
    opset = f", opset {metadata.opset}" if metadata.opset else ""
    return Table(
        title=f"Exported: {metadata.task}, {metadata.precision}{opset}",
        columns=("what", ""),
        rows=rows,
        num_text_columns=2,
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


def videos_table(videos: Sequence[WrittenVideo]) -> Table:
    """Lay out what was written for each video, and the classes of the most frames."""
    return Table(
        title="Videos",
        columns=("video", "frames", "drawn", "by frame", "classes"),
        rows=[
            (
                each.path,
                str(each.frames),
                each.video or "-",
                each.lines,
                ", ".join(f"{name} in {count}" for name, count in each.classes[:3]),
            )
            for each in videos
            if each.frames
        ],
        num_text_columns=5,
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
