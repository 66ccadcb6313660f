"""P2T computes what the official code computes, at the official size and cost."""

import warnings

import pytest
import timm
import torch
from torch import nn
from torch.export import Dim

from mscsa.backbones.layers import depthwise_conv
from mscsa.backbones.p2t import PoolingAttention, pooled_size
from mscsa.errors import UserError
from mscsa.official import load_official
from tests.backbones.golden import SIZES, golden_input, load_golden
from tests.backbones.recording import assert_agrees, count_macs, count_parameters, explicit_attention

# Official name of a feature -> module that computes it here, in (B, H, W, C).
INNER = {
    **{f"patch_embed{i + 1}": f"stages.{i}.embed" for i in range(4)},
    "block1.0.attn": "stages.0.blocks.0.attn",
    "block1.0": "stages.0.blocks.0",
    "block4.0.attn": "stages.3.blocks.0.attn",
}


@pytest.fixture(scope="module")
def golden():
    return load_golden("p2t_tiny")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tag", SIZES)
def test_agrees_with_the_official_code(golden, tag, dtype, fused):
    model = timm.create_model("p2t_tiny").eval()
    load_official(model, golden.state_dict())
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    assert_agrees(model, golden, tag, dtype, INNER)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("p2t_tiny", 11_590_840, 1788.868608e6),
        pytest.param("p2t_small", 24_079_848, 3773.59e6, marks=pytest.mark.long),
        pytest.param("p2t_base", 36_066_408, 6532.17e6, marks=pytest.mark.long),
    ],
)
def test_has_the_official_cost(name, parameters, macs):
    with explicit_attention(), torch.device("meta"):
        model = timm.create_model(name)
    assert count_parameters(model) == parameters
    assert count_macs(model) == pytest.approx(macs, rel=1e-3)


def test_pooled_sides_are_the_official_ones_at_every_size():
    """Rounded as Python rounds a quotient, halves to even, and at least one token."""
    for ratio in range(1, 25):
        sizes = range(1, 2049)
        assert [pooled_size(s, ratio) for s in sizes] == [max(1, round(s / ratio)) for s in sizes], ratio


@pytest.mark.slow
def test_pooling_attention_exports_for_every_size():
    """Ties (20 / 8 and 28 / 8) and a map below a pool (3 / 8) too, from an example of neither."""
    attention = PoolingAttention(8, 1, (2, 8)).eval()
    convs = nn.ModuleList(depthwise_conv(8) for _ in range(2))
    example = (torch.randn(1, 32, 32, 8),)

    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.convs = attention, convs

        def forward(self, x):
            return self.attention(x, self.convs)

    model = Bound()
    program = torch.export.export(model, example, dynamic_shapes=({1: Dim.AUTO},)).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, example, check_trace=False)
    with torch.no_grad():
        for height in (32, 20, 28, 40, 61):
            x = torch.randn(1, height, 32, 8)
            torch.testing.assert_close(program(x), model(x), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(traced(x), model(x), rtol=1e-5, atol=1e-6)
        x = torch.randn(1, 3, 32, 8)  # torch.export takes 1 token for a special case
        torch.testing.assert_close(traced(x), model(x), rtol=1e-5, atol=1e-6)


def test_takes_a_map_smaller_than_every_pool():
    image = torch.randn(1, 3, 33, 17)
    assert timm.create_model("p2t_tiny", num_classes=3).eval()(image).shape == (1, 3)


def test_official_checkpoint_loads_strictly(golden):
    entries = golden.state_dict()
    model = timm.create_model("p2t_tiny")
    removed = "block3.2.attn.kv.0.bias"
    with pytest.raises(UserError, match=r"stages\.2\.blocks\.2\.attn\.kv\.bias"):
        load_official(model, {k: v for k, v in entries.items() if k != removed})
    with pytest.raises(UserError, match="extra"):
        load_official(model, {**entries, "extra.weight": torch.zeros(1)})


def test_pyramid_loads_the_official_classifier(golden):
    image = golden_input(160, 224)
    classifier = timm.create_model("p2t_tiny").eval()
    pyramid = timm.create_model("p2t_tiny", features_only=True, out_indices=(1, 2)).eval()
    for model in (classifier, pyramid):
        load_official(model, golden.state_dict())
    with torch.no_grad():
        expected = classifier.forward_intermediates(image, [1, 2], intermediates_only=True)
        assert all(map(torch.equal, pyramid(image), expected))
