"""What each task keeps of its images: their variants, and the data set that stands for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from mscsa.data.contract import TaskDataset
from mscsa.data.datasets import mirrored_maps
from mscsa.data.transforms.detection import (
    ObjectTransform,
    build_detection_transforms,
    build_object_variants,
    short_sides,
)
from mscsa.data.transforms.segmentation import build_segmentation_transforms, build_variants
from mscsa.errors import UserError
from mscsa.frozen.dataset import Crop, FrozenDetection, FrozenSegmentation
from mscsa.recipes.spec import (
    DetectionAugment,
    DetectionData,
    Recipe,
    SegmentationAugment,
    SegmentationData,
)

_NEVER_KEPT = {"vflip": 0.0, "rotation": 0.0, "quarter_turns": 0.0, "copy_paste": 0.0}
"""Augmentation that there are no variants of -> its value where it is off."""

KeptTransform = Callable[[Image.Image, Any], tuple[Tensor, Any]]
"""RGB image and target to (3, h, w) float as the backbone takes it, and the target."""


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept of the images of a recipe, and what then stands for its data sets."""

    variants: Sequence[KeptTransform]
    """Each makes a variant of a training image; they draw nothing."""
    whole: KeptTransform
    """Makes an image of evaluation."""
    identity: Sequence[Any]
    """Plain values that the variants depend on, beside the data's description."""
    has_labels: bool
    """Whether a record holds the class of each pixel."""
    training: Callable[..., TaskDataset]
    """From a data set, a store and its records there (`first`, `sizes`) to what gives variants of it."""
    evaluation: Callable[..., TaskDataset]
    """The same, for what gives images whole."""


def keeping_of(recipe: Recipe, cfg: dict[str, Any], step: int) -> Keeping:
    """Say what is kept of a recipe's images.

    Args:
        recipe: One that `check_frozen` lets pass.
        cfg: The model's `pretrained_cfg`: mean and standard deviation.
        step: Deepest stride of the maps in px: crops begin at multiples of it.
    """
    data, augment, seed = recipe.data, recipe.augment, recipe.run.seed
    if isinstance(data, SegmentationData) and isinstance(augment, SegmentationAugment):
        mirrored = mirrored_maps("train", data, augment)
        crop = Crop(side=data.image_size, step=step, max_class_share=augment.max_class_share)
        return Keeping(
            variants=build_variants(data, augment, cfg, mirrored),
            whole=build_segmentation_transforms(data, augment, cfg)[1],
            identity=[augment.scale, augment.hflip > 0, *([mirrored] if mirrored else [])],
            has_labels=True,
            training=partial(FrozenSegmentation, crop=crop, hflip=augment.hflip, seed=seed),
            evaluation=FrozenSegmentation,
        )
    assert isinstance(data, DetectionData) and isinstance(augment, DetectionAugment)
    variants = build_object_variants(data, augment)
    normalize = v2.Normalize(cfg["mean"], cfg["std"])
    return Keeping(
        variants=[partial(_image_alone, each, normalize) for each in variants],
        whole=partial(_image_alone, build_detection_transforms(data, augment)[1], normalize),
        identity=["objects", short_sides(data, augment), augment.hflip > 0],
        has_labels=False,
        training=partial(FrozenDetection, variants=variants, hflip=augment.hflip, seed=seed),
        evaluation=FrozenDetection,
    )


def check_frozen(recipe: Recipe) -> None:
    """Refuse a recipe whose backbone cannot be frozen with its maps kept.

    Raises:
        UserError: Says what stands against it.
    """
    model, augment = recipe.model, recipe.augment
    if model.task == "classification":
        raise UserError(
            f"model.frozen with recipe {recipe.name}: a classifier has no head on a pyramid whose maps could "
            "be kept; give a recipe with a head, or freeze the backbone by its name (model.freeze)"
        )
    if not model.pretrained and model.checkpoint is None:
        raise UserError(
            "model.frozen keeps the backbone as it starts, which is at random here: give "
            "--model.pretrained true, or --model.checkpoint FILE"
        )
    if getattr(augment, "photometric", False):
        raise UserError("model.frozen keeps maps of images as they are: give --augment.photometric false")
    if isinstance(augment, DetectionAugment) and augment.scale != (1.0, 1.0):
        raise UserError(
            "model.frozen keeps maps of images at the sizes of augment.short_sides: leave --augment.scale out"
        )
    if isinstance(augment, DetectionAugment) and augment.crop_sides is not None:
        raise UserError(
            "model.frozen keeps maps of whole images, not of crops: give --augment.crop_sides null"
        )
    for name, value in _NEVER_KEPT.items():
        if getattr(augment, name, value) != value:
            raise UserError(
                f"model.frozen keeps maps of images as they are, mirrored or not: leave --augment.{name} out"
            )


def _image_alone(
    transform: ObjectTransform, normalize: Callable[[Tensor], Tensor], image: Image.Image, _objects: Any
) -> tuple[Tensor, Any]:
    """Transform an image without its objects, and normalise it, as a detector does."""
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    pixels, found = transform(image, nothing)
    return normalize(pixels), found
