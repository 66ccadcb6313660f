"""MSCSA: the maps of all stages in, one attended token map out (paper Sec. 3.4, Fig. 1 and 4).

Shapes, and the suffixes of tensors' names: B batch; C_i channels and H_i W_i size of stage i's map, c_i its
channels in the token map; D = sum of c_i; h w size of the token map. A list of all stages' maps, (B, C_i,
H_i, W_i), is called `maps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mscsa.attention.checkpointing import checkpoint_module
from mscsa.attention.config import MSCSAConfig, config_of, whole_numbers
from mscsa.attention.cross_scale import CrossScaleAttention
from mscsa.attention.feed_forward import FeedForward
from mscsa.attention.folding import NormedSequential, fold_before
from mscsa.attention.init import initialize
from mscsa.attention.pooling import adaptive_average_pool, check_pool_stride, token_map_size
from mscsa.attention.sizes import is_known


class DropPath(nn.Module):
    """Drop a residual branch for a whole sample with probability `prob`, and scale the rest up."""

    def __init__(self, prob: float) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Map (B, D, h, w) to the same, each sample zeroed or scaled by 1 / (1 - prob)."""
        if self.prob == 0.0 or not self.training:
            return x_BDhw
        keep = 1.0 - self.prob
        mask_B111 = x_BDhw.new_empty(x_BDhw.shape[0], *[1] * (x_BDhw.ndim - 1)).bernoulli_(keep)
        return x_BDhw * mask_B111.div_(keep)

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

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h, w)."""
        x_BDhw = x_BDhw + self.drop_path(self.csa1(self.norm1(x_BDhw)))
        x_BDhw = x_BDhw + self.drop_path(self.ffn1(self.norm2(x_BDhw)))
        x_BDhw = x_BDhw + self.drop_path(self.csa2(self.norm3(x_BDhw)))
        return x_BDhw + self.drop_path(self.ffn2(self.norm4(x_BDhw)))

    def fuse(self) -> MSCSABlock:
        """Fold the norms before the feed-forwards, for inference.

        Those before the attentions stay: the depthwise convolutions pad their output with zeros, which is
        not what a padding of their input would give, and a term for the border costs more than the norm
        (docs/speed.md).
        """
        fold_before(self, "norm2", *self.ffn1.expanding)
        fold_before(self, "norm4", *self.ffn2.expanding)
        return self.eval()


class MSCSA(nn.Module):
    """Multi-Stage Cross-Scale Attention: pool every stage, concatenate, attend.

    >>> tokens = MSCSA([64, 128, 320, 512], strides=[4, 8, 16, 32])
    >>> maps = [torch.rand(2, c, 224 // s, 224 // s) for c, s in zip(tokens.channels, tokens.strides)]
    >>> tokens(maps).shape
    torch.Size([2, 1024, 7, 7])

    Gradients of gradients and forward-mode derivatives are not to be had from torch's fused attention on the
    CPU; call the module under `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` for them.
    """

    _version = 2  # since then squeezes keep the bias of their norms

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: MSCSAConfig | Mapping[str, Any] | None = None,
    ) -> None:
        """Build for a pyramid of two or more stages, finest first.

        Args:
            channels: C_i of each stage.
            strides: Stride of each stage in input pixels.
            config: Configuration, or its fields by name; defaults of `MSCSAConfig` if None.
        Raises:
            ValueError: If there are fewer than two stages, the lengths differ, a channel count or stride
                is no whole number >= 1, the strides are not ascending or all equal, the pooling stride
                is finer than the finest stage, or `config` is not a configuration.
        """
        super().__init__()
        self.config = config = config_of(config)
        self.channels = whole_numbers("channels", channels)
        self.strides = whole_numbers("strides", strides)
        check_pyramid(self.channels, self.strides, config.pool_stride)
        self.stage_channels = squeezed_channels(self.channels, config.squeeze_ratio)
        self.num_features = sum(self.stage_channels)
        self.squeezes = nn.ModuleList(
            squeeze(c_in, c_out)
            for c_in, c_out in zip(self.channels, self.stage_channels, strict=True)
            if config.squeeze_ratio != 1.0
        )
        self.blocks = nn.ModuleList(MSCSABlock(self.stage_channels, config) for _ in range(config.depth))
        self.grad_checkpointing = False
        initialize(self, config.init)

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
        check_maps(maps, self.channels)
        x_BDhw = self.gather(maps)
        for block in self.blocks:
            x_BDhw = checkpoint_module(block, x_BDhw) if self.grad_checkpointing else block(x_BDhw)
        return x_BDhw

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool the maps to one size, squeeze and concatenate them (Fig. 1a): (B, D, h, w).

        Raises:
            ValueError: If batch statistics would be taken over a single value.
        """
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        size = token_map_size(sizes, self.strides, self.config.pool_stride)
        check_tokens(maps[0].shape[0], size, self)
        parts = [adaptive_average_pool(x, size) for x in maps]
        if self.squeezes:
            # After the pooling: it commutes with a 1x1 convolution and leaves less to compute.
            parts = [each(part) for each, part in zip(self.squeezes, parts, strict=True)]
        # Everything behind this point is channels-last, where a 1x1 convolution is a matrix product. Not by a
        # memory format, of which `torch.func.vmap` knows nothing.
        return torch.cat(parts, dim=1).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass instead of keeping their activations."""
        self.grad_checkpointing = enable

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *report: Any
    ) -> None:
        """Give squeezes of older files, which have no bias, the 0 that it stands for."""
        if (local_metadata.get("version") or 1) < 2:
            for i, _ in enumerate(self.squeezes):
                weight = state_dict.get(f"{prefix}squeezes.{i}.1.weight")
                if weight is not None:
                    state_dict.setdefault(f"{prefix}squeezes.{i}.1.bias", torch.zeros_like(weight))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *report)


def takes_batch_statistics(layers: nn.Module) -> bool:
    """Whether a batch norm among these layers takes its statistics from the batch: frozen ones do not."""
    norms = (norm for norm in layers.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm))
    return layers.training and any(norm.training for norm in norms)


def check_tokens(batch: int, size: Sequence[int], layers: nn.Module) -> None:
    """Raise a ValueError if layers would take statistics over a single token.

    Args:
        batch: Images.
        size: (h, w) of the token map.
        layers: What reads the tokens.
    """
    if is_known(batch * size[0] * size[1] == 1) and takes_batch_statistics(layers):
        raise ValueError(
            "a batch of 1 image gives 1x1 tokens here, too few for batch statistics in training: "
            "give 2 images or more, a larger input, or a finer pool_stride"
        )


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


def squeeze(in_channels: int, out_channels: int) -> NormedSequential:
    """Build the 1x1 convolution and norm that a pooled map (B, C, h, w) goes through to (B, c, h, w)."""
    norm = nn.BatchNorm2d(out_channels)
    # Every reader of the residual stream is a batch norm, which cancels this norm's bias: its gradient is of
    # rounding errors, and wherever it goes changes nothing. It is there, and ordinary, for all who read,
    # freeze or count the parameters of batch norms.
    return NormedSequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), norm)


def check_pyramid(channels: Sequence[int], strides: Sequence[int], pool_stride: int | None = None) -> None:
    """Raise a ValueError unless a pyramid has two stages or more, finest first.

    Args:
        channels: C_i of each stage.
        strides: Stride of each stage in input pixels.
        pool_stride: Of tokens that are pooled from it, no finer than the finest stage; None for no tokens.
    """
    if len(channels) < 2 or len(channels) != len(strides):
        raise ValueError(
            f"{len(channels)} channel counts and {len(strides)} strides given: give one of each for "
            "every stage, two stages or more"
        )
    if list(strides) != sorted(strides) or strides[0] == strides[-1]:
        raise ValueError(f"strides {list(strides)} are not a pyramid: give them finest first")
    if pool_stride is not None:
        check_pool_stride(strides, pool_stride)


def check_maps(maps: Sequence[Tensor], channels: tuple[int, ...]) -> None:
    """Raise a ValueError unless `maps` are one (B, C_i, H_i, W_i) for each of `channels`, finest first."""
    if isinstance(maps, Mapping):  # whose order and further entries are the caller's to settle
        raise ValueError("a mapping of maps by name given: give them as a list, such as list(maps.values())")
    given = [tuple(x.shape) for x in maps]
    if len(maps) != len(channels) or any(len(shape) != 4 for shape in given):
        raise ValueError(f"{len(maps)} maps of shapes {given} given: give {len(channels)} maps (B, C, H, W)")
    if torch.jit.is_tracing():
        return  # sizes are tensors there, of which a comparison would become a constant
    if tuple(shape[1] for shape in given) != channels:
        raise ValueError(
            f"maps with {[shape[1] for shape in given]} channels given, {list(channels)} expected: "
            "give the stages finest first, in NCHW layout"
        )
    for fine, coarse in zip(given, given[1:], strict=False):
        if is_known(coarse[2] > fine[2]) or is_known(coarse[3] > fine[3]):
            raise ValueError(
                f"maps of sizes {[shape[2:] for shape in given]} given: give the stages finest first"
            )
