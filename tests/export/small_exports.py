"""Small trained models of each head and kind of backbone, for exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mscsa.recipes.spec import DataSpec, DetectionData, ModelSpec
from tests.detection.small import OPTIONS as DETECTOR_OPTIONS
from tests.detection.small import VARIANTS, wake
from tests.evaluation.untrained import CLASSES, CLASSIFIER, OBJECTS, PIXELS, SEGMENTER, save_untrained

CLASSES_64 = replace(CLASSES, image_size=64)
LIGHT = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}

BACKBONES: dict[str, dict[str, Any]] = {
    "mscsa_test_convnext": {},
    "mscsa_pvt_v2_b0": {"depths": (1, 1, 1, 1)},
    "mscsa_swin_tiny_patch4_window7_224": {
        "embed_dim": 24,
        "depths": (1, 1, 2, 1),
        "num_heads": (1, 2, 4, 8),
    },
    "mscsa_topformer_tiny": {},
    "mscsa_p2t_tiny": {"channels": (16, 32, 40, 64), "depths": (1, 2, 1, 1)},
    "mscsa_shunted_tiny": {"depths": (1, 2, 1, 1)},
    "mscsa_coat_tiny": {"channels": (16, 32, 32, 64)},
}
"""Model -> arguments that make its backbone small; ResNet is in all others."""


def _detector(variant: str) -> tuple[ModelSpec, DetectionData]:
    head, own = VARIANTS[variant]
    options = {**DETECTOR_OPTIONS[head], **own, "backbone_norm": "live"}
    return ModelSpec(
        name="mscsa_test_resnet", mscsa={"pool_stride": 16}, head=head, head_kwargs=options
    ), OBJECTS


def _classifier(name: str, backbone_kwargs: dict[str, Any]) -> tuple[ModelSpec, DataSpec]:
    return ModelSpec(name=name, mscsa=LIGHT, backbone_kwargs=backbone_kwargs), CLASSES_64


HEADS: dict[str, tuple[ModelSpec, DataSpec]] = {
    "classifier": (CLASSIFIER, CLASSES_64),
    "semantic_fpn": (replace(SEGMENTER, mscsa={"pool_stride": 16}), PIXELS),
    "topformer_head": (ModelSpec(name="mscsa_topformer_tiny", head="topformer_head"), PIXELS),
    **{name: _detector(name) for name in VARIANTS},
}
"""A model of each head; detectors in all variants."""

MODELS = HEADS | {name: _classifier(name, kwargs) for name, kwargs in BACKBONES.items()}


def save(name: str, folder: Path) -> Path:
    """Write a model of `MODELS` of which no branch gives 0, as it does at the start of training."""
    return save_untrained(folder / "best.safetensors", *MODELS[name], change=wake)
