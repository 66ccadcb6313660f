"""Scenes learnt by heart, from targets to score: the fast form of `benchmarks/overfit_*.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import overfit_segmenters
from benchmarks.overfit_detectors import BACKBONES, VARIANTS, Variant, overfit
from mscsa.evaluation.coco_ap import InstanceScores

STEPS = {"mask_rcnn": 80, "cascade_mask_rcnn": 80, "retinanet": 150, "deformable_detr": 200}
FAST = 2
"""Scenes that suffice in the default suite, for the first detector with MSCSA; the others are slow tests."""


def cases() -> list[object]:
    fast = pytest.param(replace(VARIANTS[0], steps=60), "mscsa_resnet10t", FAST, id="two-scenes")
    return [fast] + [
        pytest.param(
            replace(variant, steps=STEPS[variant.detector]),
            backbone,
            4,
            id=f"{variant.detector}-{backbone}",
            marks=pytest.mark.long,
        )
        for variant in VARIANTS
        for backbone in BACKBONES
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "backbone", "num_scenes"), cases())
def test_a_detector_learns_scenes_by_heart(variant: Variant, backbone: str, num_scenes: int) -> None:
    scores = overfit(variant, backbone, size=96, num_scenes=num_scenes, batch_size=num_scenes).scores
    assert scores.ap50 > 80
    assert scores.ap > 50
    if isinstance(scores, InstanceScores):
        assert scores.mask_ap50 > 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "backbone", "size", "steps", "num_scenes", "least"),
    [
        # Strokes thinner than a logit's pixel cannot be drawn: what is possible here is 87 % and 82 %.
        ("semantic_fpn", "mscsa_test_resnet", 96, 120, 1, 65),
        pytest.param("semantic_fpn", "mscsa_test_resnet", 96, 200, 2, 65, marks=pytest.mark.long),
        pytest.param("topformer_head", "mscsa_topformer_tiny", 160, 150, 2, 55, marks=pytest.mark.long),
    ],
)
def test_a_segmenter_learns_scenes_by_heart(
    head: str, backbone: str, size: int, steps: int, num_scenes: int, least: float
) -> None:
    found = overfit_segmenters.overfit(
        head, backbone, size=size, steps=steps, num_scenes=num_scenes, batch_size=num_scenes
    )
    assert found.miou > least, found
