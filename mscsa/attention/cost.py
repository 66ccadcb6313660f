"""What MSCSA costs, in closed form, and the configuration that fits a budget.

Counted are multiply-adds of convolutions and matrix products, attention products included; pooling,
norms, activations and upsampling multiply nothing by a weight and count 0, as in the paper's tables.
One multiply-add (MAC) is two floating-point operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

from mscsa.attention.config import MSCSAConfig, check_budget, check_fixed, config_of
from mscsa.attention.cross_scale import downsampled_sizes
from mscsa.attention.feed_forward import hidden_channels
from mscsa.attention.fusion import level_indices
from mscsa.attention.module import squeezed_channels
from mscsa.attention.pooling import check_pool_stride, token_map_size
from mscsa.attention.pyramid import MeasuredPyramid, Sizes

LOWEST_SHARE = 0.9
"""Of a budget, that a configuration must use."""


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Multiply-adds of MSCSA for one image, by component; sums over all blocks."""

    squeeze: int
    """1x1 convolutions C_i -> c_i on the pooled maps."""
    csa: int
    """Projections and depthwise convolutions of cross-scale attention."""
    attention: int
    """Attention products Q K^T and softmax(.) V."""
    ffn: int
    """Dense feed-forwards."""
    intra_ffn: int
    """Feed-forwards that keep the stages apart."""
    fusion: int
    """1x1 convolutions c_i -> 2 C_i of the asked levels."""

    @property
    def total(self) -> int:
        """Sum of all components."""
        return sum(getattr(self, f.name) for f in fields(self))


def mscsa_macs(
    channels: Sequence[int],
    strides: Sequence[int],
    sizes: Sizes,
    config: MSCSAConfig,
    fused_levels: Sequence[int] = (),
) -> Macs:
    """Count the multiply-adds of an MSCSA module for one image.

    Args:
        channels: C_i of each stage, finest first.
        strides: Stride of each stage in input pixels.
        sizes: Measured (H_i, W_i) of each stage.
        config: The module's configuration.
        fused_levels: Levels with a fusion (dense tasks); none for a classifier.
    Raises:
        ValueError: As `MSCSA`; if there is not one size for each stage, or a fused level is not there.
    """
    config = config_of(config)
    return _count(_checked(channels, strides, sizes, fused_levels, config.pool_stride), config)


def _checked(
    channels: Sequence[int],
    strides: Sequence[int],
    sizes: Sizes,
    fused_levels: Sequence[int],
    pool_stride: int,
) -> MeasuredPyramid:
    """Take the arguments of a cost, checked as `MSCSANeck` checks them."""
    pyramid = MeasuredPyramid.of(channels, strides, sizes)
    check_pool_stride(pyramid.strides, pool_stride)
    fused = level_indices("fused_levels", fused_levels, len(pyramid.channels))
    return replace(pyramid, out_levels=fused)


def _count(pyramid: MeasuredPyramid, config: MSCSAConfig) -> Macs:
    """Count for what is checked: a search counts hundreds of configurations of one pyramid."""
    channels = pyramid.channels
    size = token_map_size(pyramid.sizes, pyramid.strides, config.pool_stride)
    tokens = size[0] * size[1]
    stage_channels = squeezed_channels(channels, config.squeeze_ratio)
    squeeze = (
        0
        if config.squeeze_ratio == 1.0
        else tokens * sum(c * s for c, s in zip(channels, stage_channels, strict=True))
    )
    projections, products = _attention_macs(sum(stage_channels), size, config)
    dense = _feed_forward_macs(stage_channels, tokens, config.mlp_ratio, intra=False)
    intra = _feed_forward_macs(stage_channels, tokens, config.mlp_ratio, intra=True)
    return Macs(
        squeeze=squeeze,
        csa=2 * config.depth * projections,
        attention=2 * config.depth * products,
        ffn=config.depth * dense * (1 if config.intra_ffn else 2),
        intra_ffn=config.depth * intra if config.intra_ffn else 0,
        fusion=sum(tokens * stage_channels[i] * 2 * channels[i] for i in pyramid.out_levels),
    )


def _attention_macs(channels: int, size: tuple[int, int], config: MSCSAConfig) -> tuple[int, int]:
    """Multiply-adds of one CSA: (projections and convolutions, attention products)."""
    inner = config.num_heads * config.head_dim
    scales = downsampled_sizes(size, config.downsampling)
    tokens, *coarser = [height * width for height, width in scales]
    key_tokens = tokens + sum(coarser)
    query = tokens * channels * inner
    key_value = key_tokens * channels * 3 * inner
    downsample = 0 if config.downsampling == "parallel_avgpool" else 9 * channels * sum(coarser)
    parallel = 9 * tokens * 2 * inner if config.parallel_conv else 0
    out = tokens * 2 * inner * channels
    products = tokens * key_tokens * 3 * inner
    return query + key_value + downsample + parallel + out, products


