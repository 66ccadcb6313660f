"""What a person can put right is said in one line, before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm

from mscsa.detection import build_detector
from mscsa.errors import UserError
from mscsa.models import build_pyramid
from tests.detection.small import small
from tests.refusals import one_line_error

BUILDS: dict[str, tuple[Callable[[], Any], str]] = {
    "detector": (
        lambda: build_detector("faster_rcnn", "test_resnet", 3),
        "'faster_rcnn': did you mean .*mask_rcnn",
    ),
    "head of another task": (
        lambda: build_detector("semantic_fpn", "test_resnet", 3),
        "no head for detection or instance segmentation is called 'semantic_fpn': give one of mask_rcnn",
    ),
    "backbone": (lambda: build_detector("retinanet", "resnet81", 3), "no model is called 'resnet81'"),
    "classes": (lambda: build_detector("retinanet", "test_resnet", 0), "num_classes=0 given: give a whole"),
    "fewer classes": (lambda: build_detector("retinanet", "test_resnet", -1), "num_classes=-1 given: give a"),
    "half a class": (lambda: build_detector("retinanet", "test_resnet", 2.5), "num_classes=2.5 given"),
    "option": (
        lambda: build_detector("retinanet", "test_resnet", 3, fpn_chanels=8),
        "no option 'fpn_chanels': did you mean fpn_channels",
    ),
    "of another": (lambda: build_detector("retinanet", "test_resnet", 3, num_queries=8), "'num_queries'"),
    "cascade": (
        lambda: build_detector("cascade_mask_rcnn", "test_resnet", 3, cascade=()),
        "no option 'cascade'",
    ),
    "cascade of one": (
        lambda: build_detector("mask_rcnn", "test_resnet", 3, cascade=()),
        "no option 'cascade'",
    ),
    "strides": (lambda: build_detector("mask_rcnn", "test_resnet", 3, strides=(4, 8)), "no option 'strides'"),
    "pyramid": (lambda: build_detector("mask_rcnn", "vit_tiny_patch16_224", 3), "two or more strides"),
    "a stride": (lambda: build_detector("retinanet", "nest_tiny", 3), r"not \[32\].*choose another backbone"),
    "levels": (
        lambda: build_detector("deformable_detr", build_pyramid("test_resnet"), 3),
        r"takes maps of strides \[8, 16, 32\], the backbone gives \[4, 8, 16, 32\]: build it with",
    ),
    "classifier": (
        lambda: build_detector("mask_rcnn", timm.create_model("mscsa_resnet18"), 3),
        "mask_rcnn on a MSCSAModel of classifier form: give the name of a backbone, or a pyramid of",
    ),
    "timm's pyramid": (
        lambda: build_detector("mask_rcnn", timm.create_model("test_resnet", features_only=True), 3),
        "mask_rcnn on a FeatureListNet: give the name of a backbone, or a pyramid of",
    ),
    "nothing": (lambda: build_detector("mask_rcnn", None, 3), "mask_rcnn on a NoneType: give the name"),
    "built": (
        lambda: build_detector("mask_rcnn", build_pyramid("test_resnet"), 3, pretrained=True),
        "pretrained given with a built backbone",
    ),
    "mode": (
        lambda: small("retinanet", backbone_norm="sync"),
        "backbone_norm 'sync' given: choose frozen or",
    ),
    "norm": (
        lambda: small("retinanet", fpn_norm="layer"),
        "fpn_norm='layer' given: give one of none, bn, gn",
    ),
    "misspelt": (
        lambda: build_detector("retinanet", "test_resnet", 3, backbone_norn="live"),
        "no option 'backbone_norn': did you mean backbone_norm",
    ),
    "text": (lambda: small("retinanet", fpn_channels="64"), "fpn_channels='64' given: give a whole number"),
    "flag": (lambda: small("deformable_detr", two_stage=1), "two_stage=1 given: give true or false"),
    "groups": (lambda: small("retinanet", head_norm="gn"), "gn on 16 channels.*multiple of 32"),
    "count": (lambda: small("mask_rcnn", detections_per_img=0), "detections_per_img=0 given: give a whole"),
    "scale": (lambda: small("retinanet", anchor_scale=0), "anchor_scale=0 given: give a number above 0"),
    "rate": (lambda: small("deformable_detr", dropout=1.0), "dropout=1.0 given: give a number from 0 on"),
}


@pytest.mark.parametrize("case", BUILDS)
def test_what_cannot_be_built(case: str) -> None:
    build, message = BUILDS[case]
    with pytest.raises(UserError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_a_pyramid_without_fusions_is_for_heads_that_take_tokens() -> None:
    pyramid = build_pyramid("mscsa_resnet10t", strides=(8, 16, 32), fuse=False)
    one_line_error(
        lambda: build_detector("retinanet", pyramid, 2), "was built with fuse=False: build it with"
    )


def test_whole_numbers_of_numpy_are_counts() -> None:
    model = build_detector("deformable_detr", "test_resnet", 2, num_queries=np.int64(10))
    assert model.net.config.num_queries == 10
