"""One contract of pyramids, with MSCSA and without: levels, order, indices, what timm asks of a model."""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
import torch
from timm.models import group_parameters
from timm.models._input import get_model_input_config

import mscsa
from mscsa.backbones.timm_pyramid import build_backbone, pyramid_levels
from mscsa.models import NeckPyramid, build_pyramid
from mscsa.models.pyramid import (
    BackbonePyramid,
    indices_of_strides,
    positions_in,
    prefixed_no_weight_decay,
    resolve_out_indices,
)
from tests.refusals import one_line_error
from tests.small_models import CASES, RESNET, SWIN


def plain(case, **kwargs):
    return BackbonePyramid(build_backbone(case.name, **case.backbone_kwargs), **kwargs)


def fused(case, out_indices=None):
    return case.build(features_only=True, out_indices=out_indices)


def mixed(case, **kwargs):
    return NeckPyramid(build_backbone(case.name, **case.backbone_kwargs), "bifpn", {"channels": 8}, **kwargs)


NECK_FIELDS = {
    "": {},
    "mscsa_": {"config": mscsa.MSCSAConfig(num_heads=2, head_dim=8)},
    "bifpn": {"neck": "bifpn", "neck_config": {"channels": 8}},
}
"""What stands before a name, or the neck -> the arguments of `build_pyramid`."""

every_form = pytest.mark.parametrize("build", [plain, fused, mixed], ids=["plain", "mscsa", "bifpn"])
every_neck = pytest.mark.parametrize("neck", NECK_FIELDS)


def pyramid_of(name, neck, **options):
    """A pyramid with a neck of `NECK_FIELDS`, or none."""
    return build_pyramid((neck if neck == "mscsa_" else "") + name, **options, **NECK_FIELDS[neck])


