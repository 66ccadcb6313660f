"""Shunted Transformer: heads of one layer attend at two token sizes.

Ren et al., "Shunted Self-Attention via Multi-Scale Token Aggregation", arXiv:2111.15193. The models
compute what the official code (OliverRensu/Shunted-Transformer at 6861101, which states no licence
and is not used here) computes from the same weights; keys are by stage (`checkpoint_filter_fn` maps
the official ones). Each stage ends in a norm, and the normed map is what the next stage embeds.
"""

import functools
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, LayerNorm, calculate_drop_path_rates, use_fused_attn
from timm.models import register_model
from timm.models.pvt_v2 import OverlapPatchEmbed
from torch import Tensor, nn

from mscsa.backbones.layers import attend, depthwise_conv, init_conv, init_linear
from mscsa.backbones.official_keys import Renaming, rename_official
from mscsa.backbones.staged import Stage, StagedBackbone
from mscsa.backbones.timm_contract import boundary_check, create_backbone, describe_sizes
from mscsa.errors import UserError

CHANNELS = (64, 128, 256, 512)
NUM_HEADS = (2, 4, 8, 16)
MLP_RATIOS = (8, 8, 4, 4)
REDUCTIONS = (8, 4, 2, 1)


MIN_SIDE = 31
"""Of the image, pixels: what the first stage, 8x8 tokens to a window, makes one window of."""


@boundary_check
def check_image_side(x: Tensor) -> None:
    """Raise a UserError unless both sides of (B, C, H, W) are at least `MIN_SIDE`."""
    height, width = x.shape[-2:]
    if height < MIN_SIDE or width < MIN_SIDE:
        raise UserError(
            f"Shunted got an image of {height}x{width}; it needs at least {MIN_SIDE}x{MIN_SIDE}, "
            f"which its first stage makes {REDUCTIONS[0]}x{REDUCTIONS[0]} tokens: pad or resize it"
        )


