"""Any neck by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mscsa.attention.config import read_config
from mscsa.neck_table import find_neck
from mscsa.necks.neck import NeckKind


def build_neck(
    name: str,
    channels: Sequence[int],
    strides: Sequence[int],
    config: Any = None,
    *,
    out_levels: Sequence[int] | None = None,
) -> nn.Module:
    """Build a neck for a pyramid of two or more stages, finest first.

    >>> build_neck("fpn", [64, 128], [8, 16], {"channels": 32}).out_channels
    (32, 32)

    Args:
        name: One of `mscsa.necks.NECKS`.
        channels: C_i of each stage.
        strides: Stride of each stage in input pixels.
        config: The neck's configuration, or its fields by name; its defaults if None.
        out_levels: Stages to give back, by index; all if None.
    Returns:
        A module from a list of maps (B, C_i, H_i, W_i) to one of (B, M_j, H_j, W_j), one for each of
        `out_levels`, with `out_channels` M_j.
    Raises:
        UserError: If there is no neck of this name.
        ValueError: As the neck's constructor.
    """
    return load_neck(name).build(channels, strides, config, out_levels=out_levels)


def neck_config(name: str, config: Any | Mapping[str, Any] | None = None) -> Any:
    """Give the configuration of a neck that an argument `config` means.

    Raises:
        UserError: If there is no neck of this name.
        ValueError: If it is no configuration of this neck.
    """
    return read_config(load_neck(name).config, config)


def load_neck(name: str) -> NeckKind[Any]:
    """Look a neck up and import it.

    Raises:
        UserError: If there is none of this name; names the nearest.
    """
    kind: NeckKind[Any] = find_neck(name).load()
    return kind
