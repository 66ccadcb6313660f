"""torchvision's detectors start ours: the same tensors under other prefixes, and then the same detections."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import detection
from torchvision.models.detection import transform

from mscsa.checkpoints import load_weights
from mscsa.detection import Detector, build_detector
from mscsa.detection.mask_head import paste_masks
from tests.detection.small import batch
from tests.detection.twins import Exact

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
K = 3

_V2 = {"fpn_norm": "bn", "head_norm": "bn", "rpn_convs": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "maskrcnn_resnet50_fpn": ("mask_rcnn", {}),
    "maskrcnn_resnet50_fpn_v2": ("mask_rcnn", _V2),
    "retinanet_resnet50_fpn": ("retinanet", {"p6_from": "p5", "p7_relu": True}),
    "retinanet_resnet50_fpn_v2": ("retinanet", {"head_norm": "gn", "p7_relu": True}),
}
"""torchvision's name -> our head and the options of its design."""


def theirs(name: str, **options: Any) -> Any:
    """Give torchvision's model with random weights and statistics."""
    is_rcnn = "rcnn" in name
    torch.manual_seed(0)
    model = getattr(detection, name)(
        weights=None, weights_backbone=None, num_classes=K + is_rcnn, min_size=128, max_size=128, **options
    )
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if "running_mean" in key:
                value.normal_(std=0.1)
            elif "running_var" in key:
                value.uniform_(0.5, 2.0)
    return model.eval()


def ours(name: str, num_classes: int = K, **options: Any) -> Detector:
    head, own = CASES[name]
    return build_detector(head, "resnet50", num_classes, **own, **options).eval()


def our_key(key: str) -> str:
    """The map, written out: the backbone has timm's place, all else stands under `net.`."""
    if key.startswith("backbone.body."):
        return f"net.backbone.body.backbone.{key.removeprefix('backbone.body.')}"
    return f"net.{key}"


def frozen_norms(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchvision's files are, whose frozen batch norms count nothing."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def put_right(reference: Any, model: Detector) -> None:
    """Give torchvision's model what it has otherwise: exact anchors, and pools that are not shifted."""
    net: Any = model.net
    if not model.has_masks:
        sizes = tuple(tuple(4 * stride * octave for octave in OCTAVES) for stride in (8, 16, 32, 64, 128))
        reference.anchor_generator = Exact(sizes, (RATIOS,) * 5)
        return
    sizes = tuple((8.0 * stride,) for stride in (4, 8, 16, 32, 64))
    reference.rpn.anchor_generator = Exact(sizes, (RATIOS,) * 5)
    for pool in ("box_roi_pool", "mask_roi_pool"):
        setattr(reference.roi_heads, pool, getattr(net.roi_heads, pool))


FAST = ("maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn_v2")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.long) for name in CASES]
)
def test_a_filled_detector_finds_what_torchvisions_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform, "paste_masks_in_image", paste_masks)
    limits = {"score_thresh": 0.0, "detections_per_img": 5}
    prefix = "box_" if "rcnn" in name else ""
    reference = theirs(name, **{f"{prefix}{key}": value for key, value in limits.items()})
    model = ours(name, **limits)
    state = frozen_norms(reference.state_dict())
    report = load_weights(model, state, policy="exact")
    assert not report.missing and not report.unexpected and not report.mismatched
    filled = model.state_dict()
    assert all(torch.equal(filled[our_key(key)], value) for key, value in state.items())
    put_right(reference, model)
    images, _ = batch((128, 128, 3))
    with torch.inference_mode():
        (found,), (expected,) = model(images), reference(images)
    assert len(found["boxes"]) == 5
    assert torch.equal(found["labels"] - 1 + model.net.first_label, expected["labels"])
    for key in ("boxes", "scores", *(("masks",) if model.has_masks else ())):
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-4)


def test_other_classes_are_new_and_all_else_is_taken() -> None:
    state = frozen_norms(theirs("maskrcnn_resnet50_fpn").state_dict())
    model = ours("maskrcnn_resnet50_fpn", 7)
    report = load_weights(model, state)
    layers = ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
    expected = {f"net.roi_heads.{layer}.{value}" for layer in layers for value in ("weight", "bias")}
    assert {*report.missing, *report.mismatched} == expected


def test_a_head_of_another_design_stays_new_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The heads of the second Mask R-CNN have norms: half of them would be worse than none."""
    state = frozen_norms(theirs("maskrcnn_resnet50_fpn_v2").state_dict())
    model = ours("maskrcnn_resnet50_fpn")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        load_weights(model, state)
    after = model.state_dict()
    in_body = [key for key in after if key.startswith("net.backbone.body.")]
    for key, value in after.items():
        if key not in in_body:
            assert torch.equal(value, before[key]), key
    assert torch.equal(after[our_key("backbone.body.conv1.weight")], state["backbone.body.conv1.weight"])
    assert "head" in caplog.text


def test_mscsa_is_new_beside_a_detector_without() -> None:
    state = frozen_norms(theirs("retinanet_resnet50_fpn_v2").state_dict())
    _, options = CASES["retinanet_resnet50_fpn_v2"]
    model = build_detector(
        "retinanet", "mscsa_resnet50", K, fields={"num_heads": 2, "head_dim": 8}, **options
    )
    report = load_weights(model, state)
    assert {report.parts[key] for key in report.missing} == {"mscsa", "fusion"}
    assert not report.mismatched
