"""Cross-Scale Attention (CSA): paper Sec. 3.2, equations (1)-(9).

Shapes, and the suffixes of tensors' names: B batch, D channels of the token map, h w its size, L = h*w
query tokens, M key tokens of all scales, N heads, d width of a query or key head, e = 2d width of a value
head, I = N*d and E = N*e widths of all heads together. Tensors of a coarser scale j have h_j w_j in place of
h w and stand in lists, X_0's first. k k is the window of a depthwise convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.attention.config import Downsampling
from mscsa.attention.sizes import is_known


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
        inner = num_heads * head_dim  # I; E is twice that
        # Q, K_0 and V_0 read the same map: one product.
        self.qkv = nn.Conv2d(channels, 4 * inner, 1)
        self.downsamples = _downsamples(channels, downsampling)
        self.kvs = nn.ModuleList(nn.Conv2d(channels, 3 * inner, 1) for _ in self.downsamples)
        self.parallel_conv = (
            nn.Conv2d(2 * inner, 2 * inner, 3, padding=1, groups=2 * inner) if parallel_conv else None
        )
        # No bias: the batch norm that next reads the residual stream cancels it.
        self.project = nn.Conv2d(2 * inner, channels, 1, bias=False)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Attend across scales and add the parallel path: eq. (7), which the appendix repeats as (9).

        Args:
            x_BDhw: Normed token map, (B, D, h, w).
        Returns:
            (B, D, h, w).
        """
        height, width = x_BDhw.shape[-2:]
        query_BNLd, key_BNMd, value_BNMe, value_BEhw = self.project_scales(x_BDhw)
        out_BNLe = scaled_dot_product(query_BNLd, key_BNMd, value_BNMe, head_dim=self.head_dim)
        # A channels-last map without a copy: (B, L, E) seen as (B, h, w, E).
        out_BLE = out_BNLe.transpose(1, 2).flatten(2)
        out_BEhw = out_BLE.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        if self.parallel_conv is not None:
            out_BEhw = out_BEhw + self.convolve_value(value_BEhw)
        return self.project(F.hardswish(out_BEhw))

    def project_scales(self, x_BDhw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Project all scales of a normed token map, (B, D, h, w), to what attention reads.

        Returns:
            Query (B, N, L, d), key (B, N, M, d), value (B, N, M, e) and V_0 as a map (B, E, h, w).
        """
        inner = self.num_heads * self.head_dim
        x_BDhw, *coarser = self.scales(x_BDhw)
        query_BIhw, *first = self.qkv(x_BDhw).split([inner, inner, 2 * inner], dim=1)
        keys, values = self.keys_and_values(first, coarser)
        return self.query(query_BIhw), self.join_scales(keys), self.join_scales(values), values[0]

    def scales(self, x_BDhw: Tensor) -> list[Tensor]:
        """Make X_0, X_1, X_2 of (B, D, h_j, w_j) from (B, D, h, w): eq. (2)."""
        maps = [x_BDhw]
        for downsample in self.downsamples:
            maps.append(downsample(maps[-1] if self.is_cascaded else x_BDhw))
        return maps

    def query(self, query_BIhw: Tensor) -> Tensor:
        """Q = X W^q, made by `qkv`, as tokens of every head, (B, I, h, w) to (B, N, L, d): eq. (1)."""
        return self._tokens(query_BIhw).transpose(1, 2)

    def keys_and_values(
        self, first: Sequence[Tensor], coarser: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """K_j = X_j W^k_j and V_j = X_j W^v_j with weights of their own for each scale: eq. (4).

        Args:
            first: K_0, (B, I, h, w), and V_0, (B, E, h, w), made by `qkv`.
            coarser: X_1, X_2, (B, D, h_j, w_j).
        Returns:
            All K_j, (B, I, h_j, w_j), and all V_j, (B, E, h_j, w_j).
        """
        inner = self.num_heads * self.head_dim
        pairs = [kv(x_j).split([inner, 2 * inner], dim=1) for kv, x_j in zip(self.kvs, coarser, strict=True)]
        keys, values = zip(first, *pairs, strict=True)
        return list(keys), list(values)

    def join_scales(self, maps: Sequence[Tensor]) -> Tensor:
        """K = Concat(K_0, K_1, K_2), and V likewise: (B, N*d, h_j, w_j) to (B, N, M, d): eq. (5)."""
        # Tokens first, heads after: the transpose is a view, as the fused kernels expect.
        return torch.cat([self._tokens(x_j) for x_j in maps], dim=1).transpose(1, 2)

    def convolve_value(self, value_BEhw: Tensor) -> Tensor:
        """Parallel convolution path, DWConv(Hardswish(V_0)), (B, E, h, w) to the same: eq. (8).

        Raises:
            ValueError: If the layer was built without it.
        """
        if self.parallel_conv is None:
            raise ValueError("built with parallel_conv=False: there is no parallel path; build with True")
        return self.parallel_conv(F.hardswish(value_BEhw))

    def _tokens(self, x_BIhw: Tensor) -> Tensor:
        """(B, I, h, w) to (B, L, N, d), or E and e for I and d; a view where the map is channels-last."""
        x_BLI = x_BIhw.permute(0, 2, 3, 1).flatten(1, 2)
        return x_BLI.unflatten(2, (self.num_heads, -1))


class DownsamplingConv(nn.Conv2d):
    """3x3 depthwise convolution with a stride, DWConv_1 or DWConv_2 of the paper.

    Without bias, which the projections after it would absorb.
    """

    def __init__(self, channels: int, stride: int) -> None:
        """Build for maps of `channels` channels."""
        super().__init__(channels, channels, 3, stride, padding=1, groups=channels, bias=False)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h_j, w_j).

        Around a fault of torch 2.14 on the CPU: there the weight gradient of a channels-last bf16
        depthwise convolution is uninitialised memory where the map is smaller than the stride.
        """
        height, width = x_BDhw.shape[-2:]
        is_half = x_BDhw.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
        is_large = is_known(height >= 3) and is_known(width >= 3)
        if x_BDhw.device.type != "cpu" or not is_half or is_large:
            return super().forward(x_BDhw)
        dtype = torch.promote_types(x_BDhw.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            weight_D1kk, wide_BDhw = self.weight.to(dtype), x_BDhw.to(dtype)
            out_BDhw = F.conv2d(
                wide_BDhw, weight_D1kk, None, self.stride, self.padding, self.dilation, self.groups
            )
        return out_BDhw.to(x_BDhw.dtype)


def scaled_dot_product(query_BNLd: Tensor, key_BNMd: Tensor, value_BNMe: Tensor, *, head_dim: int) -> Tensor:
    """Attend: softmax(Q K^T / sqrt(d)) V per head, eq. (6), keeping no (L, M) matrix.

    Torch's memory-saving kernels want equal head widths on CPU and multiples of 8 on CUDA; where
    they do not fit it falls back to materialising the matrix (measured on 4096x5661 tokens: 8 times
    the memory, 4 times the time). Zero channels change no product, so the widths are padded.

    Args:
        query_BNLd: (B, N, L, d).
        key_BNMd: (B, N, M, d).
        value_BNMe: (B, N, M, 2d).
        head_dim: d.
    Returns:
        (B, N, L, 2d).
    """
    narrow, wide = padded_head_widths(query_BNLd.device.type, head_dim)
    out_BNLe = F.scaled_dot_product_attention(
        _padded(query_BNLd, narrow - head_dim),
        _padded(key_BNMd, narrow - head_dim),
        _padded(value_BNMe, wide - 2 * head_dim),
        scale=head_dim**-0.5,
    )
    return out_BNLe[..., : 2 * head_dim]  # without what was padded


def padded_head_widths(device_type: str, head_dim: int) -> tuple[int, int]:
    """Widths to which query and key heads, and value heads, are padded for the kernels of a device."""
    if device_type == "meta":
        return head_dim, 2 * head_dim  # nothing runs there; what is counted is the attention itself
    if device_type == "cuda":
        return (head_dim + 7) // 8 * 8, (2 * head_dim + 7) // 8 * 8
    # Also for devices on which unequal widths were never tried: on MPS torch 2.11 gets them wrong.
    return 2 * head_dim, 2 * head_dim


def _padded(x_BNLd: Tensor, channels: int) -> Tensor:
    return F.pad(x_BNLd, (0, channels)) if channels else x_BNLd


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


def _strided(length: int, stride: int) -> int:
    return (length - 1) // stride + 1


def _downsamples(channels: int, downsampling: Downsampling) -> nn.ModuleList:
    """What makes X_1 and X_2, by the variants of Fig. 6."""
    strides = {
        "none": (),
        "single_dwconv": (2,),
        "cascaded_dwconv": (2, 2),
        "parallel_dwconv": (2, 3),
        "parallel_avgpool": (2, 3),
    }[downsampling]
    if downsampling == "parallel_avgpool":
        return nn.ModuleList(nn.AvgPool2d(3, stride, padding=1) for stride in strides)
    return nn.ModuleList(DownsamplingConv(channels, stride) for stride in strides)
