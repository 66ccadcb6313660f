"""TopFormer's neck: tokens of all levels, transformed at one coarse size, scale and shift each level.

Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.05525, Fig. 2: scale-aware semantics extractor and semantics injection. Gold-YOLO
(Wang et al., NeurIPS 2023, https://arxiv.org/abs/2309.11331) gathers and distributes in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mscsa.attention.config import number_between, whole_number
from mscsa.attention.module import check_pyramid, squeeze, squeezed_channels, takes_batch_statistics
from mscsa.attention.pooling import adaptive_average_pool, token_map_size
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.backbones.layers import init_conv
from mscsa.backbones.timm_contract import check_batch_values
from mscsa.backbones.topformer_parts import SemanticsExtractor, SemanticsInjection
from mscsa.necks.budget import widest
from mscsa.necks.config import NeckConfig, keep
from mscsa.necks.layers import conv_macs, size_of
from mscsa.necks.neck import Neck, NeckKind


@dataclass(frozen=True, kw_only=True)
class TopFormerNeckConfig(NeckConfig):
    """How TopFormer's neck is built; the defaults are those of TopFormer-B."""

    channels: int = 256
    """Channels M of each injected map."""
    depth: int = 4
    """Transformer blocks."""
    num_heads: int = 8
    """Attention heads."""
    head_dim: int = 16
    """Channels of a query or key head; a value head has twice as many."""
    mlp_ratio: float = 2.0
    """Expansion of the feed-forward."""
    pool_stride: int = 64
    """Pixels per token."""
    squeeze_ratio: float = 1.0
    """Channels of the tokens per stage, c_i = round(ratio * C_i), as MSCSA has them; 1 is TopFormer, which
    squeezes nothing, and other backbones' stages are much wider than TopFormer's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("depth", "num_heads", "head_dim", "pool_stride"):
            keep(self, name, whole_number(name, getattr(self, name)))
        keep(self, "mlp_ratio", number_between("mlp_ratio", self.mlp_ratio, 0.0, 16.0, "low"))
        keep(self, "squeeze_ratio", number_between("squeeze_ratio", self.squeeze_ratio, 0.0, 1.0, "low"))


class TopFormerNeck(Neck):
    """Semantics extractor, and an injection into every level asked for, the finest too.

    TopFormer injects into all levels but the finest, which its head does not read; a neck gives what it
    is asked for. All maps are M wide, as the injection gives them and the head adds them. The parts, their
    keys and their start (normal with variance 2 / fan-out; blocks start as their feed-forwards alone) are
    those of the backbone here.
    """

    config_type = TopFormerNeckConfig
    config: TopFormerNeckConfig

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: TopFormerNeckConfig | Mapping[str, Any] | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid; arguments and errors as `Neck`.

        Raises:
            ValueError: Also if `pool_stride` is finer than the finest stage.
        """
        super().__init__(channels, strides, config, out_levels=out_levels)
        check_pyramid(self.channels, self.strides, self.config.pool_stride)
        token_channels = squeezed_channels(self.channels, self.config.squeeze_ratio)
        self.squeezes = nn.ModuleList(
            squeeze(c_in, c_out)
            for c_in, c_out in zip(self.channels, token_channels, strict=True)
            if self.config.squeeze_ratio != 1.0
        )
        self.extractor = SemanticsExtractor(
            token_channels,
            # Of maps that are pooled already.
            [self.config.pool_stride] * len(self.channels),
            num_heads=self.config.num_heads,
            depth=self.config.depth,
            head_dim=self.config.head_dim,
            mlp_ratio=self.config.mlp_ratio,
            pool_stride=self.config.pool_stride,
        )
        self.injected_levels = sorted(set(self.out_levels))
        self.injection = SemanticsInjection(
            self.channels, self.config.channels, token_channels=token_channels, levels=self.injected_levels
        )
        self.squeezes.apply(init_conv)

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Extract tokens and inject them.

        Raises:
            ValueError: If a single image with a single token is given in training.
        """
        size = token_map_size([size_of(x) for x in maps], self.strides, self.config.pool_stride)
        pooled = [adaptive_average_pool(x, size) for x in maps]
        if self.squeezes:
            check_batch_values(pooled[0], 1, takes_batch_statistics(self))
            pooled = [each(x) for each, x in zip(self.squeezes, pooled, strict=True)]
        injected = self.injection(maps, self.extractor(pooled))
        by_level = dict(zip(self.injected_levels, injected, strict=True))
        return [by_level[level] for level in self.out_levels]


def topformer_macs(pyramid: MeasuredPyramid, config: TopFormerNeckConfig) -> int:
    """Count the multiply-adds of TopFormer's neck for one image."""
    size = token_map_size(pyramid.sizes, pyramid.strides, config.pool_stride)
    token_channels = squeezed_channels(pyramid.channels, config.squeeze_ratio)
    return _extractor_macs(pyramid, config) + sum(
        conv_macs(pyramid.channels[level], config.channels, pyramid.sizes[level])
        + 2 * conv_macs(token_channels[level], config.channels, size)
        for level in set(pyramid.out_levels)
    )


