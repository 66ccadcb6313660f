"""What a model is judged by, per task: how it is measured, named and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from mscsa.data import ImageLoader
from mscsa.evaluation.coco_ap import DetectionScores, InstanceScores, measure_detection
from mscsa.evaluation.miou import SegmentationScores, measure_segmentation
from mscsa.evaluation.top1 import Accuracy, measure_accuracy
from mscsa.recipes.spec import Task


class Scores(Protocol):
    """Means over a data set: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    MAIN: ClassVar[str]
    """Field by which models are compared and the best weights are chosen; more is better."""
    LABELS: ClassVar[dict[str, tuple[str, str]]]
    """The scalar fields, the main one first: what people call each, and its unit."""

    @property
    def num_samples(self) -> int:
        """Images counted, over all processes."""


SCORES: dict[Task, type[Scores]] = {
    "classification": Accuracy,
    "segmentation": SegmentationScores,
    "detection": DetectionScores,
    "instance_segmentation": InstanceScores,
}
"""What each task's models are judged by."""


def score_names(kind: type[Scores]) -> tuple[str, ...]:
    """Name the scalar scores, the main one first."""
    return tuple(kind.LABELS)


def main_label(task: Task) -> str:
    """Say what the main score of a task is called; its unit is %."""
    kind = SCORES[task]
    return kind.LABELS[kind.MAIN][0]


def describe_scores(scores: Scores) -> str:
    """Put all scalar scores in one line."""
    shown = [
        f"{label} {format_score(getattr(scores, name), unit)} {unit}"
        for name, (label, unit) in scores.LABELS.items()
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
    **options: Any,
) -> Scores | None:
    """Run a model over a loader in eval mode and judge it as its task asks.

    In a process group each process gives its own share of the data; all get the same result.

    Args:
        loader: As `build_eval_loader` makes it; its data set knows classes and ground truth.
        precision: Lightning's name of the arithmetic.
        stop: Asked after each batch; once it answers True in any process, the result is None.
        **options: The task's own (`inference` of `measure_segmentation`, `results` of `measure_detection`).
    Raises:
        ValueError: If no process has a sample.
    """
    common: dict[str, Any] = {"device": device, "precision": precision, "stop": stop, **options}
    if task == "segmentation":
        return measure_segmentation(model, loader, num_classes=len(loader.dataset.class_names), **common)  # type: ignore[attr-defined]
    if task in ("detection", "instance_segmentation"):
        dataset: Any = loader.dataset
        with_masks = task == "instance_segmentation"
        return measure_detection(model, loader, dataset=dataset, with_masks=with_masks, **common)
    return measure_accuracy(model, loader, **common)
