"""Pooling: windows for any sizes, and the size of the token map."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mscsa.attention import pooling
from mscsa.attention.pooling import adaptive_average_pool, token_map_size
from tests.attention import oracle
from tests.attention.weights import images, relative_error

SIZES = [
    ((8, 8), (2, 4)),  # divides
    ((7, 9), (7, 9)),  # nothing to do
    ((25, 33), (4, 5)),  # unequal windows
    ((7, 10), (3, 10)),
    ((63, 84), (8, 11)),
    ((3, 4), (6, 8)),  # a coarser map repeats values
    ((3, 4), (5, 7)),
    ((1, 5), (2, 2)),
    ((8, 9), (2, 4)),  # divides one way
]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_windows_match_the_oracle(source, target):
    x = images((2, 3, *source))
    assert relative_error(adaptive_average_pool(x, target), oracle.pool(x.numpy(), target)) <= 1e-14


@pytest.mark.parametrize(("source", "target"), [((6, 4), (3, 2)), ((5, 7), (2, 3)), ((3, 4), (5, 7))])
def test_gradient(source, target):
    x = images((1, 1, *source)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: adaptive_average_pool(x, target), x)


@pytest.mark.parametrize("is_asked", [False, True])
def test_deterministic_training_beside_the_cpu_never_meets_the_adaptive_form(is_asked: bool) -> None:
    """Torch refuses its backward pass on CUDA then; the tests of a GPU train so."""
    called: list[str] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(func.__name__)
            return func(*args, **(kwargs or {}))

    torch.use_deterministic_algorithms(is_asked)
    try:
        with Recorder():
            x = torch.rand(1, 2, 25, 33, device="meta", requires_grad=True)
            adaptive_average_pool(x, (4, 5)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert any("adaptive" in name for name in called) != is_asked


class PoolToThird(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return adaptive_average_pool(x, ((x.shape[2] + 2) // 3, (x.shape[3] + 2) // 3))


def test_exported_windows_are_exact_at_every_size():
    """Two matrix products, no adaptive pooling: torch runs that rightly in its own programs, but the
    ONNX exporter freezes its windows at the traced ratio."""
    auto = torch.export.Dim.AUTO
    example = torch.rand(1, 2, 10, 14)
    program = torch.export.export(PoolToThird(), (example,), dynamic_shapes=({2: auto, 3: auto},))
    assert "adaptive" not in str(program.graph)
    exported = program.module()
    for size in [(10, 14), (11, 16), (12, 15), (7, 31), (25, 8), (9, 9)]:
        x = torch.rand(1, 2, *size)
        target = (-(-size[0] // 3), -(-size[1] // 3))
        assert relative_error(exported(x), oracle.pool(x.numpy(), target)) <= 1e-6


def test_traced_windows_are_exact_at_every_size():
    """By matrices, as in exported graphs: a trace is what the older ONNX exporter starts from."""
    traced = torch.jit.trace(PoolToThird(), torch.rand(1, 2, 9, 12))
    assert "adaptive" not in str(traced.graph)
    for size in [(9, 12), (10, 14), (11, 16), (7, 31), (3, 3)]:
        x = torch.rand(1, 2, *size)
        target = (-(-size[0] // 3), -(-size[1] // 3))
        assert relative_error(traced(x), oracle.pool(x.numpy(), target)) <= 1e-6


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_devices_of_whole_ratios_get_exact_windows(monkeypatch, source, target):
    """Such a device raises in torch's adaptive pooling unless the sizes divide."""
    assert "mps" in pooling.DEVICES_OF_WHOLE_RATIOS
    monkeypatch.setattr(pooling, "DEVICES_OF_WHOLE_RATIOS", {"cpu"})

    def refuse(*_: object) -> None:
        raise RuntimeError("sizes must divide")

    monkeypatch.setattr(F, "adaptive_avg_pool2d", refuse)
    x = images((2, 3, *source))
    assert relative_error(adaptive_average_pool(x, target), oracle.pool(x.numpy(), target)) <= 1e-14


class TokenSize(torch.nn.Module):
    """A tensor of the size of a token map at 1/64 of maps at 1/32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(token_map_size([(x.shape[2], x.shape[3])], [32], 64))


def test_exported_token_sizes_divide_nothing_negative():
    """The ONNX exporter makes its truncating division of a floor: right for dividends >= 0 alone."""
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        TokenSize(), (torch.rand(1, 2, 10, 14),), dynamic_shapes=({2: auto, 3: auto},)
    )
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    assert operator.neg not in {node.target for node in nodes}
    assert all(argument >= 0 for node in nodes for argument in node.args if isinstance(argument, int))
    assert sum(node.target is operator.floordiv for node in nodes) == 2
    for size in [(10, 14), (9, 13), (25, 8)]:
        expected = (-(-size[0] // 2), -(-size[1] // 2))
        assert program.module()(torch.rand(1, 2, *size)).shape == expected


@pytest.mark.parametrize(
    ("sizes", "strides", "pool_stride", "expected"),
    [
        ([(56, 56), (28, 28), (14, 14), (7, 7)], [4, 8, 16, 32], 32, (7, 7)),
        ([(56, 56), (28, 28), (14, 14), (7, 7)], [4, 8, 16, 32], 16, (14, 14)),
        ([(56, 56), (28, 28), (14, 14), (7, 7)], [4, 8, 16, 32], 64, (4, 4)),
        ([(62, 83), (31, 41), (15, 20), (7, 10)], [4, 8, 16, 32], 32, (7, 10)),  # ConvNeXt floors
        ([(25, 33), (13, 17), (7, 9), (4, 5)], [4, 8, 16, 32], 64, (2, 3)),
        ([(25, 33), (13, 17)], [4, 8], 32, (4, 5)),
        ([(25, 33), (7, 9)], [4, 16], 8, (13, 17)),  # no stage there: from the next finer one
    ],
)
def test_token_map_size(sizes, strides, pool_stride, expected):
    assert token_map_size(sizes, strides, pool_stride) == expected


def test_tokens_finer_than_the_finest_stage():
    with pytest.raises(ValueError, match="^pool_stride=2 is finer than the finest stage: give 4 or more"):
        token_map_size([(8, 8), (4, 4)], [4, 8], 2)
