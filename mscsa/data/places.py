"""Folders and files of a data set by their names, in upper or lower case, and as Unicode may write them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

from mscsa.data.texts import composed


def in_any_case(root: Path, relatives: Iterable[str]) -> Iterator[Path]:
    """Give the places below a folder, whatever case and signs of accents their names have on the disk.

    What lies elsewhere (`../train`) is none of the folder's own: there capitals have to be those of the disk.

    Args:
        root: The folder.
        relatives: What is looked for, by slashes.
    Returns:
        The path as it is given where that is there, or nothing is; else the first by name that differs in
        upper and lower case, or in how Unicode writes it, alone.
    """
    by_case = cache(_by_case)  # a folder is listed once for all
    for relative in relatives:
        place, is_elsewhere = root, Path(relative).is_absolute() or ".." in Path(relative).parts
        for part in Path(relative).parts:
            if not (place / part).exists():
                names = _by_sign(str(place)) if is_elsewhere else by_case(place)
                part = names.get(composed(part) if is_elsewhere else composed(part).lower(), part)
            place /= part
        yield place


def first_file(tried: Sequence[tuple[Path, str]]) -> Path | None:
    """Find the first of some files that is there as it is given, or else as Unicode may write its name.

    Args:
        tried: Folder and name of each, by slashes.
    """
    for folder, name in tried:
        # Not `Path.is_file`, which raises for names that no file can have.
        if os.path.isfile(folder / name):
            return folder / name
    found = (_as_written(folder, name) for folder, name in tried)
    return next((path for path in found if path is not None), None)


def _as_written(folder: Path, name: str) -> Path | None:
    """Find a file whose name Unicode writes otherwise: u with two dots is one sign or two.

    Archives of macOS have two where annotations, made elsewhere, have one. A folder is listed once.

    Returns:
        None if there is no such file.
    """
    if name.isascii():
        return None
    place = folder
    for part in Path(name).parts:
        place /= _by_sign(str(place)).get(composed(part), part)
    return place if os.path.isfile(place) else None


def _by_sign(folder: str) -> dict[str, str]:
    try:
        return _listed_by_sign(folder, os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):  # names that no folder can have, too
        return {}


@lru_cache(maxsize=256)
def _listed_by_sign(folder: str, _changed: int) -> dict[str, str]:
    return {composed(name): name for name in os.listdir(folder) if not name.isascii()}


def _by_case(folder: Path) -> dict[str, str]:
    try:
        return {composed(name).lower(): name for name in sorted(os.listdir(folder), reverse=True)}
    except OSError:
        return {}
