"""The neck: fused maps against the oracle, how it starts, the levels asked for."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

from mscsa.attention import MSCSA, MSCSAConfig, MSCSANeck
from mscsa.attention.fusion import LevelFusion
from tests.attention.pyramids import CHANNELS, STRIDES, pyramid
from tests.attention.weights import images, oracle_pyramid, randomise, relative_error

SMALL = MSCSAConfig(num_heads=2, head_dim=3)


def build(config: MSCSAConfig = SMALL, **kwargs) -> MSCSANeck:
    return randomise(MSCSANeck(CHANNELS, STRIDES, config, **kwargs))


def largest_gradients(module: torch.nn.Module) -> dict[str, float]:
    """Of all parameters but the biases of the squeezes, which the next norm cancels."""
    return {
        name: 0.0 if p.grad is None else p.grad.abs().max().item()
        for name, p in module.named_parameters()
        if not re.search(r"squeezes\.\d+\.1\.bias", name)
    }


def loss_of(outputs: list[torch.Tensor]) -> torch.Tensor:
    return sum((x * images(tuple(x.shape), seed).to(x)).mean() for seed, x in enumerate(outputs))


@pytest.mark.parametrize("gate_scale", [1.0, 2.0])
@pytest.mark.parametrize("size", [(224, 224), (97, 131), (250, 333), (33, 40)])
@pytest.mark.parametrize("squeeze_ratio", [1.0, 0.625])
def test_matches_the_oracle(size, squeeze_ratio, gate_scale):
    neck = build(replace(SMALL, squeeze_ratio=squeeze_ratio, gate_scale=gate_scale))
    maps = pyramid(*size)
    for ours, expected in zip(neck(maps), oracle_pyramid(neck, maps), strict=True):
        assert relative_error(ours, expected) <= 1e-10


def test_only_the_asked_levels_are_built_and_equal_the_full_neck():
    full = build()
    part = MSCSANeck(iter(CHANNELS), np.array(STRIDES), SMALL, out_levels=np.array([3, 1])).double().eval()
    part.mscsa.load_state_dict(full.mscsa.state_dict())
    part.fusion[0].load_state_dict(full.fusion[3].state_dict())
    part.fusion[1].load_state_dict(full.fusion[1].state_dict())
    maps = pyramid(96, 160)
    outputs = full(maps)
    assert len(part.fusion) == 2
    assert part.out_channels == (CHANNELS[3], CHANNELS[1]) and full.out_channels == tuple(CHANNELS)
    for ours, expected in zip(part(maps), [outputs[3], outputs[1]], strict=True):
        assert torch.equal(ours, expected)


def test_fusions_are_counted_named_and_sliced():
    neck = build(out_levels=[3, 1, 2])
    fusion = neck.fusion
    assert len(fusion) == 3 and all(isinstance(fuse, LevelFusion) for fuse in fusion)
    assert [fuse.channels for fuse in fusion] == [CHANNELS[level] for level in (3, 1, 2)]
    assert [name for name, _ in fusion.named_children()] == ["0", "1", "2"]
    assert fusion[0] is next(iter(fusion)) and fusion[-1] is fusion[2]
    assert fusion[:2] == [fusion[0], fusion[1]]
    with pytest.raises(IndexError):
        fusion[3]
    assert {name.split(".")[0] for name in fusion.state_dict()} == {"0", "1", "2"}


class HubNeck(MSCSANeck, PyTorchModelHubMixin):
    """What a user writes to share a neck."""


class HubTokens(MSCSA, PyTorchModelHubMixin):
    """What a user writes to share a token map."""


@pytest.mark.parametrize("kind", [HubNeck, HubTokens])
@pytest.mark.parametrize("arguments", [{}, {"config": {"num_heads": 2, "head_dim": 3, "squeeze_ratio": 0.5}}])
def test_the_hub_mixin_builds_it_again(tmp_path, kind, arguments):
    module = randomise(kind(CHANNELS, STRIDES, **arguments))
    module.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path).double().eval()
    maps = pyramid(64, 64)
    for ours, expected in zip(again(maps), module(maps), strict=True):
        assert (ours - expected).abs().max() < 1e-6 * expected.abs().max()  # float32 in the new module


@pytest.mark.parametrize("levels", [[4], [-1], [], [0.5], [True], 1, "01", [None], np.array(1), {1, 2}])
def test_levels_that_are_not_there(levels):
    with pytest.raises(ValueError, match=r"out_levels=.* given: give indices between 0 and 3"):
        MSCSANeck(CHANNELS, STRIDES, SMALL, out_levels=levels)


def test_fusing_a_single_token_in_training_is_one_clear_line():
    """With MSCSA's own norms frozen, the fusion's are the first that have nothing to average over."""
    neck = build().train()
    neck.mscsa.eval()
    with pytest.raises(ValueError, match=r"^a batch of 1 image gives 1x1 tokens here, .* give 2 images"):
        neck(pyramid(32, 32, batch=1))
    assert len(neck(pyramid(32, 32, batch=2))) == 4
    assert len(neck.eval()(pyramid(32, 32, batch=1))) == 4


def test_maps_by_name_are_one_clear_line():
    maps = dict(enumerate(pyramid(64, 64)))
    with pytest.raises(ValueError, match=r"^a mapping of maps by name given: .* list\(maps.values\(\)\)$"):
        build()(maps)


def test_gradient():
    channels = [2, 3]
    neck = MSCSANeck(channels, [8, 16], MSCSAConfig(num_heads=1, head_dim=2, pool_stride=16))
    neck = randomise(neck)
    maps = [images((1, 2, 4, 6)).requires_grad_(), images((1, 3, 2, 3), 1).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *maps: tuple(neck(maps)), maps)


@pytest.mark.parametrize("squeeze_ratio", [1.0, 0.5])
def test_every_parameter_learns(squeeze_ratio):
    neck = randomise(MSCSANeck(CHANNELS, STRIDES, replace(SMALL, squeeze_ratio=squeeze_ratio))).train()
    loss_of(neck(pyramid(224, 160))).backward()
    assert not {name: g for name, g in largest_gradients(neck).items() if not g > 1e-12}


@pytest.mark.parametrize("is_training", [True, False])
def test_maps_are_unchanged_at_the_start(is_training):
    neck = MSCSANeck(CHANNELS, STRIDES, replace(SMALL, squeeze_ratio=0.5))
    neck.train(is_training)
    maps = [x.float() for x in pyramid(97, 131)]
    for ours, given in zip(neck(maps), maps, strict=True):
        assert (ours - given).abs().max() < 1e-6


@pytest.mark.parametrize("squeeze_ratio", [1.0, 0.5])
def test_the_start_wakes_up(squeeze_ratio):
    """At step 0 only the fusion moves; at the next step every parameter must have a gradient."""
    torch.manual_seed(0)
    config = replace(SMALL, squeeze_ratio=squeeze_ratio)
    neck = MSCSANeck(CHANNELS, STRIDES, config).double()
    optimizer = torch.optim.AdamW(neck.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(neck(pyramid(224, 160))).backward()
        gradients = largest_gradients(neck)
        optimizer.step()
    assert not {name: g for name, g in gradients.items() if not g > 1e-12}


def test_the_start_wakes_up_under_bf16():
    torch.manual_seed(0)
    neck = MSCSANeck(CHANNELS, STRIDES, SMALL)
    start = {name: p.detach().clone() for name, p in neck.named_parameters()}
    optimizer = torch.optim.SGD(neck.parameters(), lr=0.5)
    maps = [x.float() for x in pyramid(128, 128)]
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = neck(maps)
        loss_of(outputs).backward()
        optimizer.step()
    for level, fusion in enumerate(neck.fusion):
        prefix, gate = f"fusion.{level}.", slice(0, fusion.channels)
        moved = {
            name: (p.detach() - start[prefix + name])[gate].abs().max().item()
            for name, p in fusion.named_parameters()
        }
        assert all(change > 0 for change in moved.values()), (level, moved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_training", [True, False])
def test_large_maps_stay_finite_in_half_precision(dtype, is_training):
    torch.manual_seed(0)
    neck = MSCSANeck(CHANNELS, STRIDES, SMALL).train(is_training)
    maps = [x.float() for x in pyramid(128, 128, scale=300.0)]
    with torch.autocast("cpu", dtype=dtype):
        assert all(torch.isfinite(x).all() for x in neck(maps))
