"""What a file must fill."""

from __future__ import annotations

from typing import Any

import pytest

from mscsa.checkpoints.policies import POLICIES, find_policy
from tests.refusals import one_line_error


@pytest.mark.parametrize(
    ("name", "part", "is_there", "expected"),
    [
        ("exact", "head", False, True),
        ("new_head", "fusion", False, True),
        ("backbone", "backbone", False, True),
        ("backbone", "mscsa", False, False),
        ("backbone", "mscsa", True, True),
        ("backbone", "fusion", True, False),
    ],
)
def test_what_must_be_filled(name: Any, part: str, is_there: bool, expected: bool) -> None:
    assert find_policy(name).must_fill(part, is_there) is expected


def test_an_unknown_policy_is_one_line() -> None:
    name: Any = "lenient"
    one_line_error(lambda: find_policy(name), "policy='lenient' given: give one of exact, new_head, backbone")
    several: Any = ["exact"]
    one_line_error(lambda: find_policy(several), r"policy=\['exact'\] given: give one of exact")
    assert not POLICIES["exact"].allows_more and POLICIES["new_head"].new_classifier
