"""Which arms a comparison has, and what is refused before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from mscsa.compare.arms import arms_of
from mscsa.compare.picture import label_of
from mscsa.compare.results import arm_name
from mscsa.errors import UserError
from tests.compare.made import tiny_segmenter


def arms(**options: Any) -> Any:
    return arms_of(tiny_segmenter(), **{"with_control": False, "necks": [], "variants": {}, **options})


@pytest.mark.slow
def test_arms_stand_in_their_order_and_variants_before_mscsa() -> None:
    found = arms(with_control=True, necks=["fpn"], variants={"no_pcp": {"parallel_conv": False}})
    assert list(found.recipes) == ["baseline", "control", "fpn", "no_pcp", "mscsa"]
    assert found.control_note.startswith("Control: ") and found.neck_notes["fpn"].startswith("FPN: ")
    assert found.variant_notes["no_pcp"].startswith("no_pcp: parallel_conv False; ")
    assert found.recipes["no_pcp"].model.mscsa == {
        **(tiny_segmenter().model.mscsa or {}),
        "parallel_conv": False,
    }
    assert found.recipes["no_pcp"].name == found.recipes["mscsa"].name
    assert arm_name("no_pcp") == "MSCSA's variant no_pcp" and label_of("no_pcp") == "MSCSA,\nno_pcp"


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"fpn": {"depth": 2}}, "a variant is called 'fpn': give small letters"),
        ({"a/b": {"depth": 2}}, "a variant is called 'a/b'"),
        ({"deep": {}}, "variant deep is {}: give what is otherwise"),
        ({"deep": 3}, "variant deep is 3: give what is otherwise"),
        ({"deep": {"depht": 2}}, "variant deep: .*depht"),
        ({"deep": {"depth": 0}}, "variant deep: .*depth=0"),
        ({"dear": {"budget": 1e-9}}, "variant dear: no MSCSA fits a budget"),
    ],
)
def test_what_is_no_variant_is_refused_in_one_line(variants: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        arms(variants=variants)
    assert "\n" not in str(caught.value)
