"""Classify single images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
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


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedClassifier:
    """A classifier in memory, ready to be asked about images."""

    model: nn.Module
    """In eval mode, its norms folded where they can be."""
    class_names: tuple[str, ...]
    transform: Transform
    device: torch.device

    def prepare(self, image: Image.Image) -> Tensor:
        """Resize, crop and normalise an RGB image as in evaluation: (3, S, S)."""
        return self.transform(image)

    def likeliest(self, images: Sequence[Tensor], top_k: int) -> list[tuple[tuple[str, float], ...]]:
        """Name the likeliest classes of prepared images and their probabilities, best first."""
        if not images:
            return []
        with torch.inference_mode():
            batch = torch.stack(list(images)).to(self.device)
            probabilities = self.model(batch).float().softmax(dim=1).cpu()
        values, indices = probabilities.topk(min(top_k, len(self.class_names)), dim=1)
        return [
            tuple((self.class_names[i], p) for i, p in zip(row, chances, strict=True))
            for row, chances in zip(indices.tolist(), values.tolist(), strict=True)
        ]


def load_classifier(checkpoint: str | Path, *, accelerator: str = "auto") -> LoadedClassifier:
    """Load a trained classifier to ask it about images.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
    Raises:
        UserError: If the checkpoint is not usable, or not a classifier's.
    """
    device = choose_device(accelerator)
    trained, info = load_trained(checkpoint, "classification")
    assert isinstance(info.data, ClassificationData)
    _, transform = build_classification_transforms(info.data, ClassificationAugment(), info.input)
    return LoadedClassifier(
        model=fold_norms(trained).to(device),
        class_names=info.class_names,
        transform=transform,
        device=device,
    )


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
    loaded = load_classifier(checkpoint, accelerator=accelerator)
    paths = iter(images)
    while batch := list(islice(paths, batch_size)):
        read = [_read(path, loaded) for path in batch]
        answers = iter(loaded.likeliest([image for image in read if isinstance(image, Tensor)], top_k))
        for path, image in zip(batch, read, strict=True):
            if isinstance(image, Tensor):
                yield Prediction(path=str(path), classes=next(answers))
            else:
                yield Prediction(path=str(path), error=image)


def _read(path: str | Path | Frame, loaded: LoadedClassifier) -> Tensor | str:
    """Return the prepared image (3, S, S), or why there is none."""
    try:
        return loaded.prepare(picture_of(path))
    except UserError as error:
        return str(error)
