"""What a whole model says of itself to timm, and the weights that such a description names."""

import pickle
import socket

import pytest
import timm
import torch
from huggingface_hub import constants

import mscsa
from mscsa.assembly.build import build_model
from mscsa.attention import MSCSAConfig
from mscsa.backbones.shipped_weights import shipped_weights
from mscsa.models.build import build_pyramid, create_model
from mscsa.recipes.spec import ModelSpec
from tests.refusals import Malicious, one_line_error
from tests.small_models import RESNET

LIGHT = MSCSAConfig(num_heads=2, head_dim=8, squeeze_ratio=0.25)


@pytest.fixture
def on_meta():
    """Build without data."""
    with torch.device("meta"):
        yield


def save_backbone(name: str, path, **kwargs) -> torch.nn.Module:
    """A backbone with weights of no default, and its state dict in a file."""
    torch.manual_seed(5)
    plain = timm.create_model(name, **kwargs).eval()
    torch.save(plain.state_dict(), path)
    return plain


def test_pretrained_weights_land_in_the_backbone(tmp_path):
    plain = save_backbone("resnet10t", tmp_path / "weights.pth")
    overlay = dict(file=str(tmp_path / "weights.pth"))
    model = create_model("resnet10t", pretrained=True, pretrained_cfg_overlay=overlay, config=LIGHT)
    state = plain.state_dict()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_pretrained_weights_adapt_to_other_input_channels(tmp_path):
    plain = save_backbone("resnet10t", tmp_path / "weights.pth")
    overlay = dict(file=str(tmp_path / "weights.pth"))
    model = create_model(
        "resnet10t", pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, config=LIGHT
    )
    expected = plain.conv1[0].weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.backbone.conv1[0].weight, expected)


@pytest.mark.parametrize("num_classes", [4, 1000])
@pytest.mark.parametrize("form", ["overlay", "path"])
def test_a_kept_classifier_starts_small_unless_named_weights_fill_it(tmp_path, form, num_classes):
    file = str(tmp_path / "weights.pth")
    plain = save_backbone("test_efficientnet", file)
    source = {"pretrained": True, "pretrained_cfg_overlay": dict(file=file)}
    if form == "path":
        source = {"checkpoint_path": file}
    model = create_model(
        "test_efficientnet", num_classes=num_classes, keep_classifier=True, budget=0.5, **source
    )
    own = model.backbone.classifier.weight
    assert torch.equal(model.backbone.conv_stem.weight, plain.conv_stem.weight)
    if num_classes == 1000:
        assert torch.equal(own, plain.classifier.weight)
    else:
        assert 0.015 < own.std() < 0.025


@pytest.mark.parametrize("tag", ["resnet10t.no_such_tag"])
def test_a_pretrained_tag_that_timm_does_not_know_is_refused(tag):
    with pytest.raises((mscsa.UserError, RuntimeError), match="no_such_tag"):
        create_model(tag, config=LIGHT)


@pytest.mark.parametrize("name", ["resnet18", "pvt_v2_b0", "swin_tiny_patch4_window7_224"])
@pytest.mark.usefixtures("on_meta")
def test_input_description_is_the_backbones(name):
    cfg = create_model(name).pretrained_cfg
    own = timm.get_pretrained_cfg(name).to_dict()
    for key in ("mean", "std", "crop_pct", "interpolation", "input_size"):
        assert cfg[key] == own[key], key
    assert cfg["architecture"] == f"mscsa_{name}" and cfg["classifier"] == "head"
    assert cfg["first_conv"] == f"backbone.{own['first_conv']}"
    assert cfg.get("num_classes") == 1000
    assert not any(cfg.get(key) for key in ("url", "file", "hf_hub_id"))


def test_default_cfg_is_the_same_object():
    model = RESNET.build()
    assert model.default_cfg is model.pretrained_cfg


def test_input_description_resolves_in_timm():
    data = timm.data.resolve_model_data_config(RESNET.build())
    own = timm.data.resolve_model_data_config(timm.create_model(RESNET.name))
    assert data == own


def overlay_of(path) -> dict:
    """How timm's train.py passes `--pretrained-path` on."""
    return {"file": str(path), "num_classes": -1}


@pytest.mark.parametrize("features_only", [False, True])
def test_weights_of_the_whole_model_fill_it(tmp_path, features_only):
    torch.manual_seed(3)
    model = timm.create_model("mscsa_pvt_v2_b0", features_only=features_only).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "whole.pth")
    again = timm.create_model(
        "mscsa_pvt_v2_b0",
        pretrained=True,
        features_only=features_only,
        pretrained_cfg_overlay=overlay_of(tmp_path / "whole.pth"),
    )
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("num_classes", [7, 5])
def test_a_file_says_by_itself_how_many_classes_it_has(tmp_path, caplog, num_classes):
    """timm's overlay need not say it; classes of another number are new, which is said."""
    model = timm.create_model("mscsa_resnet18", num_classes=7)
    torch.save(model.state_dict(), tmp_path / "seven.pth")
    overlay = dict(file=str(tmp_path / "seven.pth"))
    again = timm.create_model(
        "mscsa_resnet18", num_classes=num_classes, pretrained=True, pretrained_cfg_overlay=overlay
    )
    assert torch.equal(again.norm.weight, model.norm.weight)
    assert torch.equal(again.head.weight, model.head.weight) if num_classes == 7 else "head" in caplog.text


