"""Adaptive average pooling that stays exact in exported graphs, and deterministic where that is asked for.

Exporters rewrite `adaptive_avg_pool2d` with dynamic sizes as a pooling of one fixed window, which is
silently wrong when the sizes do not divide; on a GPU it has no deterministic backward pass. There two small
averaging matrices take its place.

Shapes, and the suffixes of tensors' names: B batch, C channels and H W size of a stage's map, h w size of
the token map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mscsa.attention.sizes import is_known

# `F.adaptive_avg_pool2d` raises there unless the sizes divide.
DEVICES_OF_WHOLE_RATIOS = {"mps"}


def token_map_size(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int], pool_stride: int
) -> tuple[int, int]:
    """Size (h, w) of the token map: the size of the map at the pooling stride.

    A stage at that stride gives its own measured size. Otherwise the deepest stage that is finer
    gives ceil(size * stride / pool_stride), as for TopFormer's tokens at 1/64.

    Args:
        sizes: Measured (H_i, W_i) of the stages, finest first.
        strides: Their strides in input pixels.
        pool_stride: Pixels per token.
    Raises:
        ValueError: If it is finer than the finest stage.
    """
    check_pool_stride(strides, pool_stride)
    stage = max(i for i, stride in enumerate(strides) if stride <= pool_stride)
    height, width = sizes[stage]
    stride = strides[stage]
    if stride == pool_stride:
        return height, width
    return _ceil_div(height * stride, pool_stride), _ceil_div(width * stride, pool_stride)


def check_pool_stride(strides: Sequence[int], pool_stride: int) -> None:
    """Raise a ValueError if tokens of `pool_stride` are finer than the finest of the stages."""
    if pool_stride < strides[0]:
        raise ValueError(
            f"pool_stride={pool_stride} is finer than the finest stage: give {strides[0]} or more"
        )


def adaptive_average_pool(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Average a map over size[0] x size[1] windows, as `F.adaptive_avg_pool2d` defines them.

    A coarser map repeats values (CoaT's 1/32 map pooled to 1/16).

    Args:
        x_BCHW: Map, (B, C, H, W).
        size: Output (h, w).
    Returns:
        (B, C, h, w).
    """
    height, width = x_BCHW.shape[-2:]
    if is_known(height == size[0]) and is_known(width == size[1]):
        return x_BCHW
    if is_known(height % size[0] == 0) and is_known(width % size[1] == 0):
        return F.avg_pool2d(x_BCHW, (height // size[0], width // size[1]))
    is_graph = torch.compiler.is_exporting() or torch.jit.is_tracing()
    # Torch has a deterministic backward pass of it on the CPU alone.
    is_refused = x_BCHW.device.type != "cpu" and torch.are_deterministic_algorithms_enabled()
    if is_graph or is_refused or x_BCHW.device.type in DEVICES_OF_WHOLE_RATIOS:
        return _average_by_matrices(x_BCHW, size)
    return F.adaptive_avg_pool2d(x_BCHW, size)


def _average_by_matrices(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    rows_hH = _averaging_matrix(x_BCHW.shape[2], size[0], x_BCHW)
    columns_wW = _averaging_matrix(x_BCHW.shape[3], size[1], x_BCHW)
    # Three sizes on both sides: with other numbers torch's `@` folds B, C and a height into one size, which
    # an export with a named range of heights cannot follow. The older ONNX exporter does not know `.mT`, and
    # takes the sizes behind an `unflatten` for fixed.
    x_XHW = x_BCHW.flatten(0, 1)  # X = B*C
    x_Xhw = rows_hH.unsqueeze(0) @ x_XHW @ columns_wW.transpose(-2, -1).unsqueeze(0)
    return x_Xhw.reshape(*x_BCHW.shape[:2], *size)


def _averaging_matrix(length: int, bins: int, like_BCHW: Tensor) -> Tensor:
    """Matrix (n, S), n `bins` and S `length`, that averages window i = [floor(i*S/n), ceil((i+1)*S/n))."""
    device, dtype = like_BCHW.device, like_BCHW.dtype
    index_n1 = torch.arange(bins, device=device).unsqueeze(1)
    position_1S = torch.arange(length, device=device).unsqueeze(0)
    start_n1 = index_n1 * length // bins
    stop_n1 = ((index_n1 + 1) * length + bins - 1) // bins
    inside_nS = (position_1S >= start_n1) & (position_1S < stop_n1)
    return inside_nS.to(dtype) / (stop_n1 - start_n1).to(dtype)


def _ceil_div(length: int, divisor: int) -> int:
    # Not -(-a // b): ONNX divides towards zero, which turns that ceiling into a floor.
    return (length + divisor - 1) // divisor
