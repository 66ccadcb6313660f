"""Mean intersection over union, each pixel counted once for any number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mscsa.data.contract import IGNORED
from mscsa.evaluation.image_counts import ImageCounts, Record, gather_records
from mscsa.evaluation.pixel_counts import PixelCounts, class_ious, nonzero_counts
from mscsa.evaluation.running import autocast, in_group, pass_over
from mscsa.evaluation.segmentation_inference import SegmentationInference


@dataclass(frozen=True, kw_only=True)
class SegmentationDetail:
    """What a segmenter's scores are made of."""

    confusion: tuple[tuple[int, ...], ...]
    """Pixels by class (rows) and predicted class (columns), (K, K + 1); the last column is of predictions
    that are not finite."""


@dataclass(frozen=True, kw_only=True)
class SegmentationScores:
    """Scores over all pixels of a data set that have a class."""

    MAIN: ClassVar[str] = "miou"
    LABELS: ClassVar[dict[str, tuple[str, str]]] = {
        "miou": ("mIoU", "%"),
        "mean_accuracy": ("mean accuracy", "%"),
        "pixel_accuracy": ("pixel accuracy", "%"),
        "loss": ("loss", "nats"),
    }
    IMAGES: ClassVar[type[ImageCounts]] = PixelCounts

    miou: float
    """Mean over the classes of intersection / union of predicted and true pixels, in %; classes that are
    neither in the labels nor predicted are left out."""
    mean_accuracy: float
    """Mean over the classes in the labels of the share of their pixels that is predicted right, in %."""
    pixel_accuracy: float
    """Share of all pixels that is predicted right, in %."""
    loss: float
    """Mean cross-entropy of a pixel, in nats."""
    num_samples: int
    """Images, over all processes."""
    class_iou: tuple[float | None, ...]
    """Intersection / union by class in %; None where the class is neither in the labels nor predicted."""
    class_accuracy: tuple[float | None, ...]
    """Share of a class's pixels that is predicted right, in %; None where there are none."""
    images: PixelCounts | None = field(default=None, repr=False, compare=False)
    """The pixels by image, in the first process, where it was asked for."""
    detail: SegmentationDetail | None = field(default=None, repr=False, compare=False)
    """What the scores are made of."""


def measure_segmentation(
    model: nn.Module,
    loader: Iterable[tuple[Sequence[Tensor], Sequence[Tensor], Tensor]],
    *,
    num_classes: int,
    device: torch.device,
    precision: str = "32-true",
    stop: Callable[[], bool] | None = None,
    inference: SegmentationInference | None = None,
    with_images: bool = False,
) -> SegmentationScores | None:
    """Run a segmenter over a loader in eval mode and count pixels at the labels' own size.

    One matrix of integers (label x prediction) holds all that is counted. In a process group each
    process gives its own share of the data (`EvalSampler`), of any length; the matrices are summed once at
    the end. The modules' training modes are as before afterwards.

    Args:
        loader: Batches of images (3, h, w), labels (H, W) of any sizes, and indices (B,).
        num_classes: K; labels are 0..K-1, or 255 for pixels that do not count.
        precision: Lightning's name of the arithmetic.
        stop: Asked after each batch; once it answers True in any process, the result is None.
        inference: How an image is asked about; whole, once, if None.
        with_images: Keep the counts of each image; all processes must say the same.
    Raises:
        ValueError: If no process has a sample, or no pixel has a class.
    """
    inference = inference or SegmentationInference()
    dtype = next(model.parameters()).dtype
    # The last column takes pixels whose logits are not finite: right for no class.
    matrix = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)
    sums = torch.zeros(3, dtype=torch.float64)  # loss, images, processes stopped
    records: list[Record] = []

    @torch.inference_mode()
    def count(batch: tuple[Sequence[Tensor], Sequence[Tensor], Tensor]) -> None:
        images, labels, indices = batch
        places = iter(indices.tolist())
        for stacked, targets in _equal_sizes(images, labels):
            with autocast(precision, device):
                on_device = stacked.to(device=device, dtype=dtype)
                counts, loss = _count_by_rows(inference, model, on_device, targets, num_classes)
            matrix.add_(counts.sum(dim=0))
            if with_images:
                records.extend((next(places), nonzero_counts(each)) for each in counts)
            sums[:2] += torch.tensor([loss, len(targets)], dtype=torch.float64)

    sums[2] = pass_over(model, loader, count, stop)
    if in_group():
        matrix, sums = matrix.to(device), sums.to(device)
        dist.all_reduce(matrix)
        dist.all_reduce(sums)
    loss, num_samples, stopped = sums.tolist()
    if stopped:
        return None
    scores = scores_of(matrix.cpu(), loss, round(num_samples))
    gathered = gather_records(records) if with_images else None
    return scores if gathered is None else replace(scores, images=PixelCounts.of(gathered, num_classes))


