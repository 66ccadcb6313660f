"""Errors of what runs without torch. `mscsa.errors` is the package's own, which imports torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class Unusable(Exception):
    """Something read from a file that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


class ArtifactError(ValueError):
    """An exported model, or what it was given, that cannot be used: one line, as of `mscsa.UserError`."""


def nearest(given: Any, allowed: Iterable[str], *, all_names: str = "") -> str:
    """Say what may have been meant, or else what is allowed: the end of a message.

    Args:
        given: What is none of those allowed.
        allowed: All right names.
        all_names: Where they are told, in place of a list that would be too long for one line.
    """
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.6) if isinstance(given, str) else []
    return f"did you mean {' or '.join(near)}?" if near else all_names or f"give one of {', '.join(names)}"
