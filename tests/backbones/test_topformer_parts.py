"""TopFormer's parts by themselves."""

import pytest
import timm.utils
import torch

from mscsa.backbones.topformer_parts import (
    STRIDES,
    BatchNormHead,
    Injection,
    InvertedResidual,
    SemanticsExtractor,
    SemanticsInjection,
    TokenPyramid,
    TransformerBlock,
    UnscaledAttention,
)
from mscsa.errors import UserError
from tests.backbones.golden import fill

CHANNELS = (16, 32, 64, 96)


@pytest.mark.parametrize("deepest_layers", [2, 3])
def test_pyramid_gives_the_levels_asked_for(deepest_layers):
    pyramid = fill(TokenPyramid(CHANNELS, deepest_layers=deepest_layers, in_chans=4)).eval()
    image = torch.randn(1, 4, 97, 131)
    maps = pyramid(image)
    expected = [(1, c, -(-97 // s), -(-131 // s)) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    assert [tuple(x.shape) for x in maps] == expected
    assert all(map(torch.equal, pyramid(image, 2), maps)) and len(pyramid(image, 2)) == 2
    last = sum(p.numel() for name in pyramid.levels[3] for p in getattr(pyramid, name).parameters())
    before = sum(p.numel() for p in pyramid.parameters())
    pyramid.truncate(3)
    assert sum(p.numel() for p in pyramid.parameters()) == before - last
    assert all(map(torch.equal, pyramid(image), maps)) and len(pyramid(image)) == 3


@pytest.mark.parametrize(("channels", "stride", "skips"), [(8, 1, True), (12, 1, False), (8, 2, False)])
def test_residual_skips_where_shapes_allow(channels, stride, skips):
    block = fill(InvertedResidual(8, channels, 3, stride, expansion=2)).eval()
    x = torch.randn(1, 8, 5, 7)
    out = block(x)
    assert out.shape == (1, channels, -(-5 // stride), -(-7 // stride))
    assert torch.equal(out, x + block.conv(x) if skips else block.conv(x))


def test_attention_is_softmax_of_unscaled_logits():
    attention = fill(UnscaledAttention(6, num_heads=2, head_dim=3)).double().eval()
    x = torch.randn(2, 6, 2, 4).double()
    heads = []
    q, k, v = (project(x).flatten(2) for project in (attention.to_q, attention.to_k, attention.to_v))
    for n in range(2):
        weights = (q[:, 3 * n : 3 * n + 3].mT @ k[:, 3 * n : 3 * n + 3]).softmax(-1)
        heads.append((weights @ v[:, 6 * n : 6 * n + 6].mT).mT)
    expected = attention.proj(torch.cat(heads, dim=1).reshape(2, 12, 2, 4))
    torch.testing.assert_close(attention(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("stride", "expected"), [(64, (2, 3)), (32, (3, 5)), (16, (6, 9)), (128, (1, 2))])
def test_extractor_pools_any_pyramid_to_its_stride(stride, expected):
    channels, strides = (8, 16, 24), (8, 16, 32)
    maps = [torch.randn(1, c, -(-83 // s), -(-140 // s)) for c, s in zip(channels, strides, strict=True)]
    extractor = SemanticsExtractor(channels, strides, num_heads=2, pool_stride=stride).eval()
    assert extractor(maps).shape == (1, 48, *expected)


def test_a_dropped_block_passes_its_input():
    block = TransformerBlock(16, num_heads=2, head_dim=4, mlp_ratio=2.0, drop_path=1.0)
    x = torch.randn(2, 16, 3, 3)
    torch.testing.assert_close(fill(block).train()(x), x, rtol=0, atol=0)
    assert not torch.equal(block.eval()(x), x)


def test_tokens_of_other_width_are_refused():
    injection = SemanticsInjection((16, 32, 64, 96), 128)
    maps = [torch.randn(1, c, 8, 8) for c in (16, 32, 64, 96)]
    with pytest.raises(ValueError, match="104 token channels .* give 208"):
        injection(maps, torch.randn(1, 104, 2, 2))


def test_injection_is_gate_times_local_plus_value():
    injection = fill(Injection(4, 6, 5)).eval()
    local, tokens = torch.randn(1, 4, 8, 8), torch.randn(1, 6, 2, 2)
    up = torch.nn.Upsample(size=(8, 8), mode="bilinear", align_corners=False)
    gate = up(injection.global_act(tokens).add(3).clamp(0, 6) / 6)
    expected = injection.local_embedding(local) * gate + up(injection.global_embedding(tokens))
    torch.testing.assert_close(injection(local, tokens), expected)


def test_injection_leaves_the_finest_level_and_names_the_others():
    injection = fill(SemanticsInjection(CHANNELS, 128, token_channels=(2, 3, 4, 5))).eval()
    assert [name for name, _ in injection.named_children()] == ["1", "2", "3"]
    maps = [torch.randn(1, c, 16 // 2**i, 16 // 2**i) for i, c in enumerate(CHANNELS)]
    tokens = torch.randn(1, 14, 2, 2)
    injected = injection(maps, tokens)
    assert [tuple(x.shape) for x in injected] == [(1, 128, 8, 8), (1, 128, 4, 4), (1, 128, 2, 2)]
    level = injection.get_submodule("2")
    assert torch.equal(injected[1], level(maps[2], tokens[:, 5:9]))


def test_injection_at_levels_of_ones_choice():
    injection = SemanticsInjection(CHANNELS, 128, levels=[3, 0])
    assert [name for name, _ in injection.named_children()] == ["3", "0"]
    maps = [torch.randn(2, c, 16 // 2**i, 16 // 2**i) for i, c in enumerate(CHANNELS)]
    injected = injection(maps, torch.randn(2, sum(CHANNELS), 2, 2))
    assert [tuple(x.shape) for x in injected] == [(2, 128, 2, 2), (2, 128, 16, 16)]


def test_training_on_one_value_per_channel_is_one_clear_line():
    one = torch.randn(1, 3, 32, 32)
    pyramid = TokenPyramid(CHANNELS).train()
    extractor = SemanticsExtractor(CHANNELS, num_heads=2).train()
    maps = pyramid(torch.randn(1, 3, 33, 32))
    too_few = (
        lambda: pyramid(one),
        lambda: extractor(maps),  # one token at 1/64
        lambda: BatchNormHead(8, 3).train()(torch.randn(1, 8)),
    )
    for call in too_few:
        with pytest.raises(UserError, match="more than 1 value per channel.*give 2 images or more") as error:
            call()
        assert "\n" not in str(error.value)
    assert len(pyramid(one, 3)) == 3  # no norm of one value down to 1/16
    assert len(pyramid.eval()(one)) == 4
    assert len(pyramid.train()(one.expand(2, -1, -1, -1))) == 4
    timm.utils.freeze(pyramid)
    assert pyramid.training and len(pyramid(one)) == 4
