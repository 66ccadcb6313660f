"""Shunted computes what the official code computes, at the official size and cost."""

import pytest
import timm
import torch

from mscsa.backbones.shunted import MIN_SIDE
from mscsa.errors import UserError
from mscsa.official import load_official
from tests.backbones.golden import SIZES, golden_input, load_golden
from tests.backbones.recording import assert_agrees, count_macs, count_parameters, explicit_attention

# Official name of a feature -> module that computes it here, in (B, H, W, C).
INNER = {
    **{f"patch_embed{i + 1}": f"stages.{i}.embed" for i in range(4)},
    "block1.0.attn": "stages.0.blocks.0.attn",
    "block1.0.mlp": "stages.0.blocks.0.mlp",
    "block4.0.attn": "stages.3.blocks.0.attn",
    "stage1_prenorm": "stages.0.blocks.0",
    "stage2_prenorm": "stages.1.blocks.1",
    "stage3_prenorm": "stages.2.blocks.3",
    "stage4_prenorm": "stages.3.blocks.0",
}


@pytest.fixture(scope="module")
def golden():
    return load_golden("shunted_t")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tag", SIZES)
def test_agrees_with_the_official_code(golden, tag, dtype, fused):
    model = timm.create_model("shunted_tiny").eval()
    load_official(model, golden.state_dict())
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    assert_agrees(model, golden, tag, dtype, INNER)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("shunted_tiny", 11_553_576, 2146.691616e6),
        pytest.param("shunted_small", 22_401_256, 4993.08e6, marks=pytest.mark.long),
        pytest.param("shunted_base", 39_614_376, 8149.77e6, marks=pytest.mark.long),
    ],
)
def test_has_the_official_cost(name, parameters, macs):
    with explicit_attention(), torch.device("meta"):
        model = timm.create_model(name)
    assert count_parameters(model) == parameters
    assert count_macs(model) == pytest.approx(macs, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "last", "norms"),
    [("shunted_small", "conv.6", ("conv.1", "conv.4")), ("shunted_base", "conv.9", ("conv.7",))],
)
def test_larger_stems_have_the_official_keys(name, last, norms):
    with torch.device("meta"):
        keys = timm.create_model(name).state_dict()
    assert keys[f"stages.0.embed.{last}.weight"].shape == (64, 64, 2, 2)
    assert all(f"stages.0.embed.{norm}.running_mean" in keys for norm in norms)


def test_rejects_an_image_below_one_window():
    model = timm.create_model("shunted_tiny").eval()
    assert model(torch.randn(1, 3, MIN_SIDE, 45)).shape == (1, 1000)
    for size in ((224, MIN_SIDE - 1), (1, 1)):
        with pytest.raises(UserError, match=f"{size[0]}x{size[1]}; it needs at least 31x31.*resize") as error:
            model(torch.randn(1, 3, *size))
        assert "\n" not in str(error.value)


def test_official_checkpoint_loads_strictly(golden):
    entries = golden.state_dict()
    model = timm.create_model("shunted_tiny")
    removed = "block3.2.attn.kv2.bias"
    with pytest.raises(UserError, match=r"stages\.2\.blocks\.2\.attn\.scales\.1\.kv\.bias"):
        load_official(model, {k: v for k, v in entries.items() if k != removed})
    with pytest.raises(UserError, match="extra"):
        load_official(model, {**entries, "extra.weight": torch.zeros(1)})


def test_pyramid_loads_the_official_classifier(golden):
    image = golden_input(160, 224)
    classifier = timm.create_model("shunted_tiny").eval()
    pyramid = timm.create_model("shunted_tiny", features_only=True, out_indices=(1, 2)).eval()
    for model in (classifier, pyramid):
        load_official(model, golden.state_dict())
    with torch.no_grad():
        expected = classifier.forward_intermediates(image, [1, 2], intermediates_only=True)
        assert all(map(torch.equal, pyramid(image), expected))
