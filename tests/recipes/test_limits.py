"""Numbers out of range are one line wherever a field is set."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import pytest

from mscsa.recipes.limits import BELOW_1, check_limits, limited
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    DetectionAugment,
    DetectionData,
    ModelSpec,
    OptimSpec,
    RunSpec,
    SegmentationAugment,
    SegmentationData,
)
from tests.refusals import one_line_error


@dataclass(frozen=True)
class Example:
    count: int = limited(1, 1)
    share: float = limited(0.5, 0, BELOW_1)
    factor: float | None = limited(None, is_open=True)
    span: tuple[float, float] = limited((0.1, 1.0), 0, 1, is_open=True, ascending=True)
    free: float = -7.0


def test_the_defaults_and_the_ends_are_allowed() -> None:
    for values in (
        {},
        {"share": 0.0},
        {"share": 0.999},
        {"factor": 1e-9},
        {"span": (1.0, 1.0)},
        {"free": math.nan},
    ):
        check_limits("part", Example(**values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "part.count 0 is not possible; give 1 or more"),
        ({"share": 1.0}, "part.share 1.0 is not possible; give 0 or more, but less than 1"),
        ({"share": math.nan}, "part.share nan is not possible"),
        ({"factor": 0.0}, "part.factor 0.0 is not possible; give more than 0"),
        ({"factor": math.inf}, "part.factor inf is not possible; give a finite number, more than 0"),
        ({"count": 10**400}, "part.count 10+ is not possible"),
        (
            {"span": (0.0, 1.0)},
            r"part.span \[0.0, 1.0\] is not possible; give more than 0, but at most 1, the smaller",
        ),
        ({"span": (0.9, 0.1)}, "the smaller one first"),
        ({"span": (0.5, 1.1)}, "at most 1"),
    ],
)
def test_what_is_not_allowed_says_what_is(values: dict[str, Any], message: str) -> None:
    one_line_error(lambda: check_limits("part", Example(**values)), message)


SPECS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (ModelSpec, {"name": "resnet10t"}),
    (ClassificationData, {"kind": "scenes"}),
    (SegmentationData, {"kind": "scenes"}),
    (DetectionData, {"kind": "scenes"}),
    (ClassificationAugment, {}),
    (SegmentationAugment, {}),
    (DetectionAugment, {}),
    (OptimSpec, {}),
    (RunSpec, {}),
)


@pytest.mark.parametrize(("spec", "required"), SPECS, ids=[spec.__name__ for spec, _ in SPECS])
def test_each_number_of_a_recipe_is_limited_and_checked_when_it_is_set(
    spec: Any, required: dict[str, Any]
) -> None:
    spec(**required)
    numbers = [each for each in fields(spec) if "int" in str(each.type) or "float" in str(each.type)]
    assert numbers
    for each in numbers:
        if each.name == "seed":  # any whole number seeds
            continue
        is_tuple = str(each.type).startswith("tuple")
        for value in (-1, math.nan):
            given = (value, value) if is_tuple else value
            one_line_error(
                partial(spec, **{**required, each.name: given}), rf"^\w+\.{each.name} .* is not possible"
            )
