"""What `mscsa predict` does with a model of each task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mscsa.assembly import read_info
from mscsa.errors import UserError
from mscsa.evaluation import Prediction, classify, detect, segment
from mscsa.pictures.detections import WrittenDetections, write_detections
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.segmentations import WrittenSegmentation, write_segmentations
from mscsa.progress import tracked
from mscsa.report import Table
from mscsa_cli.result_tables import detections_table, predictions_table, segmentations_table

Found = Sequence[Prediction] | Sequence[WrittenSegmentation] | Sequence[WrittenDetections]


def predict_images(
    checkpoint: str,
    images: Sequence[str],
    out: str | None,
    *,
    top_k: int,
    batch_size: int,
    threshold: float,
    device: str,
    others: Sequence[str] = (),
) -> tuple[Found, Table]:
    """Predict images as the checkpoint's task is, and lay out what was found.

    Args:
        out: Folder for the pictures; all tasks but classification need it.
        top_k, batch_size: Of a classifier.
        threshold: Of a detector.
        others: Files that the command writes beside the pictures.
    Raises:
        UserError: If the checkpoint is not usable, or the folder is not given or cannot be written.
    """
    task = read_info(checkpoint).model.task
    if task == "classification":
        answers = classify(checkpoint, images, top_k=top_k, batch_size=batch_size, accelerator=device)
        classified = list(tracked(answers, "images", len(images)))
        return classified, predictions_table(classified)
    if out is None:
        raise UserError(f"the result of {task} is a picture: give --out DIR, the folder for it")
    folder = OutputFolder(Path(out), [*images, checkpoint, *others])
    if task == "segmentation":
        written = write_segmentations(segment(checkpoint, images, accelerator=device), folder)
        segmented = list(tracked(written, "images", len(images)))
        return segmented, segmentations_table(segmented)
    detected = detect(checkpoint, images, accelerator=device)
    drawn = list(tracked(write_detections(detected, folder, threshold=threshold), "images", len(images)))
    return drawn, detections_table(drawn)
