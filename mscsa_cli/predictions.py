"""What `mscsa predict` does with a model of each task, and what `mscsa eval` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mscsa.assembly import read_info
from mscsa.data.inputs import image_files
from mscsa.data.videos import is_video, read_frames
from mscsa.errors import UserError
from mscsa.evaluation import Evaluation, classify, detect, segment
from mscsa.evaluation.scores import score_values
from mscsa.evaluation.top1 import Accuracy
from mscsa.pictures.detections import write_detections
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.score_detail import PICTURES, draw_detail
from mscsa.pictures.segmentations import write_segmentations
from mscsa.pictures.videos import drawing_of, write_video
from mscsa.progress import tracked
from mscsa.recipes.spec import Task
from mscsa.report import Table, write_json
from mscsa_cli.artifacts import Ask, Found, asked_of_artifact, no_pictures
from mscsa_cli.evaluation_options import evaluation_options
from mscsa_cli.parsing import Asking
from mscsa_cli.result_tables import detections_table, predictions_table, segmentations_table, videos_table
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
) -> tuple[list[Found], list[Table]]:
    """Predict images and videos as the checkpoint's task is, and lay out what was found.

    Args:
        checkpoint: A file; or what is open already, an exported segmenter or detector.
        images: Files, folders and patterns.
        out: Folder for the pictures; all tasks but classification need it, and videos do.
        top_k, batch_size: Of a classifier.
        threshold: Of a detector.
        asking: How a segmenter or detector is asked.
        others: Files that the command writes beside the pictures.
    Raises:
        UserError: If the checkpoint is not usable, or the folder is not given or cannot be written.
    """
    files = image_files(images)
    stills, videos = ([each for each in files if is_video(each) == wanted] for wanted in (False, True))
    if isinstance(checkpoint, Artifact):
        task, ask = asked_of_artifact(checkpoint, asking)
    else:
        options = {"top_k": top_k, "batch_size": batch_size}
        task, ask = _asked(checkpoint, asking, device, options)
    if out is None and (videos or task != "classification"):
        what = (
            "what is found in a video is written to files" if videos else f"the result of {task} is a picture"
        )
        raise UserError(f"{what}: give --out DIR, the folder for it")
    if out is not None and task == "classification" and not videos:
        raise UserError(no_pictures(out))
    path = str(checkpoint.path) if isinstance(checkpoint, Artifact) else checkpoint
    folder = OutputFolder(Path(out or "."), [*files, path, *others])
    folder.check(())
    found: list[Found] = []
    tables = []
    if stills:
        answers, table = _of_stills(task, ask(stills), folder, threshold, len(stills))
        found += answers
        tables.append(table)
    if videos:
        written = [
            write_video(each, read_frames(each), ask, drawing_of(task, threshold), folder) for each in videos
        ]
        found += written
        tables.append(videos_table(written))
    return found, tables


def _asked(checkpoint: str, asking: Asking, device: str, of_classifier: dict[str, Any]) -> tuple[str, Ask]:
    """Give the task of a checkpoint, and how its model is asked about images."""
    info = read_info(checkpoint)
    options = evaluation_options(info, asking)
    task = info.model.task
    if task == "classification":
        return task, partial(classify, checkpoint, accelerator=device, **of_classifier)
    function = segment if task == "segmentation" else detect
    return task, partial(function, checkpoint, accelerator=device, **options)


def _of_stills(
    task: str, answers: Iterator[Any], folder: OutputFolder, threshold: float, count: int
) -> tuple[Sequence[Found], Table]:
    """Write what a model says about images, and lay it out."""
    if task == "classification":
        classified = list(tracked(answers, "images", count))
        return classified, predictions_table(classified)
    if task == "segmentation":
        segmented = list(tracked(write_segmentations(answers, folder), "images", count))
        return segmented, segmentations_table(segmented)
    drawn = list(tracked(write_detections(answers, folder, threshold=threshold), "images", count))
    return drawn, detections_table(drawn)


def detail_folder(out: Path, task: Task, others: Iterable[str]) -> OutputFolder:
    """Take a folder for the pictures of an evaluation, before it is made, which may take hours.

    Args:
        others: Files that the command reads, or writes beside them.
    Raises:
        UserError: If it is no folder, or one of the pictures is there already.
    """
    folder = OutputFolder(out, others)
    folder.check(f"{name}.png" for name in PICTURES[task])
    return folder


def write_evaluation(
    result: Evaluation, checkpoint: str, *, json: str | None, folder: OutputFolder | None
) -> None:
    """Write what an evaluation came to, as JSON and as pictures, where they are asked for.

    Args:
        json: File for the numbers.
        folder: For the pictures.
    Raises:
        UserError: If something cannot be written.
    """
    if folder is not None:
        draw_detail(result, folder)
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
