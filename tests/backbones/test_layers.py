"""Shared layers and initialisations, each against what its docstring says."""

import math

import pytest
import torch
from torch import nn

from mscsa.backbones.layers import attend, depthwise_conv, init_conv, init_linear


def test_depthwise_convolution_keeps_size_and_channels_apart():
    conv = depthwise_conv(6)
    x = torch.randn(1, 6, 5, 7)
    out = conv(x)
    assert out.shape == x.shape and conv.weight.shape == (6, 1, 3, 3)
    x[:, 2] += 1
    changed = (conv(x) != out).flatten(2).any(dim=2)[0]
    assert changed.tolist() == [channel == 2 for channel in range(6)]


@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_softmax_of_scaled_logits(fused):
    q, k, v = (
        torch.randn(2, 3, 4, 5).double(),
        torch.randn(2, 3, 6, 5).double(),
        torch.randn(2, 3, 6, 5).double(),
    )
    logits = torch.einsum("bnld,bnmd->bnlm", q, k) / math.sqrt(5)
    expected = torch.einsum("bnlm,bnmd->bnld", logits.exp() / logits.exp().sum(-1, keepdim=True), v)
    torch.testing.assert_close(attend(q, k, v, fused=fused), expected, rtol=1e-10, atol=1e-12)


def test_linear_layers_start_narrow_and_convolutions_by_fan_out():
    torch.manual_seed(0)
    linear, conv = nn.Linear(200, 300), nn.Conv2d(64, 128, 3, groups=4)
    drawn = {name: value.clone() for name, value in conv.state_dict().items()}
    init_linear(conv)
    assert all(torch.equal(value, drawn[name]) for name, value in conv.state_dict().items())
    init_linear(linear)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()
    narrow = linear.weight.clone()
    init_conv(linear)
    assert torch.equal(linear.weight, narrow)
    init_conv(conv)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128 / 4)), rel=0.05)
    assert not conv.bias.any()


def test_layers_without_bias_are_initialised_too():
    for init, layer in (
        (init_linear, nn.Linear(3, 4, bias=False)),
        (init_conv, nn.Conv2d(3, 4, 1, bias=False)),
    ):
        before = layer.weight.clone()
        init(layer)
        assert not torch.equal(layer.weight, before)
