"""Classify single images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from mscsa.assembly.weights_file import load_trained
from mscsa.data.contract import Transform
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.data.videos import Frame, picture_of
from mscsa.errors import UserError
from mscsa.evaluation.running import choose_device
from mscsa.folding import fold_norms
from mscsa.recipes.spec import ClassificationAugment, ClassificationData


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a classifier says about one file."""

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    """Name and probability of the likeliest classes, best first; empty if the file is unreadable."""
    error: str | None = None
    """Why there is no prediction, in one line."""


def classify(
    checkpoint: str | Path,
    images: Iterable[str | Path | Frame],
    *,
    top_k: int = 5,
    batch_size: int = 32,
    accelerator: str = "auto",
) -> Iterator[Prediction]:
    """Classify image files, in their order; an unreadable one gets an `error` and stops nothing.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        images: Files, or frames of videos (`mscsa.data.videos.read_frames`).
        top_k: Number of classes to name per image.
        batch_size: Images per forward pass.
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
    Raises:
        UserError: If the checkpoint is not usable, or not a classifier's.
        ValueError: If `top_k` or `batch_size` is not positive.
    """
    if top_k < 1 or batch_size < 1:
        raise ValueError(f"top_k={top_k} and batch_size={batch_size}: give 1 or more")
    device = choose_device(accelerator)
    trained, info = load_trained(checkpoint, "classification")
    assert isinstance(info.data, ClassificationData)
    _, transform = build_classification_transforms(info.data, ClassificationAugment(), info.input)
    model = fold_norms(trained).to(device)
    paths = iter(images)
    while batch := list(islice(paths, batch_size)):
        read = [_read(path, transform) for path in batch]
        tensors = [image for image in read if isinstance(image, Tensor)]
        answers = iter(_classify(model, tensors, info.class_names, top_k, device))
        for path, image in zip(batch, read, strict=True):
            if isinstance(image, Tensor):
                yield Prediction(path=str(path), classes=next(answers))
            else:
                yield Prediction(path=str(path), error=image)


def _read(path: str | Path | Frame, transform: Transform) -> Tensor | str:
    """Return the transformed image (3, S, S), or why there is none."""
    try:
        return transform(picture_of(path))
    except UserError as error:
        return str(error)


def _classify(
    model: nn.Module,
    images: list[Tensor],
    class_names: tuple[str, ...],
    top_k: int,
    device: torch.device,
) -> list[tuple[tuple[str, float], ...]]:
    if not images:
        return []
    with torch.inference_mode():
        probabilities = model(torch.stack(images).to(device)).float().softmax(dim=1).cpu()
    values, indices = probabilities.topk(min(top_k, len(class_names)), dim=1)
    return [
        tuple((class_names[i], p) for i, p in zip(row, chances, strict=True))
        for row, chances in zip(indices.tolist(), values.tolist(), strict=True)
    ]
