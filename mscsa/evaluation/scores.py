"""What a model is judged by, per task: how it is measured, named and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import nn

from mscsa.data.contract import ObjectDataset, TaskDataset
from mscsa.data.loading import ImageLoader
from mscsa.errors import UserError
from mscsa.evaluation.coco_ap import DetectionScores, InstanceScores, measure_detection
from mscsa.evaluation.detection_inference import InViews
from mscsa.evaluation.image_counts import ImageCounts
from mscsa.evaluation.miou import SegmentationScores, measure_segmentation
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.top1 import Accuracy, measure_accuracy
from mscsa.recipes.spec import Task


class Scores(Protocol):
    """Means over a data set: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    MAIN: ClassVar[str]
    """Field by which models are compared and the best weights are chosen; more is better."""
    LABELS: ClassVar[dict[str, tuple[str, str]]]
    """The scalar fields, the main one first: what people call each, and its unit."""
    IMAGES: ClassVar[type[ImageCounts]]
    """What is counted of each image."""

    @property
    def num_samples(self) -> int:
        """Images counted, over all processes."""

    @property
    def images(self) -> ImageCounts | None:
        """The counts by image, in the first process, where they were asked for."""


SCORES: dict[Task, type[Scores]] = {
    "classification": Accuracy,
    "segmentation": SegmentationScores,
    "detection": DetectionScores,
    "instance_segmentation": InstanceScores,
}
"""What each task's models are judged by."""

CLASS_SCORES = {"miou": "class_iou", "ap": "class_ap", "mask_ap": "class_mask_ap"}
"""Scores that a comparison shows by class -> the field that has them so."""


def score_names(kind: type[Scores]) -> tuple[str, ...]:
    """Name the scalar scores, the main one first."""
    return tuple(kind.LABELS)


def less_is_better(name: str) -> bool:
    """Say whether the better of two models has less of a score; of a loss alone."""
    return name == "loss"


def main_label(task: Task) -> str:
    """Say what the main score of a task is called; its unit is %."""
    kind = SCORES[task]
    return kind.LABELS[kind.MAIN][0]


def score_values(scores: Scores) -> dict[str, Any]:
    """Give the means as plain values, by name: what result files hold; counts by image are apart."""
    return {each.name: getattr(scores, each.name) for each in fields(scores) if each.name not in _APART}


_APART = ("images", "detail", "confusion")
"""Fields of scores that are too large for what holds the others."""


def describe_scores(scores: Scores) -> str:
    """Put all scalar scores that have a value in one line."""
    shown = [
        f"{label} {format_score(getattr(scores, name), unit)} {unit}"
        for name, (label, unit) in scores.LABELS.items()
        if getattr(scores, name) is not None
    ]
    return f"{', '.join(shown)} on {scores.num_samples} images"


def format_score(value: float | None, unit: str) -> str:
    """Write a score with the digits that its unit asks for; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.2f}" if unit == "%" else f"{value:.4f}"


def measure(
    task: Task,
    model: nn.Module,
    loader: ImageLoader,
    *,
    device: torch.device,
    precision: str = "32-true",
    stop: Callable[[], bool] | None = None,
    inference: SegmentationInference | InViews | None = None,
    results: str | Path | None = None,
    with_images: bool = False,
    with_detail: bool = False,
) -> Scores | None:
    """Run a model over a loader in eval mode and judge it as its task asks.

    In a process group each process gives its own share of the data; all get the same result.

    Args:
        loader: As `build_eval_loader` makes it; its data set knows classes and ground truth.
        precision: Lightning's name of the arithmetic.
        stop: Asked after each batch; once it answers True in any process, the result is None.
        inference: How a segmenter is asked about an image, or a detector, whose loader then gives images as
            they are.
        results: Where to write what a detector finds.
        with_images: Keep what is counted of each image (`Scores.images`); all processes must say the same.
        with_detail: Say what the scores are made of; likewise. A segmenter's always say it.
    Raises:
        UserError: If `inference` or `results` is given to another task, or the latter cannot be written.
        ValueError: If no process has a sample.
    """
    is_detection = task in ("detection", "instance_segmentation")
    if isinstance(inference, SegmentationInference) and task != "segmentation":
        raise UserError(f"inference={inference} is for segmentation, the model for {task}: leave it out")
    if isinstance(inference, InViews) and not is_detection:
        raise UserError(f"inference={inference} is for detection, the model for {task}: leave it out")
    if results is not None and not is_detection:
        raise UserError(f"results={str(results)!r} is for detection, the model for {task}: leave it out")
    common: dict[str, Any] = {
        **{"device": device, "precision": precision, "stop": stop},
        "with_images": with_images,
    }
    if task == "segmentation":
        num_classes = len(cast(TaskDataset, loader.dataset).class_names)
        assert not isinstance(inference, InViews), "refused above"
        return measure_segmentation(model, loader, num_classes=num_classes, inference=inference, **common)
    if is_detection:
        dataset = cast(ObjectDataset, loader.dataset)
        with_masks = task == "instance_segmentation"
        return measure_detection(
            model,
            loader,
            dataset=dataset,
            with_masks=with_masks,
            results=results,
            with_detail=with_detail,
            views=inference if isinstance(inference, InViews) else None,
            **common,
        )
    return measure_accuracy(model, loader, with_confusion=with_detail, **common)
