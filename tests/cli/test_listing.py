"""Lists of models, recipes and backbones."""

from __future__ import annotations

import pytest

from mscsa.errors import UserError
from mscsa.neck_table import NECKS
from mscsa_cli.listing import backbones_table, models_table, necks_table, recipes_table


def test_models_with_mscsa_and_what_they_are_compared_with() -> None:
    rows = dict(models_table("*").rows)
    assert rows["mscsa_pvt_v2_b1"] == "pvt_v2_b1"
    assert rows["mscsa_coat_tiny"] == "coat_tiny"
    assert not [name for name in rows.values() if name.startswith("mscsa_")]


def test_recipes_by_pattern() -> None:
    names = [row[0] for row in recipes_table("scenes/*").rows]
    assert "scenes/mscsa_resnet10t" in names
    assert all(name.startswith("scenes/") for name in names)


def test_backbones_with_their_pyramids() -> None:
    rows = {name: rest for name, *rest in backbones_table("pvt_v2_b*").rows}
    assert rows["pvt_v2_b1"] == ["4, 8, 16, 32", "64, 128, 320, 512"]
    assert len(rows) == 7


def test_necks_with_their_papers() -> None:
    rows = {name: rest for name, *rest in necks_table("*").rows}
    assert list(rows) == list(NECKS)
    assert rows["mscsa"][-1] == "the stages' own" and rows["fpn"] == [
        "FPN",
        "Lin et al., CVPR 2017",
        "all the same",
    ]


def test_part_of_a_name_is_a_pattern_too() -> None:
    assert [row[0] for row in models_table("resnet5").rows] == ["mscsa_resnet50"]


@pytest.mark.parametrize(
    ("table", "pattern", "message"),
    [
        (models_table, "nosuch", "no model with MSCSA is like 'nosuch'"),
        (recipes_table, "nosuch", "no recipe is like 'nosuch'"),
        (necks_table, "nosuch", "no neck is like 'nosuch'"),
        (backbones_table, "nosuch", "no timm model is like 'nosuch'"),
        # What `mscsa` is added to, not `mscsa` itself.
        (backbones_table, "mscsa", "no timm model is like 'mscsa'"),
        (backbones_table, "vit_tiny_patch16_224", "no timm model like .* has a feature pyramid"),
    ],
)
def test_nothing_found_is_one_line(table, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(pattern)
