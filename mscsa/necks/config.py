"""What the configurations of all necks share; each neck's own stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from mscsa.attention.config import check_choice, whole_number

NeckNorm = Literal["bn", "none"]
"""Norm after each convolution: batch norm, or none and a bias instead."""


@dataclass(frozen=True, kw_only=True)
class NeckConfig:
    """How a neck is built whose maps are all of one width.

    Numbers may be of any integer or real type (numpy's too); they are kept as Python's own.

    Raises:
        ValueError: If a field is outside its range; one line with the field, the value and the range.
    """

    channels: int = 256
    """Channels inside the neck and of each of its maps."""

    def __post_init__(self) -> None:
        keep(self, "channels", whole_number("channels", self.channels))


def check_norm(norm: NeckNorm) -> None:
    """Raise a ValueError of one line unless `norm` is one of `NeckNorm`."""
    check_choice("norm", norm, get_args(NeckNorm))


def keep(config: NeckConfig, name: str, value: Any) -> None:
    """Set a field of a frozen record, while it is made, to its checked value."""
    object.__setattr__(config, name, value)
