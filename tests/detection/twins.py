"""Our detectors beside torchvision's own with the same layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator

from mscsa.detection import Detector
from tests.detection.small import batch


class Exact(AnchorGenerator):
    """torchvision's anchors, whose corners it rounds to pixels, as they are before."""

    def generate_anchors(self, scales: Any, aspect_ratios: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        finer = 1e6
        anchors = super().generate_anchors([finer * each for each in scales], aspect_ratios, torch.float64)
        return (anchors / finer).float()


def image_options(model: Detector) -> dict[str, Any]:
    """Give the options of torchvision's transform for images of 128 px, which it then leaves as they are."""
    cfg = model.pretrained_cfg
    image = dict(min_size=128, max_size=128, image_mean=list(cfg["mean"]), image_std=list(cfg["std"]))
    return {**image, "_skip_resize": True}  # in training, where it would draw a size


def assert_equal_at_128_px(model: Detector, reference: nn.Module, *counts: int) -> None:
    """Where no size is rounded, losses and detections of images of some objects are torchvision's own."""
    images, targets = batch(*((128, 128, count) for count in counts or (3, 2)))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(1)
    ours = model(images, targets)
    model.load_state_dict(state)  # both move the same statistics
    torch.manual_seed(1)
    shift = 1 - model.net.first_label
    theirs = reference.train()(images, [{**each, "labels": each["labels"] - shift} for each in targets])
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[key], theirs[key], rtol=1e-5) and ours[key] > 0 for key in theirs)
    with torch.inference_mode():
        found, expected = model.eval()(images), reference.eval()(images)
    for one, other in zip(found, expected, strict=True):
        assert len(one["boxes"]) == 5
        assert torch.equal(one["labels"], other["labels"] + shift)
        assert all(torch.allclose(one[key], other[key], rtol=1e-4, atol=1e-4) for key in ("boxes", "scores"))
        assert not model.has_masks or torch.allclose(one["masks"], other["masks"], atol=1e-4)
