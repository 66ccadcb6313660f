"""What can be wrong with data: said of one thing, gathered over many, and found between two splits."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Any

from mscsa.files import sha256_of

SHOWN = 20
"""Problems of a kind that are named one by one; the rest are counted."""

_repr = Repr()
_repr.maxstring = _repr.maxother = 60


@dataclass(frozen=True)
class Problem:
    """One thing to put right."""

    path: str
    """File or folder that it is about."""
    what: str
    """What is wrong."""
    remedy: str
    """What to do."""
    is_note: bool = False
    """Whether it is only worth knowing: training does not mind."""
    count: int = 1
    """How many it stands for: of many alike, the first are named and the others counted."""


class Findings:
    """Problems, of which each kind is named a number of times and then counted: thousands hide no others.

    Args:
        path: What they are about, where nothing else is said.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._named: dict[str, list[Problem]] = {}
        self._more: Counter[str] = Counter()

    def add(self, kind: str, what: str, remedy: str, path: str | Path | None = None) -> None:
        """Add a problem of a kind, which is a few words that stand for all of it."""
        self.add_all(kind, [0], lambda _: what, remedy, path)

    def add_all(
        self,
        kind: str,
        places: Iterable[int],
        describe: Callable[[int], str],
        remedy: str,
        path: str | Path | None = None,
    ) -> None:
        """Add a problem for each place; only those that are named are described."""
        named = self._named.setdefault(kind, [])
        for place in places:
            if len(named) < SHOWN:
                where = _printable(str(path or self._path))
                named.append(Problem(where, _printable(describe(place)), remedy))
            else:
                self._more[kind] += 1

    def problems(self) -> list[Problem]:
        """Give all of them, kind by kind."""
        found: list[Problem] = []
        for kind, named in self._named.items():
            found += named
            if more := self._more[kind]:
                what = f"... and {more:,} more of this kind: {kind}"
                found.append(Problem(self._path, what, named[-1].remedy, count=more))
        return found


def short(value: Any) -> str:
    """Write a value as code does, on one line of few characters."""
    return " ".join(_repr.repr(value).split())


def some_of(names: Sequence[str], shown: int = 5) -> str:
    """List the first names and count the others."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def shared_files(train: Iterable[str], val: Iterable[str]) -> list[Problem]:
    """Find the files of val whose content is in train too, which makes the validation score too good."""
    # Only files of equal size can be equal, so that few are read a second time.
    train_by_size: dict[int, list[str]] = defaultdict(list)
    for path in train:
        train_by_size[os.path.getsize(path)].append(path)
    digest_of = cache(sha256_of)
    problems = []
    for path in val:
        for other in train_by_size.get(os.path.getsize(path), ()):
            if digest_of(other) == digest_of(path):
                what = f"same content as {other}"
                problems.append(Problem(path, what, "remove it from one of the splits"))
                break
    return problems


def contradictions(classes: Iterable[tuple[str, str]]) -> list[Problem]:
    """Find images of a split that have another class than an image of the same content has.

    Args:
        classes: Of each image its path and its class.
    """
    by_size: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for path, name in classes:
        by_size[os.path.getsize(path)].append((path, name))
    problems = []
    for alike in by_size.values():
        # Copies within one class contradict nothing, and most sizes are of one image: neither is read again.
        if len({name for _, name in alike}) == 1:
            continue
        first: dict[str, tuple[str, str]] = {}
        for path, name in alike:
            other, known = first.setdefault(sha256_of(path), (path, name))
            if known != name:
                problems.append(contradiction(path, name, other, known))
    return problems


def contradiction(path: str, name: str, other: str, known: str) -> Problem:
    """Say that an image of class `name` has the content of `other`, whose class is `known`."""
    what = f"its class is {name!r}; {other} has the same content and is {known!r}"
    return Problem(path, what, "remove the wrong one of the two")


def _printable(text: str) -> str:
    """Keep text on one line, and half characters, which JSON can hold, from stopping `print`."""
    return " ".join(text.splitlines()).encode(errors="backslashreplace").decode()
