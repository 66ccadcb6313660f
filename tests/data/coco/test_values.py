"""What tools write where COCO means a number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mscsa.data.coco.values import flag, number, whole_number, whole_numbers


def test_whole_numbers_are_read_in_all_their_forms() -> None:
    given = (3, -3, 3.0, "3", "-3", " 3.00 ", 2**62, str(2**63 - 1))
    assert [whole_number(each) for each in given] == [3, -3, 3, 3, -3, 3, 2**62, 2**63 - 1]
    wrong = (None, True, 3.5, "3.5", "three", "", [3], 2**63, str(2**63), -(10**30), math.nan, math.inf)
    assert [whole_number(each) for each in wrong] == [None] * len(wrong)


def test_numbers_are_finite_or_none() -> None:
    assert [number(each) for each in (1, 1.5, "2.5")] == [1, 1.5, 2.5]
    assert all(math.isnan(number(each)) for each in (None, True, "x", math.inf, 10**400, [1]))


def test_flags_are_0_or_1() -> None:
    assert [flag(each) for each in (1, True, 1.0, "1", "True")] == [True] * 5
    assert [flag(each) for each in (0, False, 0.0, None, "0", "", "false")] == [False] * 7
    assert [flag(each) for each in (2, -1, 0.5, "yes", [], {})] == [None] * 6


def test_a_column_is_read_at_once_or_one_by_one() -> None:
    def refuse(place: int) -> Exception:
        return ValueError(f"place {place}")

    assert whole_numbers([1, 2], refuse).tolist() == [1, 2]
    mixed = whole_numbers([1, "2", 3.0], refuse)
    assert mixed.tolist() == [1, 2, 3] and mixed.dtype == np.int64
    for wrong in ([1, None], [1, 2**70]):
        with pytest.raises(ValueError, match="place 1"):
            whole_numbers(wrong, refuse)
