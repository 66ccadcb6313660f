"""What loading weights did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_SHOWN = 3
"""Keys that a message names."""


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Which keys of a model a file filled."""

    name: str
    """The file, and where in it the weights are."""
    matched: tuple[str, ...]
    """Keys of the model that were filled."""
    missing: tuple[str, ...]
    """In the model, not in the file; they stay as they were."""
    unexpected: tuple[str, ...]
    """In the file, by its own names, not in the model; not used."""
    mismatched: tuple[str, ...]
    """In both, with different shapes; they stay as they were."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Key of the model -> the part that it belongs to: backbone, mscsa, fusion, head, ..."""
    not_finite: tuple[str, ...] = ()
    """Filled with values of which some are infinite or no numbers."""
    notes: tuple[str, ...] = ()
    """What else a person should know."""

    @property
    def new(self) -> dict[str, int]:
        """Part -> number of its tensors that stay as they were."""
        return dict(Counter(self.parts.get(key, "") for key in (*self.missing, *self.mismatched)))

    @property
    def filled(self) -> dict[str, int]:
        """Part -> number of its tensors that came from the file."""
        return dict(Counter(self.parts.get(key, "") for key in self.matched))

    def __str__(self) -> str:
        return (
            f"{len(self.matched)} matched ({counted(self.filled) or 'none'}), "
            f"{named('missing', self.missing)}, {named('unexpected', self.unexpected)}, "
            f"{named('of another shape', self.mismatched)}"
        )

    def warning(self) -> str:
        """Say in one line what a person should know; empty if there is nothing."""
        told = []
        if self.new:
            told.append(f"new: {counted(self.new)}")
        if self.not_finite:
            told.append(named("with values that are not finite", self.not_finite))
        told += self.notes
        if not told:
            return ""
        return f"{self.name}: filled {counted(self.filled)}; {'; '.join(told)}"


def counted(parts: Mapping[str, int]) -> str:
    """Say how many tensors of each part: head (2 tensors), fusion (16 tensors)."""
    return ", ".join(f"{part} ({count} tensor{'s' if count > 1 else ''})" for part, count in parts.items())


def named(what: str, keys: Iterable[str]) -> str:
    """Say how many keys there are of a kind, and name the first: 5 missing (a, b, c, ...)."""
    given = list(keys)
    shown = ", ".join(given[:_SHOWN]) + (", ..." if len(given) > _SHOWN else "")
    return f"{len(given)} {what}" + (f" ({shown})" if given else "")
