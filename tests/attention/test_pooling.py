"""Pooling: windows for any sizes, and the size of the token map."""

import pytest
import torch

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


class PoolToThird(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return adaptive_average_pool(x, (-(-x.shape[2] // 3), -(-x.shape[3] // 3)))


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
