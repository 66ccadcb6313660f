"""Cross-scale attention: equations (1)-(9) against the oracle, and no token x token matrix."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from mscsa.attention import CrossScaleAttention
from mscsa.attention import cross_scale as cross_scale_file
from mscsa.attention.config import Downsampling
from mscsa.attention.cross_scale import (
    DownsamplingConv,
    downsampled_sizes,
    padded_head_widths,
    scaled_dot_product,
)
from tests.attention import oracle
from tests.attention.weights import attention_weights, images, randomise, relative_error

VARIANTS = get_args(Downsampling)
SIZES = [(7, 7), (8, 5), (1, 1), (2, 9), (13, 6)]


def build(downsampling: str = "parallel_dwconv", *, channels: int = 10, **fields) -> CrossScaleAttention:
    fields = {"num_heads": 3, "head_dim": 4, **fields}
    return randomise(CrossScaleAttention(channels, downsampling=downsampling, **fields))


def oracle_error(csa: CrossScaleAttention, x: torch.Tensor, downsampling: str) -> float:
    expected = oracle.cross_scale_attention(x.numpy(), attention_weights(csa, downsampling))
    return relative_error(csa(x), expected)


@pytest.mark.parametrize("parallel_conv", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("downsampling", VARIANTS)
def test_whole_attention_matches_the_oracle(downsampling, size, parallel_conv):
    csa = build(downsampling, parallel_conv=parallel_conv)
    assert oracle_error(csa, images((2, 10, *size)), downsampling) <= 1e-10


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("downsampling", VARIANTS)
def test_scales_eq_2_and_3(downsampling, size):
    csa = build(downsampling)
    x = images((2, 10, *size))
    expected = oracle.scales(x.numpy(), attention_weights(csa, downsampling).downsamples, downsampling)
    ours = csa.scales(x)
    assert len(ours) == len(expected)
    assert all(relative_error(a, b) <= 1e-12 for a, b in zip(ours, expected, strict=True))
    assert tuple(tuple(m.shape[2:]) for m in ours) == downsampled_sizes(size, downsampling)


def test_projections_of_all_scales():
    csa = build()
    query, key, value, value_map = csa.project_scales(images((2, 10, 7, 5)))
    assert query.shape == (2, 3, 35, 4) and key.shape == (2, 3, 35 + 12 + 6, 4)
    assert value.shape == (2, 3, 53, 8) and value_map.shape == (2, 24, 7, 5)


def as_tokens(x: torch.Tensor) -> torch.Tensor:
    """(B, N, tokens, d) to (B, tokens, N*d)."""
    return x.transpose(1, 2).flatten(2)


def test_query_eq_1():
    csa = build()
    x = images((2, 10, 7, 5))
    expected = oracle.tokens_of(oracle.project(x.numpy(), attention_weights(csa, "parallel_dwconv").query))
    query = csa.query(csa.qkv(x)[:, :12])
    assert query.shape == (2, 3, 35, 4) and relative_error(as_tokens(query), expected) <= 1e-12
    assert torch.equal(query, csa.project_scales(x)[0])


def test_keys_and_values_eq_4():
    csa = build()
    weights = attention_weights(csa, "parallel_dwconv")
    maps = csa.scales(images((2, 10, 7, 5)))
    keys, values = csa.keys_and_values(csa.qkv(maps[0])[:, 12:].split([12, 24], dim=1), maps[1:])
    for ours, projections in ((keys, weights.keys), (values, weights.values)):
        for x_j, projection, own in zip(maps, projections, ours, strict=True):
            assert relative_error(own, oracle.project(x_j.detach().numpy(), projection)) <= 1e-12


def test_join_of_scales_eq_5():
    csa = build()
    parts = [images((2, 12, *size), seed) for seed, size in enumerate([(7, 5), (4, 3), (3, 2)])]
    joined = csa.join_scales(parts)
    assert joined.shape == (2, 3, 53, 4)
    expected = torch.cat([torch.from_numpy(oracle.tokens_of(part.numpy())) for part in parts], dim=1)
    assert torch.equal(as_tokens(joined), expected)


def test_attention_eq_6():
    query, key, value = images((1, 2, 9, 5)), images((1, 2, 13, 5), 1), images((1, 2, 13, 10), 2)
    ours = scaled_dot_product(query, key, value, head_dim=5)
    for head in range(2):
        parts = (t[0, head].numpy() for t in (query, key, value))
        assert relative_error(ours[0, head], oracle.attend(*parts)) <= 1e-12


def test_parallel_convolution_path_eq_8():
    csa = build()
    value_map = images((2, 24, 5, 6))
    parallel = attention_weights(csa, "parallel_dwconv").parallel
    assert parallel is not None
    expected = oracle.convolve(oracle.hard_swish(value_map.numpy()), parallel)
    assert relative_error(csa.convolve_value(value_map), expected) <= 1e-12


def test_no_parallel_path_where_none_was_built():
    with pytest.raises(ValueError, match="built with parallel_conv=False: .* build with True"):
        build(parallel_conv=False).convolve_value(images((2, 24, 5, 6)))


@pytest.mark.parametrize("downsampling", VARIANTS)
def test_gradient(downsampling):
    csa = build(downsampling, channels=4, num_heads=2, head_dim=2)
    x = images((1, 4, 4, 3)).requires_grad_()
    assert torch.autograd.gradcheck(csa, x)


def test_the_oracle_notices_a_missing_scale(monkeypatch):
    """The reference is sharp: attention without 1/sqrt(d) disagrees with it."""

    def unscaled(query, key, value, *, head_dim):
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)

    monkeypatch.setattr(cross_scale_file, "scaled_dot_product", unscaled)
    assert oracle_error(build(), images((2, 10, 7, 7)), "parallel_dwconv") > 1e-4


def test_the_oracle_notices_swapped_scales(monkeypatch):
    """The reference is sharp: X_1 and X_2 in the other order disagree with it."""
    original = CrossScaleAttention.scales

    def swapped(self, x):
        fine, first, second = original(self, x)
        return [fine, second, first]

    monkeypatch.setattr(CrossScaleAttention, "scales", swapped)
    assert oracle_error(build(), images((2, 10, 7, 7)), "parallel_dwconv") > 1e-4


def profiled_operators(*, requires_grad: bool) -> tuple[set[str], int]:
    """Operators of one CSA on 4096 query and 5604 key tokens; bytes of the largest allocation."""
    csa = CrossScaleAttention(32, num_heads=4, head_dim=12)
    x = torch.randn(1, 32, 64, 64, requires_grad=requires_grad)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as report:
        out = csa(x)
        if requires_grad:
            out.sum().backward()
    events = report.events()
    return {event.name for event in events}, max(event.self_cpu_memory_usage for event in events)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_no_token_by_token_matrix_is_kept(requires_grad):
    """Without the padding of query and key torch falls back to the path that materialises."""
    operators, largest = profiled_operators(requires_grad=requires_grad)
    assert any("flash_attention_for_cpu" in name for name in operators)
    assert not any("attention_math" in name for name in operators)
    assert largest < 4096 * 5604 * 4  # not even the matrix of one of the four heads


@pytest.mark.parametrize(
    ("device", "widths"),
    [
        ("cpu", (24, 24)),
        ("cuda", (16, 24)),
        ("meta", (12, 24)),  # counted as it is
        ("mps", (24, 24)),  # unequal widths are wrong there in torch 2.11
        ("xpu", (24, 24)),
    ],
)
def test_head_widths_are_those_a_device_is_right_with(device, widths):
    assert padded_head_widths(device, 12) == widths


@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
def test_padding_changes_no_product(monkeypatch, device):
    """The widths of every device, run here."""
    query, key, value = images((1, 2, 9, 5)), images((1, 2, 13, 5), 1), images((1, 2, 13, 10), 2)
    expected = F.scaled_dot_product_attention(query, key, value)
    widths = padded_head_widths(device, 5)
    monkeypatch.setattr(cross_scale_file, "padded_head_widths", lambda *_: widths)
    ours = scaled_dot_product(query, key, value, head_dim=5)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7)])
@pytest.mark.parametrize("downsampling", VARIANTS)
def test_hooks_fire_at_every_size(downsampling, size):
    """Counters and quantisation see a layer by its hooks."""
    csa = build(downsampling)
    layers = {name: m for name, m in csa.named_modules() if name and not isinstance(m, torch.nn.ModuleList)}
    seen = []
    for name, module in layers.items():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
    csa(images((1, 10, *size)))
    assert sorted(seen) == sorted(layers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_activations_stay_finite_in_half_precision(dtype):
    csa = build()
    x = 60 * images((2, 10, 7, 7)).float()
    with torch.autocast("cpu", dtype=dtype):
        assert torch.isfinite(csa.float()(x)).all()


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (1, 2)])
def test_bf16_gradients_of_tiny_maps_on_the_cpu_are_those_of_float32(size):
    """Torch 2.14 leaves them unset in channels-last layout where the map is smaller than the stride."""
    torch.manual_seed(0)
    module = CrossScaleAttention(64, num_heads=2, head_dim=8).to(memory_format=torch.channels_last)
    x = torch.randn(4, 64, *size).to(memory_format=torch.channels_last)
    gradients = []
    for enabled in (False, True):
        module.zero_grad()
        del [torch.full((64 * 9 * k,), 1e30) for k in (1, 2, 3)][:]  # what unset memory then holds
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = module(x).float().square().mean()
        loss.backward()
        gradients.append([downsample.weight.grad.clone() for downsample in module.downsamples])
    for exact, half in zip(*gradients, strict=True):
        assert (half - exact).abs().max() < 0.05 * exact.abs().max()


def test_half_precision_is_left_in_a_graph_of_any_size():
    """Where a compiled graph does not know that a map is large, it must do as for a tiny one."""
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def record(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    conv = DownsamplingConv(8, 3).bfloat16()
    x = torch.randn(4, 8, 5, 7).bfloat16()
    out = torch.compile(conv, dynamic=True, backend=record)(x)
    torch.testing.assert_close(out, conv(x), rtol=0, atol=0.02)
    (convolution,) = [node for node in graphs[0].graph.nodes if "conv2d" in str(node.target)]
    assert convolution.args[0].meta["example_value"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 2), (2, 2), (8, 5)])
def test_downsampling_is_a_convolution_in_its_own_precision(size, dtype):
    conv = DownsamplingConv(8, 2).to(dtype)
    x = torch.randn(2, 8, *size).to(dtype)
    exact = F.conv2d(x.double(), conv.weight.double(), None, 2, 1, 1, 8)
    out = conv(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps)
