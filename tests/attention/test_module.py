"""The whole MSCSA module: against the oracle, its gradients, its training behaviour, its errors."""

import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from mscsa.attention import MSCSA, MSCSAConfig, MSCSANeck
from mscsa.attention.config import Downsampling
from mscsa.attention.module import DropPath
from tests.attention.pyramids import CHANNELS, STRIDES, pyramid
from tests.attention.weights import images, oracle_tokens, randomise, relative_error

VARIANTS = get_args(Downsampling)
SMALL = MSCSAConfig(num_heads=2, head_dim=3)


def build(config: MSCSAConfig = SMALL, channels=CHANNELS, strides=STRIDES) -> MSCSA:
    return randomise(MSCSA(channels, strides, config))


def largest_gradients(module: torch.nn.Module) -> dict[str, float]:
    """Of all parameters but the biases of the squeezes, which the next norm cancels."""
    return {
        name: 0.0 if p.grad is None else p.grad.abs().max().item()
        for name, p in module.named_parameters()
        if not re.search(r"squeezes\.\d+\.1\.bias", name)
    }


@pytest.mark.parametrize("size", [(224, 224), (97, 131), (250, 333), (64, 32)])
@pytest.mark.parametrize("pool_stride", [32, 16, 64])
@pytest.mark.parametrize("squeeze_ratio", [1.0, 0.625])
def test_matches_the_oracle(size, pool_stride, squeeze_ratio):
    module = build(replace(SMALL, depth=2, pool_stride=pool_stride, squeeze_ratio=squeeze_ratio))
    maps = pyramid(*size)
    assert relative_error(module(maps), oracle_tokens(module, maps)) <= 1e-10


@pytest.mark.parametrize("intra_ffn", [True, False])
@pytest.mark.parametrize("parallel_conv", [True, False])
@pytest.mark.parametrize("downsampling", VARIANTS)
def test_ablations_match_the_oracle(downsampling, parallel_conv, intra_ffn):
    fields = {"downsampling": downsampling, "parallel_conv": parallel_conv, "intra_ffn": intra_ffn}
    module = build(replace(SMALL, mlp_ratio=1.5, **fields))
    maps = pyramid(160, 224)
    assert relative_error(module(maps), oracle_tokens(module, maps)) <= 1e-10


