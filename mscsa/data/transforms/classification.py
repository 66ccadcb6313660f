"""timm's image transforms, built from a run's description and the model's own preprocessing."""

from __future__ import annotations

import re
from typing import Any

from timm.data import create_transform, resolve_data_config

from mscsa.data.contract import Transform
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationAugment, ClassificationData

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random")

# timm drops or asserts on what it does not know; this is what it does know.
_POLICY = re.compile(
    r"rand(-(m\d+|n\d+|p(0|1|[01]?\.\d+)|mstd\d+(\.\d+)?|mmax\d+|inc[01]|t(weights|3aw|3a)))*"
    r"|augmix(-(m\d+|w\d+|d\d+|a\d+(\.\d+)?|b[01]|mstd\d+(\.\d+)?))*"
    r"|(original|originalr|v0|v0r|3a)(-mstd\d+(\.\d+)?)?"
)


def build_classification_transforms(
    data: ClassificationData, augment: ClassificationAugment, model_cfg: dict[str, Any]
) -> tuple[Transform, Transform]:
    """Return the training and the evaluation transform: RGB image to normalised (3, S, S).

    Evaluation resizes the short side to S / crop_pct and crops the centre, as the model's
    `pretrained_cfg` says; scenes are taken whole at their native size, since a crop could cut a
    digit off. Both normalise by the model's mean and standard deviation.

    Args:
        data: `image_size` is S.
        augment: Random resized crop, flip, jitter, policy and erasing; the rest is not used here.
        model_cfg: The model's `pretrained_cfg`; what it leaves out takes timm's defaults.
    Raises:
        UserError: If the policy or the interpolation is not one that timm knows.
    """
    _check_names(augment)
    size = (3, data.image_size, data.image_size)
    config = resolve_data_config({"input_size": size}, pretrained_cfg=model_cfg)
    if data.kind == "scenes":
        config |= {"crop_pct": 1.0, "crop_mode": "center"}
    train = create_transform(
        size,
        is_training=True,
        scale=augment.scale,
        hflip=augment.hflip,
        color_jitter=augment.color_jitter,  # type: ignore[arg-type]  # null: none
        auto_augment=augment.auto_augment,
        interpolation=augment.interpolation or config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        re_prob=augment.random_erasing,
        re_mode="pixel",
    )
    evaluation = create_transform(
        size,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )
    return train, evaluation


def _check_names(augment: ClassificationAugment) -> None:
    policy = augment.auto_augment
    if policy is not None and not _POLICY.fullmatch(policy):
        raise UserError(
            f"augment.auto_augment {policy!r} is no policy of timm; give something like "
            "rand-m9-mstd0.5-inc1, augmix-m5-w4, original, originalr, v0, v0r, 3a, or null"
        )
    if augment.interpolation is not None and augment.interpolation not in _INTERPOLATIONS:
        raise UserError(
            f"augment.interpolation {augment.interpolation!r} is not known; "
            f"give one of {', '.join(_INTERPOLATIONS)}, or null"
        )