def _extractor_macs(pyramid: MeasuredPyramid, config: TopFormerNeckConfig) -> int:
    """Multiply-adds of squeezes and transformer blocks."""
    size = token_map_size(pyramid.sizes, pyramid.strides, config.pool_stride)
    token_channels = squeezed_channels(pyramid.channels, config.squeeze_ratio)
    blocks = config.depth * _block_macs(sum(token_channels), size, config)
    if config.squeeze_ratio == 1.0:
        return blocks
    return blocks + sum(conv_macs(*pair, size) for pair in zip(pyramid.channels, token_channels, strict=True))


def _block_macs(width: int, size: tuple[int, int], config: TopFormerNeckConfig) -> int:
    """Multiply-adds of one transformer block on tokens of `width` channels."""
    inner, hidden = config.num_heads * config.head_dim, int(config.mlp_ratio * width)
    tokens = size[0] * size[1]
    # Of query, key, and value, which is twice as wide; out again.
    projections = conv_macs(width, 4 * inner, size) + conv_macs(2 * inner, width, size)
    products = tokens**2 * 3 * inner
    depthwise = conv_macs(hidden, hidden, size, 3, groups=hidden)
    return projections + products + 2 * conv_macs(width, hidden, size) + depthwise


def _fit(
    pyramid: MeasuredPyramid, budget: float, config: TopFormerNeckConfig, fixed: Sequence[str]
) -> TopFormerNeckConfig:
    """Choose by width, with an extractor that leaves half of the budget to the injection."""
    return _by_width(pyramid, budget, _with_extractor(pyramid, budget, config, fixed), fixed)


def _with_extractor(
    pyramid: MeasuredPyramid, budget: float, config: TopFormerNeckConfig, fixed: Sequence[str] = ()
) -> TopFormerNeckConfig:
    """Choose the extractor that costs half of a budget at most.

    It has as many blocks as `config` or fewer; where a single one is too dear, its tokens are squeezed.
    """

    def affordable(candidates: Iterable[TopFormerNeckConfig]) -> TopFormerNeckConfig:
        """The first that leaves half, or the last."""
        for candidate in candidates:
            if _extractor_macs(pyramid, candidate) <= budget / 2:
                break
        return candidate

    if "channels" not in fixed and "depth" not in fixed:
        config = affordable(replace(config, depth=depth) for depth in range(config.depth, 0, -1))
    if "channels" not in fixed and "squeeze_ratio" not in fixed:
        finer = [k / 64 for k in range(63, 0, -1) if k / 64 < config.squeeze_ratio]
        config = affordable(replace(config, squeeze_ratio=ratio) for ratio in (config.squeeze_ratio, *finer))
    return config


_by_width = widest(topformer_macs)

KIND = NeckKind(
    build=TopFormerNeck,
    config=TopFormerNeckConfig,
    macs=topformer_macs,
    fit=_fit,
    settle=_with_extractor,
)
"""TopFormer's neck in the table of necks."""
