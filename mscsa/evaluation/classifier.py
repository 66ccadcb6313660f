"""Evaluate a trained classifier on a data set, or predict single images with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mscsa.data.contract import Transform
from mscsa.data.images import load_image
from mscsa.data.loading import build_dataset, build_eval_loader
from mscsa.data.transforms import build_transforms
from mscsa.errors import UserError
from mscsa.evaluation.models import check_image_size
from mscsa.evaluation.top1 import Accuracy, measure_accuracy
from mscsa.evaluation.weights_file import load_classifier
from mscsa.recipes.spec import AugmentSpec, DataSpec


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a classifier says about one file."""

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    """Name and probability of the likeliest classes, best first; empty if the file is unreadable."""
    error: str | None = None
    """Why there is no prediction, in one line."""


def evaluate(
    checkpoint: str | Path, overrides: Mapping[str, Any] | None = None, *, accelerator: str = "auto"
) -> Accuracy:
    """Measure a trained classifier on its validation set, or on another one of the same classes.

    In an initialised process group each process evaluates its share; all get the same result.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        overrides: Fields of `DataSpec` by name that differ from training (`root`, `image_size`,
            `eval_batch_size`, `workers`, ...).
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
    Raises:
        UserError: If the file, a field or the data is not usable.
    """
    device = choose_device(accelerator)
    model, info = load_classifier(checkpoint)
    data = _override(info.data, overrides or {})
    check_image_size(model, info.model.name, data.image_size)
    dataset = build_dataset("val", data, AugmentSpec(), info.input, 0, info.class_names)
    in_group = dist.is_available() and dist.is_initialized()
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if in_group else (0, 1)
    loader = build_eval_loader(dataset, data, rank=rank, world_size=world_size)
    # As in training, so that the result is the one that the run reported.
    precision = info.provenance.get("recipe", {}).get("run", {}).get("precision", "32-true")
    accuracy = measure_accuracy(model.to(device), loader, device=device, precision=precision)
    assert accuracy is not None, "nothing was there to stop it"
    return accuracy


def predict(
    checkpoint: str | Path,
    images: Iterable[str | Path],
    *,
    top_k: int = 5,
    batch_size: int = 32,
    accelerator: str = "auto",
) -> Iterator[Prediction]:
    """Classify image files, in their order; an unreadable one gets an `error` and stops nothing.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        top_k: Number of classes to name per image.
        batch_size: Images per forward pass.
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
    Raises:
        UserError: If the checkpoint is not usable.
        ValueError: If `top_k` or `batch_size` is not positive.
    """
    if top_k < 1 or batch_size < 1:
        raise ValueError(f"top_k={top_k} and batch_size={batch_size}: give 1 or more")
    device = choose_device(accelerator)
    model, info = load_classifier(checkpoint)
    _, transform = build_transforms(info.data, AugmentSpec(), info.input)
    model.to(device)
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


def choose_device(accelerator: str) -> torch.device:
    """Turn `auto`, `cpu` or `gpu` into a device.

    Raises:
        UserError: If a GPU is asked for and there is none, or the word is another.
    """
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UserError(f"accelerator {accelerator!r} is not known; give auto, cpu or gpu")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("accelerator gpu was asked for, but torch sees none; give cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _override(data: DataSpec, overrides: Mapping[str, Any]) -> DataSpec:
    known = [field.name for field in fields(DataSpec)]
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UserError(f"data has no field {name!r}: did you mean {near}?")
    return replace(data, **overrides)


def _read(path: str | Path, transform: Transform) -> Tensor | str:
    """Return the transformed image (3, S, S), or why there is none."""
    try:
        return transform(load_image(path))
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
