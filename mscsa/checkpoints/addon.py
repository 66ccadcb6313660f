"""Add-on files: MSCSA, fusion and head without the backbone, which everybody has already.

Such a file says which backbone it was trained on, down to the bytes of its weights: on any other it would
give numbers that mean nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from mscsa.checkpoints.checksum import hash_tensors
from mscsa.checkpoints.loading import fit
from mscsa.checkpoints.parts import (
    BACKBONE,
    MSCSA,
    ModelParts,
    description_of_backbone,
    is_counter,
    parts_of,
    refuse_shares,
    refuse_wrapped_parts,
    unwrapped,
)
from mscsa.checkpoints.policies import POLICIES
from mscsa.checkpoints.reading import read_state_dict
from mscsa.checkpoints.report import LoadReport
from mscsa.checkpoints.saving import save_weights
from mscsa.errors import UserError

_KIND = "mscsa add-on"
_DIGITS = 12
"""Of a hash, in messages."""

_OF_TRAINING = ("drop_path_rate", "init")
"""Fields of MSCSA's configuration that a trained model does not depend on."""


def save_addon(model: nn.Module, path: str | Path) -> None:
    """Write all of a model but its backbone: MSCSA, fusion, norm and head.

    Args:
        model: A classifier, pyramid, segmenter or detector with MSCSA. The file will fit a backbone of just
            these weights: train with the backbone frozen, its batch norms in evaluation mode.
        path: A .safetensors file.
    Raises:
        UserError: If the model has no MSCSA, is cut up among processes, or the file cannot be written.
    """
    model = unwrapped(model)
    refuse_shares(model, "write it with save_weights, and load that into a whole model")
    parts = _parts_with_mscsa(model)
    state = {key: value for key, value in parts.own.items() if parts.part_of[key] != BACKBONE}
    metadata = {key: json.dumps(value) for key, value in _description(model, parts).items()}
    save_weights(state, path, {"format": "pt", **metadata})


def load_addon(model: nn.Module, path: str | Path) -> LoadReport:
    """Fill all of a model but its backbone from a file of `save_addon`.

    Args:
        model: Built as the one that was saved, its backbone with the same weights.
        path: The file.
    Returns:
        What was filled; the backbone's keys are in none of its lists.
    Raises:
        UserError: If the file is no add-on, or was made on another backbone, other weights of it, another
            configuration or another form of model (names what differs); the model is then unchanged.
    """
    model = unwrapped(model)
    refuse_wrapped_parts(model)
    parts = _parts_with_mscsa(model)
    state, metadata = read_state_dict(path)
    theirs = _decoded(metadata, path)
    ours = _description(model, parts)
    is_other = theirs.get("backbone_sha256") != ours["backbone_sha256"]
    if is_other and theirs.get("backbone_sha256") == _hash(parts, parts.keys(BACKBONE)):
        ours["backbone_sha256"] = theirs["backbone_sha256"]  # of before the counters were left out
    differences = _differences(theirs, ours)
    if differences:
        raise UserError(f"{path} is not an add-on for this model: {'; '.join(differences)}")
    whole = {**{key: parts.own[key] for key in parts.keys(BACKBONE)}, **state}
    entries, report = fit(model, whole, POLICIES["exact"], str(path))
    own = {key: value for key, value in entries.items() if parts.part_of[key] != BACKBONE}
    model.load_state_dict(own, strict=False)
    return replace(report, matched=tuple(key for key in report.matched if parts.part_of[key] != BACKBONE))


def backbone_hash(parts: ModelParts) -> str:
    """Hash a backbone's weights: names, types, shapes and bytes, buffers too, in the order of the names.

    Without the counters of its norms, which a backbone that was frozen has not.

    Returns:
        SHA-256, as 64 hexadecimal digits.
    """
    return _hash(parts, [key for key in parts.keys(BACKBONE) if not is_counter(key)])


def _hash(parts: ModelParts, keys: Iterable[str]) -> str:
    prefix = parts.prefixes[BACKBONE]
    weights = ((key.removeprefix(prefix), parts.own[key]) for key in sorted(keys))
    return hash_tensors(weights, lambda name, x: f"{name} {x.dtype} {tuple(x.shape)}\n")


def _parts_with_mscsa(model: nn.Module) -> ModelParts:
    parts = parts_of(model)
    if not parts.keys(MSCSA):
        raise UserError(
            f"this {type(model).__name__} has no MSCSA, of which an add-on file is made: build it with mscsa_"
        )
    without = next((key for key, value in parts.own.items() if value.is_meta), None)
    if without is not None:
        raise UserError(f"{without} is on the meta device and has no values: build the model on the CPU")
    return parts


def _description(model: nn.Module, parts: ModelParts) -> dict[str, Any]:
    """Say what an add-on belongs to, in what JSON can say."""
    backbone, cfg = description_of_backbone(model, parts)
    attention: Any = model.get_submodule(parts.prefixes[MSCSA].rstrip("."))
    own = sorted({part for part in parts.part_of.values() if part != BACKBONE})
    return {
        "kind": _KIND,
        "version": importlib.metadata.version("mscsa"),
        "backbone": cfg.get("architecture") or type(backbone).__name__,
        "tag": cfg.get("tag") or "",
        "backbone_sha256": backbone_hash(parts),
        "config": asdict(attention.config),
        "form": f"{type(model).__name__} of {', '.join(own)}",
    }


def _decoded(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    try:
        values = {key: json.loads(text) for key, text in metadata.items() if key != "format"}
    except ValueError:
        values = {}
    if values.get("kind") != _KIND:
        raise UserError(
            f"{path} is not an add-on file: give one of mscsa.save_addon, or use mscsa.load_weights"
        )
    return values


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Say in what the model of a file differs from another; the tag only where the weights do."""
    if theirs.get("backbone") != ours["backbone"]:
        return [f"its backbone is {theirs.get('backbone')}, the model's is {ours['backbone']}"]
    found = []
    if theirs.get("form") != ours["form"]:
        found.append(f"it is a {theirs.get('form')}, the model a {ours['form']}")
    config = theirs.get("config") or {}
    found += [
        f"{field} is {config.get(field)!r} there and {value!r} in the model"
        for field, value in ours["config"].items()
        if config.get(field) != value and field not in _OF_TRAINING
    ]
    if theirs.get("backbone_sha256") != ours["backbone_sha256"]:
        tag = f" (pretrained as {theirs['tag']})" if theirs.get("tag") else ""
        hashes = [str(each.get("backbone_sha256"))[:_DIGITS] for each in (theirs, ours)]
        found.append(
            f"the backbone's weights are others: SHA-256 {hashes[0]}{tag} there, {hashes[1]} in the model; "
            "load the weights that it was trained on"
        )
    return found
