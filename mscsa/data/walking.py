"""Listing the files of a data set's folders: hidden ones left out, links followed, nothing read twice."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from pathlib import Path

from mscsa.errors import UserError


def visible_entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what is in a folder and not hidden.

    Raises:
        UserError: If it is missing or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise UserError(f"{folder}: {reason}; check the path and its permissions") from error


def files_within(folder: Path) -> Iterator[os.DirEntry[str]]:
    """List the visible files in a folder and in all folders below it; one that holds itself is read once.

    A folder that links lead to, too, is read where it lies; of several links the first by name is followed.

    Raises:
        UserError: If a folder is missing or cannot be read.
    """
    waiting, links, seen = [folder], list[Path](), set()
    while waiting or links:
        place = waiting.pop() if waiting else heapq.heappop(links)
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        for entry in visible_entries(place):
            if not entry.is_dir():
                yield entry
            elif entry.is_symlink():
                heapq.heappush(links, Path(entry.path))
            else:
                waiting.append(Path(entry.path))


def paths_within(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """List those of `files_within` that have one of the endings, in lower case, in the order of their paths.

    Raises:
        UserError: If a folder is missing or cannot be read.
    """
    return sorted(Path(each.path) for each in files_within(folder) if each.name.lower().endswith(endings))
