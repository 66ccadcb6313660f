"""P2T: a pyramid transformer whose keys and values are the map pooled to four small sizes.

Wu et al., "P2T: Pyramid Pooling Transformer for Scene Understanding", arXiv:2106.12011. The models
compute what the official code (yuhuan-wu/P2T at acd5e64, non-commercial, not used here) computes
from the same weights, with two differences: keys are by stage (`checkpoint_filter_fn` maps the
official ones), and maps below 65 px of input, which the official code rejects, pool to at least one
token. Between the stages and before the classifier there is no norm.
"""

import functools
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import DropPath, LayerNorm, calculate_drop_path_rates, use_fused_attn
from timm.models import register_model, register_notrace_function
from timm.models.pvt_v2 import OverlapPatchEmbed
from torch import Tensor, nn

from mscsa.attention.pooling import adaptive_average_pool
from mscsa.backbones.layers import attend, depthwise_conv, init_linear
from mscsa.backbones.official_keys import Renaming, rename_official
from mscsa.backbones.staged import Stage, StagedBackbone
from mscsa.backbones.timm_contract import create_backbone, describe_sizes

NUM_HEADS = (1, 2, 5, 8)
MLP_RATIOS = (8, 8, 4, 4)
POOL_RATIOS = ((12, 16, 20, 24), (6, 8, 10, 12), (3, 4, 5, 6), (1, 2, 3, 4))


@register_notrace_function
def pooled_size(size: int, ratio: int) -> int:
    """Divide a side of the map by a pooling ratio, halves to the even neighbour (2.5 -> 2), at least 1.

    Pooled token grids of the published weights depend on that rounding. Integers alone: `round` does not
    survive into graphs whose sizes are free, and a choice by size would hold for one size alone.
    """
    half_goes_up = size // ratio % 2 if ratio % 2 == 0 else 0
    rounded = (size + (ratio - 1) // 2 + half_goes_up) // ratio
    if isinstance(rounded, Tensor):  # a size in `torch.jit.trace`
        return rounded.clamp(min=1)
    return cast(int, torch.sym_max(rounded, 1))


class PoolingAttention(nn.Module):
    """Attend from every position to the positions of the map pooled by each ratio."""

    def __init__(self, dim: int, num_heads: int, pool_ratios: tuple[int, ...]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pool_ratios = pool_ratios
        self.fused_attn = use_fused_attn()
        self.q = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def pooled_tokens(self, x: Tensor, pool_convs: nn.ModuleList) -> Tensor:
        """Pool (B, C, H, W) by every ratio, refine each by its convolution: (B, M, C)."""
        height, width = x.shape[-2:]
        pools = []
        for ratio, conv in zip(self.pool_ratios, pool_convs, strict=True):
            size = (pooled_size(height, ratio), pooled_size(width, ratio))
            pool = adaptive_average_pool(x, size)
            pools.append((pool + conv(pool)).flatten(2))
        return torch.cat(pools, dim=2).transpose(1, 2)

    def forward(self, x: Tensor, pool_convs: nn.ModuleList) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        batch, height, width, dim = x.shape
        heads = (self.num_heads, dim // self.num_heads)
        q = self.q(x).reshape(batch, height * width, *heads).transpose(1, 2)
        pooled = self.norm(self.pooled_tokens(x.permute(0, 3, 1, 2), pool_convs))
        k, v = self.kv(pooled).unflatten(-1, (2, *heads)).permute(2, 0, 3, 1, 4).unbind(0)
        out = attend(q, k, v, fused=self.fused_attn)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, dim))


class InvertedBottleneck(nn.Module):
    """Expand, mix each channel over space, project back."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, hidden_dim, 1)
        self.depthwise = depthwise_conv(hidden_dim)
        self.project = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = F.hardswish(self.expand(x.permute(0, 3, 1, 2)))
        x = F.hardswish(self.depthwise(x))
        return self.project(x).permute(0, 2, 3, 1)


class PoolingBlock(nn.Module):
    """Pooling attention and inverted bottleneck, each on the norm of a residual stream."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        pool_ratios: tuple[int, ...],
        mlp_ratio: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = PoolingAttention(dim, num_heads, pool_ratios)
        self.norm2 = LayerNorm(dim, eps=1e-6)
        self.mlp = InvertedBottleneck(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, pool_convs: nn.ModuleList) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), pool_convs))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PoolingStage(Stage):
    """Overlapping patch embedding, then blocks that share one convolution per pooling ratio."""

    def __init__(self, embed: nn.Module, blocks: list[PoolingBlock], channels: int, num_ratios: int) -> None:
        super().__init__(embed, blocks)
        self.pool_convs = nn.ModuleList(depthwise_conv(channels) for _ in range(num_ratios))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H/s, W/s), sizes rounded up, s = 4 or 2."""
        return self.run_blocks(self.embed(x), self.pool_convs).permute(0, 3, 1, 2)


class P2T(StagedBackbone):
    """Pyramid Pooling Transformer.

    Args:
        channels: Width of each of the four stages.
        depths: Blocks of each stage.
        drop_path_rate: Of the last block; grows linearly from 0.
        num_classes: See `StagedBackbone`; so for the rest.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        rates: Any = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        stages = []
        for i, (width_in, width) in enumerate(pairwise((in_chans, *channels))):
            patch, stride = (7, 4) if i == 0 else (3, 2)
            embed = OverlapPatchEmbed(patch, stride, in_chans=width_in, embed_dim=width)
            blocks = [
                PoolingBlock(width, NUM_HEADS[i], POOL_RATIOS[i], MLP_RATIOS[i], drop_path=rate)
                for rate in rates[i]
            ]
            stages.append(PoolingStage(embed, blocks, width, num_ratios=len(POOL_RATIOS[i])))
        super().__init__(
            stages,
            channels,
            norm=nn.Identity(),
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )
        self.apply(init_linear)  # convolutions keep PyTorch's default, as in the official code


