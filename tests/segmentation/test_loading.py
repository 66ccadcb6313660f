"""Official segmentors give the official logits; classifiers start segmenters."""

from __future__ import annotations

import pytest
import timm
import torch

import mscsa
from mscsa.errors import UserError
from mscsa.segmentation import Segmenter, build_segmenter, load_backbone
from tests.backbones.golden import SIZES, compare, golden_input, load_golden

OFFICIAL = {"t": "topformer_tiny", "b": "topformer_base"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("tag", SIZES)
@pytest.mark.parametrize("size", OFFICIAL)
def test_official_segmentors_give_the_official_logits(size: str, tag: str, dtype: torch.dtype) -> None:
    golden = load_golden(f"topformer_{size}_seg")
    model = build_segmenter("topformer_head", OFFICIAL[size], 150)
    state = model.state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == golden.keys
    mscsa.load_official(model, golden.state_dict())
    model = model.to(dtype).eval()
    image = golden_input(*SIZES[tag]).to(dtype)
    with torch.inference_mode():
        logits = model.decode_head(model.backbone(image))
        compare(golden, tag, "seg_logits", logits, dtype)
        whole = torch.nn.functional.interpolate(logits, image.shape[-2:], mode="bilinear")
        assert torch.equal(model(image), whole)


def test_an_official_checkpoint_must_fit_entirely() -> None:
    state = load_golden("topformer_t_seg").state_dict()
    model = build_segmenter("topformer_head", "topformer_tiny", 150)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for key in ("decode_head.conv_seg.bias", "backbone.SIM.1.global_act.bn.weight"):
        with pytest.raises(UserError, match=f"1 missing .{key}"):
            mscsa.load_official(model, {k: v for k, v in state.items() if k != key})
    with pytest.raises(UserError, match="of another shape .decode_head.conv_seg"):
        mscsa.load_official(build_segmenter("topformer_head", "topformer_tiny", 19), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="only segmenters of TopFormer"):
        mscsa.load_official(build_segmenter("semantic_fpn", "topformer_tiny", 150), state)


def test_an_official_classifier_starts_a_segmenter() -> None:
    state = load_golden("topformer_t_cls").state_dict()
    model = build_segmenter("topformer_head", "topformer_tiny", 7)
    head = model.decode_head.conv_seg.weight.clone()
    mscsa.load_official(model, state)
    assert torch.equal(model.state_dict()["backbone.tpm.stem.0.c.weight"], state["tpm.stem.0.c.weight"])
    assert torch.equal(model.decode_head.conv_seg.weight, head)


CLASSIFIERS = {
    ("semantic_fpn", "resnet10t"): ("layer1.0.conv1.weight", "backbone.backbone.layer1.0.conv1.weight"),
    ("semantic_fpn", "mscsa_resnet18"): (
        "mscsa.blocks.0.norm1.weight",
        "backbone.mscsa.blocks.0.norm1.weight",
    ),
    ("topformer_head", "topformer_tiny"): ("trans.", "backbone.trans."),
    ("topformer_head", "mscsa_topformer_tiny"): ("mscsa.", "backbone.trans."),
    ("topformer_head", "resnet10t"): ("layer4.", "backbone.tpm.backbone.layer4."),
    ("topformer_head", "mscsa_resnet18"): ("backbone.layer4.", "backbone.tpm.backbone.layer4."),
}


@pytest.mark.parametrize(("head", "name"), CLASSIFIERS)
def test_a_classifier_starts_a_segmenter(head: str, name: str) -> None:
    torch.manual_seed(0)
    classifier = timm.create_model(name, num_classes=3)
    state = {key: torch.randn(value.shape).to(value.dtype) for key, value in classifier.state_dict().items()}
    model = build_segmenter(head, name, 5)
    report = load_backbone(model, state)
    before, after = CLASSIFIERS[head, name]
    filled = model.state_dict()
    moved = [key for key in state if key.startswith(before)]
    assert moved
    assert all(torch.equal(filled[after + key.removeprefix(before)], state[key]) for key in moved)
    # Everything of the backbone and MSCSA has come along; only the new parts are missing.
    new = ("decode_head.", "backbone.fusion.", "backbone.SIM.")
    # Without MSCSA another backbone's tokens come from a new extractor.
    new += ("backbone.trans.",) if (head, name) == ("topformer_head", "resnet10t") else ()
    assert all(key.startswith(new) for key in report.missing), report
    assert all({"head", "norm", "fc"} & set(key.split(".")) for key in report.unexpected), report


def test_a_segmenter_starts_a_segmenter_of_other_classes() -> None:
    first = build_segmenter("semantic_fpn", "mscsa_resnet18", 5, fpn_channels=32, head_channels=32)
    second = build_segmenter("semantic_fpn", "mscsa_resnet18", 7, fpn_channels=32, head_channels=32)
    report = load_backbone(second, first.state_dict())
    assert not report.missing
    assert set(report.mismatched) == {"decode_head.classifier.weight", "decode_head.classifier.bias"}
    same, other = first.state_dict(), second.state_dict()
    assert all(torch.equal(other[key], same[key]) for key in report.matched)


def test_a_poor_match_is_refused() -> None:
    def segmenter() -> Segmenter:
        return build_segmenter("semantic_fpn", "mscsa_resnet18", 5, fpn_channels=32, head_channels=32)

    model = segmenter()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plain = timm.create_model("resnet18", num_classes=3).state_dict()
    without = timm.create_model("mscsa_resnet18", num_classes=3).state_dict()
    without = {key: value for key, value in without.items() if not key.startswith("backbone.layer4")}
    for state in (plain, without):
        with pytest.raises(UserError, match="at least 90% expected"):
            load_backbone(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