def channels_of(build, own, strides):
    """What a pyramid's maps have: the backbone's channels, or the neck's from stride 4 on."""
    return [8 if build is mixed and s >= 4 else c for c, s in zip(own, strides, strict=True)]


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_form
@every_case
def test_maps_are_what_feature_info_says(build, case):
    model = build(case).eval()
    own = timm.create_model(case.name, features_only=True, **case.backbone_kwargs).feature_info
    info = model.feature_info
    assert info.reduction() == own.reduction()
    assert info.channels() == channels_of(build, own.channels(), own.reduction())
    maps = model(case.image())
    assert [x.shape[1] for x in maps] == info.channels()
    assert [case.size[0] // x.shape[2] for x in maps] == info.reduction()
    modules = dict(model.named_modules())
    assert all(name in modules for name in info.module_name())
    assert [level.index for level in model.levels] == list(range(len(model.levels)))


@every_form
@pytest.mark.parametrize(
    ("asked", "strides"),
    [(None, [2, 4, 8, 16, 32]), (2, [16, 32]), ((-1,), [32]), ((4, 2), [8, 32]), ((1, -1, 4), [4, 32])],
)
def test_indices_are_timms_and_the_order_is_one(build, asked, strides):
    """Maps and `feature_info` in ascending order, however the levels were named."""
    model = build(RESNET, out_indices=asked).eval()
    assert model.feature_info.reduction() == strides
    maps = model(RESNET.image())
    assert [RESNET.size[0] // x.shape[2] for x in maps] == strides
    assert [x.shape[1] for x in maps] == model.feature_info.channels()


@every_form
@pytest.mark.parametrize("asked", [(5,), (-6,), (), 6, 0, ("a",)])
def test_levels_that_are_not_there_are_one_line(build, asked):
    with pytest.raises(mscsa.UserError, match=r"^out_indices=.* given: the levels are \{0: 2, 1: 4") as e:
        build(RESNET, out_indices=asked)
    assert "\n" not in str(e.value)


@every_neck
def test_strides_in_another_order_are_refused(neck):
    with pytest.raises(mscsa.UserError, match=r"strides \[32, 8\] given: give each once, finest first"):
        pyramid_of("resnet10t", neck, strides=(32, 8))
    maps = pyramid_of("resnet10t", neck, strides=(8, 32)).eval()(torch.rand(1, 3, 64, 64))
    assert [x.shape[1] for x in maps] == ([8, 8] if neck == "bifpn" else [128, 512])


@pytest.mark.parametrize(
    ("neck", "kind"), [("", BackbonePyramid), ("mscsa_", mscsa.MSCSAModel), ("bifpn", NeckPyramid)]
)
def test_heads_stand_on_stride_4_unless_they_ask_otherwise(neck, kind):
    model = pyramid_of("resnet10t", neck)
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    assert type(model) is kind


def test_strides_that_are_not_there():
    levels = pyramid_levels(build_backbone("resnet10t"))
    assert indices_of_strides(levels, None, "resnet10t") == [1, 2, 3, 4]
    for strides in (np.array([8, 32]), [np.int64(8), np.uint8(32)], (8, 32), torch.tensor([8, 32])):
        assert indices_of_strides(levels, strides, "resnet10t") == [2, 4]
    for wrong in (np.array(8), np.array([8.0, 32.0]), {8, 32}, "8", np.full((2, 2, 2), 8)):
        one_line_error(
            lambda wrong=wrong: indices_of_strides(levels, wrong, "resnet10t"),
            "^strides=.* given: give a list of strides in pixels, finest first$",
        )
    with pytest.raises(mscsa.UserError, match=r"has maps at strides \[2, 4, 8, 16, 32\], not \[64\]"):
        indices_of_strides(levels, (32, 64), "resnet10t")


def test_resolve_out_indices_sorts_and_counts_from_the_end():
    levels = pyramid_levels(build_backbone("resnet10t"))
    assert resolve_out_indices(levels, (4, 0, -1)) == [0, 4]
    assert resolve_out_indices(levels, None) == [0, 1, 2, 3, 4]
    assert resolve_out_indices(levels, np.array([2, 3])) == [2, 3]
    assert resolve_out_indices(levels, np.int64(2)) == [3, 4]
    assert resolve_out_indices(levels, torch.tensor([3])) == [3]
    for wrong in (1.0, True, [True], "ab", [1.5], np.array([1.0]), np.array(7)):
        with pytest.raises(mscsa.UserError, match="name some of them"):
            resolve_out_indices(levels, wrong)


@every_form
def test_what_lies_behind_the_deepest_level_is_pruned(build):
    shallow = build(RESNET, out_indices=(1, 2))
    names = {name for name, _ in shallow.named_parameters()}
    assert not any(name.startswith(("backbone.fc", "backbone.head")) for name in names)
    # A neck reads all levels, the plain pyramid only what it gives.
    assert any("layer4" in name for name in names) == (build is not plain)


@every_form
def test_one_input_contract(build):
    model = build(RESNET).eval()
    assert model.in_chans == 3 and model.pretrained_cfg["input_size"] == (3, 176, 176)
    for shape in ((3, 64, 64), (1, 4, 64, 64)):
        message = re.escape(f"takes 3-channel images (B, 3, H, W), not {shape}")
        with pytest.raises(mscsa.UserError, match=message):
            model(torch.rand(shape))


NO_CHECKPOINTING = ("hrnet_w18_small", "vgg11", "dla34", "inception_v3")


@pytest.mark.parametrize("name", NO_CHECKPOINTING)
@every_neck
def test_a_backbone_that_timm_cannot_recompute_is_one_line(name, neck):
    with torch.device("meta"):
        model = pyramid_of(name, neck)
    with pytest.raises(mscsa.UserError, match="timm cannot recompute .* without gradient checkpointing") as e:
        model.set_grad_checkpointing()
    assert "\n" not in str(e.value)
    assert model.grad_checkpointing is False
    model.set_grad_checkpointing(False)


@every_form
def test_checkpointing_is_told(build):
    model = build(RESNET)
    model.set_grad_checkpointing()
    assert model.grad_checkpointing is True
    model.set_grad_checkpointing(False)
    assert model.grad_checkpointing is False


@every_form
def test_input_size_of_a_backbone_of_fixed_size(build):
    """Swin's windows are cut for one size; set for another, what timm says of the input follows."""
    model = build(SWIN)
    assert get_model_input_config(model)["input_size"] == (3, 224, 224)
    model.set_input_size(img_size=(64, 96))
    assert get_model_input_config(model)["input_size"] == (3, 64, 96)
    assert [x.shape[2] for x in model.eval()(torch.rand(1, 3, 64, 96))] == [16, 8, 4, 2]


def test_input_size_of_a_backbone_of_any_size():
    model = fused(RESNET)
    model.set_input_size(img_size=64)
    with pytest.raises(mscsa.UserError, match="the input size of ResNet cannot be changed with window_size"):
        model.set_input_size(img_size=64, window_size=7)


@every_neck
def test_what_is_spared_from_decay_and_the_groups_are_the_backbones(neck):
    model = pyramid_of("coat_serial_tiny", neck)
    spared = model.no_weight_decay()
    assert spared and all(name.startswith("backbone.") for name in spared)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    of_neck = {number for name, number in groups.items() if not name.startswith("backbone.")}
    assert of_neck in (set(), {max(groups.values())})


def test_what_a_neck_gives_back_of_what_it_reads():
    levels = pyramid_levels(build_backbone("resnet10t"))
    assert positions_in(levels[1:], (0, 2, 4), "FPN") == [1, 3]
    with pytest.raises(mscsa.UserError, match=r"out_indices=\(0,\) asks for levels that FPN leaves"):
        positions_in(levels[1:], (0,), "FPN")


def test_what_is_spared_from_decay_is_prefixed():
    backbone = build_backbone("coat_serial_tiny")
    expected = {f"body.{name}" for name in backbone.no_weight_decay()}
    assert expected and prefixed_no_weight_decay(backbone, "body") == expected
    assert prefixed_no_weight_decay(torch.nn.Linear(1, 1), "body") == set()


@every_neck
@pytest.mark.parametrize("options", [{"in_chans": 4}, {"backbone_kwargs": {"in_chans": 4}}])
def test_channels_of_the_image(neck, options):
    model = pyramid_of("resnet10t", neck, **options).eval()
    assert model.in_chans == 4 and len(model(torch.rand(1, 4, 64, 64))) == 4
