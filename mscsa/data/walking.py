"""Listing the files of a data set's folders: hidden ones left out, links followed, nothing read twice."""

from __future__ import annotations

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

    Raises:
        UserError: If a folder is missing or cannot be read.
    """
    waiting, seen = [folder], set()
    while waiting:
        place = waiting.pop()
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        for entry in visible_entries(place):
            if entry.is_dir():
                waiting.append(Path(entry.path))
            else:
                yield entry
