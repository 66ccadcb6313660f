"""Find objects in single images with a trained detector, in each image's own pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from mscsa.assembly.weights_file import load_trained
from mscsa.data.transforms.detection import ObjectTransform, build_detection_transforms
from mscsa.data.videos import Frame, picture_of
from mscsa.errors import UserError
from mscsa.evaluation.detection_inference import DetectionInference, InViews
from mscsa.evaluation.detections import Detections, find_objects
from mscsa.evaluation.running import choose_device
from mscsa.evaluation.swapping import with_swapped_classes
from mscsa.folding import fold_norms
from mscsa.recipes.spec import DetectionAugment, DetectionData


@dataclass(frozen=True, kw_only=True)
class DetectedObjects:
    """What a detector says about one file."""

    path: str
    image: Image.Image | None = None
    """What was read, RGB; None if the file is unreadable."""
    detections: Detections | None = None
    class_names: tuple[str, ...] = ()
    """Name of label i + 1."""
    category_ids: tuple[int, ...] = ()
    """COCO's id of label i + 1."""
    error: str | None = None
    """Why there is nothing, in one line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedDetector:
    """A detector in memory, ready to be asked about images."""

    model: nn.Module
    """In eval mode, its norms folded where they can be."""
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    flip_pairs: tuple[tuple[str, str], ...]
    """Names of classes that are each other in a mirror image."""
    transform: ObjectTransform
    device: torch.device

    def prepare(self, image: Image.Image) -> Tensor:
        """Resize an RGB image as in evaluation: (3, h, w) in 0..1."""
        pixels, _ = self.transform(image, {})
        return pixels

    def find(self, pixels: Tensor, size: tuple[int, int]) -> Detections:
        """Find objects in a prepared image, in pixels of the image itself, (H, W)."""
        (found,) = find_objects(self.model, [pixels], [size], device=self.device)
        return found


def load_detector(checkpoint: str | Path, *, accelerator: str = "auto") -> LoadedDetector:
    """Load a trained detector to ask it about images.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
    Raises:
        UserError: If the checkpoint is not usable, or not a detector's.
    """
    device = choose_device(accelerator)
    trained, info = load_trained(checkpoint, "detection", "instance_segmentation")
    assert isinstance(info.data, DetectionData)
    _, transform = build_detection_transforms(info.data, DetectionAugment())
    return LoadedDetector(
        model=fold_norms(trained).to(device),
        class_names=info.class_names,
        category_ids=info.category_ids,
        flip_pairs=info.flip_pairs,
        transform=transform,
        device=device,
    )


def detect(
    checkpoint: str | Path,
    images: Iterable[str | Path | Frame],
    *,
    accelerator: str = "auto",
    inference: DetectionInference | None = None,
) -> Iterator[DetectedObjects]:
    """Find objects in image files, in their order; an unreadable one gets an `error` and stops nothing.

    Each image is resized as in evaluation, and what is found is brought back to its own size.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        images: Files, or frames of videos (`mscsa.data.videos.read_frames`).
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
        inference: Which parts of an image the model is asked about; the whole, once, if None.
    Raises:
        UserError: If the checkpoint is not usable, or not a detector's.
    """
    loaded = load_detector(checkpoint, accelerator=accelerator)
    asked = with_swapped_classes(inference or DetectionInference(), loaded.class_names, loaded.flip_pairs)
    look = InViews(asked, loaded.transform)
    for path in images:
        try:
            image = picture_of(path)
            found = look(loaded.model, image, device=loaded.device)
        except UserError as error:
            yield DetectedObjects(path=str(path), error=str(error))
            continue
        yield DetectedObjects(
            path=str(path),
            image=image,
            detections=found,
            class_names=loaded.class_names,
            category_ids=loaded.category_ids,
        )
