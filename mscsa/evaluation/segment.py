"""Segment single images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mscsa.assembly.weights_file import load_trained
from mscsa.data.transforms.segmentation import JointTransform, build_segmentation_transforms
from mscsa.data.videos import Frame, picture_of
from mscsa.errors import UserError
from mscsa.evaluation.running import choose_device
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.swapping import with_swapped_classes
from mscsa.folding import fold_norms
from mscsa.recipes.spec import SegmentationAugment, SegmentationData


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What a segmenter says about one file."""

    path: str
    image: Image.Image | None = None
    """What was read, RGB; None if the file is unreadable."""
    labels: NDArray[np.uint8] | None = None
    """Class of each pixel of the image, (H, W)."""
    class_names: tuple[str, ...] = ()
    """Name of each class."""
    error: str | None = None
    """Why there is none, in one line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedSegmenter:
    """A segmenter in memory, ready to be asked about images."""

    model: nn.Module
    """In eval mode, its norms folded where they can be."""
    class_names: tuple[str, ...]
    transform: JointTransform
    inference: SegmentationInference
    device: torch.device

    def prepare(self, image: Image.Image) -> Tensor:
        """Resize and normalise an RGB image as in evaluation: (3, h, w)."""
        pixels, _ = self.transform(image, Image.new("L", (1, 1)))
        return pixels

    def label_map(self, pixels: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Give the class of each pixel of a prepared image, at the image's own (H, W)."""
        dtype = next(self.model.parameters()).dtype
        labels = np.empty(size, np.uint8)
        with torch.inference_mode():
            batch = pixels[None].to(device=self.device, dtype=dtype)
            for rows, found in self.inference.bands(self.model, batch, size):
                labels[rows] = found[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
        return labels


def load_segmenter(
    checkpoint: str | Path,
    *,
    accelerator: str = "auto",
    inference: SegmentationInference | None = None,
) -> LoadedSegmenter:
    """Load a trained segmenter to ask it about images.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
        inference: How the model is asked about an image; whole, once, if None.
    Raises:
        UserError: If the checkpoint is not usable, or not a segmenter's.
    """
    device = choose_device(accelerator)
    trained, info = load_trained(checkpoint, "segmentation")
    assert isinstance(info.data, SegmentationData)
    _, transform = build_segmentation_transforms(info.data, SegmentationAugment(), info.input)
    return LoadedSegmenter(
        model=fold_norms(trained).to(device),
        class_names=info.class_names,
        transform=transform,
        inference=with_swapped_classes(
            inference or SegmentationInference(), info.class_names, info.flip_pairs
        ),
        device=device,
    )


def segment(
    checkpoint: str | Path,
    images: Iterable[str | Path | Frame],
    *,
    accelerator: str = "auto",
    inference: SegmentationInference | None = None,
) -> Iterator[Segmentation]:
    """Segment image files, in their order; an unreadable one gets an `error` and stops nothing.

    Each image is resized as in evaluation, and the logits back to its own size.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        images: Files, or frames of videos (`mscsa.data.videos.read_frames`).
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
        inference: How the model is asked about an image; whole, once, if None.
    Raises:
        UserError: If the checkpoint is not usable, or not a segmenter's.
    """
    loaded = load_segmenter(checkpoint, accelerator=accelerator, inference=inference)
    for path in images:
        try:
            image = picture_of(path)
            labels = loaded.label_map(loaded.prepare(image), (image.height, image.width))
        except UserError as error:
            yield Segmentation(path=str(path), error=str(error))
            continue
        yield Segmentation(path=str(path), image=image, labels=labels, class_names=loaded.class_names)
