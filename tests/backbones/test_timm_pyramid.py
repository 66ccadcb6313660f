"""Reading any timm backbone as a pyramid."""

import pytest
import timm
import torch

import mscsa
from mscsa.backbones.timm_pyramid import (
    attended_levels,
    build_backbone,
    check_model_name,
    drop_path_rate_of,
    pyramid_levels,
    read_pyramid,
)
from mscsa.errors import UserError


@pytest.fixture
def on_meta():
    """Build without data."""
    with torch.device("meta"):
        yield


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("resnet10t", [2, 4, 8, 16, 32]),
        ("pvt_v2_b0", [4, 8, 16, 32]),
        ("swin_tiny_patch4_window7_224", [4, 8, 16, 32]),
        ("mobilenetv3_small_050", [2, 4, 8, 16, 32]),
        ("hrnet_w18_small", [2, 4, 8, 16, 32]),
    ],
)
@pytest.mark.usefixtures("on_meta")
def test_levels_are_timms(name, strides):
    levels = pyramid_levels(build_backbone(name))
    assert [level.stride for level in levels] == strides
    assert [level.index for level in levels] == list(range(len(strides)))
    own = timm.create_model(name, features_only=True, out_indices=tuple(range(len(strides))))
    assert [level.channels for level in levels] == own.feature_info.channels()
    assert [level.stride for level in attended_levels(levels, name)] == [4, 8, 16, 32]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s32_224"])
@pytest.mark.usefixtures("on_meta")
def test_a_backbone_without_a_pyramid_is_one_line(name):
    with pytest.raises(
        UserError, match=f"the backbone {name} .*choose a backbone with a feature pyramid"
    ) as caught:
        attended_levels(pyramid_levels(build_backbone(name)), name)
    assert "\n" not in str(caught.value)


def test_names():
    check_model_name("resnet18")
    check_model_name("resnet18.a1_in1k")
    check_model_name("hf-hub:someone/something")
    with pytest.raises(UserError, match="did you mean .*pvt_v2_b1"):
        check_model_name("pvtv2_b1")


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet10t", "convnext_atto"])
def test_maps_are_always_channels_first(name):
    backbone = build_backbone(name).eval()
    levels = pyramid_levels(backbone)
    maps = read_pyramid(backbone, torch.rand(1, 3, 224, 224), [level.index for level in levels])
    expected = [(1, level.channels, 224 // level.stride, 224 // level.stride) for level in levels]
    assert [tuple(x.shape) for x in maps] == expected


def test_only_the_asked_levels():
    backbone = build_backbone("resnet10t").eval()
    maps = read_pyramid(backbone, torch.rand(1, 3, 64, 64), [1, 3])
    assert [x.shape[1] for x in maps] == [64, 256]


def test_a_refused_size_is_one_line():
    backbone = build_backbone("swin_tiny_patch4_window7_224", strict_img_size=True).eval()
    with pytest.raises(UserError, match="SwinTransformer refuses 64x96 images: .*backbone_kwargs") as caught:
        read_pyramid(backbone, torch.rand(1, 3, 64, 96), [0, 1, 2, 3])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [0.0, 0.25])
@pytest.mark.usefixtures("on_meta")
def test_drop_path_rate(rate):
    assert drop_path_rate_of(build_backbone("pvt_v2_b0", drop_path_rate=rate)) == pytest.approx(rate)


@pytest.mark.usefixtures("on_meta")
def test_an_argument_that_the_backbone_does_not_take():
    with pytest.raises(UserError, match="the backbone resnet10t does not take {'window_size': 7}") as caught:
        build_backbone("resnet10t", window_size=7)
    assert "\n" not in str(caught.value)


def test_an_error_that_is_not_about_the_size_stays_what_it_is():
    model = mscsa.create_model("test_resnet", features_only=True, num_heads=2, head_dim=4).double()
    with pytest.raises(RuntimeError, match="type") as caught:
        model(torch.rand(2, 3, 64, 64))
    assert not isinstance(caught.value, UserError)
