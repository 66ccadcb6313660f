"""RetinaNet against torchvision's own, and the paper's settings."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead

from mscsa.detection import build_detector
from tests.detection.small import K, fresh, wake
from tests.detection.twins import Exact, assert_equal_at_128_px, image_options

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))


def test_equal_to_torchvision_where_it_is_right() -> None:
    """It rounds anchors; its loss of a batch is another one, that of an image is not."""
    model = fresh("retinanet", "mscsa_test_resnet")
    wake(model, 0.02)
    net: Any = model.net
    sizes = tuple(tuple(4 * stride * octave for octave in OCTAVES) for stride in (8, 16, 32, 64, 128))
    reference = RetinaNet(
        net.backbone,
        K,
        anchor_generator=Exact(sizes, (RATIOS,) * 5),
        head=net.head,
        score_thresh=net.score_thresh,
        detections_per_img=net.detections_per_img,
        **image_options(model),
    )
    assert_equal_at_128_px(model, reference, 3)


def test_every_object_of_a_batch_counts_the_same() -> None:
    """The loss of a batch is that of all its anchors, whichever image they are in."""
    net: Any = fresh("retinanet").net
    generator = torch.Generator().manual_seed(0)
    matched = [torch.full((60,), -1), torch.full((60,), -1), torch.full((60,), -1)]
    matched[0][:20], matched[2][5:9], matched[2][9] = 0, 0, -2
    corners = 50 * torch.rand(60, 2, generator=generator)
    anchors = [torch.cat([corners, corners + 10], dim=1)] * 3
    target = {"boxes": torch.tensor([[5.0, 5, 20, 30]]), "labels": torch.tensor([1])}
    outputs = {
        "cls_logits": torch.randn(3, 60, K, generator=generator),
        "bbox_regression": torch.randn(3, 60, 4, generator=generator),
    }
    found = net.head.compute_loss([target] * 3, outputs, anchors, matched)
    joined = {name: each.reshape(1, 180, -1) for name, each in outputs.items()}
    expected = RetinaNetHead.compute_loss(
        net.head, [target], joined, [torch.cat(anchors)], [torch.cat(matched)]
    )
    assert expected.keys() == found.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-5) for name in found)


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
