"""The mathematics of MSCSA once more, in NumPy float64: loops and einsum, written from the paper.

Nothing here is shared with the library: no torch, no module, no fast path. Arrays are (B, C, H, W),
equation numbers are the paper's. `tests.attention.weights` fills the records below from a module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BN_EPS = 1e-5


class Linear(NamedTuple):
    """A projection of every token (a 1x1 convolution): matrix (C_out, C_in), bias (C_out) or None."""

    matrix: Array
    bias: Array | None = None


class Depthwise(NamedTuple):
    """A 3x3 depthwise convolution: kernel (C, 3, 3), bias (C) or None."""

    kernel: Array
    bias: Array | None = None


class Norm(NamedTuple):
    """A batch norm and its running statistics, (C) each."""

    mean: Array
    var: Array
    weight: Array
    bias: Array


class Attention(NamedTuple):
    """W^q of eq. (1); W^k_j, W^v_j of eq. (4); DWConv_1, DWConv_2 of eq. (2); DWConv of eq. (8); W_o."""

    query: Linear
    keys: Sequence[Linear]
    values: Sequence[Linear]
    downsamples: Sequence[Depthwise]
    parallel: Depthwise | None
    out: Linear
    num_heads: int
    downsampling: str


class FeedForward(NamedTuple):
    """Fig. 3c."""

    expand: Linear
    depthwise: Depthwise
    contract: Linear


class Block(NamedTuple):
    """CSA -> Intra-FFN -> CSA -> FFN. The first feed-forward has one entry per stage, or a single one."""

    norms: Sequence[Norm]
    attentions: tuple[Attention, Attention]
    intra: Sequence[FeedForward]
    dense: FeedForward


class Fusion(NamedTuple):
    """Fig. 5b for one stage; the gate is `gate_scale` times a hard-sigmoid."""

    gate: tuple[Linear, Norm]
    bias: tuple[Linear, Norm]
    gate_scale: float


def hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0.0, 1.0)


def hard_swish(x: Array) -> Array:
    return x * np.clip(x + 3, 0.0, 6.0) / 6


def project(x: Array, linear: Linear) -> Array:
    y = np.einsum("oc,bchw->bohw", linear.matrix, x)
    return y if linear.bias is None else y + linear.bias[None, :, None, None]


def windows3x3(x: Array, stride: int) -> Array:
    """The 3x3 neighbourhood, zero beyond the border, of every stride-th token: (B, C, h', w', 3, 3)."""
    b, c, h, w = x.shape
    height, width = math.floor((h - 1) / stride + 1), math.floor((w - 1) / stride + 1)  # eq. (3)
    out = np.zeros((b, c, height, width, 3, 3))
    for i in range(height):
        for j in range(width):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    row, column = i * stride + dy, j * stride + dx
                    if 0 <= row < h and 0 <= column < w:
                        out[:, :, i, j, dy + 1, dx + 1] = x[:, :, row, column]
    return out


def convolve(x: Array, conv: Depthwise, stride: int = 1) -> Array:
    y = np.einsum("bchwij,cij->bchw", windows3x3(x, stride), conv.kernel)
    return y if conv.bias is None else y + conv.bias[None, :, None, None]


def average(x: Array, stride: int) -> Array:
    """Mean of the 3x3 neighbourhood; zeros beyond the border count."""
    return windows3x3(x, stride).sum(axis=(4, 5)) / 9


def batch_norm(x: Array, norm: Norm) -> Array:
    centred = (x - norm.mean[None, :, None, None]) / np.sqrt(norm.var + BN_EPS)[None, :, None, None]
    return centred * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]


def pooling_matrix(length: int, target: int) -> Array:
    """Row i averages the values in [floor(i L / T), ceil((i + 1) L / T)); repeats values where T > L."""
    matrix = np.zeros((target, length))
    for i in range(target):
        start = math.floor(i * length / target)
        stop = math.ceil((i + 1) * length / target)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def pool(x: Array, size: tuple[int, int]) -> Array:
    rows, columns = pooling_matrix(x.shape[2], size[0]), pooling_matrix(x.shape[3], size[1])
    return np.einsum("ih,bchw,jw->bcij", rows, x, columns)


def interpolation_matrix(length: int, target: int) -> Array:
    """Row i interpolates linearly between cell centres (align_corners=False), constant at the ends."""
    matrix = np.zeros((target, length))
    for i in range(target):
        position = max((i + 0.5) * length / target - 0.5, 0.0)
        left = min(math.floor(position), length - 1)
        right = min(left + 1, length - 1)
        matrix[i, left] += 1 - (position - left)
        matrix[i, right] += position - left
    return matrix


def upsample(x: Array, size: tuple[int, int]) -> Array:
    rows, columns = interpolation_matrix(x.shape[2], size[0]), interpolation_matrix(x.shape[3], size[1])
    return np.einsum("ih,bchw,jw->bcij", rows, x, columns)


def token_size(sizes: Sequence[tuple[int, int]], strides: Sequence[int], pool_stride: int) -> tuple[int, int]:
    """Size of the map at the pooling stride; beyond the deepest stage ceil(h_S s_S / stride)."""
    for size, stride in zip(sizes, strides, strict=True):
        if stride == pool_stride:
            return size
    (h, w), s = sizes[-1], strides[-1]
    return math.ceil(h * s / pool_stride), math.ceil(w * s / pool_stride)


def tokens_of(x: Array) -> Array:
    """(B, C, H, W) to (B, H W, C), row by row."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h * w).transpose(0, 2, 1)


