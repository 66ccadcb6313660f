"""Whether a run may go on from a checkpoint: it must be the same run.

What shapes the weights up to a given step is fixed. What may change: how far the run goes
(`run.max_steps`, `run.patience`; `run.epochs` and `run.steps` too unless the schedule stretches over them,
where a longer run must be asked for), when it saves, logs (and where) and evaluates, how much it keeps, the
loading (`data.workers`, `data.eval_batch_size`, `data.root` as long as classes, names and sizes of the files
agree), threads, the kind of device, and whether the processes share the model (`run.strategy`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mscsa.data.contract import SPLITS, TaskDataset
from mscsa.data.identity import hash_of_files
from mscsa.errors import UserError
from mscsa.recipes.differences import field_defaults, flattened
from mscsa.recipes.spec import GIVEN_PLACES, WORDS, Recipe

CHANGEABLE = frozenset(
    {
        "name",
        *WORDS,
        "starts_from",
        "data.root",
        *(f"data.{name}" for name in GIVEN_PLACES),
        "data.workers",
        "data.eval_batch_size",
        "data.max_bad",
        "run.max_steps",
        "run.accelerator",
        "run.devices",
        "run.num_nodes",
        "run.strategy",
        "run.checkpoint_every",
        "run.eval_every",
        "run.log_every",
        "run.logger",
        "run.patience",
        "run.keep",
        "run.threads",
    }
)
"""Fields of a recipe that a resumed run may change; devices and nodes only with an equal product."""


SPANNING = ("cosine", "poly")
"""Schedules that stretch over the whole run."""

_LENGTH = ("run.epochs", "run.steps")


def run_identity(recipe: Recipe, train: TaskDataset, val: TaskDataset) -> dict[str, Any]:
    """Describe a run by plain values: the recipe, the number of processes and the data."""
    names = json.dumps(train.class_names)
    data = recipe.data
    roots = {split: getattr(data, f"{split}_images", None) or data.root for split in SPLITS}
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "processes": recipe.run.devices * recipe.run.num_nodes,
        "data": {
            "num_train": len(train),
            "num_val": len(val),
            "class_names": hashlib.sha256(names.encode()).hexdigest()[:16],
            "train_files": hash_of_files(train, roots["train"]),
            "val_files": hash_of_files(val, roots["val"]),
        },
    }


def check_same_run(
    saved: Mapping[str, Any], now: Mapping[str, Any], path: object, *, extend: bool = False
) -> None:
    """Compare two identities.

    What an older version did not write is compared with the default of the field, and passes where there is
    none: an upgrade that adds a field ends no run.

    Args:
        extend: Whether the run may become longer although its schedule stretches over it.
    Raises:
        UserError: If they differ in what is fixed; names the first such field and both values.
    """
    changeable = set(CHANGEABLE)
    if extend or now["recipe"]["optim"]["schedule"] not in SPANNING:
        changeable |= set(_LENGTH)
    before, after = dict(flattened(saved)), dict(flattened(now))
    defaults = field_defaults(now["recipe"])
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
        another = "add --extend for a longer schedule from here on" if field in _LENGTH else ""
        raise UserError(
            f"{path} is of a run with {field} = {then!r}, now it is {after.get(key)!r}: "
            f"resume with the former, {another or 'or start a new run in another folder'}"
        )


def is_extended(saved: Mapping[str, Any], now: Mapping[str, Any], steps_per_epoch: int, path: object) -> bool:
    """Say whether a run becomes longer than it was, by a schedule that stretches over it.

    Args:
        saved: Identity of the run so far.
        now: What it is to be from here on.
    Raises:
        UserError: If it would become shorter.
    """
    before, after = (_length(each["recipe"]["run"], steps_per_epoch) for each in (saved, now))
    if now["recipe"]["optim"]["schedule"] not in SPANNING or before == after:
        return False
    if after < before:
        raise UserError(
            f"{path} is of a run of {before} steps, and --extend makes one longer, not shorter, as {after} "
            "steps would: raise run.epochs or run.steps, or end it early by run.max_steps"
        )
    return True


def _length(run: Mapping[str, Any], steps_per_epoch: int) -> int:
    steps: int = run["epochs"] * steps_per_epoch if run.get("steps") is None else run["steps"]
    return steps
