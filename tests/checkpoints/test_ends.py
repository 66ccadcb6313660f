"""First layers and classifiers that differ between a file and a model of the same backbone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mscsa.checkpoints import LoadReport, load_weights, save_weights
from mscsa.checkpoints.ends import adapted, is_of_other_form, other_channels
from mscsa.checkpoints.parts import parts_of
from mscsa.models.build import build_pyramid
from mscsa.segmentation import build_segmenter
from tests.refusals import one_line_error
from tests.small_models import PVT, RESNET

FIRST = "backbone.conv1.0.weight"


def started(
    model: nn.Module, state: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> tuple[LoadReport, str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mscsa"):
        report = load_weights(model, state)
    return report, caplog.text


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (3, 4), (3, 7), (1, 3), (5, 3)])
def test_a_first_layer_of_other_channels_is_adapted(
    theirs: int, ours: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As timm does: colours are summed, others repeated."""
    source, model = RESNET.build(in_chans=theirs), RESNET.build(in_chans=ours)
    state = source.state_dict()
    before = state[FIRST].clone()
    report, told = started(model, state, caplog)
    assert not report.new and FIRST in report.matched and torch.equal(state[FIRST], before)
    assert f"{FIRST} adapted from {theirs} input channels to {ours}" in told
    expected = timm.models.adapt_input_conv(ours, before, base_chans=theirs)
    assert torch.equal(model.state_dict()[FIRST], expected)
    assert torch.equal(model.backbone.layer4[0].conv1.weight, source.backbone.layer4[0].conv1.weight)


@pytest.mark.parametrize("policy", ["exact", "new_head"])
def test_other_policies_say_which_channels(policy: Any) -> None:
    model = RESNET.build(in_chans=1)
    before = model.state_dict()[FIRST].clone()
    message = one_line_error(
        lambda: load_weights(model, RESNET.build().state_dict(), policy=policy), "1 of another shape"
    )
    assert message.endswith(
        "the file is of 3 input channels, the model of 1: build it with in_chans=3, or load with "
        "policy='backbone', which adapts the first layer"
    )
    assert torch.equal(model.state_dict()[FIRST], before)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_pyramid("resnet10t", in_chans=4),
        lambda: build_segmenter("topformer_head", "pvt_v2_b0", 3, in_chans=4),
        lambda: timm.create_model("topformer_tiny", in_chans=4),
        lambda: PVT.build(in_chans=4),
    ],
    ids=["pyramid", "segmenter", "plain", "classifier"],
)
def test_of_every_form(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = build()
    name = "resnet10t" if hasattr(getattr(model, "backbone", model), "layer4") else "pvt_v2_b0"
    name = "topformer_tiny" if hasattr(model, "tpm") else name
    report, told = started(model, timm.create_model(name).state_dict(), caplog)
    assert "adapted from 3 input channels to 4" in told and not report.new.get("backbone")


def test_kernels_of_another_size_are_not_adapted() -> None:
    model = RESNET.build(in_chans=1)
    state = {**RESNET.build().state_dict(), FIRST: torch.rand(24, 3, 5, 5)}
    one_line_error(lambda: load_weights(model, state), r"\(24, 3, 5, 5\) instead of \(24, 1, 3, 3\)")
    parts, places = parts_of(model), {FIRST: FIRST}
    assert not other_channels(model, parts, places, state)
    assert not other_channels(model, parts, places, {FIRST: torch.rand(24, 3, 3, 3).to(torch.int8)})
    assert other_channels(model, parts, places, {FIRST: torch.rand(24, 3, 3, 3)}) == {FIRST: (3, 1)}
    assert adapted(torch.rand(24, 3, 3, 3), (3, 1)).shape == (24, 1, 3, 3)


@pytest.mark.parametrize("policy", ["backbone", "new_head"])
@pytest.mark.parametrize("file_keeps", [False, True])
def test_a_head_that_is_added_is_not_one_that_classifies_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file_keeps: bool, policy: Any
) -> None:
    source, model = (
        RESNET.build(num_classes=5, keep_classifier=each) for each in (file_keeps, not file_keeps)
    )
    nn.init.ones_(source.get_parameter("head.weight"))
    before = model.get_parameter("head.weight").clone()
    save_weights(source, tmp_path / "w.safetensors")
    with caplog.at_level(logging.WARNING, logger="mscsa"):
        report = load_weights(model, tmp_path / "w.safetensors", policy=policy)
    assert report.new == {"head": 2 if file_keeps else 4} and torch.equal(
        model.get_parameter("head.weight"), before
    )
    assert "its head is not used: one of file and model adds it to a kept classifier" in caplog.text
    assert "mscsa" in report.filled and "norm" in report.filled
    one_line_error(
        lambda: load_weights(model, tmp_path / "w.safetensors", policy="exact"), "head: |unexpected"
    )


@pytest.mark.parametrize("keeps", [False, True])
def test_a_head_of_the_same_form_is_filled(keeps: bool, caplog: pytest.LogCaptureFixture) -> None:
    source, model = (RESNET.build(num_classes=5, keep_classifier=keeps) for _ in range(2))
    nn.init.ones_(source.get_parameter("head.weight"))
    assert not is_of_other_form(model, parts_of(model), "backbone.", source.state_dict())
    report, told = started(model, source.state_dict(), caplog)
    assert not report.new and not told
    assert torch.equal(model.get_parameter("head.weight"), source.get_parameter("head.weight"))
