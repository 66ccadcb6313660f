"""Folders and files of a data set by their names, in upper or lower case, and as Unicode may write them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

from mscsa.data.division import side_of
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


def by_named_folder(root: Path, paths: Iterable[str]) -> Callable[[str, Iterable[str]], list[str]]:
    """Make what chooses, of files of one name, those that lie where a longer name says.

    A name of another machine, or relative to who knows what, ends in folders that are here: of
    `elsewhere/day/4.png` that is `day`, if files lie in it, and `night/4.png` is then never meant, whether
    the other is there or gone. Nor is a file of the other split. Else a name says no more than its last part.

    Args:
        root: What all lies below.
        paths: All files.
    Returns:
        From a name, by slashes, and the files that it may mean to those that it does.
    """

    @cache
    def folders() -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """Give the folders by the ends of their paths, as they are written and in lower case."""
        written, lower = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
        holding = {Path(os.path.dirname(path)) for path in paths}
        for place in {each for folder in holding for each in (folder, *folder.parents)}:
            parts = place.relative_to(root).parts if place != root and place.is_relative_to(root) else ()
            for end in _ends(parts):
                written[end].append(place)
                lower[end.lower()].append(place)
        return written, lower

    def choose(name: str, candidates: Iterable[str]) -> list[str]:
        folder, _, _ = name.rpartition("/")
        side = side_of(folder)
        files = [path for path in candidates if side_of(_below(root, path)) in (side, None) or side is None]
        written, lower = folders() if folder else ({}, {})
        found = (written.get(end) or lower.get(end.lower()) for end in _ends(Path(folder).parts))
        within = next(filter(None, found), None)
        if within is None:
            return files
        direct = [path for path in files if Path(path).parent in within]
        return direct or [path for path in files if any(map(Path(path).is_relative_to, within))]

    return choose


def _ends(parts: Sequence[str]) -> Iterator[str]:
    """Give the ends of a path, the longest first."""
    return (composed("/".join(parts[start:])) for start in range(len(parts)))


def _below(root: Path, path: str) -> str:
    """Give the folders below the root that a file lies in."""
    return os.path.dirname(os.path.relpath(path, root))


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
