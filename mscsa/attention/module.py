"""MSCSA: the maps of all stages in, one attended token map out (paper Sec. 3.4, Fig. 1 and 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .config import MSCSAConfig
from .cross_scale import CrossScaleAttention
from .feed_forward import FeedForward
from .pooling import adaptive_average_pool, token_map_size


class DropPath(nn.Module):
    """Drop a residual branch for a whole sample with probability `prob`, and scale the rest up."""

    def __init__(self, prob: float) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, x: Tensor) -> Tensor:
        if self.prob == 0.0 or not self.training:
            return x
        keep = 1.0 - self.prob
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        return f"prob={self.prob}"


class MSCSABlock(nn.Module):
    """CSA -> Intra-FFN -> CSA -> FFN, each `x + drop_path(f(BN(x)))` (paper Sec. 3.4, App. D.1)."""

    def __init__(self, stage_channels: Sequence[int], config: MSCSAConfig) -> None:
        super().__init__()
        channels = sum(stage_channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.csa1 = _attention(channels, config)
        self.norm2 = nn.BatchNorm2d(channels)
        self.ffn1 = FeedForward(stage_channels, config.mlp_ratio, intra=config.intra_ffn)
        self.norm3 = nn.BatchNorm2d(channels)
        self.csa2 = _attention(channels, config)
        self.norm4 = nn.BatchNorm2d(channels)
        self.ffn2 = FeedForward(stage_channels, config.mlp_ratio, intra=False)
        self.drop_path = DropPath(config.drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h, w)."""
        x = x + self.drop_path(self.csa1(self.norm1(x)))
        x = x + self.drop_path(self.ffn1(self.norm2(x)))
        x = x + self.drop_path(self.csa2(self.norm3(x)))
        return x + self.drop_path(self.ffn2(self.norm4(x)))


class MSCSA(nn.Module):
    """Multi-Stage Cross-Scale Attention: pool every stage, concatenate, attend.

    >>> tokens = MSCSA([64, 128, 320, 512], strides=[4, 8, 16, 32])
    >>> maps = [torch.rand(2, c, 224 // s, 224 // s) for c, s in zip(tokens.channels, tokens.strides)]
    >>> tokens(maps).shape
    torch.Size([2, 1024, 7, 7])
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: MSCSAConfig | None = None,
    ) -> None:
        """Build for a pyramid of two or more stages, finest first.

        Args:
            channels: C_i of each stage.
            strides: Stride of each stage in input pixels.
            config: Defaults of `MSCSAConfig` if None.
        Raises:
            ValueError: If there are fewer than two stages, the lengths differ, the strides are not
                ascending or all equal, or the pooling stride is finer than the finest stage.
        """
        super().__init__()
        config = config or MSCSAConfig()
        _check_pyramid(channels, strides, config.pool_stride)
        self.config = config
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.stage_channels = squeezed_channels(channels, config.squeeze_ratio)
        self.num_features = sum(self.stage_channels)
        self.squeezes = nn.ModuleList(
            _squeeze(c_in, c_out)
            for c_in, c_out in zip(channels, self.stage_channels, strict=True)
            if config.squeeze_ratio != 1.0
        )
        self.blocks = nn.ModuleList(MSCSABlock(self.stage_channels, config) for _ in range(config.depth))
        self.grad_checkpointing = False
        self.apply(_init_weights)
        if config.init == "identity":
            self._zero_branches()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Attend over all stages.

        Args:
            maps: One map per stage, (B, C_i, H_i, W_i), finest first.
        Returns:
            Token map, (B, D, h, w), D = `num_features`, (h, w) as `token_map_size` says.
        Raises:
            ValueError: If the maps' number, channels or order do not fit, or if batch statistics
                would be taken over a single value (batch 1 with one token, in training).
        """
        _check_maps(maps, self.channels)
        x = self.gather(maps)
        for block in self.blocks:
            if self.grad_checkpointing and self.training and torch.is_grad_enabled():
                x = _checkpoint(block, x)
            else:
                x = block(x)
        return x

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool the maps to one size, squeeze and concatenate them (Fig. 1a): (B, D, h, w).

        Raises:
            ValueError: If batch statistics would be taken over a single value.
        """
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        size = token_map_size(sizes, self.strides, self.config.pool_stride)
        if self.training and maps[0].shape[0] * size[0] * size[1] == 1:
            raise ValueError(
                "a batch of 1 image gives 1x1 tokens here, too few for batch statistics in training: "
                "give 2 images or more, a larger input, or a finer pool_stride"
            )
        tokens = [adaptive_average_pool(x, size) for x in maps]
        if self.squeezes:
            # After the pooling: it commutes with a 1x1 convolution and leaves less to compute.
            tokens = [squeeze(x) for squeeze, x in zip(self.squeezes, tokens, strict=True)]
        # Everything behind this point is channels-last, where a 1x1 convolution is a matrix product.
        return torch.cat(tokens, dim=1).contiguous(memory_format=torch.channels_last)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass instead of keeping their activations."""
        self.grad_checkpointing = enable

    def _zero_branches(self) -> None:
        """Zero the last projection of every branch, so that the token map is the gathered one."""
        for name, parameter in self.blocks.named_parameters():
            if ".project." in name:
                nn.init.zeros_(parameter)


