"""The fast form of `benchmarks/overfit_detectors.py`: four scenes learnt by heart, from targets to score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.overfit_detectors import BACKBONES, VARIANTS, Variant, overfit
from mscsa.evaluation.coco_ap import InstanceScores

STEPS = {"mask_rcnn": 80, "cascade_mask_rcnn": 80, "retinanet": 150, "deformable_detr": 200}
FAST = ("mask_rcnn", "mscsa_resnet10t")
"""In the default suite; the others are slow tests."""


def cases() -> list[object]:
    both = [(variant, backbone) for variant in VARIANTS for backbone in BACKBONES]
    return [
        pytest.param(
            variant,
            backbone,
            id=f"{variant.detector}-{backbone}",
            marks=() if (variant.detector, backbone) == FAST else pytest.mark.slow,
        )
        for variant, backbone in both
    ]


@pytest.mark.parametrize(("variant", "backbone"), cases())
def test_four_scenes_are_learnt_by_heart(variant: Variant, backbone: str) -> None:
    short = replace(variant, steps=STEPS[variant.detector])
    scores = overfit(short, backbone, size=96, num_scenes=4).scores
    assert scores.ap50 > 80
    assert scores.ap > 50
    if isinstance(scores, InstanceScores):
        assert scores.mask_ap50 > 60
