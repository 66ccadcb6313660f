"""Top-1 and top-5 accuracy, each sample counted once for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mscsa.evaluation.image_counts import ImageCounts, Record, gather_records
from mscsa.evaluation.running import autocast, in_group, pass_over

_TOP = 5
"""With so many classes or fewer, every label is among the five largest logits."""


@dataclass(frozen=True, eq=False)
class Hits(ImageCounts):
    """Which images are classified right."""

    hits: NDArray[np.bool_]
    """Whether the label has the largest logit, (N,)."""
    labels: NDArray[np.int64] | None = None
    """The label of each image, (N,); None in files of older versions."""

    @classmethod
    def of(cls, records: list[Record]) -> Hits:
        """Make it of (place, (label, class with the largest logit)) of each image."""
        places, found = zip(*records, strict=True)
        labels, called = np.array(found, np.int64).T
        return cls(np.array(places, np.int64), called == labels, labels)

    def scores(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Take the top-1 accuracy of samples (R, N) of the images, in %, (R,)."""
        return 100 * (weights @ self.hits.astype(np.float64)) / weights.sum(axis=1)

    def truth(self) -> NDArray[np.int64] | None:
        """Give the label of each image, (N, 1); None if it was not kept."""
        return None if self.labels is None else self.labels[:, None]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Means over a data set."""

    MAIN: ClassVar[str] = "top1"
    LABELS: ClassVar[dict[str, tuple[str, str]]] = {
        "top1": ("top-1", "%"),
        "top5": ("top-5", "%"),
        "loss": ("loss", "nats"),
    }
    IMAGES: ClassVar[type[ImageCounts]] = Hits

    top1: float
    """Share of samples whose label has the largest logit, in %."""
    top5: float | None
    """Share of samples whose label is among the five largest logits, in %; None of five classes or fewer."""
    loss: float
    """Mean cross-entropy, without label smoothing, in nats."""
    num_samples: int
    """Samples counted, over all processes."""
    images: Hits | None = field(default=None, repr=False, compare=False)
    """The same by image, in the first process, where it was asked for."""
    confusion: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)
    """Samples by label and by class with the largest logit, (K, K + 1), where they were asked for; the last
    column is of logits that are not finite."""

    def by_class(self) -> list[ClassAccuracy]:
        """Give what each class came to; `confusion` must have been asked for."""
        assert self.confusion is not None
        return [ClassAccuracy.of(self.confusion, label) for label in range(len(self.confusion))]


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    """What one class came to."""

    num_samples: int
    """Samples with its label."""
    recall: float | None
    """Share of these that are called by it, in %; None where there are none."""
    precision: float | None
    """Share of the samples called by it that have its label, in %; None where there are none."""
    taken_for: tuple[int, int] | None
    """The other class that its samples are called by most often, and how many; None where there is none."""

    @classmethod
    def of(cls, confusion: NDArray[np.int64], label: int) -> ClassAccuracy:
        """Read it off `Accuracy.confusion`."""
        hits = int(confusion[label, label])
        num_samples, num_called = int(confusion[label].sum()), int(confusion[:, label].sum())
        others = confusion[label, :-1].copy()
        others[label] = 0
        other = int(others.argmax())
        return cls(
            num_samples=num_samples,
            recall=100 * hits / num_samples if num_samples else None,
            precision=100 * hits / num_called if num_called else None,
            taken_for=(other, int(others[other])) if others[other] else None,
        )


def measure_accuracy(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    device: torch.device,
    precision: str = "32-true",
    stop: Callable[[], bool] | None = None,
    with_images: bool = False,
    with_confusion: bool = False,
) -> Accuracy | None:
    """Run a classifier over a loader in eval mode and count.

    In a process group each process gives its own share of the data (`EvalSampler`), of any length;
    the counts are summed once at the end. The modules' training modes are as before afterwards.

    Args:
        loader: Batches of images (B, 3, H, W), labels (B,) and indices (B,).
        precision: Lightning's name of the arithmetic.
        stop: Asked after each batch; once it answers True in any process, the result is None.
        with_images: Note which images are right; all processes must say the same.
        with_confusion: Count by label and predicted class; likewise.
    Raises:
        ValueError: If no process has a sample.
    """
    # Counted on the CPU: exact in float64, which not every accelerator has.
    counts = torch.zeros(5, dtype=torch.float64)
    num_classes = torch.tensor(0)
    pairs: list[Tensor] = []
    records: list[Record] = []

    def count(batch: tuple[Tensor, Tensor, Tensor]) -> None:
        images, labels, indices = batch
        with torch.inference_mode(), autocast(precision, device):
            sums, called, found = _count_batch(model, images.to(device), labels)
        counts[:4] += sums
        num_classes.fill_(found)
        if with_confusion:
            pairs.append(torch.stack([labels, called]))
        if with_images:
            records.extend(zip(indices.tolist(), torch.stack([labels, called], 1).tolist(), strict=True))

    counts[4] = pass_over(model, loader, count, stop)
    if in_group():
        counts, num_classes = counts.to(device), num_classes.to(device)
        dist.all_reduce(counts)
        dist.all_reduce(num_classes, op=dist.ReduceOp.MAX)  # a process may have no sample
    top1, top5, loss, num_samples, stopped = counts.tolist()
    if stopped:
        return None
    if num_samples == 0:
        raise ValueError("no samples to evaluate: the validation set is empty")
    scores = Accuracy(
        top1=100 * top1 / num_samples,
        top5=100 * top5 / num_samples if int(num_classes) > _TOP else None,
        loss=loss / num_samples,
        num_samples=round(num_samples),
        confusion=_confusion(pairs, int(num_classes), device) if with_confusion else None,
    )
    gathered = gather_records(records) if with_images else None
    return scores if gathered is None else replace(scores, images=Hits.of(gathered))


def _confusion(pairs: Sequence[Tensor], num_classes: int, device: torch.device) -> NDArray[np.int64]:
    """Count (label, class) pairs (2, B) of all processes, (K, K + 1)."""
    matrix = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)
    for labels, called in pairs:
        matrix.index_put_((labels, called), torch.ones_like(labels), accumulate=True)
    if in_group():
        matrix = matrix.to(device)
        dist.all_reduce(matrix)
    return matrix.cpu().numpy()


def _count_batch(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Count one batch.

    Returns:
        The sums of top-1 hits, top-5 hits, loss and samples, (4,); and the class with the largest logit, K
        where the logits are not finite, (B,); and K.
    """
    dtype = next(model.parameters()).dtype
    logits: Tensor = model(images.to(dtype)).cpu().double()
    # topk ranks NaN first, which could count as a hit.
    usable = logits.isfinite().all(dim=1, keepdim=True)
    best = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices
    hits = (best == labels[:, None]) & usable
    loss = F.cross_entropy(logits, labels, reduction="sum")
    count = torch.tensor(len(labels), dtype=torch.float64)
    called = best[:, 0].where(usable[:, 0], logits.shape[1])
    sums = torch.stack([hits[:, 0].sum().double(), hits.sum().double(), loss, count])
    return sums, called, logits.shape[1]