_OFFICIAL_KEYS: tuple[Renaming, ...] = (
    (r"^patch_embed(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.embed."),
    (r"^d_convs(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.pool_convs."),
    (r"^block(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks."),
    (r"\.attn\.(q|kv)\.0\.", lambda m: f".attn.{m[1]}."),
    (r"\.mlp\.fc1\.", lambda m: ".mlp.expand."),
    (r"\.mlp\.conv\.", lambda m: ".mlp.depthwise."),
    (r"\.mlp\.fc2\.", lambda m: ".mlp.project."),
)


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official P2T checkpoint to `model`; see `rename_official`."""
    return rename_official(state_dict, model, _OFFICIAL_KEYS)


SIZES: dict[str, dict[str, Any]] = {
    "p2t_tiny": {"channels": (48, 96, 240, 384), "depths": (2, 2, 6, 3)},
    "p2t_small": {"channels": (64, 128, 320, 512), "depths": (2, 2, 9, 3)},
    "p2t_base": {"channels": (64, 128, 320, 512), "depths": (3, 4, 18, 3)},
}
"""Registered model -> the arguments of its size."""

default_cfgs = describe_sizes(
    SIZES,
    first_conv="stages.0.embed.proj",
    classifier="head",
    paper_ids="arXiv:2106.12011",
    paper_name="P2T: Pyramid Pooling Transformer for Scene Understanding",
    origin_url="https://github.com/yuhuan-wu/P2T",
)
_create = functools.partial(create_backbone, P2T, SIZES, checkpoint_filter_fn)


@register_model
def p2t_tiny(pretrained: bool = False, **kwargs: Any) -> P2T:
    """Build P2T-Tiny: 11.6 M parameters, 1.8 GMACs at 224x224, 79.8 % top-1 (official)."""
    return _create("p2t_tiny", pretrained, **kwargs)


@register_model
def p2t_small(pretrained: bool = False, **kwargs: Any) -> P2T:
    """Build P2T-Small: 24.1 M parameters, 3.8 GMACs at 224x224, 82.4 % top-1 (official)."""
    return _create("p2t_small", pretrained, **kwargs)


@register_model
def p2t_base(pretrained: bool = False, **kwargs: Any) -> P2T:
    """Build P2T-Base: 36.1 M parameters, 6.5 GMACs at 224x224, 83.5 % top-1 (official)."""
    return _create("p2t_base", pretrained, **kwargs)
