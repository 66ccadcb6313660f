"""Whether a run may go on from a checkpoint: it must be the same run.

What shapes the weights up to a given step is fixed. What may change: how far the run goes
(`run.max_steps`; `run.epochs` and `run.steps` too unless the schedule stretches over them), when it
saves, logs and evaluates, the loading (`data.workers`, `data.eval_batch_size`, `data.root` as long as
classes and counts agree), threads and the kind of device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from mscsa.data.contract import TaskDataset
from mscsa.errors import UserError
from mscsa.recipes.spec import Recipe

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
        "run.max_steps",
        "run.accelerator",
        "run.devices",
        "run.num_nodes",
        "run.checkpoint_every",
        "run.eval_every",
        "run.log_every",
        "run.threads",
    }
)
"""Fields of a recipe that a resumed run may change; devices and nodes only with an equal product."""


SPANNING = ("cosine", "poly")
"""Schedules that stretch over the whole run."""


def run_identity(recipe: Recipe, world_size: int, train: TaskDataset, val: TaskDataset) -> dict[str, Any]:
    """Describe a run by plain values: the recipe, the number of processes and the data."""
    names = json.dumps(train.class_names)
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "processes": world_size,
        "data": {
            "num_train": len(train),
            "num_val": len(val),
            "class_names": hashlib.sha256(names.encode()).hexdigest()[:16],
        },
    }


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], path: object) -> None:
    """Compare two identities.

    Raises:
        UserError: If they differ in what is fixed; names the first such field and both values.
    """
    changeable = set(CHANGEABLE)
    if now["recipe"]["optim"]["schedule"] not in SPANNING:
        changeable |= {"run.epochs", "run.steps"}
    before, after = dict(_flatten(saved)), dict(_flatten(now))
    for key in {**after, **before}:
        field = key.removeprefix("recipe.")
        if field in changeable or before.get(key) == after.get(key):
            continue
        raise UserError(
            f"{path} is of a run with {field} = {before.get(key)!r}, now it is {after.get(key)!r}: "
            "resume with the former, or start a new run in another folder"
        )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        # Free-form tables (`model.mscsa`) are compared whole: their keys are not fields of ours.
        if isinstance(value, Mapping) and key not in ("mscsa", "backbone_kwargs", "head_kwargs"):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
