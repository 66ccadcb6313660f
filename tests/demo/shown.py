"""Files of small untrained models, with MSCSA and without, of each task, and images to ask them about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mscsa.recipes.spec import ModelSpec
from tests.evaluation.untrained import (
    CLASSES,
    CLASSIFIER,
    DETECTOR,
    OBJECTS,
    PIXELS,
    SEGMENTER,
    save_untrained,
)

_MSCSA = {"pool_stride": 16}
SPECS = {
    "classification": (CLASSIFIER, CLASSES),
    "segmentation": (replace(SEGMENTER, mscsa=_MSCSA), PIXELS),
    "instance_segmentation": (replace(DETECTOR, mscsa=_MSCSA), OBJECTS),
}
"""Task -> the model with MSCSA, and its data."""


def bare(spec: ModelSpec) -> ModelSpec:
    """The same without MSCSA."""
    return replace(spec, mscsa=None, budget=None)


def save_pair(task: str, folder: Path) -> tuple[Path, Path]:
    """Write a model with MSCSA, and the same without."""
    spec, data = SPECS[task]
    with_mscsa = save_untrained(folder / "with" / "best.safetensors", spec, data)
    return with_mscsa, save_untrained(folder / "without" / "best.safetensors", bare(spec), data)


def save_comparison(folder: Path, seeds: tuple[int, ...] = (0,)) -> Path:
    """Write what `mscsa compare` leaves of a classifier, without its numbers."""
    for arm, spec in (("mscsa", CLASSIFIER), ("baseline", bare(CLASSIFIER))):
        for seed in seeds:
            save_untrained(folder / arm / f"seed{seed}" / "last.safetensors", spec, CLASSES)
        (folder / f"{arm}.yaml").write_text("name: scenes/test_resnet\n")
    return folder


def save_image(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
    """Write an image of noise, another one for each seed; `size` is (W, H)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
