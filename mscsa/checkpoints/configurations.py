"""What a file says of the configuration of its parts, where shapes do not: 4 heads of 8 or 8 heads of 4."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from torch import nn

from mscsa.checkpoints.parts import BACKBONE, HEAD, MSCSA, HasParts
from mscsa.errors import UserError

ENTRY = "configurations"
"""Of the metadata of a safetensors file."""

_FREE = frozenset({"pool_stride", "drop_path_rate", "init", "squeeze_ratio", "mlp_ratio"})
"""Fields that the same weights may have otherwise: at another size, in training, before it; and those that
make shapes and nothing else, which are compared as such."""

_ELSEWHERE = {(MSCSA, "gate_scale"): "fusion"}
"""(Part, field) -> the part that the field acts on; its value does not matter where that is not filled."""


def configurations(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Give the fields of each part between backbone and head that has a configuration, by its name."""
    found = {}
    parts = model.weight_parts() if isinstance(model, HasParts) else {}
    for part, prefix in parts.items():
        if part in (BACKBONE, HEAD) or not prefix:
            continue
        config: Any = getattr(model.get_submodule(prefix.rstrip(".")), "config", None)
        if is_dataclass(config) and not isinstance(config, type):
            found[part] = {"kind": type(config).__name__, **asdict(config)}
    return found


def with_configurations(model: nn.Module, metadata: Mapping[str, str]) -> dict[str, str]:
    """Add them to the metadata of a file, where there are any."""
    found = configurations(model)
    return {**metadata, **({ENTRY: json.dumps(found)} if found else {})}


def refuse_other(model: nn.Module, metadata: Mapping[str, str], filled: set[str], name: str) -> None:
    """Refuse a file, called `name`, that fits a model by its shapes alone; arguments as `other_fields`.

    Raises:
        UserError: If there are such fields.
    """
    if others := other_fields(model, metadata, filled):
        raise UserError(
            f"{name} fits this model by its shapes, but was made by another: {'; '.join(others)}; build the "
            "model as the file says"
        )


def other_fields(model: nn.Module, metadata: Mapping[str, str], filled: set[str]) -> list[str]:
    """Say in which fields a model is configured otherwise than a file says its weights were.

    What the file does not say, as older ones and those of others do not, is passed over.

    Args:
        model: What is to be filled.
        metadata: Of the file.
        filled: The parts that are.
    """
    try:
        theirs = json.loads(metadata.get(ENTRY, "{}"))
    except ValueError:
        return []
    found = []
    for part, own in configurations(model).items():
        said = theirs.get(part) if isinstance(theirs, Mapping) and part in filled else None
        if not isinstance(said, Mapping) or said.get("kind") != own["kind"]:
            continue  # of another neck: what fits it by its shapes is no more than that
        for field, value in own.items():
            matters = field not in _FREE and _ELSEWHERE.get((part, field), part) in filled
            if matters and field in said and said[field] != value:
                found.append(f"{part}: {field} is {said[field]!r} in the file, {value!r} in the model")
    return found