def scales(x: Array, downsamples: Sequence[Depthwise], downsampling: str) -> list[Array]:
    """X_0, X_1, X_2: eq. (2), and the variants of Fig. 6 and Table 5."""
    if downsampling == "none":
        return [x]
    if downsampling == "parallel_avgpool":
        return [x, average(x, 2), average(x, 3)]
    first = convolve(x, downsamples[0], 2)
    if downsampling == "single_dwconv":
        return [x, first]
    if downsampling == "cascaded_dwconv":
        return [x, first, convolve(first, downsamples[1], 2)]
    assert downsampling == "parallel_dwconv"
    return [x, first, convolve(x, downsamples[1], 3)]


def attend(query: Array, key: Array, value: Array) -> Array:
    """Eq. (6), one head of one image: query (L, d), key (M, d), value (M, 2d) to (L, 2d)."""
    d = query.shape[1]
    out = np.zeros((query.shape[0], value.shape[1]))
    for row, q in enumerate(query):
        logits = np.einsum("d,md->m", q, key) / math.sqrt(d)
        weights = np.exp(logits - logits.max())
        out[row] = np.einsum("m,me->e", weights / weights.sum(), value)
    return out


def cross_scale_attention(x: Array, p: Attention) -> Array:
    """Eq. (1)-(9) and App. D.2, of the normed map x (B, D, h, w)."""
    b, _, h, w = x.shape
    maps = scales(x, p.downsamples, p.downsampling)
    query = tokens_of(project(x, p.query))  # eq. (1)
    keys = [tokens_of(project(m, k)) for m, k in zip(maps, p.keys, strict=True)]  # eq. (4)
    values = [tokens_of(project(m, v)) for m, v in zip(maps, p.values, strict=True)]
    key, value = np.concatenate(keys, axis=1), np.concatenate(values, axis=1)  # eq. (5)
    d = query.shape[2] // p.num_heads
    y = np.zeros((b, 2 * d * p.num_heads, h, w))
    for image in range(b):
        for n in range(p.num_heads):
            narrow, wide = slice(n * d, (n + 1) * d), slice(2 * n * d, 2 * (n + 1) * d)
            attended = attend(query[image, :, narrow], key[image, :, narrow], value[image, :, wide])
            y[image, wide] = attended.T.reshape(2 * d, h, w)
    if p.parallel is not None:
        y = y + convolve(hard_swish(project(x, p.values[0])), p.parallel)  # eq. (7)-(9)
    return project(hard_swish(y), p.out)


def feed_forward(x: Array, p: FeedForward) -> Array:
    """Sec. 3.3, Fig. 3c, of the normed map x."""
    return project(hard_swish(convolve(project(x, p.expand), p.depthwise)), p.contract)


def intra_feed_forward(x: Array, stages: Sequence[FeedForward]) -> Array:
    """Fig. 3b: split the channels by stage, one FFN for each, concatenate."""
    outputs, start = [], 0
    for p in stages:
        width = p.expand.matrix.shape[1]
        outputs.append(feed_forward(x[:, start : start + width], p))
        start += width
    assert start == x.shape[1]
    return np.concatenate(outputs, axis=1)


def block(x: Array, p: Block) -> Array:
    """Pre-norm residual branches, Sec. 3.4 and App. D.1."""
    x = x + cross_scale_attention(batch_norm(x, p.norms[0]), p.attentions[0])
    x = x + intra_feed_forward(batch_norm(x, p.norms[1]), p.intra)
    x = x + cross_scale_attention(batch_norm(x, p.norms[2]), p.attentions[1])
    return x + feed_forward(batch_norm(x, p.norms[3]), p.dense)


def mscsa(
    maps: Sequence[Array],
    strides: Sequence[int],
    pool_stride: int,
    squeezes: Sequence[tuple[Linear, Norm]] | None,
    blocks: Sequence[Block],
) -> Array:
    """Fig. 1a and 4: squeeze every stage at full size, pool, concatenate, run the blocks."""
    size = token_size([(x.shape[2], x.shape[3]) for x in maps], list(strides), pool_stride)
    if squeezes is None:
        x = np.concatenate([pool(level, size) for level in maps], axis=1)
    else:
        squeezed = [batch_norm(project(level, s[0]), s[1]) for level, s in zip(maps, squeezes, strict=True)]
        x = np.concatenate([pool(level, size) for level in squeezed], axis=1)
    for p in blocks:
        x = block(x, p)
    return x


def fuse(x: Array, tokens: Array, p: Fusion) -> Array:
    """Fig. 5b for one stage: X * up(gate) + up(bias)."""
    size = (x.shape[2], x.shape[3])
    gate = hard_sigmoid(batch_norm(project(tokens, p.gate[0]), p.gate[1]))
    bias = batch_norm(project(tokens, p.bias[0]), p.bias[1])
    return x * upsample(p.gate_scale * gate, size) + upsample(bias, size)