def test_a_description_with_weights_in_memory_and_classes_of_its_own():
    torch.manual_seed(3)
    model = timm.create_model("mscsa_pvt_v2_b0", num_classes=7)
    cfg = dict(model.pretrained_cfg, num_classes=7, state_dict=model.state_dict())
    again = timm.create_model("mscsa_pvt_v2_b0", pretrained=True, pretrained_cfg=cfg)
    assert again.num_classes == 7 and torch.equal(again.head.weight, model.head.weight)


def test_weights_of_the_plain_backbone_start_the_model(tmp_path, caplog):
    plain = save_backbone("pvt_v2_b0", tmp_path / "plain.pth")
    model = timm.create_model(
        "mscsa_pvt_v2_b0", pretrained=True, pretrained_cfg_overlay=dict(file=str(tmp_path / "plain.pth"))
    )
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key]), key
    assert "mscsa" in caplog.text and "new" in caplog.text


@pytest.mark.parametrize("name", ["mscsa_pvt_v2_b0", "mscsa_resnet18"])
def test_weights_of_another_backbone_are_refused(tmp_path, name):
    save_backbone("resnet10t", tmp_path / "other.pth")
    overlay = overlay_of(tmp_path / "other.pth")
    with pytest.raises(mscsa.UserError, match="backbone") as caught:
        timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mscsa_convnext_tiny.in12k_ft_in1k", "mscsa_convnext_tiny.fb_in22k"])
@pytest.mark.parametrize("build", [timm.create_model, create_model], ids=["timm", "mscsa"])
@pytest.mark.usefixtures("on_meta")
def test_a_tag_chooses_the_backbones_weights(name, build):
    model = build(name, num_classes=5)
    tag = name.partition(".")[2]
    assert model.backbone.pretrained_cfg["tag"] == model.pretrained_cfg["tag"] == tag
    own = timm.get_pretrained_cfg(name.removeprefix("mscsa_"))
    assert model.pretrained_cfg["mean"] == own.mean and model.pretrained_cfg["crop_pct"] == own.crop_pct


def test_a_tag_of_no_weights_names_those_that_there_are():
    with pytest.raises(mscsa.UserError, match="no pretrained weights called 'in1k': it has"):
        timm.create_model("mscsa_convnext_tiny.in1k")


@pytest.mark.usefixtures("on_meta")
def test_a_pyramid_describes_no_classifier():
    cfg = timm.create_model("mscsa_pvt_v2_b0", features_only=True).pretrained_cfg
    assert "classifier" not in cfg and "num_classes" not in cfg


def test_a_model_of_a_hand_built_backbone_says_that_timm_cannot_rebuild_it(tmp_path):
    model = mscsa.add_to(timm.models.ResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1)), config=LIGHT)
    with pytest.raises(mscsa.UserError, match="built or pruned by hand.*mscsa.save_weights"):
        timm.models.save_for_hf(model, str(tmp_path))


LITE0 = "tf_efficientnet_lite0"
SMALL_FPN = {"fpn_channels": 16, "head_channels": 16}

BUILDERS = {
    "create_model": lambda name: create_model(name, pretrained=True, num_classes=3),
    "features_only": lambda name: create_model(name, pretrained=True, features_only=True, in_chans=3),
    "timm": lambda name: timm.create_model("mscsa", backbone=name, pretrained=True, num_classes=3),
    "pyramid": lambda name: build_pyramid(name, pretrained=True),
    "pyramid with MSCSA": lambda name: build_pyramid(f"mscsa_{name}", pretrained=True),
    "segmenter": lambda name: mscsa.segmentation.build_segmenter(
        "semantic_fpn", f"mscsa_{name}", 3, pretrained=True, **SMALL_FPN
    ),
    "detector": lambda name: mscsa.detection.build_detector(
        "retinanet", name, 3, pretrained=True, fpn_channels=16
    ),
    "recipe": lambda name: build_model(ModelSpec(name=name, mscsa={}, pretrained=True), 3),
    "recipe's baseline": lambda name: build_model(ModelSpec(name=name, pretrained=True), 3),
}
"""Every way to a model on a backbone -> it, from a backbone's name."""


