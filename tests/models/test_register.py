"""The models in timm's registry."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

import mscsa
from mscsa.backbones.presets import PRESETS, REGISTERED
from mscsa.macs import count_macs

PAPER_ROWS = {
    f"mscsa_{name}"
    for name in (
        *("resnet18", "resnet50", "pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2"),
        *("swin_tiny_patch4_window7_224", "convnext_tiny", "coat_tiny", "coat_small"),
        *("topformer_tiny", "topformer_base", "p2t_tiny", "shunted_tiny"),
    )
}


def test_names():
    assert set(timm.list_models("mscsa_*")) == PAPER_ROWS == set(REGISTERED)
    assert timm.list_models("mscsa_*", pretrained=True) == []


@pytest.mark.parametrize("name", sorted(PAPER_ROWS))
def test_builds_as_a_timm_model(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10)
        pyramid = timm.create_model(name, features_only=True)
        last = timm.create_model(name, features_only=True, out_indices=(-1,))
    assert isinstance(model, mscsa.MSCSAModel)
    assert model.head.out_features == 10
    preset = PRESETS[REGISTERED[name]].config  # with the backbone's own stochastic depth
    assert replace(model.mscsa.config, drop_path_rate=0.0) == preset
    assert [r for r in pyramid.feature_info.reduction() if r >= 4] == [4, 8, 16, 32]
    assert last.feature_info.channels() == pyramid.feature_info.channels()[-1:]
    assert model.pretrained_cfg["architecture"] == name


@pytest.mark.parametrize("name", sorted(PAPER_ROWS))
def test_describes_its_input_as_the_backbone_does(name):
    cfg = timm.get_pretrained_cfg(name)
    own = timm.get_pretrained_cfg(REGISTERED[name])
    for field in ("mean", "std", "crop_pct", "interpolation", "input_size"):
        assert getattr(cfg, field) == getattr(own, field), field
    with torch.device("meta"):
        model = timm.create_model(name)
    assert model.pretrained_cfg["mean"] == own.mean
    assert not cfg.has_weights


def test_the_pyramid_of_the_readme():
    model = timm.create_model("mscsa_pvt_v2_b1", features_only=True).eval()
    maps = model(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [
        (1, 64, 16, 24),
        (1, 128, 8, 12),
        (1, 320, 4, 6),
        (1, 512, 2, 3),
    ]


def test_what_mscsa_adds_to_pvt_v2_b1():
    """0.218 GMACs at 224x224, classifiers aside."""
    with torch.device("meta"):
        ours = timm.create_model("mscsa_pvt_v2_b1", num_classes=0)
        plain = timm.create_model("pvt_v2_b1", num_classes=0)
    assert count_macs(ours) - count_macs(plain) == pytest.approx(0.218e9, rel=0.02)
    with torch.device("meta"):
        ours, plain = timm.create_model("mscsa_pvt_v2_b1"), timm.create_model("pvt_v2_b1")
    assert count_macs(ours) - count_macs(plain) == pytest.approx(0.218e9, rel=0.02)


def test_timm_loads_a_checkpoint_by_path(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("mscsa_pvt_v2_b0", num_classes=3).eval()
    image = torch.rand(1, 3, 64, 64)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.pth")
    save_file(model.state_dict(), tmp_path / "b.safetensors")
    for file in ("a.pth", "b.safetensors"):
        torch.manual_seed(1)
        again = timm.create_model("mscsa_pvt_v2_b0", num_classes=3, checkpoint_path=str(tmp_path / file))
        assert torch.equal(again.eval()(image), model(image))


@pytest.mark.parametrize("name", ["resnet18", "pvt_v2_b0"])
def test_the_start_keeps_pretrained_features(name, tmp_path):
    check_start(name, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "pvt_v2_b1",
        "pvt_v2_b2",
        "swin_tiny_patch4_window7_224",
        "convnext_tiny",
        "p2t_tiny",
        "coat_serial_tiny",
    ],
)
def test_the_start_keeps_pretrained_features_of_the_others(name, tmp_path):
    check_start(name, tmp_path)


def check_start(name: str, folder) -> None:
    """With weights in place, MSCSA's maps are timm's own."""
    torch.manual_seed(3)
    plain = timm.create_model(name).eval()
    torch.save(plain.state_dict(), folder / "weights.pth")
    overlay = dict(file=str(folder / "weights.pth"))
    registered = next(ours for ours, backbone in REGISTERED.items() if backbone == name)
    model = timm.create_model(
        registered, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True
    ).eval()
    levels = tuple(model.feature_info.out_indices)
    reference = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True, out_indices=levels
    ).eval()
    image = torch.rand(1, 3, 224, 224)
    for ours, expected in zip(model(image), reference(image), strict=True):
        if expected.shape[1] != ours.shape[1]:
            expected = expected.permute(0, 3, 1, 2)  # Swin's own features are NHWC
        assert (ours - expected).abs().max() < 1e-6
