"""What `mscsa predict` does with a model of each task, and what `mscsa eval` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mscsa.assembly import read_info
from mscsa.data.inputs import image_files
from mscsa.errors import UserError
from mscsa.evaluation import Evaluation, classify, detect, segment
from mscsa.evaluation.scores import score_values
from mscsa.evaluation.top1 import Accuracy
from mscsa.pictures.detections import write_detections
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.score_detail import draw_detail
from mscsa.pictures.segmentations import write_segmentations
from mscsa.progress import tracked
from mscsa.report import Table, write_json
from mscsa_cli.artifacts import Found, draw_images
from mscsa_cli.evaluation_options import evaluation_options
from mscsa_cli.parsing import Asking
from mscsa_cli.result_tables import detections_table, predictions_table, segmentations_table
from mscsa_runtime import Artifact


def predict_images(
    checkpoint: str | Artifact,
    images: Sequence[str],
    out: str | None,
    *,
    top_k: int,
    batch_size: int,
    threshold: float,
    device: str,
    asking: Asking,
    others: Sequence[str] = (),
) -> tuple[Found, Table]:
    """Predict images as the checkpoint's task is, and lay out what was found.

    Args:
        checkpoint: A file; or what is open already, an exported segmenter or detector.
        out: Folder for the pictures; all tasks but classification need it.
        top_k, batch_size: Of a classifier.
        threshold: Of a detector.
        asking: How a segmenter or detector is asked.
        others: Files that the command writes beside the pictures.
    Raises:
        UserError: If the checkpoint is not usable, or the folder is not given or cannot be written.
    """
    images = image_files(images)
    if isinstance(checkpoint, Artifact):
        if asking != Asking():
            raise UserError(
                f"{checkpoint.path} is asked once about an image: leave --window, --crop, --stride, "
                "--scales, --flip and --tile out, or give the checkpoint"
            )
        return draw_images(checkpoint, images, out, threshold=threshold, others=others)
    info = read_info(checkpoint)
    task = info.model.task
    options = evaluation_options(info, asking)
    if task == "classification":
        answers = classify(checkpoint, images, top_k=top_k, batch_size=batch_size, accelerator=device)
        classified = list(tracked(answers, "images", len(images)))
        return classified, predictions_table(classified)
    if out is None:
        raise UserError(f"the result of {task} is a picture: give --out DIR, the folder for it")
    folder = OutputFolder(Path(out), [*images, checkpoint, *others])
    if task == "segmentation":
        answered = segment(checkpoint, images, accelerator=device, **options)
        segmented = list(tracked(write_segmentations(answered, folder), "images", len(images)))
        return segmented, segmentations_table(segmented)
    detected = detect(checkpoint, images, accelerator=device, **options)
    drawn = list(tracked(write_detections(detected, folder, threshold=threshold), "images", len(images)))
    return drawn, detections_table(drawn)


def write_evaluation(
    result: Evaluation, checkpoint: str, *, json: str | None, out: str | None, others: Sequence[str]
) -> None:
    """Write what an evaluation came to, as JSON and as pictures, where they are asked for.

    Args:
        json: File for the numbers.
        out: Folder for the pictures.
        others: Files that the command writes beside these.
    Raises:
        UserError: If something cannot be written, or the task has no pictures.
    """
    if out is not None:
        draw_detail(result, OutputFolder(Path(out), [checkpoint, *others, *([json] if json else [])]))
    if json:
        write_json(json, {"checkpoint": checkpoint, **score_values(result.scores), **_detail_of(result)})


def _detail_of(result: Evaluation) -> dict[str, Any]:
    """Give what `score_values` leaves out, as plain values, with the names of the classes."""
    scores = result.scores
    detail: Any = getattr(scores, "detail", None)
    if isinstance(scores, Accuracy) and scores.confusion is not None:
        by_class = {"class_accuracy": [each.recall for each in scores.by_class()]}
        return {"class_names": result.class_names, **by_class, "confusion": scores.confusion[:, :-1].tolist()}
    return {} if detail is None else {"class_names": result.class_names, "detail": asdict(detail)}