@pytest.mark.parametrize(
    ("channels", "strides"), [([6, 9], [8, 16]), ([4, 6, 9, 12, 16], [4, 8, 16, 32, 64])]
)
def test_any_number_of_stages(channels, strides):
    module = build(SMALL, channels, strides)
    sizes = [(-(-160 // stride), -(-96 // stride)) for stride in strides]
    maps = [images((2, c, *size), seed) for seed, (c, size) in enumerate(zip(channels, sizes, strict=True))]
    assert relative_error(module(maps), oracle_tokens(module, maps)) <= 1e-10


@pytest.mark.parametrize("squeeze_ratio", [1.0, 0.5])
@pytest.mark.parametrize("intra_ffn", [True, False])
@pytest.mark.parametrize("parallel_conv", [True, False])
@pytest.mark.parametrize("downsampling", VARIANTS)
def test_every_parameter_learns(downsampling, parallel_conv, intra_ffn, squeeze_ratio):
    """By size, in float64: a bias that a batch norm cancels still gets a gradient, of 1e-17."""
    torch.manual_seed(0)
    config = replace(
        SMALL,
        downsampling=downsampling,
        parallel_conv=parallel_conv,
        intra_ffn=intra_ffn,
        squeeze_ratio=squeeze_ratio,
    )
    module = MSCSA(CHANNELS, STRIDES, config).double()
    final_norm = torch.nn.BatchNorm2d(module.num_features).double()
    tokens = final_norm(module(pyramid(224, 160)))
    (tokens * images(tokens.shape, seed=9)).sum().backward()
    assert not {name: g for name, g in largest_gradients(module).items() if not g > 1e-12}


def test_gradient_checkpointing_changes_nothing():
    torch.manual_seed(0)
    plain = MSCSA(CHANNELS, STRIDES, replace(SMALL, depth=2, drop_path_rate=0.3)).double()
    saving = MSCSA(CHANNELS, STRIDES, plain.config).double()
    saving.load_state_dict(plain.state_dict())
    saving.set_grad_checkpointing()
    for module in (plain, saving):
        torch.manual_seed(1)
        module(pyramid(160, 160)).square().sum().backward()
    for (name, value), other in zip(plain.state_dict().items(), saving.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-14, msg=name)
    assert all(m.track_running_stats for m in saving.modules() if isinstance(m, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("is_training", [True, False])
def test_gradient_checkpointing_recomputes(is_training):
    module = build()
    module.train(is_training).set_grad_checkpointing()
    calls: list[int] = []
    module.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    module(pyramid(64, 64)).sum().backward()
    assert len(calls) == 2


def test_drop_path_drops_whole_samples_at_its_rate():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(4000, 2, 3, 3))
    per_sample = out.flatten(1)
    assert torch.equal(per_sample.min(dim=1).values, per_sample.max(dim=1).values)
    kept = per_sample[:, 0] > 0
    torch.testing.assert_close(per_sample[kept], torch.full_like(per_sample[kept], 1 / 0.75))
    assert abs(kept.double().mean().item() - 0.75) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_drop_path_rests_in_eval():
    x = torch.rand(8, 2, 3, 3)
    assert DropPath(0.9).eval()(x) is x


def test_drop_path_rate_reaches_every_branch():
    """With nearly all branches dropped, most samples are the gathered map itself."""
    torch.manual_seed(0)
    module = build(replace(SMALL, drop_path_rate=0.95)).train()
    maps = pyramid(64, 64, batch=200)
    unchanged = (module(maps) == module.gather(maps)).flatten(1).all(dim=1).double().mean().item()
    assert abs(unchanged - 0.95**4) < 0.15


@pytest.mark.parametrize("squeeze_ratio", [1.0, 0.5])
def test_training_on_a_single_token_is_one_clear_line(squeeze_ratio):
    module = build(replace(SMALL, squeeze_ratio=squeeze_ratio)).train()
    maps = pyramid(32, 32, batch=1)
    with pytest.raises(ValueError, match=r"^a batch of 1 image gives 1x1 tokens here, .* give 2 images"):
        module(maps)
    assert module.eval()(maps).shape == (1, module.num_features, 1, 1)
    assert module.train()(pyramid(32, 32, batch=2)).shape == (2, module.num_features, 1, 1)
    for norm in module.modules():  # frozen: their statistics are not the batch's
        norm.training = not isinstance(norm, torch.nn.BatchNorm2d)
    assert module(maps).shape == (1, module.num_features, 1, 1)


@pytest.mark.parametrize(
    ("channels", "strides", "pool_stride", "message"),
    [
        ([8], [4], 32, "1 channel counts and 1 strides given: .* two stages or more"),
        ([], [], 32, "0 channel counts"),
        ([8, 16], [4, 8, 16], 32, "2 channel counts and 3 strides given"),
        ([8, 16], [8, 4], 32, r"strides \[8, 4\] are not a pyramid: give them finest first"),
        ([8, 16], [8, 8], 32, r"strides \[8, 8\] are not a pyramid"),
        ([8, 16], [8, 16], 4, "pool_stride=4 is finer than the finest stage: give 8 or more"),
        ([0, 16], [4, 8], 32, r"^channels\[0\]=0 is not allowed: give a whole number >= 1$"),
        ([8, 16], [4, 8.5], 32, r"^strides\[1\]=8.5 is not allowed: give a whole number >= 1$"),
        (64, [4, 8], 32, "^channels=64 is not allowed: give one whole number for each stage$"),
    ],
)
def test_a_pyramid_that_cannot_be(channels, strides, pool_stride, message):
    with pytest.raises(ValueError, match=message):
        MSCSA(channels, strides, MSCSAConfig(pool_stride=pool_stride))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: maps[:3], "3 maps of shapes .* give 4 maps"),
        (lambda maps: [*maps, maps[-1]], "5 maps"),
        (lambda maps: dict(zip("abcd", maps, strict=True)), r"as a list, such as list\(maps.values\(\)\)$"),
        (lambda maps: [x[0] for x in maps], r"give 4 maps \(B, C, H, W\)"),
        (lambda maps: maps[::-1], "channels given, .* expected: give the stages finest first"),
        (lambda maps: [x.permute(0, 2, 3, 1) for x in maps], "channels given, .* in NCHW layout"),
        (lambda maps: [maps[0][:, :5], *maps[1:]], r"\[5, 9, 12, 16\] channels given"),
        (
            lambda maps: [
                torch.zeros(2, c, s, s, dtype=torch.float64)
                for c, s in zip(CHANNELS, [2, 4, 8, 16], strict=True)
            ],
            "give the stages finest first",
        ),
    ],
)
def test_maps_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        build()(change(pyramid(64, 64)))
    assert "\n" not in str(caught.value)


def test_numbers_of_other_libraries_and_configs_by_name_build_the_same():
    expected = MSCSA([8, 16], [4, 8], MSCSAConfig(num_heads=2, head_dim=4)).state_dict()
    module = MSCSA(
        np.array([8, 16]), torch.tensor([4, 8]), {"num_heads": np.int64(2), "head_dim": np.int32(4)}
    )
    assert {k: v.shape for k, v in module.state_dict().items()} == {k: v.shape for k, v in expected.items()}
    assert module.channels == (8, 16) and module.strides == (4, 8)


def test_biases_of_squeezes_change_nothing():
    """They are ordinary parameters for whoever asks; in training every norm behind them cancels them."""
    module = build(replace(SMALL, squeeze_ratio=0.5)).double().train()
    assert all(p.requires_grad for p in module.parameters())
    maps, norm = [x.double() for x in pyramid(64, 64)], torch.nn.BatchNorm2d(module.num_features).double()
    before = norm(module(maps))
    for squeeze in module.squeezes:
        torch.nn.init.normal_(squeeze[1].bias)
    torch.testing.assert_close(norm(module(maps)), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_files_without_biases_of_squeezes_load(prefix):
    """Squeezes had none at first, which is a bias of 0."""
    torch.manual_seed(0)
    module = MSCSA(CHANNELS, STRIDES, replace(SMALL, squeeze_ratio=0.5)).double().eval()
    state = {
        f"{prefix}{k}": v for k, v in module.state_dict().items() if "bias" not in k or "squeezes" not in k
    }
    assert len(state) == len(module.state_dict()) - 4
    loaded = build(module.config)
    assert any(p.any() for name, p in loaded.named_parameters() if name.startswith("squeezes"))
    owner = torch.nn.ModuleDict({"model": loaded}) if prefix else loaded
    owner.load_state_dict(dict(state))
    maps = pyramid(64, 96)
    assert torch.equal(loaded(maps), module(maps))


def test_a_new_file_must_be_whole():
    module = build(replace(SMALL, squeeze_ratio=0.5))
    state = module.state_dict()
    del state["squeezes.1.1.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"squeezes.1.1.bias\""):
        module.load_state_dict(state)
    old = {k: v for k, v in module.state_dict().items() if not k.startswith("squeezes.1.1.")}
    with pytest.raises(RuntimeError, match="squeezes.1.1.weight.*squeezes.1.1.bias"):
        module.load_state_dict(old)


def test_derivatives_of_derivatives_as_documented():
    module = build()
    maps = [x.requires_grad_() for x in pyramid(64, 64)]
    with sdpa_kernel(SDPBackend.MATH):
        (first,) = torch.autograd.grad(module(maps).square().sum(), maps[0], create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), maps[0])
    assert second.abs().max() > 0


def test_gradients_of_single_samples_by_vmap():
    """`torch.func.vmap` over a batch gives what each sample alone gives; the neck's maps do so, too."""
    neck = MSCSANeck(CHANNELS, STRIDES, replace(SMALL, squeeze_ratio=0.5))
    neck = randomise(neck).eval()
    values = dict(neck.named_parameters())

    def loss(values, maps):
        return sum(x.square().mean() for x in functional_call(neck, values, ([x[None] for x in maps],)))

    maps = pyramid(64, 96, batch=2)
    with sdpa_kernel(SDPBackend.MATH):
        together = vmap(grad(loss), in_dims=(None, 0))(values, maps)
        for i in range(2):
            for name, alone in grad(loss)(values, [x[i] for x in maps]).items():
                torch.testing.assert_close(together[name][i], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
@pytest.mark.parametrize("channels", [[8, 16], [1, 1]])
def test_tokens_lie_as_torchs_own_channels_last(size, channels):
    module = MSCSA(channels, [16, 32], MSCSAConfig(num_heads=1, head_dim=2, squeeze_ratio=1.0)).eval()
    maps = [torch.rand(2, c, *size) for c in channels]
    expected = torch.cat(maps, dim=1).contiguous(memory_format=torch.channels_last)
    tokens = module.gather(maps)
    assert torch.equal(tokens, expected)
    assert tokens.is_contiguous(memory_format=torch.channels_last)
    if sum(channels) > 2:
        assert tokens.stride() == expected.stride()


def test_tokens_are_channels_last():
    x = build().gather(pyramid(96, 96))
    assert x.is_contiguous(memory_format=torch.channels_last)