@pytest.fixture
def offline(monkeypatch):
    """Let nothing be downloaded, nor found from before."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "nowhere")


@pytest.mark.usefixtures("offline")
def test_a_file_without_a_classifier_leaves_that_of_the_pretrained_weights(tmp_path):
    state = timm.create_model(LITE0).state_dict()
    torch.save({key: value for key, value in state.items() if "classifier" not in key}, tmp_path / "w.pth")
    options = {"pretrained": True, "keep_classifier": True, "config": LIGHT}
    model = create_model(LITE0, checkpoint_path=str(tmp_path / "w.pth"), **options)
    assert torch.equal(model.backbone.classifier.weight, shipped_weights(LITE0)["classifier.weight"])


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            build, id=name, marks=() if name in ("create_model", "pyramid with MSCSA") else pytest.mark.slow
        )
        for name, build in BUILDERS.items()
    ],
)
@pytest.mark.usefixtures("offline")
def test_weights_of_a_package_start_every_model_without_a_network(build):
    state = shipped_weights(LITE0)
    found = build(LITE0).state_dict()
    conv = next(key for key in found if key.endswith("conv_stem.weight"))
    prefix = conv.removesuffix("conv_stem.weight")
    deepest = "blocks.6.0.bn3.running_var"  # what every pyramid reads last
    assert torch.equal(found[conv], state["conv_stem.weight"])
    assert torch.equal(found[prefix + deepest], state[deepest])


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.usefixtures("offline")
def test_without_a_network_other_weights_are_one_line_in_every_model(build):
    one_line_error(lambda: build("resnet10t"), "the pretrained weights of resnet10t cannot be downloaded")


@pytest.mark.usefixtures("offline")
def test_weights_of_a_package_adapt_to_other_input_channels():
    model = create_model(LITE0, pretrained=True, in_chans=1, config=LIGHT)
    expected = shipped_weights(LITE0)["conv_stem.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.backbone.conv_stem.weight, expected)
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 1000)


@pytest.mark.usefixtures("offline")
def test_weights_that_the_caller_names_come_before_a_packages(tmp_path):
    plain = save_backbone(LITE0, tmp_path / "mine.pth")
    overlay = {"file": str(tmp_path / "mine.pth")}
    model = create_model(LITE0, pretrained=True, pretrained_cfg_overlay=overlay, config=LIGHT)
    assert torch.equal(model.backbone.conv_stem.weight, plain.conv_stem.weight)


@pytest.mark.parametrize("source", [{"hf_hub_id": "nobody/nothing"}, {"url": "http://nobody.invalid/a.pth"}])
@pytest.mark.usefixtures("offline")
def test_weights_of_a_whole_model_that_cannot_be_downloaded_are_one_line(source):
    overlay = {"pretrained": True, "pretrained_cfg_overlay": source}
    line = one_line_error(lambda: create_model("resnet10t", config=LIGHT, **overlay), "cannot be downloaded")
    assert "weights of" in line and next(iter(source.values())) in line


def start_from(**overlay) -> mscsa.MSCSAModel:
    """Build a small model from weights that the overlay names."""
    return create_model("resnet10t", pretrained=True, config=LIGHT, pretrained_cfg_overlay=overlay)


@pytest.mark.parametrize("file", ["/nope.pth", "/nope.safetensors", 3])
def test_a_file_of_a_whole_model_that_is_not_there_is_no_failed_download(monkeypatch, file):
    monkeypatch.setattr(socket, "create_connection", None)  # is not asked
    one_line_error(lambda: start_from(file=file), f"^checkpoint {file} is not there: give the path of a")


def test_a_file_that_does_not_fit_is_named(tmp_path):
    file = tmp_path / "other.pth"
    save_backbone("test_vit", file)
    one_line_error(lambda: start_from(file=str(file)), rf"^{file} fills 0 of \d+ tensors of this model")
    file.write_bytes(b"xx" * 50)
    one_line_error(lambda: start_from(file=str(file)), f"^checkpoint {file} cannot be read: ")
    file.write_bytes(pickle.dumps({"weights": Malicious(tmp_path / "trace")}))
    one_line_error(lambda: start_from(file=str(file)), f"^checkpoint {file} ")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("state", [[1], {"a": 1}])
def test_a_state_dict_that_is_none_is_one_line(state):
    one_line_error(lambda: start_from(state_dict=state), "^the given state dict holds no weights but ")


def test_a_state_dict_that_does_not_fit_is_one_line():
    state = timm.create_model("test_vit").state_dict()
    one_line_error(lambda: start_from(state_dict=state), r"^the given state dict fills 0 of \d+ tensors")


def test_a_wrapped_state_dict_starts_a_model():
    torch.manual_seed(7)
    plain = timm.create_model("resnet10t")
    model = start_from(state_dict={"epoch": 3, "state_dict": plain.state_dict()})
    assert torch.equal(model.backbone.state_dict()["bn1.weight"], plain.bn1.weight)
    assert torch.equal(model.backbone.conv1[0].weight, plain.conv1[0].weight)
