"""Recipes as plain values, field by field: what a file said that was written before a field was there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from mscsa.heads import find_head
from mscsa.recipes.spec import PARTS, ModelSpec, OptimSpec, RunSpec

_TABLES = frozenset(each.name for each in fields(ModelSpec) if "dict[" in str(each.type))
"""Fields of `model` that are tables, as `model.mscsa`: compared whole, for their keys are not fields."""


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the fields of a recipe that is plain values, and theirs, by dotted names."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and key not in _TABLES:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def field_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Give the default of each field of a recipe that has one, by dotted names, as plain values.

    Args:
        recipe: As plain values; its head says which fields data and augmentation have.
    """
    task = "classification" if recipe["model"]["head"] is None else find_head(recipe["model"]["head"]).task
    sections: dict[str, Any] = dict(zip(("data", "augment"), PARTS[task], strict=True))
    sections |= {"model": ModelSpec, "optim": OptimSpec, "run": RunSpec}
    found = {}
    for section, kind in sections.items():
        for each in fields(kind):
            default = each.default_factory() if callable(each.default_factory) else each.default
            if default is not MISSING:
                found[f"{section}.{each.name}"] = default
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain
