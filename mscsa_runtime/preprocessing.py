"""From an image to what a model takes: the same as in evaluation, by Pillow and numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa_runtime.errors import ArtifactError
from mscsa_runtime.metadata import Metadata

CROP_MODES = ("center", "squash")
"""timm's ways to crop that are followed here."""


@dataclass(frozen=True)
class Prepared:
    """An image as a model takes it."""

    pixels: NDArray[np.float32]
    """Normalised, (3, H, W); beyond `size` 0, the mean colour."""
    size: tuple[int, int]
    """(h, w) in pixels that the image takes at the upper left."""
    own_size: tuple[int, int]
    """(H, W) of the image itself."""


def prepare(image: Image.Image, metadata: Metadata) -> Prepared:
    """Bring an RGB image to the size of a model.

    A classifier's is resized and its centre cropped. Others keep their shape: they are resized as in
    evaluation, or less where the model has one size into which that does not fit, and padded to it.

    Raises:
        ArtifactError: If the image is not RGB.
    """
    if image.mode != "RGB":
        raise ArtifactError(
            f"an image of mode {image.mode} given: give RGB, as mscsa_runtime.images.decode_image reads "
            '(or image.convert("RGB"))'
        )
    own = (image.height, image.width)
    how = metadata.preprocessing
    if metadata.task == "classification":
        cropped = resize_and_crop(image, (metadata.sizes.height, metadata.sizes.width), how)
        return Prepared(_normalized(cropped, metadata), (cropped.height, cropped.width), own)
    size = resized_to(own, how, metadata)
    pixels = _normalized(image.resize(size[::-1], Image.Resampling.BILINEAR), metadata)
    return Prepared(padded(pixels, metadata), size, own)


def resize_and_crop(image: Image.Image, size: tuple[int, int], how: dict[str, Any]) -> Image.Image:
    """Do what timm does in evaluation: resize to size / crop_pct, crop the centre."""
    larger = [math.floor(side / how["crop_pct"]) for side in size]
    resampling = Image.Resampling[how["interpolation"].upper()]
    if how["crop_mode"] == "squash":
        resized = image.resize((larger[1], larger[0]), resampling)
    elif size[0] == size[1]:
        short, long = sorted(image.size)
        grown = int(larger[0] * long / short)
        upright = image.width <= image.height
        resized = image.resize((larger[0], grown) if upright else (grown, larger[0]), resampling)
    else:
        scale = max(larger[0] / image.height, larger[1] / image.width)
        resized = image.resize((round(image.width * scale), round(image.height * scale)), resampling)
    left, top = round((resized.width - size[1]) / 2), round((resized.height - size[0]) / 2)
    return resized.crop((left, top, left + size[1], top + size[0]))


def resized_to(own: tuple[int, int], how: dict[str, Any], metadata: Metadata) -> tuple[int, int]:
    """Give the (h, w) that an image is resized to: as in evaluation, within the model's one size."""
    scale = min(how["short_side"] / min(own), how["long_side"] / max(own))
    sizes, step = metadata.sizes, how.get("size_multiple", 1)
    if not sizes.is_dynamic:
        scale = min(scale, sizes.height / own[0], sizes.width / own[1])
    height, width = (step * math.ceil(max(1, round(side * scale)) / step) for side in own)
    if sizes.is_dynamic:
        return height, width
    return min(height, sizes.height), min(width, sizes.width)


def padded(pixels: NDArray[np.float32], metadata: Metadata) -> NDArray[np.float32]:
    """Pad with 0, the mean colour, at the right and below, to a size that the model takes."""
    sizes = metadata.sizes
    height, width = pixels.shape[-2:]
    if sizes.is_dynamic:
        wanted = [sizes.step * math.ceil(max(side, sizes.least) / sizes.step) for side in (height, width)]
    else:
        wanted = [sizes.height, sizes.width]
    return np.pad(pixels, ((0, 0), (0, wanted[0] - height), (0, wanted[1] - width)))


def _normalized(image: Image.Image, metadata: Metadata) -> NDArray[np.float32]:
    pixels = np.asarray(image, np.float32) / np.float32(255)
    normal = (pixels - np.array(metadata.mean, np.float32)) / np.array(metadata.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)
