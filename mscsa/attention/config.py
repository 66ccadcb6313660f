"""The configuration of MSCSA: one frozen, validated record (columns of the paper's Table 7)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

Downsampling = Literal["parallel_dwconv", "parallel_avgpool", "cascaded_dwconv", "single_dwconv", "none"]
Init = Literal["default", "identity"]


@dataclass(frozen=True, kw_only=True)
class MSCSAConfig:
    """How an MSCSA module is built; paper Table 7, with the options of its ablations.

    Raises:
        ValueError: If a field is outside its range; one line with the field, the value and the range.
    """

    depth: int = 1
    """Number of blocks CSA -> Intra-FFN -> CSA -> FFN ("Depth")."""
    num_heads: int = 8
    """Attention heads N ("# Heads")."""
    head_dim: int = 24
    """Channels d of a query or key head ("Head Dimension"); a value head has 2d."""
    mlp_ratio: float = 2.0
    """Expansion r of both feed-forwards ("MLP Ratio")."""
    squeeze_ratio: float = 1.0
    """Channels kept per stage, c_i = round(ratio * C_i) ("Squeeze Ratio"); 1 builds no squeeze."""
    pool_stride: int = 32
    """Pixels per token: every stage is pooled to the size of the map at this stride ("Pooling Size")."""
    downsampling: Downsampling = "parallel_dwconv"
    """How the coarser key/value maps are made (Table 5, Fig. 6); `none` keeps X_0 alone (Table 4)."""
    parallel_conv: bool = True
    """Parallel convolution path, eq. (7)-(9) (Table 4)."""
    intra_ffn: bool = True
    """First feed-forward of a block works within each stage; False makes both dense (Table 4)."""
    drop_path_rate: float = 0.0
    """Probability that a residual branch is dropped for a sample in training."""
    init: Init = "default"
    """`default` as in the paper; `identity` (ours) starts with a pretrained backbone's maps unchanged."""

    def __post_init__(self) -> None:
        for name in ("depth", "num_heads", "head_dim", "pool_stride"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} is not allowed: give a whole number >= 1")
        _check_range("mlp_ratio", self.mlp_ratio, low=0.0, high=16.0, low_open=True)
        _check_range("squeeze_ratio", self.squeeze_ratio, low=0.0, high=1.0, low_open=True)
        _check_range("drop_path_rate", self.drop_path_rate, low=0.0, high=1.0, high_open=True)
        for name, allowed in (("downsampling", get_args(Downsampling)), ("init", get_args(Init))):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not allowed: give one of {', '.join(allowed)}"
                )
        for name in ("parallel_conv", "intra_ffn"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} is not allowed: give True or False")


CONFIG_FIELDS = tuple(f.name for f in fields(MSCSAConfig))


def _check_range(
    name: str,
    value: float,
    *,
    low: float,
    high: float,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Raise unless `value` is a number between `low` and `high`; an open end is excluded."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (
        not is_number
        or not low <= value <= high
        or (low_open and value == low)
        or (high_open and value == high)
    ):
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        raise ValueError(f"{name}={value!r} is not allowed: give a number in {interval}")
