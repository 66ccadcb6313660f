"""What a command writes replaces nothing that it reads, nor anything else that it writes."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILES = {"results": ".json", "json": ".json"}
"""Options that name a file to write, and how its name ends."""
_INPUTS = ("images", "checkpoint")


def check_outputs(arguments: Mapping[str, Any]) -> None:
    """Look at the files that a command is to write, before it runs.

    Args:
        arguments: Of a command of `COMMANDS`, by name.
    Raises:
        ValueError: If one of them is a file that the command reads, or another that it writes, or there is a
            file of another kind, by its name.
    """
    inputs = [path for name in _INPUTS for given in _listed(arguments.get(name)) for path in _named(given)]
    taken = [(path, "an input of this command") for path in inputs]
    for name, ending in _FILES.items():
        path = arguments.get(name)
        if path is None:
            continue
        for other, what in taken:
            if _is_same(path, other):
                raise ValueError(f"--{name} {path} is {what}, which is not overwritten: give another file")
        if os.path.exists(path) and Path(path).suffix.lower() != ending:
            raise ValueError(
                f"--{name} {path} is there already and no {ending} file: give another file, or remove it"
            )
        taken.append((path, f"what --{name} writes"))
        if name == "results":
            taken.append((f"{path[: -len(ending)]}_masks{ending}", "where --results writes masks"))


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _named(given: str) -> list[str]:
    """Give the files that a pattern stands for; what is no pattern stands for itself."""
    return [given] if os.path.exists(given) or not glob.has_magic(given) else glob.glob(given, recursive=True)


def _is_same(one: str, other: str) -> bool:
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return Path(one).resolve() == Path(other).resolve()
