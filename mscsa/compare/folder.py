"""The folder of a comparison: it holds the recipes of its arms, and only runs of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mscsa.errors import UserError
from mscsa.files import write_text
from mscsa.recipes.differences import field_defaults, flattened
from mscsa.recipes.options import recipe_yaml
from mscsa.recipes.spec import WORDS, Recipe
from mscsa.run_files import LAST_WEIGHTS


def open_folder(out: Path, arms: dict[str, Recipe]) -> None:
    """Write the recipes of the arms, or find the same ones there; an arm may join a comparison later.

    Raises:
        UserError: If the folder holds something else, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = {out / f"{arm}.yaml": recipe_yaml(recipe) for arm, recipe in arms.items()}
        if any(out.iterdir()) and not any(path.exists() for path in files):
            raise UserError(f"{out} holds something else than a comparison: give another --out")
        for path, text in files.items():
            if not path.exists():
                write_text(path, text)
            elif path.read_text() != text:
                _check_same(out, yaml.safe_load(path.read_text()), yaml.safe_load(text))
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {error.strerror}; give a folder that can be written"
        ) from error


def first_trained_pair(out: Path) -> tuple[Path, Path] | None:
    """Find what a comparison has trained from the same seed with MSCSA and without it.

    Args:
        out: Any folder.
    Returns:
        Weights after the last step, by which arms are compared, of MSCSA and of the baseline, from the first
        seed that has both; None if the folder is of no comparison.
    Raises:
        UserError: If no seed has both yet.
    """
    if not all((out / f"{arm}.yaml").is_file() for arm in ("mscsa", "baseline")):
        return None
    for run in sorted(out.glob("mscsa/seed*"), key=lambda each: (len(each.name), each.name)):
        pair = run / LAST_WEIGHTS, out / "baseline" / run.name / LAST_WEIGHTS
        if all(each.is_file() for each in pair):
            return pair
    raise UserError(f"{out} has no seed that is trained with MSCSA and without it yet: let it finish")


def _check_same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse another recipe, however it is described.

    A field that an older version did not have is as if it had its default, or none.

    Raises:
        UserError: Names the first difference.
    """
    old, new = ({key: value for key, value in each.items() if key not in WORDS} for each in (before, now))
    found = _first_difference(old, new)
    if found is not None:
        field, there, given = found
        raise UserError(
            f"{out} is of a comparison with {field} = {there!r}, now it is {given!r}: go on with the former, "
            "or give another --out"
        )


def _first_difference(before: dict[str, Any], now: dict[str, Any]) -> tuple[str, Any, Any] | None:
    old, new, defaults = dict(flattened(before)), dict(flattened(now)), field_defaults(now)
    for key in {**new, **old}:
        then, given = old.get(key, defaults.get(key)), new.get(key)
        if key not in old and not given:
            continue
        if isinstance(then, dict) and isinstance(given, dict):
            names = (name for name in {**given, **then} if then.get(name) != given.get(name))
            if (name := next(names, None)) is not None:
                return f"{key}.{name}", then.get(name), given.get(name)
        elif then != given:
            return key, then, given
    return None