def _feed_forward_macs(stage_channels: Sequence[int], tokens: int, mlp_ratio: float, *, intra: bool) -> int:
    hidden = hidden_channels(stage_channels, mlp_ratio)
    depthwise = 9 * sum(hidden)
    if intra:
        weights = sum(2 * c * h for c, h in zip(stage_channels, hidden, strict=True))
    else:
        weights = 2 * sum(stage_channels) * sum(hidden)
    return tokens * (weights + depthwise)


def config_for_budget(
    channels: Sequence[int],
    strides: Sequence[int],
    sizes: Sizes,
    budget_macs: float,
    config: MSCSAConfig,
    fused_levels: Sequence[int] = (),
    *,
    fixed: Sequence[str] = (),
) -> MSCSAConfig:
    """Choose the configuration whose cost lies within [0.9, 1.0] of a budget.

    The fewest blocks that reach the budget; then attention about 0.6 times as wide as the token map,
    as in most rows of the paper's Table 7; then the largest cost. Fields named in `fixed` stay.

    Args:
        channels: C_i of each stage, finest first.
        strides: Stride of each stage in input pixels.
        sizes: Measured (H_i, W_i) of each stage.
        budget_macs: Multiply-adds that MSCSA may cost.
        config: Starting point.
        fused_levels: Levels with a fusion.
        fixed: Fields that stay as in `config`; all but `depth`, `squeeze_ratio` and `head_dim` do anyway.
    Raises:
        ValueError: If no configuration fits, with the nearest costs that do; if `fixed` names a field that is
            not there, or the budget is no number above 0; or as `mscsa_macs`.
    """
    config = config_of(config)
    pyramid = _checked(channels, strides, sizes, fused_levels, config.pool_stride)
    fixed = check_fixed(fixed, MSCSAConfig)
    check_budget(budget_macs)
    costs: list[int] = []
    for depth in [config.depth] if "depth" in fixed else range(1, 9):
        fitting = []
        for candidate in _candidates(pyramid.channels, replace(config, depth=depth), fixed):
            cost = _count(pyramid, candidate).total
            costs.append(cost)
            if LOWEST_SHARE * budget_macs <= cost <= budget_macs:
                fitting.append((_unusual_width(pyramid.channels, candidate), -cost, candidate))
        if fitting:
            return min(fitting, key=lambda entry: entry[:2])[2]
    raise no_fit("MSCSA", budget_macs, costs, "another num_heads, mlp_ratio or pool_stride")


def no_fit(neck: str, budget_macs: float, costs: Iterable[int], remedy: str = "") -> ValueError:
    """Give the error that says that no configuration fits a budget, and what the nearest ones cost.

    Args:
        neck: What was to fit, for the message.
        budget_macs: Multiply-adds that it may cost.
        costs: Multiply-adds of all configurations that were tried, one at least.
        remedy: What helps beside another budget, if anything does.
    """
    tried = list(costs)
    below = max((c for c in tried if c <= budget_macs), default=None)
    above = min((c for c in tried if c > budget_macs), default=None)
    possible = " or ".join(f"{c / 1e9:.4g}" for c in (below, above) if c is not None)
    return ValueError(
        f"no {neck} fits a budget of {budget_macs / 1e9:.4g} GMACs: the nearest cost {possible} GMACs; "
        f"give another budget{remedy and f', or {remedy}'}"
    )


def _candidates(channels: Sequence[int], config: MSCSAConfig, fixed: Sequence[str]) -> Iterator[MSCSAConfig]:
    """All configurations with a squeeze ratio in 64ths and attention 0.3 to 1.2 times D wide."""
    ratios = [config.squeeze_ratio] if "squeeze_ratio" in fixed else [k / 64 for k in range(1, 65)]
    for ratio in ratios:
        width = sum(squeezed_channels(channels, ratio)) / (2 * config.num_heads)
        narrowest, widest = max(1, round(0.3 * width)), max(1, round(1.2 * width))
        heads = [config.head_dim] if "head_dim" in fixed else range(narrowest, widest + 1)
        for head_dim in heads:
            yield replace(config, squeeze_ratio=ratio, head_dim=head_dim)


def _unusual_width(channels: Sequence[int], config: MSCSAConfig) -> float:
    """Distance of the attention's relative width 2Nd / D from 0.6, in steps of 0.1."""
    width = sum(squeezed_channels(channels, config.squeeze_ratio))
    return round(abs(2 * config.num_heads * config.head_dim / width - 0.6), 1)
