"""Which values a field of a recipe may have, said where the field is defined and checked when it is set."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from mscsa.errors import UserError

BELOW_1 = math.nextafter(1.0, 0.0)
"""The most of a share that is not the whole."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A range of finite numbers; of a tuple, each entry lies in it."""

    least: float
    most: float
    is_open: bool
    """Whether `least` itself is left out."""
    ascending: bool
    """Whether the entries of a tuple do not fall."""

    def allow(self, value: Any) -> bool:
        """Say whether a value is allowed; None, which is a field's own default, always is."""
        if value is None:
            return True
        numbers = _numbers_of(value)
        if not _are_finite(numbers):
            return False
        if self.ascending and list(numbers) != sorted(numbers):
            return False
        return all(self._holds(number) for number in numbers)

    def __str__(self) -> str:
        text = f"more than {self.least:g}" if self.is_open else f"{self.least:g} or more"
        if self.most == BELOW_1:
            text += ", but less than 1"
        elif math.isfinite(self.most):
            text += f", but at most {self.most:g}"
        return f"{text}, the smaller one first" if self.ascending else text

    def _holds(self, number: float) -> bool:
        return (self.least < number if self.is_open else self.least <= number) and number <= self.most


def _numbers_of(value: Any) -> Sequence[float]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _are_finite(numbers: Sequence[float]) -> bool:
    # A whole number that no float holds is none either.
    return all(abs(number) <= sys.float_info.max for number in numbers)


def limited(
    default: Any, least: float = 0, most: float = math.inf, *, is_open: bool = False, ascending: bool = False
) -> Any:
    """Define a field of a dataclass whose values are limited; see `Limits`."""
    limits = Limits(least=least, most=most, is_open=is_open, ascending=ascending)
    return field(default=default, metadata={"limits": limits})


def check_limits(section: str, spec: Any) -> None:
    """Check all fields of a dataclass that are `limited`.

    Args:
        section: What messages put before the field's name.
    Raises:
        UserError: At the first value that is not allowed; says which are.
    """
    for each in fields(spec):
        limits, value = each.metadata.get("limits"), getattr(spec, each.name)
        if limits is not None and not limits.allow(value):
            shown = list(value) if isinstance(value, tuple) else value
            finite = "" if _are_finite(_numbers_of(value)) else "a finite number, "
            raise UserError(f"{section}.{each.name} {shown} is not possible; give {finite}{limits}")
