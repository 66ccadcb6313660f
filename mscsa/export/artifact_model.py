"""An exported model under the contract of the models themselves, so that the same code scores both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mscsa_runtime.artifact import Artifact
from mscsa_runtime.predictions import find_objects
from mscsa_runtime.preprocessing import padded


class ArtifactModel(nn.Module):
    """Classifier, segmenter or detector, whose work an `Artifact` does.

    Images that are larger than the one size of a segmenter's or detector's artifact are made smaller before,
    smaller ones padded; logits and boxes are those of what was given.
    """

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self.artifact = artifact
        self.precision = nn.Parameter(torch.zeros(()), requires_grad=False)  # says float32 to who asks

    @property
    def detections_per_img(self) -> int:
        """Most objects that it gives for an image."""
        return int(self.artifact.metadata.selection["detections_per_img"])

    def forward(self, images: Any) -> Any:
        """Do what a model of the task does in evaluation; masks stay in their boxes."""
        if self.artifact.metadata.task == "classification":
            return torch.from_numpy(self.artifact.run(images.numpy())["logits"])
        if self.artifact.metadata.task == "segmentation":
            return self._segment(images)
        return [found for image in images for found in self._detect(image)]

    def inputs_of(self, images: Sequence[Tensor]) -> list[dict[str, NDArray[Any]]]:
        """Give what the first file is given for each of some images of a data set."""
        if self.artifact.metadata.task == "classification":
            return [{"images": image[None].numpy()} for image in images]
        prepared = [self._fitted(self._normalized(image)) for image in images]
        takes_sizes = self.artifact.metadata.selection.get("takes_sizes", False)
        return [
            {"images": pixels[None]} | ({"sizes": np.array([size], np.float32)} if takes_sizes else {})
            for pixels, size in prepared
        ]

    def _segment(self, images: Tensor) -> Tensor:
        fitted = [self._fitted(image) for image in images]
        height, width = fitted[0][1]
        logits = self.artifact.run(np.stack([pixels for pixels, _ in fitted]))["logits"]
        found = torch.from_numpy(logits[..., :height, :width])
        if found.shape[-2:] == images.shape[-2:]:
            return found
        return F.interpolate(found, images.shape[-2:], mode="bilinear", align_corners=False)

    def _detect(self, image: Tensor) -> list[dict[str, Tensor]]:
        pixels, (height, width) = self._fitted(self._normalized(image))
        scale = torch.tensor([image.shape[-1] / width, image.shape[-2] / height] * 2)
        detections = []
        for found in find_objects(self.artifact, pixels[None], [(height, width)]):
            each = {
                "boxes": torch.from_numpy(found.boxes) * scale,
                "labels": torch.from_numpy(found.labels),
                "scores": torch.from_numpy(found.scores),
            }
            if found.cells is not None:
                each["masks"] = torch.from_numpy(found.cells)[:, None]
            detections.append(each)
        return detections

    def _normalized(self, image: Tensor) -> Tensor:
        """Normalise an image of a detector; a segmenter's are already."""
        metadata = self.artifact.metadata
        if metadata.task == "segmentation":
            return image
        mean, std = (torch.tensor(each)[:, None, None] for each in (metadata.mean, metadata.std))
        return (image - mean) / std

    def _fitted(self, image: Tensor) -> tuple[NDArray[np.float32], tuple[int, int]]:
        """Bring a normalised image (3, h, w) to a size that the artifact takes; say what of it is image."""
        sizes = self.artifact.metadata.sizes
        height, width = image.shape[-2:]
        if not sizes.is_dynamic and (height > sizes.height or width > sizes.width):
            scale = min(sizes.height / height, sizes.width / width)
            height, width = (max(1, round(scale * side)) for side in (height, width))
            image = F.interpolate(
                image[None], (height, width), mode="bilinear", align_corners=False, antialias=True
            )[0]
        return padded(image.float().numpy(), self.artifact.metadata), (height, width)
