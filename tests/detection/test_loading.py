"""Classifiers and detectors start detectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import mscsa
from mscsa.checkpoints import save_weights
from mscsa.detection import load_backbone
from mscsa.errors import UserError
from tests.detection.small import DETECTORS, scene, small, wake


def random_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: torch.randn(value.shape).to(value.dtype) for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("backbone", ["resnet10t", "mscsa_resnet18"])
def test_a_classifier_starts_a_detector(name: str, backbone: str) -> None:
    """All of the backbone and MSCSA comes along; the pooling stride may differ."""
    torch.manual_seed(0)
    assert mscsa.create_model is not None  # importing it registers mscsa_resnet18
    state = random_state(timm.create_model(backbone, num_classes=3))
    model = small(name, backbone, **({"fields": {"pool_stride": 64}} if "mscsa" in backbone else {}))
    report = load_backbone(model, state)
    filled = model.state_dict()
    place = model.body if "mscsa" in backbone else f"{model.body}backbone."
    parts = ("backbone.", "mscsa.") if "mscsa" in backbone else ("conv1.", "layer", "bn1.")
    moved = [key for key in state if key.startswith(parts)]
    assert any("layer4" in key for key in moved) and (
        len(parts) == 3 or any("mscsa." in key for key in moved)
    )
    assert all(torch.equal(filled[place + key], state[key]) for key in moved)
    assert len(report.matched) == len(moved) and not report.mismatched
    assert all(not key.startswith(f"{model.body}backbone.") for key in report.missing)
    assert all(not key.startswith(f"{model.body}mscsa.") for key in report.missing)
    left = {key for key in state if key not in moved}
    assert {key.removeprefix(place) for key in report.unexpected} == left
    assert all({"head", "norm", "fc"} & set(key.split(".")) for key in left)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_starts_a_detector_of_other_classes(name: str, tmp_path: Path) -> None:
    first, second = small(name, "mscsa_resnet10t"), small(name, "mscsa_resnet10t", num_classes=1000)
    first.load_state_dict(random_state(first))
    save_weights(first, tmp_path / "first.safetensors", {})
    new = {key: value.clone() for key, value in second.state_dict().items()}
    report = load_backbone(second, tmp_path / "first.safetensors")
    assert not report.missing and not report.unexpected and report.mismatched
    of_classes = ("cls_score", "bbox_pred", "mask_fcn_logits", "cls_logits", "class_embed")
    assert all(any(part in key for part in of_classes) for key in report.mismatched)
    same, other = first.state_dict(), second.state_dict()
    assert all(torch.equal(other[key], same[key]) for key in report.matched)
    assert all(torch.equal(other[key], new[key]) for key in report.mismatched)
    assert {*report.matched, *report.mismatched} == set(other)
    classifier = {id(p) for p in second.get_classifier().parameters()}
    named = dict(second.named_parameters(remove_duplicate=False))
    assert all(id(named[key]) in classifier for key in report.mismatched)


def test_a_file_of_a_detector_gives_its_detections_again(tmp_path: Path) -> None:
    """Deformable DETR's layers share their heads, which are written once for each."""
    model, other = small("deformable_detr"), small("deformable_detr")
    wake(model)
    save_weights(model, tmp_path / "detector.safetensors", {})
    report = load_backbone(other, tmp_path / "detector.safetensors")
    assert not report.missing and not report.mismatched
    with torch.inference_mode():
        (one,), (two,) = (each.eval()([scene(64, 64, 1)[0]]) for each in (model, other))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_poor_match_is_refused(name: str) -> None:
    model = small(name, "mscsa_resnet18")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with_mscsa = timm.create_model("mscsa_resnet18", num_classes=3).state_dict()
    poor = [
        timm.create_model("resnet18", num_classes=3).state_dict(),  # without MSCSA the keys differ
        {key: value for key, value in with_mscsa.items() if not key.startswith("backbone.layer4")},
        {key: value + 1 for key, value in before.items() if "layer4" not in key},  # a detector's
    ]
    for state in poor:
        with pytest.raises(UserError, match="at least 90% expected") as caught:
            load_backbone(model, state)
        assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
