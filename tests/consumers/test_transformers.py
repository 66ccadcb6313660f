"""transformers' `TimmBackbone` takes MSCSA by name."""

import pytest
import timm
import torch
from safetensors.torch import load_file
from transformers import TimmBackbone, TimmBackboneConfig

import mscsa  # noqa: F401  registers the names


@pytest.mark.parametrize(
    ("name", "out_indices", "channels"),
    [
        ("mscsa_pvt_v2_b0", (0, 1, 2, 3), [32, 64, 160, 256]),
        ("mscsa_resnet18", (2, 3, 4), [128, 256, 512]),
        ("mscsa_resnet18", (-1,), [512]),
    ],
)
def test_timm_backbone(name, out_indices, channels):
    config = TimmBackboneConfig(backbone=name, out_indices=out_indices, use_pretrained_backbone=False)
    backbone = TimmBackbone(config).eval()
    assert list(backbone.channels) == channels
    image = torch.rand(2, 3, 96, 64)
    maps = backbone(image).feature_maps
    plain = timm.create_model(name.removeprefix("mscsa_"), features_only=True, out_indices=out_indices)
    assert [x.shape for x in maps] == [x.shape for x in plain(image)]


def test_a_backbone_beyond_the_papers():
    config = TimmBackboneConfig(backbone="mscsa", out_indices=(1, 2, 3), use_pretrained_backbone=False)
    backbone = TimmBackbone(config, backbone="convnext_atto").eval()
    assert list(backbone.channels) == [80, 160, 320]
    maps = backbone(torch.rand(1, 3, 96, 64)).feature_maps
    assert [tuple(x.shape[1:]) for x in maps] == [(80, 12, 8), (160, 6, 4), (320, 3, 2)]


def test_weights_survive_a_save(tmp_path):
    config = TimmBackboneConfig(backbone="mscsa_pvt_v2_b0", out_indices=(2, 3), use_pretrained_backbone=False)
    backbone = TimmBackbone(config).eval()
    backbone.save_pretrained(tmp_path)
    again = TimmBackbone(config).eval()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    image = torch.rand(1, 3, 64, 64)
    for a, b in zip(backbone(image).feature_maps, again(image).feature_maps, strict=True):
        assert torch.equal(a, b)
