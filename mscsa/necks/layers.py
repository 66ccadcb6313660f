"""Convolutions and resizing that several necks share, and what a convolution costs.

Shapes: B batch, C channels and H W size of a level's map, h w size of another level's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.attention.folding import NormedSequential
from mscsa.attention.sizes import is_known
from mscsa.necks.config import NeckNorm


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int = 1, *, stride: int = 1, norm: NeckNorm
) -> NormedSequential:
    """Build a convolution of "same" padding, "0", and its norm, "1"; a bias if there is no norm."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, (kernel_size - 1) // 2, bias=norm == "none"
    )
    return NormedSequential(conv, nn.BatchNorm2d(out_channels)) if norm == "bn" else NormedSequential(conv)


def start_convolutions(module: nn.Module, draw: Callable[[Tensor], object]) -> None:
    """Draw the weights of all convolutions of a module in place; their biases start at 0."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            draw(each.weight)
            if each.bias is not None:
                nn.init.zeros_(each.bias)


def resize_nearest(x_BChw: Tensor, size: tuple[int, int]) -> Tensor:
    """Repeat or skip values of a map (B, C, h, w) until it has `size` (H, W): (B, C, H, W)."""
    if is_known(x_BChw.shape[2] == size[0]) and is_known(x_BChw.shape[3] == size[1]):
        return x_BChw
    return F.interpolate(x_BChw, size, mode="nearest")


def size_of(x_BCHW: Tensor) -> tuple[int, int]:
    """Size (H, W) of a map."""
    return x_BCHW.shape[2], x_BCHW.shape[3]


def step_between(fine: int, coarse: int) -> int:
    """Stride of the layer that leads from a level to a coarser one, by their strides in input pixels."""
    return max(1, round(coarse / fine))


def strided_size(size: tuple[int, int], step: int) -> tuple[int, int]:
    """Size of what a layer of that stride and "same" padding makes of a map: rounded up."""
    return (size[0] - 1) // step + 1, (size[1] - 1) // step + 1


def conv_macs(
    in_channels: int, out_channels: int, size: tuple[int, int], kernel_size: int = 1, *, groups: int = 1
) -> int:
    """Multiply-adds of a convolution whose output is of `size`."""
    return in_channels // groups * out_channels * kernel_size**2 * size[0] * size[1]
