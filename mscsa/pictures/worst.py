"""The images that a trained model is worst at: truth beside prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.ops import box_iou

from mscsa.assembly.weights_file import WeightsInfo, read_info
from mscsa.data.contract import IGNORED, TaskDataset
from mscsa.data.datasets import build_dataset
from mscsa.data.tolerance import tolerant
from mscsa.data.videos import Frame
from mscsa.errors import UserError
from mscsa.evaluation.classify import classify
from mscsa.evaluation.detect import detect
from mscsa.evaluation.detections import Detections
from mscsa.evaluation.matches import match_objects
from mscsa.evaluation.segment import segment
from mscsa.pictures.contact_sheet import Tile
from mscsa.pictures.detections import draw_objects
from mscsa.pictures.samples import as_detections, picture, unchanged
from mscsa.pictures.segmentations import blended
from mscsa.recipes.spec import PARTS

Judged = tuple[float, str, Callable[[], Image.Image]]
"""How good a prediction is, higher is better; what was said, in words; and what draws it."""

_THRESHOLD, _LEAST_IOU = 0.5, 0.5


def worst_rows(checkpoint: str, count: int, device: str, root: str | None = None) -> list[list[Tile]]:
    """Draw the images of the validation set that a model is worst at, the worst first: truth, prediction.

    Classifiers are judged by the probability of the right class, segmenters by the mean IoU of the classes
    that are in the labels or predicted, detectors by 2 * right / (objects + found), of what is found with a
    score and an IoU of 0.5.

    Args:
        root: Folder of the data, where it is no longer the one of training.
    Raises:
        UserError: If the checkpoint or its data is not usable, or the images are rendered.
    """
    info = read_info(checkpoint)
    data = replace(info.data, **info.overrides(root=root, size=None))
    if data.is_rendered:
        raise UserError(f"{checkpoint} was trained on {info.data.kind}, which are no files: give another run")
    with_masks = info.model.task == "instance_segmentation"
    augment = PARTS[info.model.task][1]()
    found = build_dataset("val", data, augment, info.input, 0, info.class_names, with_masks=with_masks)
    dataset = tolerant(unchanged(found), "val", data.max_bad)
    readable = [i for i in range(len(dataset)) if not data.max_bad or dataset[i] is not None]
    judged = zip(readable, _judged(checkpoint, dataset, readable, info, device), strict=True)
    rows = []
    for index, (_, said, draw) in sorted(judged, key=lambda each: each[1][0])[:count]:
        pixels, target, _ = dataset[index]
        name = Path(dataset.describe(index)).name
        truth = dataset.class_names[target] if isinstance(target, int) else "truth"
        rows.append(
            [Tile(picture(pixels, target, dataset.class_names), f"{name}: {truth}"), Tile(draw(), said)]
        )
    return rows


def _judged(
    checkpoint: str, dataset: TaskDataset, indices: Sequence[int], info: WeightsInfo, device: str
) -> Iterator[Judged]:
    # Not by their paths: images may be packed into other files.
    images = (Frame(dataset.describe(index), index, 0.0, _image_of(dataset, index)) for index in indices)
    task = info.model.task
    if task == "classification":
        found: Any = classify(checkpoint, images, top_k=len(info.class_names), accelerator=device)
        judge: Callable[[Any, Any, Callable[[], Image.Image]], Judged] = _judge_class
    elif task == "segmentation":
        found, judge = segment(checkpoint, images, accelerator=device), _judge_map
    else:
        found, judge = detect(checkpoint, images, accelerator=device), _judge_objects
    for index, each in zip(indices, found, strict=True):
        if each.error is not None:
            raise UserError(each.error)
        target = dataset[index][1]
        truth = info.class_names[target] if isinstance(target, int) else target
        yield judge(each, truth, partial(_image_of, dataset, index))


def _image_of(dataset: TaskDataset, index: int) -> Image.Image:
    """Give an image of a data set whose samples are as in the files."""
    pixels = dataset[index][0]
    return Image.fromarray((255 * pixels).round().byte().permute(1, 2, 0).numpy())


def _judge_class(found: Any, truth: str, image: Callable[[], Image.Image]) -> Judged:
    (first, probability), chances = found.classes[0], dict(found.classes)
    said = f"{first} {100 * probability:.0f} %, {truth} {100 * chances[truth]:.0f} %"
    return chances[truth], said, image


def _judge_map(found: Any, truth: torch.Tensor, image: Callable[[], Image.Image]) -> Judged:
    labels, predicted = truth.numpy(), found.labels
    score = mean_iou(labels, predicted)
    return score, f"mIoU {100 * score:.1f} %", lambda: blended(image(), predicted)


def _judge_objects(found: Any, truth: dict[str, Any], image: Callable[[], Image.Image]) -> Judged:
    objects = as_detections(truth)
    right, num_found = count_matches(found.detections, objects)
    num_objects = len(objects.labels)
    score = 2 * right / (num_objects + num_found) if num_objects + num_found else 1.0
    said = f"{right} right, {num_objects - right} missed, {num_found - right} invented"

    def draw() -> Image.Image:
        return draw_objects(image(), found.detections, found.class_names, _THRESHOLD)

    return score, said, draw


def mean_iou(labels: NDArray[np.int64], predicted: NDArray[Any]) -> float:
    """Give the mean IoU of the classes that an image's labels (H, W) or its prediction have, 0..1."""
    known = labels != IGNORED
    truth, found = labels[known], predicted[known]
    ious = [
        ((truth == each) & (found == each)).sum() / ((truth == each) | (found == each)).sum()
        for each in np.union1d(truth, found)
    ]
    return float(np.mean(ious)) if ious else 1.0


def count_matches(found: Detections, objects: Detections) -> tuple[int, int]:
    """Count what is found of the objects of an image, by their boxes, and what is found at all."""
    sure = found.scores >= _THRESHOLD
    right = 0
    for label in np.unique(objects.labels).tolist():
        own = sure & (found.labels == label)
        boxes = torch.from_numpy(found.boxes[own]), torch.from_numpy(objects.boxes[objects.labels == label])
        ious = box_iou(*boxes).double().numpy()
        is_crowd = np.zeros(ious.shape[1], bool)
        right += int(match_objects(ious, is_crowd, np.array([_LEAST_IOU]))[0].sum())
    return right, int(sure.sum())


def heading_of(rows: Sequence[Sequence[Tile]], checkpoint: str) -> str:
    """Say what a sheet of worst images shows."""
    return f"{checkpoint}: the {len(rows)} images of val it is worst at, truth beside prediction"
