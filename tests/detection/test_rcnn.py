"""Mask R-CNN against torchvision's own, and the papers' settings of it and of the cascade."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models.detection import MaskRCNN, roi_heads, transform

from mscsa.detection import build_detector
from mscsa.detection.mask_head import mask_targets, paste_masks
from mscsa.errors import UserError
from mscsa.models import build_pyramid
from tests.detection.small import batch, fresh, wake
from tests.detection.twins import Exact, assert_equal_at_128_px, image_options

RATIOS = (0.5, 1.0, 2.0)


def test_equal_to_torchvision_where_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads maps and masks half a pixel off, pastes masks in whole pixels and rounds anchors."""
    monkeypatch.setattr(roi_heads, "project_masks_on_boxes", mask_targets)
    monkeypatch.setattr(transform, "paste_masks_in_image", paste_masks)
    model = fresh("mask_rcnn", "mscsa_test_resnet")
    wake(model, 0.02)
    net: Any = model.net
    heads = net.roi_heads
    reference = MaskRCNN(
        net.backbone,
        rpn_anchor_generator=Exact(tuple((8 * stride,) for stride in (4, 8, 16, 32, 64)), (RATIOS,) * 5),
        box_roi_pool=heads.box_roi_pool,
        mask_roi_pool=heads.mask_roi_pool,
        rpn_head=net.rpn.head,
        rpn_post_nms_top_n_train=24,
        rpn_post_nms_top_n_test=24,
        box_head=heads.box_head,
        box_predictor=heads.box_predictor,
        box_score_thresh=heads.score_thresh,
        box_detections_per_img=heads.detections_per_img,
        mask_head=heads.mask_head,
        mask_predictor=heads.mask_predictor,
        **image_options(model),
    )
    assert_equal_at_128_px(model, reference)


def test_the_standard_anchors_and_limits() -> None:
    with torch.device("meta"):
        two_stage: Any = build_detector("mask_rcnn", "resnet18", 80).net
        cascade: Any = build_detector("cascade_mask_rcnn", "resnet18", 80).net
    for net in (two_stage, cascade):
        anchors = net.rpn.anchor_generator
        assert anchors.strides == (4, 8, 16, 32, 64)
        assert anchors.sizes == ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
        assert anchors.aspect_ratios == (RATIOS,) * 5
        assert net.rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
        assert (net.rpn.nms_thresh, net.rpn.fg_bg_sampler.batch_size_per_image) == (0.7, 256)
        assert net.rpn.proposal_matcher.high_threshold == 0.7
        assert net.rpn.proposal_matcher.low_threshold == 0.3
    assert two_stage.rpn._post_nms_top_n == {"training": 1000, "testing": 1000}
    assert cascade.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}
    for heads in (two_stage.roi_heads, *cascade.roi_heads.stages):
        assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.05, 0.5, 100)
        sampler = heads.fg_bg_sampler
        assert (sampler.batch_size_per_image, sampler.positive_fraction) == (512, 0.25)
    pool = two_stage.roi_heads.box_roi_pool
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32] and pool.sampling_ratio == 0
    # Feature Pyramid Networks, eq. (1): 224 px to stride 16.
    squares = [torch.tensor([[0.0, 0.0, side, side]]) for side in (10, 111, 113, 223, 225, 447, 449, 2000)]
    assert pool.map_levels(squares).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_strides_that_do_not_double_are_refused() -> None:
    pyramid = build_pyramid("test_resnet", strides=(4, 16, 32))
    with pytest.raises(UserError, match=r"strides double, the backbone gives \[4, 16, 32\]"):
        build_detector("mask_rcnn", pyramid, 3)
    shallow = build_detector("mask_rcnn", build_pyramid("test_resnet", strides=(8, 16)), 3, fpn_channels=16)
    assert shallow.net.rpn.anchor_generator.strides == (8, 16, 32)
    images, targets = batch((64, 64, 1))
    assert all(value.isfinite() for value in shallow(images, targets).values())
