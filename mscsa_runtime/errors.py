"""Errors of what runs without torch. `mscsa.errors` is the package's own, which imports torch."""

from __future__ import annotations


class Unusable(Exception):
    """Something read from a file that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


class ArtifactError(ValueError):
    """An exported model, or what it was given, that cannot be used: one line, as of `mscsa.UserError`."""
