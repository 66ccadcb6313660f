"""What tools write where COCO means a number: 1, 1.0, "1", true, null."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**63 - 1
"""Greatest whole number that an array holds."""

_WHOLE = re.compile(r"\s*[+-]?\d{1,19}(\.0+)?\s*")
_WORDS = {"": False, "false": False, "true": True}


def whole_number(value: Any) -> int | None:
    """Read a whole number of -2^63..2^63-1, also as 1.0 (pandas) or as text; None if it is none.

    >>> [whole_number(each) for each in (7, 7.0, "7", "7.0", 7.5, "seven", True, 10**30)]
    [7, 7, 7, 7, None, None, None, None]
    """
    if type(value) is str and _WHOLE.fullmatch(value):
        value = int(value.partition(".")[0])
    elif type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and -LARGEST - 1 <= value <= LARGEST else None


def number(value: Any) -> float:
    """Read a number, also as text; NaN if it is none, or not finite."""
    if type(value) not in (int, float, str):
        return math.nan
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def flag(value: Any) -> bool | None:
    """Read 0 or 1, also as true, text, or nothing, which is 0; None if it is neither.

    >>> [flag(each) for each in (0, 1, None, False, "0", "1", 1.0, 2, "maybe")]
    [False, True, False, False, False, True, True, None, None]
    """
    if value is None:
        return False
    if isinstance(value, str):
        word = value.strip().lower()
        value = _WORDS.get(word, number(word))
    return bool(value) if isinstance(value, (int, float)) and value in (0, 1) else None


def whole_numbers(values: Sequence[Any], refuse: Callable[[int], Exception]) -> NDArray[np.int64]:
    """Read whole numbers, of which most files have nothing else.

    Args:
        values: What JSON gave.
        refuse: Gives the error for the place of a value that is none.
    Raises:
        Exception: That of `refuse`.
    """
    if set(map(type, values)) <= {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass
    found = list(map(whole_number, values))
    if None in found:
        raise refuse(found.index(None))
    return np.array(found, np.int64)
