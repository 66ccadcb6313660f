"""Which images are val where nothing says it: by their names, the same ones for ever."""

from __future__ import annotations

import pytest

from mscsa.data.division import VAL_SHARE, of_split, val_names

NAMES = {f"{i}.jpg" for i in range(500)}


def test_a_fifth_is_val_and_the_rest_train() -> None:
    train, val = of_split(NAMES, "train"), of_split(NAMES, "val")
    assert not train & val and train | val == NAMES
    assert abs(len(val) / 500 - VAL_SHARE) < 0.04


def test_an_image_stays_where_it_is_whatever_comes_and_goes() -> None:
    some = {name for name in NAMES if int(name[0]) % 2}
    assert val_names(some) == val_names(NAMES) & some
    assert val_names({"e\u0301.jpg", *NAMES}) - NAMES in (set(), {"e\u0301.jpg"})
    assert ("\u00e9.jpg" in val_names({"\u00e9.jpg", *NAMES})) == (
        "e\u0301.jpg" in val_names({"e\u0301.jpg", *NAMES})
    )


@pytest.mark.parametrize(("count", "val"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_of_few_one_is_val_and_not_all(count: int, val: int) -> None:
    assert len(val_names(f"{i}.png" for i in range(count))) == val
