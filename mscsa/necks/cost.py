"""What any neck costs, by its name, and the configuration that fits a budget.

Counted are multiply-adds (MACs) of convolutions and matrix products, as `mscsa.attention.cost` counts:
norms, activations, pooling, resizing and weighted sums count 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mscsa.attention.config import check_budget, check_fixed
from mscsa.attention.pyramid import MeasuredPyramid, Sizes
from mscsa.necks.build import load_neck, neck_config


def neck_macs(
    name: str,
    channels: Sequence[int],
    strides: Sequence[int],
    sizes: Sizes,
    config: Any = None,
    out_levels: Sequence[int] | None = None,
) -> int:
    """Count the multiply-adds of a neck for one image, in closed form.

    Args:
        name: One of `mscsa.necks.NECKS`.
        channels: C_i of each stage, finest first.
        strides: Stride of each stage in input pixels.
        sizes: Measured (H_i, W_i) of each stage.
        config: The neck's configuration, or its fields by name; its defaults if None.
        out_levels: Stages it gives back, by index; all if None.
    Raises:
        UserError: If there is no neck of this name.
        ValueError: As the neck's constructor; or if there is not one size for each stage.
    """
    pyramid = MeasuredPyramid.of(channels, strides, sizes, out_levels)
    return load_neck(name).macs(pyramid, neck_config(name, config))


def neck_config_for_budget(
    name: str,
    channels: Sequence[int],
    strides: Sequence[int],
    sizes: Sizes,
    budget_macs: float,
    config: Any = None,
    out_levels: Sequence[int] | None = None,
    *,
    fixed: Sequence[str] = (),
) -> Any:
    """Choose the configuration of a neck whose cost lies within [0.9, 1.0] of a budget.

    The knob is the width. FPN, PAFPN and BiFPN get the widest multiple of 8 `channels` that fits, or else the
    widest at all, BiFPN with the layers of `config`. TopFormer's neck gets as many of the blocks of
    `config` as leave half of the budget to its injection, or one on squeezed tokens, then the widest
    injection. MSCSA has a solver of its own (`mscsa.attention.config_for_budget`). Where `channels` is
    fixed, `depth` is chosen if there is one.

    The budget is that of the neck alone. "Equal MACs" then means that the mixing of levels may cost the
    same, whatever it is made of; it says nothing of a head behind it, which reads maps of the neck's
    `out_channels` and costs more on wider ones. To compare necks with their heads, fix `channels` to what
    the head takes, or fit the sum of both.

    Args:
        name: One of `mscsa.necks.NECKS`.
        channels: C_i of each stage, finest first.
        strides: Stride of each stage in input pixels.
        sizes: Measured (H_i, W_i) of each stage.
        budget_macs: Multiply-adds that the neck may cost for one image.
        config: Starting point, or its fields by name; the neck's defaults if None.
        out_levels: Stages it gives back, by index; all if None.
        fixed: Fields that stay as in `config`.
    Raises:
        UserError: If there is no neck of this name.
        ValueError: If no configuration fits, with the nearest costs that do; if `fixed` names a field that
            is not there, or the budget is no number above 0; or as `neck_macs`.
    """
    kind, start = load_neck(name), neck_config(name, config)
    fixed = check_fixed(fixed, kind.config)
    check_budget(budget_macs)
    return kind.fit(MeasuredPyramid.of(channels, strides, sizes, out_levels), budget_macs, start, fixed)
