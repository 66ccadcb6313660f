"""Small recipes with a frozen backbone, and the file of weights that it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mscsa.checkpoints import save_weights
from mscsa.models.build import build_pyramid
from mscsa.recipes.spec import (
    DetectionAugment,
    DetectionData,
    ModelSpec,
    OptimSpec,
    Recipe,
    RunSpec,
    SegmentationAugment,
    SegmentationData,
)
from tests.detection.small import OPTIONS


def backbone_file(folder: Path, seed: int = 0) -> str:
    torch.manual_seed(seed)
    path = folder / f"backbone{seed}.safetensors"
    save_weights(build_pyramid("test_resnet").backbone, path)
    return str(path)


NECKS: dict[str | None, dict[str, Any]] = {
    "mscsa": {"mscsa": {"pool_stride": 16}, "budget": 0.5},
    "fpn": {"neck": "fpn", "neck_kwargs": {"channels": 16}},
    None: {},
}
"""What `ModelSpec` says of each neck."""


def frozen_recipe(checkpoint: str | None, *, neck: str | None = "mscsa", **augment: Any) -> Recipe:
    return Recipe(
        name="test/frozen",
        paper="",
        expected="",
        cost="",
        model=ModelSpec(
            name="test_resnet",
            head="semantic_fpn",
            head_kwargs={"fpn_channels": 16, "head_channels": 16},
            checkpoint=checkpoint,
            frozen=True,
            **NECKS[neck],
        ),
        data=SegmentationData(
            kind="scenes",
            image_size=32,
            short_side=80,
            long_side=80,
            batch_size=4,
            eval_batch_size=2,
            workers=0,
            num_train=8,
            num_val=3,
        ),
        augment=SegmentationAugment(**{"scale": (1.0, 1.0), "photometric": False, **augment}),
        optim=OptimSpec(lr=1e-3, warmup_steps=1),
        run=RunSpec(epochs=2, accelerator="cpu", checkpoint_every=1, log_every=1),
    )


def frozen_detection(
    detector: str, checkpoint: str | None, *, neck: str | None = "mscsa", **augment: Any
) -> Recipe:
    """The same for images with objects, of 64 px."""
    recipe = frozen_recipe(checkpoint, neck=neck)
    return replace(
        recipe,
        model=replace(recipe.model, head=detector, head_kwargs=OPTIONS[detector]),
        data=DetectionData(
            kind="scenes",
            short_side=64,
            long_side=96,
            batch_size=4,
            eval_batch_size=2,
            workers=0,
            num_train=8,
            num_val=3,
            max_digits=3,
        ),
        augment=DetectionAugment(**augment),
    )
