"""Layers and initialisations that several of the backbones here share."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


def depthwise_conv(channels: int) -> nn.Conv2d:
    """Build the 3x3 convolution, one filter per channel, that keeps the size."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


def attend(q: Tensor, k: Tensor, v: Tensor, *, fused: bool) -> Tensor:
    """Weigh values by softmax(Q K^T / sqrt(d)).

    Args:
        q: Queries, (B, N, L, d), N heads.
        k: Keys, (B, N, M, d).
        v: Values, (B, N, M, d).
        fused: Through torch's kernel, else as two matrix products.
    Returns:
        (B, N, L, d).
    """
    if fused:
        return F.scaled_dot_product_attention(q, k, v)
    return (q.shape[-1] ** -0.5 * q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer as `init_small` does; leave other modules."""
    if isinstance(module, nn.Linear):
        init_small(module)


def init_small(module: nn.Linear | nn.Conv2d) -> None:
    """Draw a layer from the normal of width 0.02, truncated, bias 0."""
    nn.init.trunc_normal_(module.weight, std=0.02)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def init_conv(module: nn.Module) -> None:
    """Draw a convolution from N(0, 2 / fan-out), bias 0; leave other modules."""
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
