"""Whether a run may go on from a checkpoint: it must be the same run.

What shapes the weights up to a given step is fixed. What may change: how far the run goes
(`run.max_steps`; `run.epochs` and `run.steps` too unless the schedule stretches over them), when it
saves, logs (and where) and evaluates, the loading (`data.workers`, `data.eval_batch_size`, `data.root`
as long as classes, names and sizes of the files agree), threads and the kind of device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from mscsa.data.contract import TaskDataset
from mscsa.data.identity import hash_of_files
from mscsa.errors import UserError
from mscsa.heads import find_head
from mscsa.recipes.spec import PARTS, ModelSpec, OptimSpec, Recipe, RunSpec

CHANGEABLE = frozenset(
    {
        "name",
        "paper",
        "expected",
        "cost",
        "starts_from",
        "data.root",
        "data.workers",
        "data.eval_batch_size",
        "data.max_bad",
        "run.max_steps",
        "run.accelerator",
        "run.devices",
        "run.num_nodes",
        "run.checkpoint_every",
        "run.eval_every",
        "run.log_every",
        "run.logger",
        "run.threads",
    }
)
"""Fields of a recipe that a resumed run may change; devices and nodes only with an equal product."""


SPANNING = ("cosine", "poly")
"""Schedules that stretch over the whole run."""


def run_identity(recipe: Recipe, train: TaskDataset, val: TaskDataset) -> dict[str, Any]:
    """Describe a run by plain values: the recipe, the number of processes and the data."""
    names = json.dumps(train.class_names)
    root = recipe.data.root
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "processes": recipe.run.devices * recipe.run.num_nodes,
        "data": {
            "num_train": len(train),
            "num_val": len(val),
            "class_names": hashlib.sha256(names.encode()).hexdigest()[:16],
            "train_files": hash_of_files(train, root),
            "val_files": hash_of_files(val, root),
        },
    }


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], path: object) -> None:
    """Compare two identities.

    What an older version did not write is compared with the default of the field, and passes where there is
    none: an upgrade that adds a field ends no run.

    Raises:
        UserError: If they differ in what is fixed; names the first such field and both values.
    """
    changeable = set(CHANGEABLE)
    if now["recipe"]["optim"]["schedule"] not in SPANNING:
        changeable |= {"run.epochs", "run.steps"}
    before, after = dict(_flatten(saved)), dict(_flatten(now))
    defaults = _defaults(now["recipe"])
    for key in {**after, **before}:
        field = key.removeprefix("recipe.")
        then = before[key] if key in before else defaults.get(field, after.get(key))
        if field in changeable or then == after.get(key):
            continue
        if field.startswith("data.") and field.endswith("_files"):
            raise UserError(
                f"{path} is of a run on other images: files were added, removed or changed since; put "
                "them back (data.max_bad allows for unreadable ones in their places), or start a new run in "
                "another folder"
            )
        raise UserError(
            f"{path} is of a run with {field} = {then!r}, now it is {after.get(key)!r}: "
            "resume with the former, or start a new run in another folder"
        )


def _defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Give the default of each field of a recipe that has one, dotted, as plain values."""
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


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        # Free-form tables (`model.mscsa`) are compared whole: their keys are not fields of ours.
        if isinstance(value, Mapping) and key not in ("mscsa", "backbone_kwargs", "head_kwargs"):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
