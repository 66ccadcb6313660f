"""Small trained models of each head, for exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mscsa.recipes.spec import DataSpec, DetectionData, ModelSpec
from tests.detection.small import OPTIONS
from tests.evaluation.untrained import CLASSES, CLASSIFIER, OBJECTS, PIXELS, SEGMENTER, save_untrained

CLASSES_64 = replace(CLASSES, image_size=64)


def _detector(name: str) -> tuple[ModelSpec, DetectionData]:
    options = {**OPTIONS[name], "backbone_norm": "live"}
    return ModelSpec(
        name="mscsa_test_resnet", mscsa={"pool_stride": 16}, head=name, head_kwargs=options
    ), OBJECTS


MODELS: dict[str, tuple[ModelSpec, DataSpec]] = {
    "classifier": (CLASSIFIER, CLASSES_64),
    "semantic_fpn": (replace(SEGMENTER, mscsa={"pool_stride": 16}), PIXELS),
    "topformer_head": (ModelSpec(name="topformer_tiny", head="topformer_head"), PIXELS),
    **{name: _detector(name) for name in OPTIONS},
}


def save(name: str, folder: Path) -> Path:
    """Write a model of `MODELS`."""
    return save_untrained(folder / "best.safetensors", *MODELS[name])