class AggregatedTokens(nn.Module):
    """Merge each window of reduction x reduction tokens into one; give its keys and values.

    The values, not the keys, get a depthwise convolution over their own small map added.

    Args:
        dim: Channels of the map, C; keys and values have C/2.
        num_heads: Heads that attend to these tokens, half of the layer's.
        reduction: Side of the window, tokens.
    """

    def __init__(self, dim: int, num_heads: int, reduction: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.reduce = nn.Conv2d(dim, dim, reduction, stride=reduction)
        self.norm = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, dim)
        self.local_conv = depthwise_conv(dim // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W, C) to keys and values, (B, heads, H/r * W/r, d), sizes rounded down."""
        x = self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        k, v = self.kv(F.gelu(self.norm(x))).chunk(2, dim=-1)
        v = v + self.local_conv(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.split_heads(k), self.split_heads(v)

    def split_heads(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, heads, H*W, C/heads)."""
        batch, height, width, dim = x.shape
        heads = (self.num_heads, dim // self.num_heads)
        return x.reshape(batch, height * width, *heads).transpose(1, 2)


class ShuntedAttention(nn.Module):
    """Attend to tokens merged by the reduction (first half of the heads) and by half of it."""

    def __init__(self, dim: int, num_heads: int, reduction: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = use_fused_attn()
        self.q = nn.Linear(dim, dim)
        self.scales = nn.ModuleList(
            AggregatedTokens(dim, num_heads // 2, r) for r in (reduction, reduction // 2)
        )
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C), at least one window of tokens, to the same shape."""
        batch, height, width, dim = x.shape
        heads = (self.num_heads, dim // self.num_heads)
        q = self.q(x).reshape(batch, height * width, *heads).transpose(1, 2)
        halves = q[:, : self.num_heads // 2], q[:, self.num_heads // 2 :]
        out = []
        for q_half, tokens in zip(halves, self.scales, strict=True):
            k, v = tokens(x)
            out.append(attend(q_half, k, v, fused=self.fused_attn))
        merged = torch.cat(out, dim=1).transpose(1, 2).reshape(batch, height, width, dim)
        return self.proj(merged)


class LocalAttention(nn.Module):
    """Attend to all tokens, and add a depthwise convolution of the values; the last stage's form."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = use_fused_attn()
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.local_conv = depthwise_conv(dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        batch, height, width, dim = x.shape
        k, v = self.kv(x).chunk(2, dim=-1)
        local = self.local_conv(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        heads = (self.num_heads, dim // self.num_heads)
        q, k, v = (
            tokens.reshape(batch, height * width, *heads).transpose(1, 2) for tokens in (self.q(x), k, v)
        )
        out = attend(q, k, v, fused=self.fused_attn)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, dim) + local)


class DetailMlp(nn.Module):
    """Two linear layers with a depthwise convolution added to what lies between them.

    PVTv2 has the same parameters without the addition: its code loads these weights and computes
    something else.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.depthwise = depthwise_conv(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = self.fc1(x)
        x = x + self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.fc2(F.gelu(x))


class ShuntedBlock(nn.Module):
    """Attention and MLP, each on the norm of a residual stream."""

    def __init__(self, dim: int, attn: nn.Module, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.norm2 = LayerNorm(dim, eps=1e-6)
        self.mlp = DetailMlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ConvStem(nn.Module):
    """Reduce the image by 4 in two steps, with `num_extra` 3x3 convolutions at 1/2 in between."""

    def __init__(self, in_chans: int, channels: int, num_extra: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = [in_chans] + [channels] * (1 + num_extra)
        for i, (width_in, width) in enumerate(pairwise(widths)):
            kernel, stride = (7, 2) if i == 0 else (3, 1)
            conv = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        self.conv = nn.Sequential(*layers, nn.Conv2d(channels, channels, 2, stride=2))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_chans, H, W) to (B, H/4, W/4, C).

        Raises:
            UserError: If the image is too small for the first stage.
        """
        check_image_side(x)
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class ShuntedStage(Stage):
    """Patch embedding, blocks, norm."""

    def __init__(self, embed: nn.Module, blocks: list[ShuntedBlock], channels: int) -> None:
        super().__init__(embed, blocks)
        self.norm = LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H/s, W/s), s = 4 or 2."""
        return self.norm(self.run_blocks(self.embed(x))).permute(0, 3, 1, 2)


class Shunted(StagedBackbone):
    """Shunted Transformer, for images of 31x31 and more.

    Args:
        depths: Blocks of each of the four stages.
        num_stem_convs: Extra convolutions of the stem.
        drop_path_rate: Of the last block; grows linearly from 0.
        num_classes: See `StagedBackbone`; so for the rest.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        num_stem_convs: int,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        rates: Any = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        stages = []
        for i, (width_in, width) in enumerate(pairwise((in_chans, *CHANNELS))):
            embed: nn.Module = (
                ConvStem(in_chans, width, num_stem_convs)
                if i == 0
                else OverlapPatchEmbed(3, 2, in_chans=width_in, embed_dim=width)
            )
            blocks = [ShuntedBlock(width, _attention(i), MLP_RATIOS[i], drop_path=rate) for rate in rates[i]]
            stages.append(ShuntedStage(embed, blocks, width))
        super().__init__(
            stages,
            CHANNELS,
            norm=nn.Identity(),
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )
        self.apply(_init_weights)


def _attention(stage: int) -> nn.Module:
    if REDUCTIONS[stage] == 1:
        return LocalAttention(CHANNELS[stage], NUM_HEADS[stage])
    return ShuntedAttention(CHANNELS[stage], NUM_HEADS[stage], REDUCTIONS[stage])


def _init_weights(module: nn.Module) -> None:
    """Initialise linear layers and convolutions as the official code does."""
    init_linear(module)
    init_conv(module)


_OFFICIAL_KEYS: tuple[Renaming, ...] = (
    (r"^patch_embed(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.embed."),
    (r"^block(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks."),
    (r"^norm(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.norm."),
    (r"\.attn\.sr(\d)\.", lambda m: f".attn.scales.{int(m[1]) - 1}.reduce."),
    (r"\.attn\.(norm|kv|local_conv)(\d)\.", lambda m: f".attn.scales.{int(m[2]) - 1}.{m[1]}."),
    (r"\.mlp\.dwconv\.dwconv\.", lambda m: ".mlp.depthwise."),
)


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official Shunted checkpoint to `model`; see `rename_official`."""
    return rename_official(state_dict, model, _OFFICIAL_KEYS)


SIZES: dict[str, dict[str, Any]] = {
    "shunted_tiny": {"depths": (1, 2, 4, 1), "num_stem_convs": 0},
    "shunted_small": {"depths": (2, 4, 12, 1), "num_stem_convs": 1},
    "shunted_base": {"depths": (3, 4, 24, 2), "num_stem_convs": 2},
}
"""Registered model -> the arguments of its size."""

default_cfgs = describe_sizes(
    SIZES,
    first_conv="stages.0.embed.conv.0",
    classifier="head",
    paper_ids="arXiv:2111.15193",
    paper_name="Shunted Self-Attention via Multi-Scale Token Aggregation",
    origin_url="https://github.com/OliverRensu/Shunted-Transformer",
)
_create = functools.partial(create_backbone, Shunted, SIZES, checkpoint_filter_fn)


@register_model
def shunted_tiny(pretrained: bool = False, **kwargs: Any) -> Shunted:
    """Build Shunted-T: 11.6 M parameters, 2.1 GMACs at 224x224, 79.8 % top-1 (official)."""
    return _create("shunted_tiny", pretrained, **kwargs)


@register_model
def shunted_small(pretrained: bool = False, **kwargs: Any) -> Shunted:
    """Build Shunted-S: 22.4 M parameters, 5.0 GMACs at 224x224, 82.9 % top-1 (official)."""
    return _create("shunted_small", pretrained, **kwargs)


@register_model
def shunted_base(pretrained: bool = False, **kwargs: Any) -> Shunted:
    """Build Shunted-B: 39.6 M parameters, 8.1 GMACs at 224x224, 84.0 % top-1 (official)."""
    return _create("shunted_base", pretrained, **kwargs)
