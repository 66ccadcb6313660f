"""Top-1 and top-5 accuracy, each sample counted once for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.evaluation.running import autocast, in_group, pass_over


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Means over a data set."""

    MAIN: ClassVar[str] = "top1"
    LABELS: ClassVar[dict[str, tuple[str, str]]] = {
        "top1": ("top-1", "%"),
        "top5": ("top-5", "%"),
        "loss": ("loss", "nats"),
    }

    top1: float
    """Share of samples whose label has the largest logit, in %."""
    top5: float
    """Share of samples whose label is among the five largest logits, in %."""
    loss: float
    """Mean cross-entropy, without label smoothing, in nats."""
    num_samples: int
    """Samples counted, over all processes."""


def measure_accuracy(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    device: torch.device,
    precision: str = "32-true",
    stop: Callable[[], bool] | None = None,
) -> Accuracy | None:
    """Run a classifier over a loader in eval mode and count.

    In a process group each process gives its own share of the data (`EvalSampler`), of any length;
    the counts are summed once at the end. The modules' training modes are as before afterwards.

    Args:
        loader: Batches of images (B, 3, H, W), labels (B,) and indices (B,).
        precision: Lightning's name of the arithmetic.
        stop: Asked after each batch; once it answers True in any process, the result is None.
    Raises:
        ValueError: If no process has a sample.
    """
    # Counted on the CPU: exact in float64, which not every accelerator has.
    counts = torch.zeros(5, dtype=torch.float64)

    def count(batch: tuple[Tensor, Tensor, Tensor]) -> None:
        images, labels, _ = batch
        with torch.inference_mode(), autocast(precision, device):
            counts[:4] += _count_batch(model, images.to(device), labels)

    counts[4] = pass_over(model, loader, count, stop)
    if in_group():
        counts = counts.to(device)
        dist.all_reduce(counts)
    top1, top5, loss, num_samples, stopped = counts.tolist()
    if stopped:
        return None
    if num_samples == 0:
        raise ValueError("no samples to evaluate: the validation set is empty")
    return Accuracy(
        top1=100 * top1 / num_samples,
        top5=100 * top5 / num_samples,
        loss=loss / num_samples,
        num_samples=round(num_samples),
    )


def _count_batch(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the sums of top-1 hits, top-5 hits, loss and samples of one batch, (4,)."""
    dtype = next(model.parameters()).dtype
    logits: Tensor = model(images.to(dtype)).cpu().double()
    # topk ranks NaN first, which could count as a hit.
    usable = logits.isfinite().all(dim=1, keepdim=True)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = (best == labels[:, None]) & usable
    loss = F.cross_entropy(logits, labels, reduction="sum")
    count = torch.tensor(len(labels), dtype=torch.float64)
    return torch.stack([hits[:, 0].sum().double(), hits.sum().double(), loss, count])
