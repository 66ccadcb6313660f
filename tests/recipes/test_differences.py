"""Recipes as plain values: every field by its name, and what it is where nothing is said."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mscsa.recipes import get_recipe
from mscsa.recipes.differences import field_defaults, flattened

NAMES = ("small/mscsa_resnet18", "small_semantic_fpn/mscsa_resnet18", "scenes_mask_rcnn/mscsa_resnet10t")


def test_fields_have_dotted_names_and_tables_stay_whole() -> None:
    tree = {
        "name": "x",
        "model": {"name": "a", "mscsa": {"depth": 2}, "head_kwargs": {}},
        "run": {"steps": None},
    }
    assert dict(flattened(tree)) == {
        "name": "x",
        "model.name": "a",
        "model.mscsa": {"depth": 2},
        "model.head_kwargs": {},
        "run.steps": None,
    }


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_those_of_the_tasks_own_fields(name: str) -> None:
    recipe = get_recipe(name)
    plain = json.loads(json.dumps(dataclasses.asdict(recipe)))
    defaults, fields = field_defaults(plain), dict(flattened(plain))
    assert defaults.keys() <= fields.keys()
    assert {"data.max_bad", "augment.hflip", "run.channels_last", "model.mscsa"} <= defaults.keys()
    for section in ("data", "augment", "optim", "run"):
        for each in dataclasses.fields(type(getattr(recipe, section))):
            if each.default is not dataclasses.MISSING:
                assert defaults[f"{section}.{each.name}"] == json.loads(json.dumps(each.default)), each.name
