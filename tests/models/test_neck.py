"""A backbone and a neck that is not MSCSA: which maps go through it, and what it is built of."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from mscsa.attention import MSCSAConfig
from mscsa.backbones.timm_pyramid import build_backbone
from mscsa.checkpoints import load_weights
from mscsa.errors import UserError
from mscsa.models import MSCSAModel, NeckPyramid, build_pyramid
from mscsa.models.configure import measure_backbone
from mscsa.models.pyramid import BackbonePyramid
from mscsa.neck_table import OTHER_NECKS
from mscsa.necks import FPNConfig, build_neck, neck_macs

SMALL = {"channels": 8}
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
every_neck = pytest.mark.parametrize("neck", OTHER_NECKS)


@every_neck
def test_it_is_the_neck_on_the_backbones_maps(neck: str) -> None:
    torch.manual_seed(0)
    model = build_pyramid("test_resnet", neck=neck, neck_config=SMALL, strides=(8, 32)).eval()
    assert isinstance(model, NeckPyramid) and model.neck_name == neck
    plain = BackbonePyramid(build_backbone("test_resnet"), range(1, 5)).eval()
    plain.backbone.load_state_dict(model.backbone.state_dict(), strict=False)
    alone = build_neck(neck, [32, 48, 192, 96], [4, 8, 16, 32], SMALL, out_levels=[1, 3]).eval()
    assert plain.feature_info.channels() == [32, 48, 192, 96]
    alone.load_state_dict(model.neck.state_dict())
    for ours, expected in zip(model(IMAGE), alone(plain(IMAGE)), strict=True):
        assert torch.equal(ours, expected)
    assert model.feature_info.channels() == [8, 8] and model.feature_info.reduction() == [8, 32]
    assert model.weight_parts() == {"backbone": "backbone.", "neck": "neck."}


def test_levels_finer_than_4_come_out_as_they_are() -> None:
    model = NeckPyramid(build_backbone("resnet10t"), "fpn", SMALL, out_indices=(0, 2)).eval()
    assert model.feature_info.channels() == [64, 8]
    finest = model.read(IMAGE, [0])[0]
    assert torch.equal(model(IMAGE)[0], finest)
    with pytest.raises(UserError, match=r"out_indices=\(0,\) asks for levels that FPN leaves as they are"):
        NeckPyramid(build_backbone("resnet10t"), "fpn", SMALL, out_indices=(0,))


@every_neck
def test_every_parameter_has_a_gradient_and_recomputing_changes_none(neck: str) -> None:
    """The neck's batch statistics are counted once, too."""
    model = build_pyramid("test_resnet", neck=neck, neck_config=SMALL, strides=(8, 16)).double()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = []
    for enable in (False, True):
        model.load_state_dict(state)
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        sum(x.square().mean() for x in model(IMAGE.double())).backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None]
        # timm's own blocks count theirs twice.
        counted = [buffer.clone() for buffer in model.neck.buffers()]
        found.append([*(p.grad.clone() for p in model.parameters()), *counted])
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-9, atol=1e-12)


@every_neck
def test_a_budget_is_a_share_of_the_backbone(neck: str) -> None:
    model = build_pyramid("test_resnet", neck=neck, budget=0.5, budget_size=(96, 128), strides=(8, 16, 32))
    measured, macs = measure_backbone(model.backbone, "test_resnet", model.out_indices, (96, 128))
    assert (measured.channels, measured.out_levels) == ([32, 48, 192, 96], [1, 2, 3])
    cost = neck_macs(
        neck, measured.channels, measured.strides, measured.sizes, model.neck.config, measured.out_levels
    )
    assert 0.45 * macs <= cost <= 0.5 * macs
    kept = build_pyramid("test_resnet", neck="bifpn", neck_config={"depth": 1}, budget=0.5)
    assert kept.neck.config.depth == 1


def test_mscsa_by_name_is_what_its_fields_mean() -> None:
    fields = {"head_dim": 8, "squeeze_ratio": 0.25}
    named = build_pyramid("test_resnet", neck="mscsa", neck_config=fields)
    assert isinstance(named, MSCSAModel)
    assert named.mscsa.config == build_pyramid("test_resnet", fields=fields).mscsa.config
    whole = MSCSAConfig(head_dim=8, depth=2)
    assert build_pyramid("mscsa_test_resnet", neck="mscsa", neck_config=whole).mscsa.config.depth == 2
    assert isinstance(build_pyramid("test_resnet", neck="mscsa"), MSCSAModel)


def test_what_cannot_be_is_one_line() -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("mscsa_test_resnet", {"neck": "fpn"}, "the neck fpn given with the name mscsa_test_resnet: "),
        ("test_resnet", {"neck": "fpn", "fields": {}}, "the neck fpn given with MSCSA's fields (--mscsa): "),
        (
            "test_resnet",
            {"neck": "mscsa", "config": {}},
            "the neck mscsa given with MSCSA's config (--mscsa): ",
        ),
        ("test_resnet", {"neck": "fpm"}, "no neck is called 'fpm': did you mean fpn?"),
        ("test_resnet", {"neck_config": {}}, "neck_config given without neck"),
        ("test_resnet", {"neck": "fpn", "neck_config": {"width": 3}}, "config names width, which FPN"),
        ("test_resnet", {"neck": "fpn", "neck_config": FPNConfig(), "budget": 0.1}, "both config and budget"),
        ("test_resnet", {"neck": "fpn", "budget": -1}, "budget=-1 given: give the share of the backbone's"),
        ("test_resnet", {"neck": "mscsa", "neck_config": {"hed_dim": 3}}, "unknown keyword hed_dim"),
        ("vit_tiny_patch16_224", {"neck": "fpn"}, "needs two or more strides from 4 on"),
    ]
    for name, options, message in cases:
        with torch.device("meta"), pytest.raises(ValueError, match=re.escape(message)) as caught:
            build_pyramid(name, **options)
        assert "\n" not in str(caught.value)


def test_a_classifiers_weights_start_the_backbone() -> None:
    """The neck stays new, which the report says."""
    model = build_pyramid("test_resnet", neck="bifpn", neck_config=SMALL)
    before = {key: value.clone() for key, value in model.neck.state_dict().items()}
    other = build_backbone("test_resnet")
    report = load_weights(model, other.state_dict())
    assert {key.split(".")[0] for key in report.missing} == {"neck"}
    assert torch.equal(next(model.backbone.parameters()), next(other.parameters()))
    assert all(torch.equal(value, before[key]) for key, value in model.neck.state_dict().items())
    # And a model of the same kind fills it.
    again = build_pyramid("test_resnet", neck="bifpn", neck_config=SMALL)
    load_weights(again, model.state_dict(), policy="exact")
