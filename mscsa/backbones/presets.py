"""The paper's configurations (Table 7), by backbone."""

from __future__ import annotations

from dataclasses import dataclass

from mscsa.attention import MSCSAConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One row of Table 7."""

    config: MSCSAConfig
    """The classifier's configuration."""
    dense_pool_stride: int
    """Pooling stride for dense tasks."""
    replaces: str | None = None
    """Part of the original model whose place MSCSA takes; None where it is added in parallel."""
    pool_first: bool = False
    """Classifier as TopFormer's own: pool, then batch norm, then linear."""


def _row(
    squeeze_ratio: float,
    depth: int,
    num_heads: int,
    head_dim: int,
    mlp_ratio: float,
    *,
    pool_stride: int = 32,
    dense_pool_stride: int = 32,
    replaces: str | None = None,
    pool_first: bool = False,
) -> Preset:
    config = MSCSAConfig(
        squeeze_ratio=squeeze_ratio,
        depth=depth,
        num_heads=num_heads,
        head_dim=head_dim,
        mlp_ratio=mlp_ratio,
        pool_stride=pool_stride,
    )
    return Preset(
        config=config, dense_pool_stride=dense_pool_stride, replaces=replaces, pool_first=pool_first
    )


EXTRACTOR = "the scale-aware semantics extractor"
PARALLEL_BLOCKS = "the parallel blocks"

PRESETS: dict[str, Preset] = {
    # squeeze ratio, depth, heads, head width, MLP ratio
    "topformer_tiny": _row(1.0, 2, 4, 14, 3.0, dense_pool_stride=64, replaces=EXTRACTOR, pool_first=True),
    # The scan of the paper reads MLP ratio 5, which costs 253 M; 3 costs what it replaces, 176 M.
    "topformer_base": _row(1.0, 2, 8, 12, 3.0, dense_pool_stride=64, replaces=EXTRACTOR, pool_first=True),
    "coat_serial_tiny": _row(1.0, 3, 8, 22, 1.5, pool_stride=16, replaces=PARALLEL_BLOCKS),
    "coat_serial_small": _row(1.0, 3, 8, 52, 2.0, pool_stride=16, replaces=PARALLEL_BLOCKS),
    "resnet18": _row(0.625, 1, 8, 24, 2.0),
    "resnet50": _row(0.25, 1, 8, 32, 2.0),
    "pvt_v2_b0": _row(0.75, 1, 8, 15, 2.0),
    "pvt_v2_b1": _row(0.625, 1, 8, 24, 2.0),
    "pvt_v2_b2": _row(1.0, 1, 8, 35, 2.0),
    "p2t_tiny": _row(0.75, 1, 8, 36, 2.0),
    "shunted_tiny": _row(0.625, 1, 8, 30, 2.0),
    "swin_tiny_patch4_window7_224": _row(0.75, 1, 12, 28, 2.0),
    "convnext_tiny": _row(0.75, 1, 12, 28, 2.0),
}
"""timm name of the backbone -> its row."""

REGISTERED = {f"mscsa_{backbone.replace('_serial', '')}": backbone for backbone in PRESETS}
"""Registered model -> the backbone that MSCSA is added to. What CoaT loses, `mscsa_coat_*` gets as MSCSA."""
