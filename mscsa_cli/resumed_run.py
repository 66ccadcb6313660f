"""`mscsa train --resume RUN`: the run's own folder says which recipe it is of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from mscsa_cli.parsing import with_home

_FLAG = "--resume"


def with_recipe(argv: Sequence[str]) -> list[str]:
    """Add the recipe's name to a command line that only names the folder of a run.

    Raises:
        ValueError: If the folder holds no run.
    """
    named = _named_run(argv)
    if named is None:
        return list(argv)
    if not named:
        raise ValueError(f"{_FLAG}: '' given, which is empty; name the folder of a run")
    from mscsa.recipes import is_recipe

    others = [word for word in argv if word not in (named, f"{_FLAG}={named}")]
    if any(is_recipe(word) for word in others):
        return list(argv)
    if not Path(named).exists() and is_recipe(named):  # `--resume NAME` with the recipe behind it
        return [named, *others]
    return [_recipe_of(Path(with_home(named))), *argv]


def _named_run(argv: Sequence[str]) -> str | None:
    for word, following in zip_longest(argv, argv[1:], fillvalue="-"):
        if word.startswith(f"{_FLAG}="):
            return word.partition("=")[2]
        if word == _FLAG and not following.startswith("-"):
            return following
    return None


def _recipe_of(folder: Path) -> str:
    import yaml  # type: ignore[import-untyped]

    from mscsa.run_files import CONFIG

    path = folder / CONFIG
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = settings["name"]
        if "run" in settings or not _has_checkpoint(folder):  # the last section: nothing is cut off
            return str(name)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        if not _has_checkpoint(folder):
            raise ValueError(
                f"{_FLAG} {folder}: there is no run in it (no {path} that names a recipe)"
            ) from error
    from mscsa.training.run_folder import restore_config

    return restore_config(folder)


def _has_checkpoint(folder: Path) -> bool:
    from mscsa.run_files import LAST, PREVIOUS

    return any((folder / name).exists() for name in (LAST, PREVIOUS))