def squeezed_channels(channels: Sequence[int], squeeze_ratio: float) -> tuple[int, ...]:
    """Channels c_i of each stage in the token map: round(ratio * C_i), at least 1."""
    return tuple(max(1, round(squeeze_ratio * c)) for c in channels)


def _attention(channels: int, config: MSCSAConfig) -> CrossScaleAttention:
    return CrossScaleAttention(
        channels,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        downsampling=config.downsampling,
        parallel_conv=config.parallel_conv,
    )


def _squeeze(in_channels: int, out_channels: int) -> nn.Sequential:
    norm = nn.BatchNorm2d(out_channels)
    # Every reader of the residual stream is a batch norm, which cancels a constant: no shift.
    norm.register_parameter("bias", None)
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), norm)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_pyramid(channels: Sequence[int], strides: Sequence[int], pool_stride: int) -> None:
    if len(channels) < 2 or len(channels) != len(strides):
        raise ValueError(
            f"{len(channels)} channel counts and {len(strides)} strides given: give one of each for "
            "every stage, two stages or more"
        )
    if list(strides) != sorted(strides) or strides[0] == strides[-1]:
        raise ValueError(f"strides {list(strides)} are not a pyramid: give them finest first")
    if pool_stride < strides[0]:
        raise ValueError(
            f"pool_stride={pool_stride} is finer than the finest stage: give {strides[0]} or more"
        )


def _check_maps(maps: Sequence[Tensor], channels: tuple[int, ...]) -> None:
    given = [tuple(x.shape) for x in maps]
    if len(maps) != len(channels) or any(len(shape) != 4 for shape in given):
        raise ValueError(f"{len(maps)} maps of shapes {given} given: give {len(channels)} maps (B, C, H, W)")
    if tuple(shape[1] for shape in given) != channels:
        raise ValueError(
            f"maps with {[shape[1] for shape in given]} channels given, {list(channels)} expected: "
            "give the stages finest first, in NCHW layout"
        )
    for fine, coarse in zip(given, given[1:], strict=False):
        if coarse[2] > fine[2] or coarse[3] > fine[3]:
            raise ValueError(
                f"maps of sizes {[shape[2:] for shape in given]} given: give the stages finest first"
            )


def _checkpoint(block: nn.Module, x: Tensor) -> Tensor:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_statistics(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Keep running statistics as they are: the recomputation must not count a batch twice.

    The norms still update, by a share of 0: without their buffers they would save other tensors than
    in the first pass, which `checkpoint` refuses.
    """
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
