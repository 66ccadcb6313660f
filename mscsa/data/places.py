"""Folders and files of a data set by their names, in upper or lower case, and as Unicode may write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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


def by_named_folder(root: Path, paths: Collection[str]) -> Callable[[str, Iterable[str]], list[str]]:
    """Make what chooses, of files of one name, those that lie where a longer name says.

    A name of another machine, or relative to who knows what, ends in a folder that is here: of
    `elsewhere/train/4.png` that is `train`, and `val/4.png` is then never meant, whether the other is there
    or gone. Only where no folder of the name is here, it says no more than its last part.

    Args:
        root: What all lies below.
        paths: All files.
    Returns:
        From a name, by slashes, and the files that it may mean to those that it does.
    """

    @cache
    def folders() -> dict[str, Path]:
        holding = {Path(os.path.dirname(path)) for path in paths}
        known = {each for folder in holding for each in (folder, *folder.parents) if each != root}
        return {_as_text(each.relative_to(root)): each for each in known if each.is_relative_to(root)}

    @cache
    def meant(folder: str) -> list[Path]:
        parts = [part for part in Path(folder).parts if part not in ("/", "..")]
        for start in range(len(parts)):
            end = Path(*parts[start:])
            found = [place for text, place in folders().items() if text.endswith(_as_text(end))]
            found = found or [place for place in in_any_case(root, [end.as_posix()]) if place.is_dir()]
            if found:
                return found
        return []

    def choose(name: str, candidates: Iterable[str]) -> list[str]:
        files, within = list(candidates), meant(name.rpartition("/")[0])
        if not within:
            return files
        direct = [path for path in files if Path(path).parent in within]
        return direct or [path for path in files if any(map(Path(path).is_relative_to, within))]

    return choose


def _as_text(folder: Path) -> str:
    return f"/{composed(folder.as_posix()).lower()}"


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
