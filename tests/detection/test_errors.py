"""What a person can put right is said in one line, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mscsa.detection import DETECTORS, build_detector
from mscsa.errors import UserError
from mscsa.models.build import build_pyramid
from tests.detection.small import K, batch, fresh, small

BUILDS: dict[str, tuple[Callable[[], Any], str]] = {
    "detector": (lambda: build_detector("faster_rcnn", "resnet10t", 3), "'faster_rcnn'.*mask_rcnn, cascade_"),
    "backbone": (lambda: build_detector("retinanet", "resnet81", 3), "no model is called 'resnet81'"),
    "classes": (lambda: build_detector("retinanet", "resnet10t", 0), "num_classes=0 given: give 1"),
    "option": (
        lambda: build_detector("retinanet", "resnet10t", 3, fpn_chanels=8),
        "no option 'fpn_chanels': did you mean fpn_channels",
    ),
    "of another": (lambda: build_detector("retinanet", "resnet10t", 3, num_queries=8), "'num_queries'"),
    "cascade": (
        lambda: build_detector("cascade_mask_rcnn", "resnet10t", 3, cascade=()),
        "no option 'cascade'",
    ),
    "cascade of one": (
        lambda: build_detector("mask_rcnn", "resnet10t", 3, cascade=()),
        "no option 'cascade'",
    ),
    "strides": (lambda: build_detector("mask_rcnn", "resnet10t", 3, strides=(4, 8)), "no option 'strides'"),
    "pyramid": (lambda: build_detector("mask_rcnn", "vit_tiny_patch16_224", 3), "two or more strides"),
    "a stride": (lambda: build_detector("retinanet", "nest_tiny", 3), r"not \[32\].*choose another backbone"),
    "levels": (
        lambda: build_detector("deformable_detr", build_pyramid("resnet10t"), 3),
        r"takes maps of strides \[8, 16, 32\], the backbone gives \[4, 8, 16, 32\]: build it with",
    ),
    "built": (
        lambda: build_detector("mask_rcnn", build_pyramid("resnet10t"), 3, pretrained=True),
        "pretrained given with a built backbone",
    ),
    "mode": (
        lambda: small("retinanet", backbone_norm="sync"),
        "backbone_norm 'sync' given: choose frozen or",
    ),
    "norm": (lambda: small("retinanet", fpn_norm="layer"), "norm 'layer' given: choose one of none, bn, gn"),
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


TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "no boxes": ({"boxes": None}, "target 1 has no boxes: give boxes, labels"),
    "no labels": ({"labels": None}, "target 1 has no labels"),
    "label 0": (
        {"labels": torch.tensor([0, 1])},
        f"labels from 0 to 1: give 1 to {K}; 0 is what is no object",
    ),
    "label K+1": ({"labels": torch.tensor([1, K + 1])}, f"labels from 1 to {K + 1}: give 1 to {K}"),
    "float labels": ({"labels": torch.tensor([1.0, 2.0])}, r"labels of shape \(2,\) and torch.float32: give"),
    "labels of rank 2": ({"labels": torch.ones(2, 1, dtype=torch.int64)}, r"labels of shape \(2, 1\)"),
    "no width": (
        {"boxes": torch.tensor([[5.0, 5, 5, 9], [0, 0, 9, 9]])},
        "a box without width or height.*give x1 < x2 and y1 < y2",
    ),
    "negative height": (
        {"boxes": torch.tensor([[5.0, 9, 9, 5], [0, 0, 9, 9]])},
        "a box without width or height",
    ),
    "no number": ({"boxes": torch.tensor([[5.0, 5, torch.inf, 9], [0, 0, 9, 9]])}, "or of no number"),
    "box shape": ({"boxes": torch.rand(2, 5)}, r"boxes of shape \(2, 5\) for 2 labels: give \(N, 4\)"),
    "box count": ({"boxes": torch.tensor([[1.0, 1, 9, 9]])}, r"boxes of shape \(1, 4\) for 2 labels"),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("name", DETECTORS)
def test_targets_that_cannot_be(name: str, case: str) -> None:
    changes, message = TARGETS[case]
    images, targets = batch((64, 64, 1), (64, 64, 2))
    changed = {**targets[1], **changes}
    targets[1] = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(UserError, match=message) as caught:
        fresh(name)(images, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_mask_rcnn"])
def test_masks_that_do_not_fit(name: str) -> None:
    model = fresh(name)
    images, (target,) = batch((64, 48, 2))
    without = {key: target[key] for key in ("boxes", "labels")}
    with pytest.raises(UserError, match="target 0 has no masks: give boxes, labels, masks"):
        model(images, [without])
    for masks in (target["masks"][:1], target["masks"][:, :32], target["masks"].mT, target["masks"][:, None]):
        with pytest.raises(
            UserError, match=r"masks of shape .*: give \(2, 64, 48\), one for each box"
        ) as caught:
            model(images, [{**target, "masks": masks}])
        assert "\n" not in str(caught.value)
    assert fresh("retinanet")(images, [without])["classification"].isfinite()  # which has none


@pytest.mark.parametrize("name", DETECTORS)
def test_each_image_needs_a_target(name: str) -> None:
    model = fresh(name)
    images, targets = batch((64, 64, 1), (64, 64, 2))
    with pytest.raises(UserError, match="2 images with none targets: training needs one for each image"):
        model(images)
    with pytest.raises(UserError, match="2 images with 1 targets"):
        model(images, targets[:1])


@pytest.mark.parametrize("name", DETECTORS)
def test_one_tiny_image_cannot_be_averaged_over(name: str) -> None:
    images, targets = batch((32, 32, 1))
    with pytest.raises(UserError, match="one image this small gives a map of 1x1.*more per batch") as caught:
        fresh(name)(images, targets)
    assert "\n" not in str(caught.value)
    losses = small(name, backbone_norm="frozen")(images, targets)
    assert all(value.isfinite() for value in losses.values())
