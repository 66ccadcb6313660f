"""Configurations: what is kept, and what is refused in one line."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from mscsa.neck_table import NECKS
from mscsa.necks.build import neck_config
from mscsa.necks.config import NeckConfig, check_norm


def test_the_fields_that_all_have() -> None:
    assert NeckConfig().channels == 256
    check_norm("bn")
    with pytest.raises(ValueError, match="norm='in' is not allowed: give one of bn, none"):
        check_norm("in")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NECKS)
def test_numbers_of_numpy_become_pythons(name: str) -> None:
    default = neck_config(name)
    given: dict[str, Any] = {}
    for field in fields(default):
        value = getattr(default, field.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            given[field.name] = np.int32(value) if isinstance(value, int) else np.float64(value)
    config = neck_config(name, given)
    assert config == default
    assert all(type(getattr(config, key)) in (int, float) for key in given)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("fpn", {"channels": 0}, "channels=0 is not allowed: give a whole number >= 1"),
        ("fpn", {"channels": 8.0}, "channels=8.0 is not allowed: give a whole number >= 1"),
        ("fpn", {"norm": "ln"}, "norm='ln' is not allowed: give one of bn, none"),
        ("pafpn", {"norm": None}, "norm=None is not allowed: give one of bn, none"),
        ("pafpn", {"channels": True}, "channels=True is not allowed: give a whole number >= 1"),
        ("bifpn", {"depth": -1}, "depth=-1 is not allowed: give a whole number >= 1"),
        ("bifpn", {"norm_momentum": 0}, "norm_momentum=0 is not allowed: give a number in (0, 1]"),
        (
            "bifpn",
            {"norm": "bn"},
            "config names norm, which BiFPN does not have: give some of channels, depth",
        ),
        ("topformer", {"num_heads": "8"}, "num_heads='8' is not allowed: give a whole number >= 1"),
        ("topformer", {"mlp_ratio": 0}, "mlp_ratio=0 is not allowed: give a number in (0, 16]"),
        ("topformer", {"M": 8}, "config names M, which TopFormerNeck does not have: give some of channels"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)) as caught:
        neck_config(name, given)
    assert "\n" not in str(caught.value)
