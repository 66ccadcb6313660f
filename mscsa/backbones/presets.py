"""The paper's configurations (Table 7), by backbone."""

from __future__ import annotations

from dataclasses import dataclass

from mscsa.attention import MSCSAConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One row of Table 7."""

    config: MSCSAConfig
    dense_pool_stride: int = 32
    """Pooling stride for dense tasks; `config.pool_stride` is the classifier's."""


def _row(squeeze_ratio: float, depth: int, num_heads: int, head_dim: int, mlp_ratio: float) -> Preset:
    return Preset(
        config=MSCSAConfig(
            squeeze_ratio=squeeze_ratio,
            depth=depth,
            num_heads=num_heads,
            head_dim=head_dim,
            mlp_ratio=mlp_ratio,
        )
    )


PRESETS: dict[str, Preset] = {
    #                                    squeeze depth heads head_dim mlp_ratio
    "resnet18": _row(0.625, 1, 8, 24, 2),
    "resnet50": _row(0.25, 1, 8, 32, 2),
    "pvt_v2_b0": _row(0.75, 1, 8, 15, 2),
    "pvt_v2_b1": _row(0.625, 1, 8, 24, 2),
    "pvt_v2_b2": _row(1.0, 1, 8, 35, 2),
    "swin_tiny_patch4_window7_224": _row(0.75, 1, 12, 28, 2),
    "convnext_tiny": _row(0.75, 1, 12, 28, 2),
}
"""timm name -> configuration, for the backbones that MSCSA is added to in parallel."""
