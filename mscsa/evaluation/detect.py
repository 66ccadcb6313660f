"""Find objects in single images with a trained detector, in each image's own pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mscsa.assembly.weights_file import load_trained
from mscsa.data.transforms.detection import build_detection_transforms
from mscsa.data.videos import Frame, picture_of
from mscsa.errors import UserError
from mscsa.evaluation.detection_inference import DetectionInference, InViews
from mscsa.evaluation.detections import Detections
from mscsa.evaluation.running import choose_device
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
    device = choose_device(accelerator)
    trained, info = load_trained(checkpoint, "detection", "instance_segmentation")
    assert isinstance(info.data, DetectionData)
    _, transform = build_detection_transforms(info.data, DetectionAugment())
    model = fold_norms(trained).to(device)
    look = InViews(inference or DetectionInference(), transform)
    for path in images:
        try:
            image = picture_of(path)
            found = look(model, image, device=device)
        except UserError as error:
            yield DetectedObjects(path=str(path), error=str(error))
            continue
        yield DetectedObjects(
            path=str(path),
            image=image,
            detections=found,
            class_names=info.class_names,
            category_ids=info.category_ids,
        )
