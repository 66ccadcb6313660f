"""Gathering problems, so that thousands alike do not hide the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from reprlib import Repr
from typing import Any

from mscsa.data.checks import Problem

SHOWN = 20
"""Problems of a kind that are named one by one; the rest are counted."""

_repr = Repr()
_repr.maxstring = _repr.maxother = 60


def short(value: Any) -> str:
    """Write a value as code does, on one line of few characters."""
    return " ".join(_repr.repr(value).split())


class Findings:
    """Problems, of which each kind is named a number of times and then counted.

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


def _printable(text: str) -> str:
    """Keep text on one line, and half characters, which JSON can hold, from stopping `print`."""
    return " ".join(text.splitlines()).encode(errors="backslashreplace").decode()
