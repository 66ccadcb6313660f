"""Shared convolutions and resizing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mscsa.macs import run_and_count
from mscsa.necks.layers import conv_macs, conv_norm, resize_nearest, size_of, step_between, strided_size


def test_a_bias_only_without_a_norm() -> None:
    conv, norm = conv_norm(3, 5, 3, norm="bn")
    assert isinstance(norm, nn.BatchNorm2d) and conv.bias is None
    (conv,) = conv_norm(3, 5, norm="none")
    assert conv.bias is not None and conv.kernel_size == (1, 1)


@pytest.mark.parametrize("size", [(8, 12), (7, 13), (1, 1), (5, 4)])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_sizes_and_costs_are_those_of_the_convolution(size: tuple[int, int], step: int) -> None:
    conv = conv_norm(6, 4, 3, stride=step, norm="bn").to("meta").eval()
    out, macs = run_and_count(lambda: conv(torch.empty(1, 6, *size, device="meta")))
    assert size_of(out) == strided_size(size, step)
    assert macs == conv_macs(6, 4, strided_size(size, step), 3)
    depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, device="meta")
    macs = run_and_count(lambda: depthwise(torch.empty(1, 6, *size, device="meta")))[1]
    assert macs == conv_macs(6, 6, size, 3, groups=6)


def test_resizing_takes_the_nearest_and_leaves_what_fits() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert resize_nearest(x, (2, 3)) is x
    up = resize_nearest(x, (4, 6))
    assert torch.equal(up, x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(resize_nearest(up, (2, 3)), x)


def test_steps_between_levels() -> None:
    steps = [step_between(*pair) for pair in ((4, 8), (8, 8), (8, 32), (16, 8), (4, 16))]
    assert steps == [2, 1, 4, 1, 4]
