"""RetinaNet against torchvision's own, and the paper's settings."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

from mscsa.detection import build_detector
from tests.detection.small import K, fresh, wake
from tests.detection.twins import assert_equal_at_128_px, image_options

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))


def test_equal_to_torchvision_where_its_guesses_are_right() -> None:
    model = fresh("retinanet", "mscsa_resnet10t")
    wake(model, 0.02)
    net: Any = model.net
    sizes = tuple(tuple(4 * stride * octave for octave in OCTAVES) for stride in (8, 16, 32, 64, 128))
    reference = RetinaNet(
        net.backbone,
        K,
        anchor_generator=AnchorGenerator(sizes, (RATIOS,) * 5),
        head=net.head,
        score_thresh=net.score_thresh,
        detections_per_img=net.detections_per_img,
        **image_options(model),
    )
    assert_equal_at_128_px(model, reference)


def test_the_standard_anchors_and_limits() -> None:
    with torch.device("meta"):
        net: Any = build_detector("retinanet", "resnet18", 80).net
    anchors = net.anchor_generator
    assert anchors.strides == (8, 16, 32, 64, 128)
    assert anchors.sizes[0] == tuple(32 * octave for octave in OCTAVES)
    assert anchors.sizes[-1] == tuple(512 * octave for octave in OCTAVES)
    assert anchors.aspect_ratios == (RATIOS,) * 5
    assert (net.proposal_matcher.high_threshold, net.proposal_matcher.low_threshold) == (0.5, 0.4)
    assert (net.score_thresh, net.nms_thresh, net.detections_per_img) == (0.05, 0.5, 100)