def _count_by_rows(
    inference: SegmentationInference, model: nn.Module, images: Tensor, labels: Tensor, num_classes: int
) -> tuple[Tensor, float]:
    """Predict images of one size and count their pixels as `count_pixels` does, some rows at a time."""
    counts = torch.zeros(len(labels), num_classes, num_classes + 1, dtype=torch.int64)
    total = 0.0
    for rows, prediction in inference.bands(model, images, (labels.shape[-2], labels.shape[-1])):
        found, loss = count_pixels(prediction, labels[:, rows].to(images.device), num_classes)
        counts += found
        total += loss
    return counts, total


def count_pixels(log_probabilities: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, float]:
    """Count the pixels of one batch.

    Args:
        log_probabilities: (B, K, H, W).
        labels: (B, H, W), int64.
        num_classes: K.
    Returns:
        Pixels of each image by label and prediction, (B, K, K + 1), whose last column is for predictions
        that are not finite; and the sum of their cross-entropies in nats.
    """
    is_usable = log_probabilities.isnan().any(dim=1).logical_not()
    predicted = log_probabilities.argmax(dim=1).where(is_usable, num_classes)
    counted = labels != IGNORED
    cells = num_classes * (num_classes + 1)
    image = torch.arange(len(labels), device=labels.device)[:, None, None].expand_as(labels)
    places = image[counted] * cells + labels[counted] * (num_classes + 1) + predicted[counted]
    matrices = torch.bincount(places, minlength=len(labels) * cells)
    # Picked before it becomes float64: all classes of a large image in float64 are gigabytes.
    of_label = log_probabilities.gather(1, labels.clamp(max=num_classes - 1)[:, None])[:, 0]
    loss = -of_label[counted].cpu().double().sum().item()
    return matrices.reshape(len(labels), num_classes, num_classes + 1).cpu(), loss


def scores_of(matrix: Tensor, loss: float, num_samples: int) -> SegmentationScores:
    """Turn counts into scores.

    Args:
        matrix: Pixels by label and prediction, (K, K + 1), as `count_pixels` gives them of an image.
        loss: Sum over the pixels, in nats.
        num_samples: Images.
    Raises:
        ValueError: If there are no images, or none of their pixels has a class.
    """
    total = int(matrix.sum())
    if num_samples == 0:
        raise ValueError("no samples to evaluate: the validation set is empty")
    if total == 0:
        raise ValueError("no pixel of the validation set has a class: all are ignored")
    hits = matrix.diagonal().tolist()
    labelled = matrix.sum(dim=1).tolist()
    ious = [None if math.isnan(iou) else iou for iou in class_ious(matrix.numpy()).tolist()]
    accuracies = [100 * hit / count if count else None for hit, count in zip(hits, labelled, strict=True)]
    return SegmentationScores(
        miou=_mean(ious),
        mean_accuracy=_mean(accuracies),
        pixel_accuracy=100 * sum(hits) / total,
        loss=loss / total,
        num_samples=num_samples,
        class_iou=tuple(ious),
        class_accuracy=tuple(accuracies),
        detail=SegmentationDetail(confusion=tuple(map(tuple, matrix.tolist()))),
    )


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def _equal_sizes(images: Sequence[Tensor], labels: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Stack what lies side by side and has one size."""
    start = 0
    for end in range(1, len(images) + 1):
        is_same = (
            end < len(images)
            and images[end].shape == images[start].shape
            and labels[end].shape == labels[start].shape
        )
        if not is_same:
            yield torch.stack(list(images[start:end])), torch.stack(list(labels[start:end]))
            start = end
