"""Cross-Scale Attention (CSA): paper Sec. 3.2, equations (1)-(9).

Shapes: B batch, D channels of the token map, h w its size, L = h*w query tokens, M key tokens of all
scales, N heads, d channels of a query or key head (a value head has 2d).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true

from .config import Downsampling


class CrossScaleAttention(nn.Module):
    """Attention of every token on the tokens of several scales, with a parallel convolution path.

    out = W_o Hardswish(softmax(Q K^T / sqrt(d)) V + DWConv(Hardswish(V_0))), where K and V hold the
    tokens of X_0 = X and of one or two downsampled copies X_1, X_2.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        head_dim: int,
        downsampling: Downsampling = "parallel_dwconv",
        parallel_conv: bool = True,
    ) -> None:
        """Build for a token map of `channels` channels.

        Args:
            channels: D.
            num_heads: N.
            head_dim: d, channels of a query or key head; a value head has 2d.
            downsampling: How X_1 and X_2 are made (Fig. 6).
            parallel_conv: Add the parallel convolution path, eq. (7).
        """
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.is_cascaded = downsampling == "cascaded_dwconv"
        inner = num_heads * head_dim
        # Q, K_0 and V_0 read the same map: one product.
        self.qkv = nn.Conv2d(channels, 4 * inner, 1)
        self.downsamples = _downsamples(channels, downsampling)
        self.kvs = nn.ModuleList(nn.Conv2d(channels, 3 * inner, 1) for _ in self.downsamples)
        self.parallel_conv = (
            nn.Conv2d(2 * inner, 2 * inner, 3, padding=1, groups=2 * inner) if parallel_conv else None
        )
        # No bias: the batch norm that next reads the residual stream cancels it.
        self.project = nn.Conv2d(2 * inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend across scales: attention plus the parallel path, eq. (7) and (9).

        Args:
            x: Normed token map, (B, D, h, w).
        Returns:
            (B, D, h, w).
        """
        height, width = x.shape[-2:]
        query, key, value, value_map = self.project_scales(x)
        tokens = scaled_dot_product(query, key, value)  # (B, N, L, 2d)
        # A channels-last map without a copy: (B, L, N*2d) seen as (B, h, w, N*2d).
        out = tokens.transpose(1, 2).flatten(2).unflatten(1, (height, width)).permute(0, 3, 1, 2)
        if self.parallel_conv is not None:
            out = out + self.convolve_value(value_map)
        return self.project(F.hardswish(out))

    def scales(self, x: Tensor) -> list[Tensor]:
        """Make X_0, X_1, X_2 of (B, D, h_j, w_j) from (B, D, h, w): eq. (2), sizes as eq. (3)."""
        maps = [x]
        for downsample in self.downsamples:
            source = maps[-1] if self.is_cascaded else x
            maps.append(_downsample(downsample, source))
        return maps

    def project_scales(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Project Q from X_0 and K_j, V_j from every X_j, joined over the scales: eq. (1), (4), (5).

        Returns:
            Query (B, N, L, d), key (B, N, M, d), value (B, N, M, 2d) and V_0 as a map (B, 2Nd, h, w).
        """
        inner = self.num_heads * self.head_dim
        first, *coarser = self.scales(x)
        query_map, key_map, value_map = self.qkv(first).split([inner, inner, 2 * inner], dim=1)
        keys, values = [self._tokens(key_map)], [self._tokens(value_map)]
        for kv, scale in zip(self.kvs, coarser, strict=True):
            key_j, value_j = kv(scale).split([inner, 2 * inner], dim=1)
            keys.append(self._tokens(key_j))
            values.append(self._tokens(value_j))
        # Tokens first, heads after: the transposes are views, as `scaled_dot_product` expects.
        query = self._tokens(query_map).transpose(1, 2)
        key = torch.cat(keys, dim=1).transpose(1, 2)
        value = torch.cat(values, dim=1).transpose(1, 2)
        return query, key, value, value_map

    def convolve_value(self, value_map: Tensor) -> Tensor:
        """Parallel convolution path of V_0, (B, 2Nd, h, w) to the same: eq. (8)."""
        assert self.parallel_conv is not None  # the caller asked for it at construction
        return self.parallel_conv(F.hardswish(value_map))

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, N*e, h, w) to (B, h*w, N, e); a view where the map is channels-last."""
        return x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (self.num_heads, -1))


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend: softmax(Q K^T / sqrt(d)) V per head, eq. (6), keeping no (L, M) matrix.

    Torch's memory-saving kernels want equal head widths on CPU and multiples of 8 on CUDA; where
    they do not fit it falls back to materialising the matrix (measured on 4096x5661 tokens: 8 times
    the memory, 4 times the time). Zero channels change no product, so the widths are padded.

    Args:
        query: (B, N, L, d).
        key: (B, N, M, d).
        value: (B, N, M, 2d).
    Returns:
        (B, N, L, 2d).
    """
    head_dim, value_dim = query.shape[-1], value.shape[-1]
    scale = head_dim**-0.5
    if query.device.type == "cpu":
        query_width = value_width = value_dim
    elif query.device.type == "cuda":
        query_width, value_width = -(-head_dim // 8) * 8, -(-value_dim // 8) * 8
    else:
        query_width, value_width = head_dim, value_dim
    if query_width != head_dim:
        query = F.pad(query, (0, query_width - head_dim))
        key = F.pad(key, (0, query_width - head_dim))
    if value_width != value_dim:
        value = F.pad(value, (0, value_width - value_dim))
    return F.scaled_dot_product_attention(query, key, value, scale=scale)[..., :value_dim]


def downsampled_sizes(size: tuple[int, int], downsampling: Downsampling) -> tuple[tuple[int, int], ...]:
    """Sizes of X_0, X_1, X_2 for a token map of `size`: eq. (3), for every variant of Fig. 6."""
    if downsampling == "none":
        return (size,)
    half = (_strided(size[0], 2), _strided(size[1], 2))
    if downsampling == "single_dwconv":
        return size, half
    if downsampling == "cascaded_dwconv":
        return size, half, (_strided(half[0], 2), _strided(half[1], 2))
    return size, half, (_strided(size[0], 3), _strided(size[1], 3))


def _downsample(downsample: nn.Module, x: Tensor) -> Tensor:
    """Downsample, around a fault of torch 2.14 on CPU.

    There the weight gradient of a channels-last bf16 depthwise convolution is uninitialised memory
    where the map is smaller than the stride.
    """
    is_tiny = statically_known_true(x.shape[2] < 3) or statically_known_true(x.shape[3] < 3)
    if x.device.type != "cpu" or not is_tiny or not isinstance(downsample, nn.Conv2d):
        return downsample(x)
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        weight = downsample.weight.to(dtype)
        out = F.conv2d(x.to(dtype), weight, None, downsample.stride, 1, 1, downsample.groups)
    return out.to(x.dtype)


def _strided(length: int, stride: int) -> int:
    return (length - 1) // stride + 1


def _downsamples(channels: int, downsampling: Downsampling) -> nn.ModuleList:
    """3x3 downsamplings, Fig. 6. Their biases would be absorbed by the projections after them."""
    strides = {
        "none": (),
        "single_dwconv": (2,),
        "cascaded_dwconv": (2, 2),
        "parallel_dwconv": (2, 3),
        "parallel_avgpool": (2, 3),
    }[downsampling]
    if downsampling == "parallel_avgpool":
        return nn.ModuleList(nn.AvgPool2d(3, stride, padding=1) for stride in strides)
    return nn.ModuleList(
        nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False) for stride in strides
    )
